//! Users, their roles, and the rules for their addresses and passwords.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::{Queryable, Selectable};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::domain::accounts::guessing;
use crate::domain::error::{Error, FieldErrorCode, FieldErrors};
use crate::domain::ids::{ApiKeyId, SessionId, UserId, text_enum};
use crate::domain::text::{self, Problem};
use crate::infra::schema::{api_keys, sessions, users};

/// Bytes of the shortest and the longest password.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// Bits of the number of guesses that a password must withstand: 16 million.
const PASSWORD_BITS: u32 = 24;
const MAX_EMAIL: usize = 254;
const MAX_NAME: usize = 200;
const MAX_KEY_NAME: usize = 100;

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

text_enum! {
    /// What an API key may do of what its owner may do.
    Scope {
        /// See all of the catalogue that its owner sees.
        CatalogRead = "CATALOG_READ",
        /// Change the catalogue.
        CatalogWrite = "CATALOG_WRITE",
        /// See accounts and the audit log.
        AccountsRead = "ACCOUNTS_READ",
        /// Give roles.
        AccountsWrite = "ACCOUNTS_WRITE",
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(u8);

impl Scopes {
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | 1 << scope as u8))
    }
}

/// What any service may know of a user: what they may do.
#[derive(Clone, Copy, Debug, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = users)]
pub struct Standing {
    pub id: UserId,
    pub role: Role,
    /// Access tokens with an older one are refused.
    pub token_version: i32,
}

impl From<&User> for Standing {
    fn from(user: &User) -> Self {
        Self { id: user.id, role: user.role, token_version: user.token_version }
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
    pub email_verified_at: Option<DateTime<Utc>>,
    pub password_changed_at: DateTime<Utc>,
    /// Access tokens with an older one are refused.
    pub token_version: i32,
}

impl User {
    /// What the change log keeps: no address, no secret.
    pub fn logged(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "role": self.role,
            "emailVerified": self.email_verified_at.is_some(),
            "passwordChangedAt": self.password_changed_at,
            TOKEN_VERSION: self.token_version,
        })
    }
}

/// Where [`User::logged`] has the token version.
pub const TOKEN_VERSION: &str = "tokenVersion";

/// A sign-in on one device.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    /// Key of the MACs in its refresh tokens.
    pub secret: Vec<u8>,
    /// What the current refresh token carries.
    pub counter: i32,
    pub user_agent: Option<String>,
    pub address: String,
    pub created_at: DateTime<Utc>,
    /// When the counter was raised last.
    pub used_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Session {
    /// When it ends, if it is not used meanwhile.
    pub fn expires_at(&self, lives: Lives) -> DateTime<Utc> {
        (self.used_at + lives.idle).min(self.created_at + lives.whole)
    }
}

text_enum! {
    /// What a link in a mail is for.
    MailPurpose {
        ResetPassword = "RESET_PASSWORD",
        VerifyEmail = "VERIFY_EMAIL",
    }
}

impl MailPurpose {
    /// How long the link holds.
    pub fn life(self) -> TimeDelta {
        match self {
            Self::ResetPassword => TimeDelta::minutes(30),
            Self::VerifyEmail => TimeDelta::hours(24),
        }
    }

    /// The shop's page that it leads to.
    pub fn page(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset-password",
            Self::VerifyEmail => "verify-email",
        }
    }

    /// Subject and text of the mail with this link.
    pub fn mail(self, link: &str) -> (String, String) {
        let (subject, text) = match self {
            Self::ResetPassword => (
                "Set a new password",
                format!(
                    "Somebody, most likely you, wants to set a new password for your account. This link does it, \
                     once, within 30 minutes:\n\n{link}\n\nIf it was not you, there is nothing to do: your password \
                     stays as it is.\n"
                ),
            ),
            Self::VerifyEmail => (
                "Verify your e-mail address",
                format!(
                    "An account was opened with this address. If it is yours, this link shows it, once, within 24 \
                     hours:\n\n{link}\n\nIf it is not, there is nothing to do.\n"
                ),
            ),
        };
        (subject.to_owned(), text)
    }
}

/// How long sessions live: unused, and at most.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    pub idle: Duration,
    pub whole: Duration,
}

/// Where somebody signs in.
#[derive(Clone, Debug)]
pub struct Device {
    /// The IP address.
    pub address: String,
    /// What the program calls itself.
    pub user_agent: Option<String>,
    /// The name under which attempts from there are counted.
    pub subject: String,
}

/// A machine's credential.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = api_keys)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub user_id: UserId,
    pub name: String,
    /// How the secret begins.
    pub prefix: String,
    pub scopes: Vec<Scope>,
    pub created_at: DateTime<Utc>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// What any service may know of an API key.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = api_keys)]
