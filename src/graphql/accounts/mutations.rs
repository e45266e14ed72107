//! Opening accounts, signing in and out, passwords, API keys, roles.

use std::time::Duration;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Union};

use crate::domain::accounts::commands::{
    self, ApiKeyError, LinkError, LoginError, MailError, PasswordError, RefreshError, RegisterError, RevokeError,
    SetRoleError, Signed,
};
use crate::domain::accounts::{AccountDraft, ApiKeyDraft};
use crate::graphql::accounts::types::{ApiKey, Role, Scope, User};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{auth, cost, credentials, list_size};
use crate::graphql::error::{CredentialsError, ErrorCode, NotFoundError, Result, TakenError, ValidationError, path};
use crate::graphql::id;
use crate::graphql::scalars::DateTime;

const LINK_ENDED: &str = "the link was used already, or is too old; ask for another one";

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

/// A new API key.
#[derive(InputObject)]
pub struct ApiKeyInput {
    /// What it is for: 1 to 100 characters.
    name: String,
    /// What it may do, of what you may do.
    scopes: Vec<Scope>,
    /// When it ends by itself; never, if it is not given.
    expires_at: Option<DateTime>,
}

/// What shows who you are. Send the access token with every request: `Authorization: Bearer <accessToken>`.
#[derive(SimpleObject)]
#[graphql(directive = cost::apply("0".to_owned()))]
pub struct AuthTokens {
    /// A JSON Web Token.
    access_token: String,
    /// When it ends.
    access_token_expires_at: DateTime,
    /// For new tokens, by `refreshTokens`, once. Keep it where no script of others can read it.
    refresh_token: String,
    /// When it ends, if it is not used until then.
    refresh_token_expires_at: DateTime,
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

/// The user whose address is verified, or why none is.
#[derive(SimpleObject)]
pub struct VerifyEmailPayload {
    /// Whose address is verified now. Access tokens show nothing of it; what it allows is allowed at once.
    user: Option<User>,
    /// Why none is; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<AuthError>,
}

/// Whether a mail is on its way, or why none is.
#[derive(SimpleObject)]
pub struct MailPayload {
    /// The mail is on its way, if there is somebody to send it to.
    accepted: bool,
    /// Why it is not; empty if it is.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<AuthError>,
}

/// What does not count any more, or why nothing was revoked.
#[derive(SimpleObject)]
pub struct RevokePayload {
    /// How many sessions or API keys were ended by this.
    revoked: i32,
    /// Why nothing was revoked; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<AccountError>,
}

/// The new API key, or why there is none.
#[derive(SimpleObject)]
pub struct ApiKeyPayload {
    /// The key.
    api_key: Option<ApiKey>,
    /// Its secret, told this once: keep it, and send it as `Authorization: Bearer sk_...`.
    secret: Option<String>,
    /// Why there is no key; empty if there is one.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<AccountError>,
}

impl AuthPayload {
    fn signed_in(signed: Signed) -> Self {
        let tokens = AuthTokens {
            access_token: signed.access_token,
            access_token_expires_at: DateTime(signed.access_token_expires_at),
            refresh_token: signed.refresh_token,
            refresh_token_expires_at: DateTime(signed.refresh_token_expires_at),
        };
        Self { user: Some(User::from(signed.user)), tokens: Some(tokens), errors: Vec::new() }
    }

    fn refused(errors: Vec<AuthError>) -> Self {
        Self { user: None, tokens: None, errors }
    }

    fn delayed(wait: Duration) -> Self {
        Self::refused(vec![CredentialsError::delayed(wait).into()])
    }
}

impl MailPayload {
    fn read(sent: std::result::Result<(), MailError>) -> Result<Option<Self>> {
        match sent {
            Ok(()) => Ok(Some(Self { accepted: true, errors: Vec::new() })),
            Err(MailError::TooOften(wait)) => {
                Ok(Some(Self { accepted: false, errors: vec![CredentialsError::delayed(wait).into()] }))
            }
            Err(MailError::Failed(error)) => Err(error.into()),
        }
    }
}

impl RevokePayload {
    fn read(done: std::result::Result<usize, RevokeError>, nothing: &str) -> Result<Option<Self>> {
        match done {
            Ok(revoked) => Ok(Some(Self { revoked: i32::try_from(revoked).unwrap_or(i32::MAX), errors: Vec::new() })),
            Err(RevokeError::NotFound) => {
                let errors = vec![NotFoundError::new(&["id"], nothing).into()];
                Ok(Some(Self { revoked: 0, errors }))
            }
            Err(RevokeError::Failed(error)) => Err(error.into()),
        }
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
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let draft = AccountDraft { email: input.email, password: input.password.into(), name: input.name };
        let registered = commands::register(&request.core, &mandate, draft, &request.asker.device()).await;
        Ok(Some(match registered {
            Ok(signed) => AuthPayload::signed_in(signed),
            Err(RegisterError::Invalid(errors)) => AuthPayload::refused(ValidationError::all("input", errors)),
            Err(RegisterError::EmailTaken) => AuthPayload::refused(vec![TakenError::new(&["input", "email"]).into()]),
            Err(RegisterError::TooOften(wait)) => AuthPayload::delayed(wait),
            Err(RegisterError::Failed(error)) => return Err(error.into()),
        }))
    }

