//! The accounts' SQL: one function a statement, on a connection that the caller chose.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, NullableExpressionMethods, OptionalExtension, QueryDsl,
    QueryResult, Queryable, Selectable, SelectableHelper, define_sql_function,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::accounts::model::{ApiKey, Grant, MailPurpose, Role, Scope, Session, Standing, User};
use crate::domain::accounts::queries::AuditFilter;
use crate::domain::changes::{Entity, Kind, Place, Version};
use crate::domain::ids::{ApiKeyId, SessionId, UserId};
use crate::domain::page::Window;
use crate::infra::schema::{api_keys, changes, identities, mail_tokens, sessions, users};

define_sql_function! {
    /// The time now, also late in a transaction. There is one clock for all instances: PostgreSQL's.
    fn clock_timestamp() -> Timestamptz;
}

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
    pub email_verified_at: Option<DateTime<Utc>>,
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

/// The user with this id, likewise.
pub async fn by_id_with_hash(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Option<(User, String)>> {
    let user = users::table.find(id).select((User::as_select(), users::password_hash));
    user.first(connection).await.optional()
}

/// The user, locked until the transaction ends: whatever is done to a user's role, password or sessions takes turns here.
pub async fn lock(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Option<User>> {
    users::table.find(id).select(User::as_select()).for_no_key_update().first(connection).await.optional()
}

/// The user of a session, locked likewise.
pub async fn lock_user_of(connection: &mut AsyncPgConnection, session: SessionId) -> QueryResult<Option<User>> {
    let owner = sessions::table.find(session).select(sessions::user_id);
    let user = users::table.filter(users::id.eq_any(owner)).select(User::as_select());
    user.for_no_key_update().first(connection).await.optional()
}

/// The administrators and the user with this id, locked likewise.
pub async fn lock_admins_and(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Vec<User>> {
    let users = users::table.filter(users::role.eq(Role::Admin).or(users::id.eq(id)));
    users.order(users::id).select(User::as_select()).for_no_key_update().load(connection).await
}

pub async fn id_by_email_key(connection: &mut AsyncPgConnection, email_key: &str) -> QueryResult<Option<UserId>> {
    users::table.filter(users::email_key.eq(email_key)).select(users::id).first(connection).await.optional()
}

/// The user that an outside issuer's user is here.
pub async fn by_identity(
    connection: &mut AsyncPgConnection,
    issuer: &str,
    subject: &str,
) -> QueryResult<Option<Standing>> {
    let user = identities::table.inner_join(users::table).filter(identities::issuer.eq(issuer));
    user.filter(identities::subject.eq(subject)).select(Standing::as_select()).first(connection).await.optional()
}

pub async fn insert_identity(
    connection: &mut AsyncPgConnection,
    issuer: &str,
    subject: &str,
    user: UserId,
) -> QueryResult<usize> {
    let row = (identities::issuer.eq(issuer), identities::subject.eq(subject), identities::user_id.eq(user));
    diesel::insert_into(identities::table).values(row).execute(connection).await
}

/// Gives the user another role, and makes all access tokens with the old one void.
pub async fn set_role(connection: &mut AsyncPgConnection, id: UserId, role: Role) -> QueryResult<User> {
    let user = diesel::update(users::table.find(id)).set((
        users::role.eq(role),
        users::token_version.eq(users::token_version + 1),
        users::tokens_revoked_at.eq(clock_timestamp().nullable()),
        users::updated_at.eq(clock_timestamp()),
    ));
    user.returning(User::as_returning()).get_result(connection).await
}

/// Gives the user another password, and makes all access tokens void.
pub async fn set_password(connection: &mut AsyncPgConnection, id: UserId, hash: &str) -> QueryResult<User> {
    let user = diesel::update(users::table.find(id)).set((
        users::password_hash.eq(hash),
        users::password_changed_at.eq(clock_timestamp()),
        users::token_version.eq(users::token_version + 1),
        users::tokens_revoked_at.eq(clock_timestamp().nullable()),
        users::updated_at.eq(clock_timestamp()),
    ));
    user.returning(User::as_returning()).get_result(connection).await
}

/// Keeps the same password under another hash, unless it was changed meanwhile.
pub async fn replace_hash(connection: &mut AsyncPgConnection, id: UserId, old: &str, new: &str) -> QueryResult<usize> {
    let user = users::table.filter(users::id.eq(id)).filter(users::password_hash.eq(old));
    diesel::update(user).set(users::password_hash.eq(new)).execute(connection).await
}

/// Makes all access tokens of the user void.
pub async fn revoke_tokens(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<User> {
    let user = diesel::update(users::table.find(id)).set((
        users::token_version.eq(users::token_version + 1),
        users::tokens_revoked_at.eq(clock_timestamp().nullable()),
    ));
    user.returning(User::as_returning()).get_result(connection).await
}

pub async fn verify_email(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<User> {
    let user = diesel::update(users::table.find(id));
    let user =
        user.set((users::email_verified_at.eq(clock_timestamp().nullable()), users::updated_at.eq(clock_timestamp())));
    user.returning(User::as_returning()).get_result(connection).await
}

/// Users whose tokens were made void since a moment, each with the version that is not.
pub async fn revoked_users(
    connection: &mut AsyncPgConnection,
    since: DateTime<Utc>,
) -> QueryResult<Vec<(UserId, i32)>> {
    let users = users::table.filter(users::tokens_revoked_at.gt(since));
    users.select((users::id, users::token_version)).load(connection).await
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
            id: UserId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, email.as_bytes())),
            email_key: email.clone(),
            email,
            name: Some(format!("Customer {number}")),
            role: Role::Customer,
            password_hash: password_hash.to_owned(),
            email_verified_at: None,
        }
    }
}

pub async fn insert_missing(connection: &mut AsyncPgConnection, users: &[NewUser]) -> QueryResult<()> {
    diesel::insert_into(users::table).values(users).on_conflict_do_nothing().execute(connection).await.map(|_| ())
}

/// A session to insert.
#[derive(Insertable)]
#[diesel(table_name = sessions)]
pub struct NewSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub secret: Vec<u8>,
    pub user_agent: Option<String>,
    pub address: String,
}

