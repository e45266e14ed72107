//! Who asks: the access token in the `Authorization` header, and nowhere else, so that no page can send it unasked.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::domain::accounts::{Role, SignedIn, Viewer};
use crate::domain::ids::UserId;
use crate::infra::tokens::{Refused, Tokens};

/// The viewer of a request with these headers.
///
/// # Errors
/// [`Refused`] for credentials that are not a valid access token; nobody is anonymous by mistake.
pub fn viewer(headers: &HeaderMap, tokens: &Tokens) -> Result<Viewer, Refused> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(given) = all.next() else { return Ok(Viewer::Anonymous) };
    if all.next().is_some() {
        return Err(Refused);
    }
    credentials(given.to_str().map_err(|_| Refused)?, tokens)
}

/// The viewer with these credentials, as `Authorization` has them.
///
/// # Errors
/// [`Refused`] for what is not a valid access token.
pub fn credentials(given: &str, tokens: &Tokens) -> Result<Viewer, Refused> {
    let (scheme, token) = given.split_once(' ').ok_or(Refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused);
    }
    let (subject, expires_at) = tokens.verify(token.trim())?;
    let role = Role::parse(&subject.role).ok_or(Refused)?;
    Ok(Viewer::User(SignedIn { id: UserId(subject.id), role, session: subject.session, expires_at }))
}
