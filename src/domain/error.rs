//! Why a query or a command fails, and what was wrong with its input.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::infra::db::NoConnection;
use crate::infra::mail::MailError;
use crate::infra::passwords::PasswordError;

/// Why any query or command may fail. A command with failures of its own has its own enum.
///
/// What each says is fit for a client; causes are for the log. Requests that share one read share its failure, so it
/// can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("sign in first: send `Authorization: Bearer <access token>`; `login` gives one")]
    Unauthenticated,
    #[error("this needs the role {0}; ask an administrator for it")]
    Forbidden(&'static str),
    /// Of an API key, or an outside issuer's token.
    #[error("this credential may not do that; {0}")]
    OutOfScope(&'static str),
    #[error("{message}")]
    BadInput {
        message: String,
        /// The argument at fault, from the field inwards.
        path: Vec<String>,
    },
    #[error("the answer is too large; ask for less")]
    TooMuch,
    /// Events from there on are not kept any more, or never were.
    #[error("there are no events after this cursor any more; load what you show anew, and subscribe without it")]
    CursorExpired,
    #[error("the server has too much to do; try again in a moment")]
    Busy,
    #[error("it took too long; try again, or ask for less")]
    Timeout,
    #[error("others changed the same at the same time; try again")]
    Conflict,
    /// The same, and it helps to try again at once.
    #[error("others changed the same at the same time; try again")]
    Deadlock,
    #[error("this idempotency key was used for something else; use a new one for each thing to do")]
    KeyReused,
    /// The connection broke while it was committed.
    #[error(
        "it may have happened or not; look before you try again, or send an Idempotency-Key, which makes that safe"
    )]
    OutcomeUnknown,
    #[error("this server sends no mails; ask whoever runs it to set SMTP_URL")]
    NoMail,
    #[error("verify your e-mail address first; `requestEmailVerification` sends a link")]
    Unverified,
    #[error("the database is not available; try again in a moment")]
    Unavailable(#[source] Arc<anyhow::Error>),
    #[error("internal error")]
    Internal(#[source] Arc<anyhow::Error>),
}

impl Error {
    /// Input that no query or command can work with.
    pub fn bad_input(path: &[&str], message: impl Into<String>) -> Self {
        Self::BadInput { message: message.into(), path: path.iter().map(|&part| part.to_owned()).collect() }
    }

    /// A defect of ours.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self::Internal(Arc::new(error.into()))
    }

    /// The database cannot be asked.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::Unavailable(Arc::new(error.into()))
    }
}

/// diesel keeps SQLSTATE to itself, so what it calls unknown is told apart by PostgreSQL's message, which `lc_messages`
/// must leave in English; elsewhere these are internal errors.
impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        let DieselError::DatabaseError(kind, info) = &error else {
            return match error {
                DieselError::BrokenTransactionManager => Self::unavailable(error),
                _ => Self::internal(error),
            };
        };
        let message = info.message();
        match kind {
            DatabaseErrorKind::SerializationFailure => Self::Deadlock,
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ReadOnlyTransaction => Self::unavailable(error),
            _ if message.contains("deadlock detected") => Self::Deadlock,
            _ if message.contains("statement timeout") => Self::Timeout,
            _ if message.contains("lock timeout") => Self::Conflict,
            _ if message.contains("terminating connection")
                || message.contains("the database system is")
                || message.contains("connection closed")
                || message.contains("communicating with the server")
                || message.contains("No space left on device") =>
            {
                Self::unavailable(error)
            }
            _ => Self::internal(error),
        }
    }
}

impl From<NoConnection> for Error {
    fn from(error: NoConnection) -> Self {
        match error {
            NoConnection::Busy(_) => Self::Busy,
            NoConnection::Unreachable(_) => Self::unavailable(error),
        }
    }
}

impl From<MailError> for Error {
    fn from(error: MailError) -> Self {
        match error {
            MailError::NotConfigured => Self::NoMail,
            MailError::Busy => Self::Busy,
            MailError::Unfit(_) => Self::internal(error),
        }
    }
}

impl From<PasswordError> for Error {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Failed(error) => Self::Internal(Arc::new(error)),
        }
    }
}

/// The constraint that a statement violated, if that is why it failed.
pub fn violated(error: &DieselError) -> Option<&str> {
    match error {
        DieselError::DatabaseError(_, info) => info.constraint_name(),
        _ => None,
    }
}

/// What is wrong with one part of a command's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub code: FieldErrorCode,
    /// What to do.
    pub message: String,
    /// The part, as in `price.amount`.
    pub path: Vec<String>,
}

/// The kinds of [`FieldError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorCode {
    Invalid,
    Required,
    TooShort,
    TooLong,
    OutOfRange,
    WeakPassword,
}

/// Collects all that is wrong with an input.
#[derive(Debug, Default)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Notes one error.
    pub fn add(&mut self, code: FieldErrorCode, path: &[&str], message: impl Into<String>) {
        let path = path.iter().map(|&part| part.to_owned()).collect();
        self.0.push(FieldError { code, message: message.into(), path });
    }

    /// The value, or else a note of its error.
    pub fn keep<T>(&mut self, path: &[&str], checked: Result<T, (FieldErrorCode, String)>) -> Option<T> {
        checked.map_err(|(code, message)| self.add(code, path, message)).ok()
    }
}