pub async fn insert_session(connection: &mut AsyncPgConnection, session: &NewSession) -> QueryResult<Session> {
    let session = diesel::insert_into(sessions::table).values(session);
    session.returning(Session::as_returning()).get_result(connection).await
}

/// The session, and the time now.
pub async fn session(
    connection: &mut AsyncPgConnection,
    id: SessionId,
) -> QueryResult<Option<(Session, DateTime<Utc>)>> {
    let session = sessions::table.find(id).select((Session::as_select(), clock_timestamp()));
    session.first(connection).await.optional()
}

/// The user's sessions that go on, the last used first.
pub async fn sessions_of(connection: &mut AsyncPgConnection, user: UserId, limit: i64) -> QueryResult<Vec<Session>> {
    let sessions = sessions::table.filter(sessions::user_id.eq(user)).filter(sessions::revoked_at.is_null());
    sessions.order(sessions::used_at.desc()).limit(limit).select(Session::as_select()).load(connection).await
}

/// Raises the number of the session's current refresh token.
pub async fn rotate(connection: &mut AsyncPgConnection, id: SessionId) -> QueryResult<Session> {
    let session = diesel::update(sessions::table.find(id));
    let session = session.set((sessions::counter.eq(sessions::counter + 1), sessions::used_at.eq(clock_timestamp())));
    session.returning(Session::as_returning()).get_result(connection).await
}

/// Gives the session another secret, which makes void all refresh tokens that it gave before.
pub async fn renew_session(connection: &mut AsyncPgConnection, id: SessionId, secret: &[u8]) -> QueryResult<Session> {
    let session = diesel::update(sessions::table.find(id));
    let session = session.set((sessions::secret.eq(secret), sessions::used_at.eq(clock_timestamp())));
    session.returning(Session::as_returning()).get_result(connection).await
}

/// Ends a session; gives nothing if it has ended before.
pub async fn revoke_session(connection: &mut AsyncPgConnection, id: SessionId) -> QueryResult<usize> {
    let session = sessions::table.filter(sessions::id.eq(id)).filter(sessions::revoked_at.is_null());
    diesel::update(session).set(sessions::revoked_at.eq(clock_timestamp().nullable())).execute(connection).await
}

/// Ends all sessions of a user, but for one.
pub async fn revoke_sessions(
    connection: &mut AsyncPgConnection,
    user: UserId,
    but: Option<SessionId>,
) -> QueryResult<usize> {
    let but = but.unwrap_or(SessionId(Uuid::nil()));
    let sessions = sessions::table.filter(sessions::user_id.eq(user)).filter(sessions::id.ne(but));
    let sessions = sessions.filter(sessions::revoked_at.is_null());
    diesel::update(sessions).set(sessions::revoked_at.eq(clock_timestamp().nullable())).execute(connection).await
}

