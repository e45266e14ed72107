//! Who asks: the access token or the API key in the `Authorization` header, and nowhere else, so that no page can send it
//! unasked.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::domain::accounts::commands::KEY_PREFIX;
use crate::domain::accounts::{Credential, Role, SignedIn, Viewer, queries};
use crate::domain::ids::{SessionId, UserId};
use crate::graphql::context::Asker;
use crate::infra::jwks::Identity;
use crate::infra::tokens::Bearer;
use crate::transport::App;
use crate::transport::door::{REFUSED, over_budget};
use crate::transport::refusal::{Code, Refusal};

/// Who asks with these headers, from this address.
///
/// # Errors
/// For credentials that do not count; nobody is anonymous by mistake.
pub async fn asker(app: &App, headers: &HeaderMap, address: IpAddr) -> Result<Asker, Refusal> {
    let mut asker = Asker::new(Viewer::Anonymous, address);
    let mut all = headers.get_all(AUTHORIZATION).iter();
    if let Some(given) = all.next() {
        let given = given.to_str().map_err(|_| refused())?;
        if all.next().is_some() {
            return Err(refused());
        }
        asker.is(credentials(app, given, &asker).await?);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    asker.user_agent = text("user-agent").filter(|name| !name.is_empty());
    asker.last_event = text("last-event-id");
    Ok(asker)
}

/// The viewer with these credentials, as `Authorization` has them.
///
/// # Errors
/// For what is neither a valid access token nor an API key.
pub async fn credentials(app: &App, given: &str, asker: &Asker) -> Result<Viewer, Refusal> {
    let (scheme, token) = given.split_once(' ').ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused());
    }
    match token.trim() {
        key if key.starts_with(KEY_PREFIX) => by_api_key(app, key, &asker.subject()).await,
        token => by_access_token(app, token).await,
    }
}

/// By the token alone, and what is known of those that were revoked.
async fn by_access_token(app: &App, token: &str) -> Result<Viewer, Refusal> {
    let tokens = &app.core.infra.tokens;
    let (subject, expires_at) = match tokens.verify(token).await {
        Ok(Bearer::Own(subject, expires_at)) => (subject, expires_at),
        Ok(Bearer::Outside(identity)) => return by_identity(app, &identity).await,
        // Nobody is to sign in again for that.
        Err(_) if !tokens.can_be_verified() => {
            let message = "access tokens cannot be verified for the moment; try again";
            return Err(Refusal::new(Code::Unavailable, message));
        }
        Err(_) => return Err(refused()),
    };
    let user = SignedIn {
        id: UserId(subject.id),
        role: Role::parse(&subject.role).ok_or_else(refused)?,
        credential: Credential::Session(SessionId(subject.session)),
        token_version: subject.version,
        expires_at: Some(expires_at),
    };
    if app.core.accounts.revocations.refuse(&user) { Err(refused()) } else { Ok(Viewer::User(user)) }
}

async fn by_identity(app: &App, identity: &Identity) -> Result<Viewer, Refusal> {
    match queries::by_identity(&app.core, identity).await {
        Ok(Some(user)) => Ok(Viewer::User(user)),
        Ok(None) => Err(refused()),
        Err(error) => Err(Refusal::new(Code::Unavailable, error.to_string())),
    }
}

/// Looking for a key is work, and those that do not exist are looked for in vain each time: it is charged to the address.
async fn by_api_key(app: &App, key: &str, subject: &str) -> Result<Viewer, Refusal> {
    let infra = &app.core.infra;
    if let Some(spent) = infra.limiter.exhausted(infra.budgets.requests, subject) {
        return Err(over_budget(spent));
    }
    match queries::by_api_key(&app.core, key).await {
        Ok(Some(user)) => Ok(Viewer::User(user)),
        Ok(None) => {
            infra.limiter.spend(infra.budgets.requests, subject, REFUSED).await;
            Err(refused())
        }
        Err(error) => Err(Refusal::new(Code::Unavailable, error.to_string())),
    }
}

fn refused() -> Refusal {
    let message = "the access token or API key is not valid, or not any more; sign in again, or send no Authorization \
                   header";
    Refusal::new(Code::Unauthenticated, message)
}
