//! The accounts' SQL: one function a statement, on a connection that the caller chose.

use diesel::{
    AsChangeset, BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, QueryResult,
    SelectableHelper,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::domain::accounts::model::{Role, User};
use crate::domain::ids::UserId;
use crate::domain::page::Window;
use crate::infra::schema::users;

/// A row to insert.
#[derive(Insertable)]
#[diesel(table_name = users)]
pub struct NewUser {
    pub id: UserId,
    pub email: String,
    pub email_key: String,
    pub name: Option<String>,
    pub role: Role,
    pub password_hash: String,
}

pub async fn insert(connection: &mut AsyncPgConnection, user: &NewUser) -> QueryResult<User> {
    diesel::insert_into(users::table).values(user).returning(User::as_returning()).get_result(connection).await
}

pub async fn by_ids(connection: &mut AsyncPgConnection, ids: &[UserId]) -> QueryResult<Vec<User>> {
    users::table.filter(users::id.eq_any(ids)).select(User::as_select()).load(connection).await
}

/// The user with this address, beside the password's hash.
pub async fn with_hash(connection: &mut AsyncPgConnection, email_key: &str) -> QueryResult<Option<(User, String)>> {
    let user = users::table.filter(users::email_key.eq(email_key));
    user.select((User::as_select(), users::password_hash)).first(connection).await.optional()
}

/// The administrators and the user with this id, locked until the transaction ends.
pub async fn lock_admins_and(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Vec<User>> {
    let users = users::table.filter(users::role.eq(Role::Admin).or(users::id.eq(id)));
    users.order(users::id).select(User::as_select()).for_no_key_update().load(connection).await
}

pub async fn id_by_email_key(connection: &mut AsyncPgConnection, email_key: &str) -> QueryResult<Option<UserId>> {
    users::table.filter(users::email_key.eq(email_key)).select(users::id).first(connection).await.optional()
}

#[derive(AsChangeset)]
#[diesel(table_name = users)]
struct RoleChange {
    role: Role,
    updated_at: chrono::DateTime<chrono::Utc>,
}

pub async fn set_role(connection: &mut AsyncPgConnection, id: UserId, role: Role) -> QueryResult<User> {
    let change = RoleChange { role, updated_at: chrono::Utc::now() };
    let user = diesel::update(users::table.find(id)).set(change);
    user.returning(User::as_returning()).get_result(connection).await
}

/// Users in a window, the newest first; one more than fit.
pub async fn page(connection: &mut AsyncPgConnection, window: &Window<UserId>) -> QueryResult<Vec<User>> {
    let mut query =
        users::table.select(User::as_select()).limit(window.limit()).offset(window.offset.into()).into_boxed();
    if let Some(after) = window.after {
        query = query.filter(users::id.lt(after));
    }
    if let Some(before) = window.before {
        query = query.filter(users::id.gt(before));
    }
    query = if window.backward { query.order(users::id.asc()) } else { query.order(users::id.desc()) };
    query.load(connection).await
}

pub async fn count(connection: &mut AsyncPgConnection) -> QueryResult<i64> {
    users::table.count().get_result(connection).await
}

impl NewUser {
    /// A customer that might be, the same each time.
    pub fn numbered(number: u64, password_hash: &str) -> Self {
        let email = format!("customer{number}@seed.stockroom.test");
        Self {
            id: UserId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, email.as_bytes())),
            email_key: email.clone(),
            email,
            name: Some(format!("Customer {number}")),
            role: Role::Customer,
            password_hash: password_hash.to_owned(),
        }
    }
}

pub async fn insert_missing(connection: &mut AsyncPgConnection, users: &[NewUser]) -> QueryResult<()> {
    diesel::insert_into(users::table).values(users).on_conflict_do_nothing().execute(connection).await.map(|_| ())
}