/// Sessions that were ended since a moment.
pub async fn revoked_sessions(connection: &mut AsyncPgConnection, since: DateTime<Utc>) -> QueryResult<Vec<SessionId>> {
    sessions::table.filter(sessions::revoked_at.gt(since)).select(sessions::id).load(connection).await
}

/// Whether access tokens of this session and token version are valid still.
pub async fn is_current(
    connection: &mut AsyncPgConnection,
    session: SessionId,
    token_version: i32,
) -> QueryResult<bool> {
    let session = sessions::table.inner_join(users::table).filter(sessions::id.eq(session));
    let session = session.filter(sessions::revoked_at.is_null()).filter(users::token_version.eq(token_version));
    diesel::select(diesel::dsl::exists(session.select(sessions::id))).get_result(connection).await
}

/// Whether the API key counts still, and its user is what they were at this token version.
pub async fn is_current_key(
    connection: &mut AsyncPgConnection,
    key: ApiKeyId,
    token_version: i32,
) -> QueryResult<bool> {
    let key = api_keys::table.inner_join(users::table).filter(api_keys::id.eq(key));
    let goes_on = api_keys::expires_at.is_null().or(api_keys::expires_at.gt(clock_timestamp().nullable()));
    let key = key.filter(users::token_version.eq(token_version)).filter(goes_on.assume_not_null());
    diesel::select(diesel::dsl::exists(key.select(api_keys::id))).get_result(connection).await
}

/// Whether the user exists, and is what they were at this token version.
pub async fn is_at(connection: &mut AsyncPgConnection, id: UserId, token_version: i32) -> QueryResult<bool> {
    let user = users::table.find(id).filter(users::token_version.eq(token_version)).select(users::id);
    diesel::select(diesel::dsl::exists(user)).get_result(connection).await
}

/// Forgets sessions that were begun, used or ended for the last time before these moments.
pub async fn prune_sessions(
    connection: &mut AsyncPgConnection,
    begun: DateTime<Utc>,
    used: DateTime<Utc>,
    revoked: DateTime<Utc>,
) -> QueryResult<usize> {
    let over = sessions::created_at.lt(begun).or(sessions::used_at.lt(used));
    let over = over.nullable().or(sessions::revoked_at.lt(revoked));
    diesel::delete(sessions::table.filter(over)).execute(connection).await
}

