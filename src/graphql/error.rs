//! All that a client may learn of a failure: the only place where client-visible errors are made.

use std::time::Duration;

use async_graphql::{Enum, ErrorExtensions, Interface, Response, ServerError, SimpleObject};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain;
use crate::domain::error::{FieldError, FieldErrorCode, FieldErrors};

/// A failure of a field, for the `errors` of the response.
///
/// It has no `Display` on purpose: async-graphql shows every `Display` error to the client as it is, so `?` on a raw
/// database error would leak it. Without it, only the `From`s below apply.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: &'static str,
    message: String,
    argument: Vec<String>,
}

/// What resolvers return.
pub type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    /// An argument that cannot be worked with.
    pub fn bad_input(argument: &str, message: impl Into<String>) -> Self {
        domain::error::Error::bad_input(&[argument], message).into()
    }
}

impl From<domain::error::Error> for ApiError {
    fn from(error: domain::error::Error) -> Self {
        use domain::error::Error as E;

        let code = match &error {
            E::Unauthenticated => "UNAUTHENTICATED",
            E::Forbidden(_) | E::OutOfScope(_) => "FORBIDDEN",
            E::Unverified => "EMAIL_NOT_VERIFIED",
            E::KeyReused => "IDEMPOTENCY_CONFLICT",
            E::OutcomeUnknown => "OUTCOME_UNKNOWN",
            E::BadInput { .. } => "BAD_USER_INPUT",
            E::TooMuch => "COST_TOO_HIGH",
            E::CursorExpired => "CURSOR_EXPIRED",
            E::Busy => "BUSY",
            E::Timeout => "TIMEOUT",
            E::Conflict | E::Deadlock => "CONFLICT",
            E::Unavailable(_) | E::NoMail => "UNAVAILABLE",
            E::Internal(_) => "INTERNAL_SERVER_ERROR",
        };
        if let E::Unavailable(cause) | E::Internal(cause) = &error {
            tracing::error!(error = format!("{cause:#}"), code, "a field failed");
        }
        let argument = if let E::BadInput { path, .. } = &error { path.clone() } else { Vec::new() };
        let message = match argument.as_slice() {
            [] => error.to_string(),
            path => format!("`{}` {error}", path.join(".")),
        };
        Self { code, message, argument }
    }
}

impl From<ApiError> for async_graphql::Error {
    fn from(error: ApiError) -> Self {
        Self::new(error.message).extend_with(|_, extensions| {
            extensions.set("code", error.code);
            if !error.argument.is_empty() {
                extensions.set("argument", error.argument);
            }
        })
    }
}

/// Why a mutation did not do what it was asked. Select `... on UserError { code message path }`, and errors of kinds
/// that do not exist yet cannot break a client.
#[derive(Interface)]
#[graphql(
    field(name = "code", ty = "&ErrorCode", desc = "What kind of error it is, for programs."),
    field(name = "message", ty = "&String", desc = "What to do, for people."),
    field(
        name = "path",
        ty = "&Option<Vec<String>>",
        desc = "The argument at fault, as in `[\"input\", \"price\", \"amount\"]`."
    )
)]
pub enum UserError {
    Validation(ValidationError),
    Taken(TakenError),
    NotFound(NotFoundError),
    VersionConflict(super::catalog::VersionConflictError),
    Credentials(CredentialsError),
}

/// The kinds of errors that a client can mend.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The value is not of the form that it must have.
    Invalid,
    /// The value is missing.
    Required,
    /// The value is too short.
    TooShort,
    /// The value is too long.
    TooLong,
    /// The value is too small or too large.
    OutOfRange,
    /// The password is easy to guess.
    WeakPassword,
    /// Another has this value, which must be unique.
    Taken,
    /// There is no such thing.
    NotFound,
    /// Something else still needs it.
    InUse,
    /// It was changed since the version, or the stock, that was given.
    VersionConflict,
    /// Address or password is wrong, or a token is not one that this server gave.
    InvalidCredentials,
    /// The session, or the link, has ended.
    TokenExpired,
    /// The refresh token was used before: somebody may have a copy, so its session has ended.
    TokenReused,
    /// There were too many attempts.
    LoginDelayed,
}

