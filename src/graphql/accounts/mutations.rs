//! Opening accounts, signing in, giving roles.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Union};

use crate::domain::accounts::commands::{self, LoginError, RegisterError, SetRoleError};
use crate::domain::accounts::{self, AccountDraft};
use crate::graphql::accounts::types::{Role, User};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{cost, credentials, list_size};
use crate::graphql::error::{CredentialsError, ErrorCode, NotFoundError, Result, TakenError, ValidationError, path};
use crate::graphql::id;
use crate::graphql::scalars::DateTime;
use crate::infra::tokens::Issued;

/// A new account.
#[derive(InputObject)]
pub struct RegisterInput {
    /// The e-mail address to sign in with.
    email: String,
    /// 8 to 256 bytes.
    password: String,
    /// What to call you.
    name: Option<String>,
}

/// Who wants to sign in.
#[derive(InputObject)]
pub struct LoginInput {
    /// The account's e-mail address.
    email: String,
    /// Its password.
    password: String,
}

/// What shows who you are. Send it with every request: `Authorization: Bearer <accessToken>`.
#[derive(SimpleObject)]
#[graphql(directive = cost::apply("0".to_owned()))]
pub struct AuthTokens {
    /// A JSON Web Token.
    access_token: String,
    /// When it ends.
    access_token_expires_at: DateTime,
}

/// Why nobody was signed in.
#[derive(Union)]
pub enum AuthError {
    Validation(ValidationError),
    Taken(TakenError),
    Credentials(CredentialsError),
}

/// Somebody signed in, or why nobody is.
#[derive(SimpleObject)]
pub struct AuthPayload {
    /// Who is signed in now.
    user: Option<User>,
    /// What shows it.
    tokens: Option<AuthTokens>,
    /// Why nobody is; empty if somebody is.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<AuthError>,
}

/// Why an account stayed as it was.
#[derive(Union)]
pub enum AccountError {
    Validation(ValidationError),
    NotFound(NotFoundError),
}

/// The user afterwards, or why it stayed as it was.
#[derive(SimpleObject)]
pub struct UserPayload {
    /// The user afterwards.
    user: Option<User>,
    /// Why it stayed as it was; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<AccountError>,
}

impl AuthPayload {
    fn signed_in((user, issued): (accounts::User, Issued)) -> Self {
        let tokens = AuthTokens { access_token: issued.token, access_token_expires_at: DateTime(issued.expires_at) };
        Self { user: Some(User::from(user)), tokens: Some(tokens), errors: Vec::new() }
    }

    fn refused(errors: Vec<AuthError>) -> Self {
        Self { user: None, tokens: None, errors }
    }
}

#[derive(Default)]
pub struct AccountMutations;

#[Object]
impl AccountMutations {
    /// Opens an account and signs in.
    #[graphql(directive = cost::apply("100".to_owned()), directive = credentials::apply())]
    async fn register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new account.")] input: RegisterInput,
    ) -> Result<Option<AuthPayload>> {
        let draft = AccountDraft { email: input.email, password: input.password.into(), name: input.name };
        match commands::register(&ctx.request().core, draft, &ctx.request().asker.subject()).await {
            Ok(signed_in) => Ok(Some(AuthPayload::signed_in(signed_in))),
            Err(RegisterError::Invalid(errors)) => {
                Ok(Some(AuthPayload::refused(ValidationError::all("input", errors))))
            }
            Err(RegisterError::EmailTaken) => {
                Ok(Some(AuthPayload::refused(vec![TakenError::new(&["input", "email"]).into()])))
            }
            Err(RegisterError::TooOften(wait)) => {
                Ok(Some(AuthPayload::refused(vec![CredentialsError::delayed(wait).into()])))
            }
            Err(RegisterError::Failed(error)) => Err(error.into()),
        }
    }

    /// Signs in.
    #[graphql(directive = cost::apply("100".to_owned()), directive = credentials::apply())]
    async fn login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who wants to sign in.")] input: LoginInput,
    ) -> Result<Option<AuthPayload>> {
        let request = ctx.request();
        match commands::login(&request.core, &input.email, &input.password.into(), &request.asker.subject()).await {
            Ok(signed_in) => Ok(Some(AuthPayload::signed_in(signed_in))),
            Err(LoginError::WrongCredentials) => Ok(Some(AuthPayload::refused(vec![CredentialsError::new().into()]))),
            Err(LoginError::TooOften(wait)) => {
                Ok(Some(AuthPayload::refused(vec![CredentialsError::delayed(wait).into()])))
            }
            Err(LoginError::Failed(error)) => Err(error.into()),
        }
    }

    /// Gives a user another role. For administrators. The user's access tokens show it once they are renewed.
    #[graphql(directive = cost::apply("10".to_owned()))]
    async fn set_user_role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user's id.")] id: ID,
        #[graphql(desc = "The role to give.")] role: Role,
    ) -> Result<Option<UserPayload>> {
        let request = ctx.request();
        let admin = request.require(accounts::Role::Admin)?;
        let user = id::user("id", &id)?;
        let refused = |error| Ok(Some(UserPayload { user: None, errors: vec![error] }));
        match commands::set_role(&request.core, Some(admin.id), user, role.into()).await {
            Ok(user) => Ok(Some(UserPayload { user: Some(User::from(user)), errors: Vec::new() })),
            Err(SetRoleError::NoSuchUser) => refused(NotFoundError::new(&["id"], "there is no such user").into()),
            Err(SetRoleError::LastAdmin) => refused(AccountError::Validation(ValidationError {
                code: ErrorCode::Invalid,
                message: "is the last administrator; make another one first".to_owned(),
                path: path(&["role"]),
            })),
            Err(SetRoleError::Failed(error)) => Err(error.into()),
        }
    }
}