/// A key to insert.
#[derive(Insertable)]
#[diesel(table_name = api_keys)]
pub struct NewApiKey {
    pub id: ApiKeyId,
    pub user_id: UserId,
    pub name: String,
    pub prefix: String,
    pub hash: Vec<u8>,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

pub async fn insert_api_key(connection: &mut AsyncPgConnection, key: &NewApiKey) -> QueryResult<ApiKey> {
    let key = diesel::insert_into(api_keys::table).values(key);
    key.returning(ApiKey::as_returning()).get_result(connection).await
}

/// Whether the user has shown that the e-mail address is theirs.
pub async fn is_verified(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<bool> {
    let user = users::table.find(id).filter(users::email_verified_at.is_not_null()).select(users::id);
    diesel::select(diesel::dsl::exists(user)).get_result(connection).await
}

/// The key with this hash, and whose it is.
pub async fn api_key(connection: &mut AsyncPgConnection, hash: &[u8]) -> QueryResult<Option<(Grant, Standing)>> {
    let key = api_keys::table.inner_join(users::table).filter(api_keys::hash.eq(hash));
    key.select((Grant::as_select(), Standing::as_select())).first(connection).await.optional()
}

pub async fn api_keys_of(connection: &mut AsyncPgConnection, user: UserId, limit: i64) -> QueryResult<Vec<ApiKey>> {
    let keys = api_keys::table.filter(api_keys::user_id.eq(user)).order(api_keys::id.desc());
    keys.limit(limit).select(ApiKey::as_select()).load(connection).await
}

pub async fn api_key_by_id(connection: &mut AsyncPgConnection, id: ApiKeyId) -> QueryResult<Option<ApiKey>> {
    api_keys::table.find(id).select(ApiKey::as_select()).first(connection).await.optional()
}

pub async fn count_api_keys(connection: &mut AsyncPgConnection, user: UserId) -> QueryResult<i64> {
    api_keys::table.filter(api_keys::user_id.eq(user)).count().get_result(connection).await
}

pub async fn delete_api_key(connection: &mut AsyncPgConnection, id: ApiKeyId) -> QueryResult<usize> {
    diesel::delete(api_keys::table.find(id)).execute(connection).await
}

pub async fn touch_api_key(connection: &mut AsyncPgConnection, id: ApiKeyId) -> QueryResult<usize> {
    let key = diesel::update(api_keys::table.find(id));
    key.set(api_keys::last_used_at.eq(clock_timestamp().nullable())).execute(connection).await
}

/// Keeps what a link in a mail will prove.
pub async fn insert_mail_token(
    connection: &mut AsyncPgConnection,
    hash: &[u8],
    user: UserId,
    purpose: MailPurpose,
    expires_at: DateTime<Utc>,
) -> QueryResult<usize> {
    let row = (
        mail_tokens::hash.eq(hash),
        mail_tokens::user_id.eq(user),
        mail_tokens::purpose.eq(purpose),
        mail_tokens::expires_at.eq(expires_at),
    );
    diesel::insert_into(mail_tokens::table).values(row).execute(connection).await
}

/// Whose token this is, if it holds still.
pub async fn mail_token(
    connection: &mut AsyncPgConnection,
    hash: &[u8],
    purpose: MailPurpose,
) -> QueryResult<Option<User>> {
    let token = mail_tokens::table.inner_join(users::table).filter(mail_tokens::hash.eq(hash));
    let token = token.filter(mail_tokens::purpose.eq(purpose)).filter(mail_tokens::expires_at.gt(clock_timestamp()));
    token.select(User::as_select()).first(connection).await.optional()
}

/// Whose token this is, if it holds still; it does not any more.
pub async fn take_mail_token(
    connection: &mut AsyncPgConnection,
    hash: &[u8],
    purpose: MailPurpose,
) -> QueryResult<Option<UserId>> {
    let token = mail_tokens::table.filter(mail_tokens::hash.eq(hash)).filter(mail_tokens::purpose.eq(purpose));
    let token = token.filter(mail_tokens::expires_at.gt(clock_timestamp()));
    diesel::delete(token).returning(mail_tokens::user_id).get_result(connection).await.optional()
}

/// Forgets all tokens of a user for one purpose.
pub async fn delete_mail_tokens(
    connection: &mut AsyncPgConnection,
    user: UserId,
    purpose: MailPurpose,
) -> QueryResult<usize> {
    let tokens = mail_tokens::table.filter(mail_tokens::user_id.eq(user)).filter(mail_tokens::purpose.eq(purpose));
    diesel::delete(tokens).execute(connection).await
}

pub async fn prune_mail_tokens(connection: &mut AsyncPgConnection) -> QueryResult<usize> {
    diesel::delete(mail_tokens::table.filter(mail_tokens::expires_at.lt(clock_timestamp()))).execute(connection).await
}

/// An entry of the audit log.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = changes)]
pub struct Audited {
    pub v: Version,
    pub n: i32,
    pub entity: Entity,
    /// `None` for many at once.
    pub entity_id: Option<Uuid>,
    pub kind: Kind,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// `None` for the command line, and for what the server did by itself.
    pub actor_id: Option<UserId>,
    pub at: DateTime<Utc>,
}

impl Audited {
    /// Where it stands.
    pub fn place(&self) -> Place {
        (self.v, self.n)
    }
}

/// Entries in a window, the latest first; one more than fit.
pub async fn audit(
    connection: &mut AsyncPgConnection,
    filter: &AuditFilter,
    window: &Window<Place>,
) -> QueryResult<Vec<Audited>> {
    let mut query = changes::table.select(Audited::as_select()).limit(window.limit()).into_boxed();
    if let Some(actor) = filter.actor {
        query = query.filter(changes::actor_id.eq(actor));
    }
    if let Some(entity) = filter.entity {
        query = query.filter(changes::entity.eq(entity));
    }
    if let Some(id) = filter.entity_id {
        query = query.filter(changes::entity_id.eq(id));
    }
    if let Some(since) = filter.since {
        query = query.filter(changes::at.ge(since));
    }
    if let Some(until) = filter.until {
        query = query.filter(changes::at.lt(until));
    }
    if let Some((v, n)) = window.after {
        query = query.filter(changes::v.lt(v).or(changes::v.eq(v).and(changes::n.lt(n))));
    }
    if let Some((v, n)) = window.before {
        query = query.filter(changes::v.gt(v).or(changes::v.eq(v).and(changes::n.gt(n))));
    }
    let query = match window.backward {
        true => query.order((changes::v.asc(), changes::n.asc())),
        false => query.order((changes::v.desc(), changes::n.desc())),
    };
    query.load(connection).await
}