/// An input is not acceptable.
#[derive(SimpleObject, Clone, Debug)]
pub struct ValidationError {
    /// What kind of error it is, for programs.
    pub code: ErrorCode,
    /// What to do, for people.
    pub message: String,
    /// The argument at fault, as in `["input", "price", "amount"]`.
    pub path: Option<Vec<String>>,
}

/// A value that must be unique belongs to another.
#[derive(SimpleObject, Clone, Debug)]
pub struct TakenError {
    /// What kind of error it is, for programs.
    pub code: ErrorCode,
    /// What to do, for people.
    pub message: String,
    /// The argument at fault, as in `["input", "sku"]`.
    pub path: Option<Vec<String>>,
}

/// What an argument names does not exist, or not for this viewer.
#[derive(SimpleObject, Clone, Debug)]
pub struct NotFoundError {
    /// What kind of error it is, for programs.
    pub code: ErrorCode,
    /// What to do, for people.
    pub message: String,
    /// The argument at fault, as in `["by"]`.
    pub path: Option<Vec<String>>,
}

/// Nobody was signed in.
#[derive(SimpleObject, Clone, Debug)]
pub struct CredentialsError {
    /// What kind of error it is, for programs.
    pub code: ErrorCode,
    /// What to do, for people.
    pub message: String,
    /// The argument at fault.
    pub path: Option<Vec<String>>,
    /// When to try again, if there were too many attempts.
    pub retry_after_seconds: Option<i32>,
}

/// Where in a mutation's arguments.
pub fn path(parts: &[&str]) -> Option<Vec<String>> {
    Some(parts.iter().map(|&part| part.to_owned()).collect())
}

impl ValidationError {
    fn new(argument: &str, error: FieldError) -> Self {
        let code = match error.code {
            FieldErrorCode::Invalid => ErrorCode::Invalid,
            FieldErrorCode::Required => ErrorCode::Required,
            FieldErrorCode::TooShort => ErrorCode::TooShort,
            FieldErrorCode::TooLong => ErrorCode::TooLong,
            FieldErrorCode::OutOfRange => ErrorCode::OutOfRange,
            FieldErrorCode::WeakPassword => ErrorCode::WeakPassword,
        };
        // An argument of its own, such as `delta`, has no input around it.
        let path: Vec<String> = match argument {
            "" => error.path,
            argument => [vec![argument.to_owned()], error.path].concat(),
        };
        Self { code, message: error.message, path: Some(path) }
    }

    /// One for each of these, in the argument that holds the input.
    pub fn all<T: From<Self>>(argument: &str, errors: FieldErrors) -> Vec<T> {
        errors.0.into_iter().map(|error| Self::new(argument, error).into()).collect()
    }
}

impl TakenError {
    /// Another has this value.
    pub fn new(argument: &[&str]) -> Self {
        let message = "belongs to another; choose a different one".to_owned();
        Self { code: ErrorCode::Taken, message, path: path(argument) }
    }
}

impl NotFoundError {
    /// There is no such thing.
    pub fn new(argument: &[&str], message: &str) -> Self {
        Self { code: ErrorCode::NotFound, message: message.to_owned(), path: path(argument) }
    }
}

impl CredentialsError {
    /// One for every reason.
    pub fn new() -> Self {
        Self::of(ErrorCode::InvalidCredentials, "e-mail address or password is wrong", &["input"])
    }

    /// What is wrong with this argument.
    pub fn of(code: ErrorCode, message: &str, argument: &[&str]) -> Self {
        Self { code, message: message.to_owned(), path: path(argument), retry_after_seconds: None }
    }

    /// There were too many attempts.
    pub fn delayed(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(1);
        let message = format!("there were too many attempts; try again in {seconds} s");
        let retry_after_seconds = i32::try_from(seconds).ok();
        Self { code: ErrorCode::LoginDelayed, message, path: path(&["input"]), retry_after_seconds }
    }
}

impl Default for CredentialsError {
    fn default() -> Self {
        Self::new()
    }
}

/// Characters of an error's message, at most.
const MAX_MESSAGE: usize = 200;

/// How much is told of errors.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    pub max_errors: usize,
    /// Whether names are suggested to those who nearly knew them.
    pub suggestions: bool,
}

/// The body of an answer that refuses a request as a whole.
pub fn refusal(code: &str, message: &str, request_id: Option<&str>) -> Value {
    let mut extensions = Map::from_iter([("code".to_owned(), json!(code))]);
    extensions.extend(request_id.map(|id| ("requestId".to_owned(), json!(id))));
    json!({ "errors": [{ "message": cut(message), "extensions": extensions }] })
}