pub struct Grant {
    pub id: ApiKeyId,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// What the change log keeps.
    pub fn logged(&self) -> serde_json::Value {
        json!({ "user": self.user_id, "name": self.name, "prefix": self.prefix, "scopes": self.scopes })
    }
}

/// An API key as somebody asked for it.
#[derive(Clone, Debug)]
pub struct ApiKeyDraft {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl ApiKeyDraft {
    /// The key as it will be, or all that is wrong with it.
    pub fn check(mut self, now: DateTime<Utc>) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        self.name = errors.keep(&["name"], text::line(&self.name, MAX_KEY_NAME)).unwrap_or_default();
        self.scopes.sort_unstable();
        self.scopes.dedup();
        if self.scopes.is_empty() {
            errors.add(FieldErrorCode::Required, &["scopes"], "must name what the key may do");
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            errors.add(FieldErrorCode::OutOfRange, &["expiresAt"], "must lie in the future");
        }
        if errors.0.is_empty() { Ok(self) } else { Err(errors) }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    Anonymous,
    User(SignedIn),
}

/// A user who showed a valid credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub id: UserId,
    pub role: Role,
    pub credential: Credential,
    /// The user's token version when the credential was looked at.
    pub token_version: i32,
    /// When the credential ends.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a user showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session(SessionId),
    ApiKey(ApiKeyId, Scopes),
    /// A token of the outside issuer's.
    Outside,
}

impl Credential {
    /// What the change log calls it when it is revoked, which is not for us to do with what an outside issuer gave.
    pub fn id(self) -> Option<Uuid> {
        match self {
            Self::Session(id) => Some(id.0),
            Self::ApiKey(id, _) => Some(id.0),
            Self::Outside => None,
        }
    }
}

/// What somebody must have to do something: a role, and an API key also a scope. Without one, only a session will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub role: Role,
    pub scope: Option<Scope>,
}

impl Right {
    pub const fn new(role: Role, scope: Scope) -> Self {
        Self { role, scope: Some(scope) }
    }
}

impl Right {
    /// What the staff sees of the catalogue, and of the schema.
    pub const STAFF: Self = Self::new(Role::Staff, Scope::CatalogRead);
    /// What administrators see of accounts.
    pub const ADMIN: Self = Self::new(Role::Admin, Scope::AccountsRead);
}

impl SignedIn {
    /// The session, for what is done with sessions alone.
    ///
    /// # Errors
    /// [`Error::OutOfScope`] for anything else.
    pub fn session(&self) -> Result<SessionId, Error> {
        match self.credential {
            Credential::Session(id) => Ok(id),
            Credential::ApiKey(..) => Err(Error::OutOfScope("sign in for it")),
            Credential::Outside => Err(Error::OutOfScope("whoever issued it keeps your password and your sessions")),
        }
    }
}

impl Viewer {
    /// The user, who has this right.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for nobody, [`Error::Forbidden`] for a lesser role, [`Error::OutOfScope`] for an API key
    /// without the scope.
    pub fn require(&self, right: Right) -> Result<SignedIn, Error> {
        let user = match self {
            Self::Anonymous => return Err(Error::Unauthenticated),
            Self::User(user) if user.role < right.role => return Err(Error::Forbidden(right.role.as_str())),
            Self::User(user) => *user,
        };
        match (user.credential, right.scope) {
            (Credential::ApiKey(_, scopes), Some(scope)) if !scopes.contains(scope) => {
                Err(Error::OutOfScope("make one with the scope that the schema names"))
            }
            (Credential::ApiKey(..), None) => user.session().map(|_| user),
            _ => Ok(user),
        }
    }

    /// Whether the viewer has this right.
    pub fn may(&self, right: Right) -> bool {
        self.require(right).is_ok()
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
        let about = [self.email.as_str(), self.name.as_deref().unwrap_or_default()];
        errors.keep(&["password"], check_password(&self.password, &about));
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

/// Whether a password may be set, knowing this about its user. Those that are set already may go on.
pub fn check_password(password: &SecretString, about: &[&str]) -> Result<(), Problem> {
    let bytes = password.expose_secret().len();
    if bytes < *PASSWORD_BYTES.start() {
        return Err((FieldErrorCode::TooShort, format!("must have at least {} bytes", PASSWORD_BYTES.start())));
    }
    if bytes > *PASSWORD_BYTES.end() {
        return Err((FieldErrorCode::TooLong, format!("must have at most {} bytes", PASSWORD_BYTES.end())));
    }
    if guessing::bits(password.expose_secret(), about) < PASSWORD_BITS {
        let advice = "must be harder to guess: make it longer, of words that say nothing about you";
        return Err((FieldErrorCode::WeakPassword, advice.to_owned()));
    }
    Ok(())
}

/// A name that somebody else gave, if it will do.
pub fn name(name: &str) -> Option<String> {
    text::line(name, MAX_NAME).ok()
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
