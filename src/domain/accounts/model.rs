//! Users, their roles, and the rules for their addresses and passwords.

use chrono::{DateTime, Utc};
use diesel::{Queryable, Selectable};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::domain::error::{Error, FieldErrorCode, FieldErrors};
use crate::domain::ids::{UserId, text_enum};
use crate::domain::text::{self, Problem};
use crate::infra::schema::users;

/// Bytes of the shortest and the longest password.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
const MAX_EMAIL: usize = 254;
const MAX_NAME: usize = 200;

text_enum! {
    /// What a user may do; each role may do all that the ones before it may.
    Role {
        /// Browses and has an account.
        Customer = "CUSTOMER",
        /// Keeps the catalogue.
        Staff = "STAFF",
        /// Keeps the accounts.
        Admin = "ADMIN",
    }
}

/// A user, without the password's hash.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = users)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub name: Option<String>,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl User {
    /// What the change log keeps: no address, no secret.
    pub fn logged(&self) -> serde_json::Value {
        json!({ "name": self.name, "role": self.role })
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    Anonymous,
    User(SignedIn),
}

/// A user who showed a valid access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub id: UserId,
    pub role: Role,
    pub session: Uuid,
    /// When the token ends.
    pub expires_at: DateTime<Utc>,
}

impl Viewer {
    /// The user, who may do what `role` may.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for nobody, [`Error::Forbidden`] for a lesser role.
    pub fn require(&self, role: Role) -> Result<SignedIn, Error> {
        match self {
            Self::Anonymous => Err(Error::Unauthenticated),
            Self::User(user) if user.role >= role => Ok(*user),
            Self::User(_) => Err(Error::Forbidden(role.as_str())),
        }
    }

    /// Whether the viewer may do what `role` may.
    pub fn is(&self, role: Role) -> bool {
        self.require(role).is_ok()
    }

    /// The user, if the viewer is one.
    pub fn id(&self) -> Option<UserId> {
        match self {
            Self::Anonymous => None,
            Self::User(user) => Some(user.id),
        }
    }
}

/// An account as somebody typed it.
#[derive(Debug)]
pub struct AccountDraft {
    pub email: String,
    pub password: SecretString,
    pub name: Option<String>,
}

/// A checked account.
pub struct NewAccount {
    pub email: String,
    pub email_key: String,
    pub password: SecretString,
    pub name: Option<String>,
}

impl AccountDraft {
    /// The account, or all that is wrong with it.
    pub fn check(self) -> Result<NewAccount, FieldErrors> {
        let mut errors = FieldErrors::default();
        let email_key = errors.keep(&["email"], email_key(&self.email));
        errors.keep(&["password"], check_password(&self.password));
        let name = self.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.and_then(|name| errors.keep(&["name"], text::line(name, MAX_NAME)));
        match email_key {
            Some(email_key) if errors.0.is_empty() => {
                Ok(NewAccount { email: self.email.trim().to_owned(), email_key, password: self.password, name })
            }
            _ => Err(errors),
        }
    }
}

fn check_password(password: &SecretString) -> Result<(), Problem> {
    let bytes = password.expose_secret().len();
    if bytes < *PASSWORD_BYTES.start() {
        return Err((FieldErrorCode::TooShort, format!("must have at least {} bytes", PASSWORD_BYTES.start())));
    }
    if bytes > *PASSWORD_BYTES.end() {
        return Err((FieldErrorCode::TooLong, format!("must have at most {} bytes", PASSWORD_BYTES.end())));
    }
    Ok(())
}

/// The password as it is hashed: composed, so that it does not matter which keyboard made it.
pub fn password_key(password: &SecretString) -> SecretString {
    icu_normalizer::ComposingNormalizer::new_nfkc().normalize(password.expose_secret()).into_owned().into()
}

/// The one form of an address: no case, compatibility variants or accents in pieces, the domain in ASCII (IDNA).
pub fn email_key(email: &str) -> Result<String, Problem> {
    const ADVICE: &str = "must be an e-mail address, as in `ada@example.com`";
    let invalid = || (FieldErrorCode::Invalid, ADVICE.to_owned());
    let email = text::line(email, MAX_EMAIL)?;
    let folded = text::fold(&email).replace("i\u{307}", "i").replace('\u{131}', "i");
    let (local, domain) = folded.rsplit_once('@').ok_or_else(invalid)?;
    let well_formed = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && !local.contains(|character: char| character.is_whitespace() || "@,;:<>()[]\\\"".contains(character));
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| invalid())?;
    if !well_formed || !domain.contains('.') || domain.len() > 253 {
        return Err(invalid());
    }
    Ok(format!("{local}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::email_key;

    #[test]
    fn variants_of_one_address_have_one_key() {
        for variant in
            ["Zoë@Bücher.example", "zoë@bücher.example", "zoe\u{308}@bu\u{308}cher.example", "ＺＯË@BÜCHER.example"]
        {
            assert_eq!(email_key(variant).unwrap(), "zoë@xn--bcher-kva.example", "{variant}");
        }
        for variant in ["ISIL@x.example", "isil@x.example", "ısıl@x.example", "İSİL@x.example"] {
            assert_eq!(email_key(variant).unwrap(), "isil@x.example", "{variant}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "a", "a@", "@b.example", "a@b", "a b@c.example", "a@b@c.example", "a..b@c.example", "a@-.example"]
        {
            assert!(email_key(text).is_err(), "{text}");
        }
    }
}