/// The code of why nothing was done that may be done in a moment, for want of room or of the database. `None` where something
/// was, or for another reason.
pub fn postponed(response: &Response) -> Option<&'static str> {
    use async_graphql::Value;

    let code = |error: &ServerError| match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => ["BUSY", "UNAVAILABLE"].into_iter().find(|known| known == code),
        _ => None,
    };
    let nothing = match &response.data {
        Value::Object(fields) => fields.values().all(|value| *value == Value::Null),
        data => *data == Value::Null,
    };
    let codes: Vec<_> = response.errors.iter().map(code).collect::<Option<_>>().filter(|_| nothing)?;
    // Of both the latter says more.
    codes.into_iter().max()
}

/// The body of a response; a request that was not executed has no `data`, not even null.
pub fn response_body(
    response: &Response,
    refused: bool,
    extensions: Option<&Value>,
    audience: Audience,
    request_id: &str,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        errors: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a async_graphql::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        extensions: Option<&'a Value>,
    }

    let errors = (!response.errors.is_empty()).then(|| shown(&response.errors, refused, audience, request_id));
    let body = Body { errors, data: (!refused).then_some(&response.data), extensions };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The `errors` of a response: each with its code and the request's name, and not too many.
pub fn shown(errors: &[ServerError], refused: bool, audience: Audience, request_id: &str) -> Value {
    let shown = errors.iter().take(audience.max_errors).map(|error| {
        let mut extensions = match json!(error.extensions) {
            Value::Object(extensions) => extensions,
            _ => Map::new(),
        };
        extensions.entry("code").or_insert_with(|| json!(default_code(&error.message, refused)));
        extensions.insert("requestId".to_owned(), json!(request_id));
        let message = match audience.suggestions {
            true => &error.message,
            false => error.message.split(" Did you mean").next().unwrap_or_default(),
        };
        let mut shown = Map::from_iter([("message".to_owned(), json!(cut(message)))]);
        if !error.locations.is_empty() {
            shown.insert("locations".to_owned(), json!(error.locations));
        }
        if !error.path.is_empty() {
            shown.insert("path".to_owned(), json!(error.path));
        }
        shown.insert("extensions".to_owned(), Value::Object(extensions));
        Value::Object(shown)
    });
    shown.collect()
}

fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// The code of an error that is async-graphql's own.
fn default_code(message: &str, refused: bool) -> &'static str {
    match message {
        message if message.starts_with("The recursion depth") => "QUERY_TOO_DEEP",
        message if message.starts_with("Variable") => "BAD_USER_INPUT",
        _ if refused => "GRAPHQL_VALIDATION_FAILED",
        // Of a field that ran, only its arguments can be at fault: all else has a code.
        _ => "BAD_USER_INPUT",
    }
}

#[cfg(test)]
mod tests {
    use super::ApiError;
    use crate::domain::error::Error;

    /// What a client must never read.
    const SECRET: &str = "connect to db.internal:5432 as shop failed: SELECT password_hash FROM users at /srv/app";

    #[test]
    fn no_cause_reaches_a_client() {
        let cause = || anyhow::anyhow!(SECRET).context("and why");
        let shown: Vec<(String, String)> = [
            Error::Unauthenticated,
            Error::Forbidden("STAFF"),
            Error::bad_input(&["input", "name"], "must be shorter"),
            Error::TooMuch,
            Error::CursorExpired,
            Error::Busy,
            Error::Timeout,
            Error::Conflict,
            Error::unavailable(cause()),
            Error::internal(cause()),
            diesel::result::Error::QueryBuilderError(SECRET.into()).into(),
            diesel::result::Error::RollbackTransaction.into(),
            serde_json::from_str::<i32>(SECRET).map_err(Error::internal).unwrap_err(),
        ]
        .into_iter()
        .map(|error| {
            let ApiError { code, message, .. } = error.into();
            (code.to_owned(), message)
        })
        .collect();
        for (code, message) in &shown {
            assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
            for word in ["db.internal", "5432", "SELECT", "password", "/srv", "expected value"] {
                assert!(!message.contains(word), "{message}");
            }
        }
        assert_eq!(shown.len(), 13);
    }
}