    /// Signs in, which begins a session.
    #[graphql(directive = cost::apply("100".to_owned()), directive = credentials::apply())]
    async fn login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who wants to sign in.")] input: LoginInput,
    ) -> Result<Option<AuthPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let (password, device) = (input.password.into(), request.asker.device());
        Ok(Some(match commands::login(&request.core, &mandate, &input.email, &password, &device).await {
            Ok(signed) => AuthPayload::signed_in(signed),
            Err(LoginError::WrongCredentials) => AuthPayload::refused(vec![CredentialsError::new().into()]),
            Err(LoginError::TooOften(wait)) => AuthPayload::delayed(wait),
            Err(LoginError::Failed(error)) => return Err(error.into()),
        }))
    }

    /// Gives new tokens for a refresh token, which is void from then on. If the answer is lost, the same token gives the
    /// same refresh token for 10 seconds more. A token that was used before ends its session: somebody has a copy.
    #[graphql(directive = cost::apply("10".to_owned()), directive = credentials::apply())]
    async fn refresh_tokens(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session's current refresh token.")] refresh_token: String,
    ) -> Result<Option<AuthPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let refreshed = commands::refresh(&request.core, &mandate, &refresh_token, &request.asker.device()).await;
        let refused =
            |code, message| AuthPayload::refused(vec![CredentialsError::of(code, message, &["refreshToken"]).into()]);
        Ok(Some(match refreshed {
            Ok(signed) => AuthPayload::signed_in(signed),
            Err(RefreshError::Invalid) => refused(ErrorCode::InvalidCredentials, "is no refresh token; sign in again"),
            Err(RefreshError::Ended) => refused(ErrorCode::TokenExpired, "its session has ended; sign in again"),
            Err(RefreshError::Reused) => {
                let message = "it was used before, so somebody may have a copy: its session has ended; sign in again";
                refused(ErrorCode::TokenReused, message)
            }
            Err(RefreshError::TooOften(wait)) => AuthPayload::delayed(wait),
            Err(RefreshError::Failed(error)) => return Err(error.into()),
        }))
    }

    /// Ends this session, or all of yours. Their access tokens are refused within a second.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Customer, None, None))]
    async fn logout(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = false, desc = "On all devices.")] everywhere: bool,
    ) -> Result<Option<RevokePayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let ended = commands::logout(&request.core, &mandate, &request.signed_in()?, everywhere).await;
        RevokePayload::read(ended.map_err(RevokeError::from), "")
    }

    /// Ends a session: one of yours, or for administrators any. Its access tokens are refused within a second.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Customer, None, None))]
    async fn revoke_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session's id.")] id: ID,
    ) -> Result<Option<RevokePayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let id = id::session("id", &id)?;
        let ended = commands::revoke_session(&request.core, &mandate, &request.signed_in()?, id).await;
        RevokePayload::read(ended, "there is no such session")
    }

    /// Changes your password, which ends all your other sessions and gives this one new tokens.
    #[graphql(directive = cost::apply("100".to_owned()), directive = credentials::apply(), directive = auth::apply(Role::Customer, None, None))]
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The password until now.")] current_password: String,
        #[graphql(desc = "8 to 256 bytes, and none that is easily guessed.")] new_password: String,
    ) -> Result<Option<AuthPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let (user, device) = (request.signed_in()?, request.asker.device());
        let (current, new) = (current_password.into(), new_password.into());
        let changed = commands::change_password(&request.core, &mandate, &user, &current, &new, &device).await;
        Ok(Some(match changed {
            Ok(signed) => AuthPayload::signed_in(signed),
            Err(PasswordError::Invalid(errors)) => AuthPayload::refused(ValidationError::all("", errors)),
            Err(PasswordError::WrongPassword) => {
                let message = "is not your password";
                let error = CredentialsError::of(ErrorCode::InvalidCredentials, message, &["currentPassword"]);
                AuthPayload::refused(vec![error.into()])
            }
            Err(PasswordError::TooOften(wait)) => AuthPayload::delayed(wait),
            Err(PasswordError::Failed(error)) => return Err(error.into()),
        }))
    }

    /// Sends a link to set another password, which holds for 30 minutes. The answer is the same whether or not the address
    /// has an account.
    #[graphql(directive = cost::apply("50".to_owned()), directive = credentials::apply())]
    async fn request_password_reset(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account's e-mail address.")] email: String,
    ) -> Result<Option<MailPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let device = request.asker.device();
        MailPayload::read(commands::request_password_reset(&request.core, &mandate, &email, &device).await)
    }

    /// Sets another password, which ends all sessions of the account, and signs in.
    #[graphql(directive = cost::apply("100".to_owned()), directive = credentials::apply())]
    async fn reset_password(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `token` of the link that was sent.")] token: String,
        #[graphql(desc = "8 to 256 bytes, and none that is easily guessed.")] new_password: String,
    ) -> Result<Option<AuthPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let (new, device) = (new_password.into(), request.asker.device());
        Ok(Some(match commands::reset_password(&request.core, &mandate, &token, &new, &device).await {
            Ok(signed) => AuthPayload::signed_in(signed),
            Err(LinkError::Invalid(errors)) => AuthPayload::refused(ValidationError::all("", errors)),
            Err(LinkError::Ended) => {
                let error = CredentialsError::of(ErrorCode::TokenExpired, LINK_ENDED, &["token"]);
                AuthPayload::refused(vec![error.into()])
            }
            Err(LinkError::TooOften(wait)) => AuthPayload::delayed(wait),
            Err(LinkError::Failed(error)) => return Err(error.into()),
        }))
    }

    /// Sends a link to show that your e-mail address is yours, which holds for 24 hours; none if it was shown already.
    #[graphql(directive = cost::apply("50".to_owned()), directive = credentials::apply(), directive = auth::apply(Role::Customer, None, None))]
    async fn request_email_verification(&self, ctx: &Context<'_>) -> Result<Option<MailPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let (user, device) = (request.signed_in()?, request.asker.device());
        MailPayload::read(commands::request_email_verification(&request.core, &mandate, &user, &device).await)
    }

    /// Shows that an e-mail address is its user's.
    #[graphql(directive = cost::apply("50".to_owned()), directive = credentials::apply())]
    async fn verify_email(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `token` of the link that was sent.")] token: String,
    ) -> Result<Option<VerifyEmailPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let refused = |error| Ok(Some(VerifyEmailPayload { user: None, errors: vec![error] }));
        match commands::verify_email(&request.core, &mandate, &token, &request.asker.device()).await {
            Ok(user) => Ok(Some(VerifyEmailPayload { user: Some(User::from(user)), errors: Vec::new() })),
            Err(LinkError::Ended) => {
                refused(CredentialsError::of(ErrorCode::TokenExpired, LINK_ENDED, &["token"]).into())
            }
            Err(LinkError::TooOften(wait)) => refused(CredentialsError::delayed(wait).into()),
            Err(LinkError::Invalid(errors)) => {
                Ok(Some(VerifyEmailPayload { user: None, errors: ValidationError::all("", errors) }))
            }
            Err(LinkError::Failed(error)) => Err(error.into()),
        }
    }

    /// Makes an API key for a machine that acts for you. You may have 50.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Customer, None, None))]
    async fn create_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new key.")] input: ApiKeyInput,
    ) -> Result<Option<ApiKeyPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let scopes = input.scopes.into_iter().map(Into::into).collect();
        let draft = ApiKeyDraft { name: input.name, scopes, expires_at: input.expires_at.map(|end| end.0) };
        match commands::create_api_key(&request.core, &mandate, &request.signed_in()?, draft).await {
            Ok((key, secret)) => {
                Ok(Some(ApiKeyPayload { api_key: Some(ApiKey(key)), secret: Some(secret), errors: Vec::new() }))
            }
            Err(ApiKeyError::Invalid(errors)) => {
                let errors = ValidationError::all("input", errors);
                Ok(Some(ApiKeyPayload { api_key: None, secret: None, errors }))
            }
            Err(ApiKeyError::Failed(error)) => Err(error.into()),
        }
    }

    /// Ends an API key: one of yours, or for administrators any.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Customer, None, None))]
    async fn revoke_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key's id.")] id: ID,
    ) -> Result<Option<RevokePayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let id = id::api_key("id", &id)?;
        let ended = commands::revoke_api_key(&request.core, &mandate, &request.signed_in()?, id).await;
        RevokePayload::read(ended, "there is no such API key")
    }

    /// Gives a user another role. Access tokens with the old one are refused within a second; whoever has one refreshes it.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Admin, Some(Scope::AccountsWrite), None))]
    async fn set_user_role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user's id.")] id: ID,
        #[graphql(desc = "The role to give.")] role: Role,
    ) -> Result<Option<UserPayload>> {
        let (request, mandate) = (ctx.request(), ctx.mandate().await?);
        let user = id::user("id", &id)?;
        let refused = |error| Ok(Some(UserPayload { user: None, errors: vec![error] }));
        match commands::set_role(&request.core, &mandate, user, role.into()).await {
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
