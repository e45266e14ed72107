//! Why a request was not executed, and with what status that is said: the only place that chooses one.
//!
//! The default statuses are those of <https://graphql.github.io/graphql-over-http/draft/> as its audit asks for them;
//! the draft has since moved on, to 422 for what is well-formed and cannot be run, and to 294 for data with errors.

use axum::http::StatusCode;

use crate::config::StatusCodes;
use crate::infra::rate_limit::Spent;
use crate::transport::negotiation::MediaType;

/// Why a request was not executed.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    /// What to do.
    pub message: String,
    /// The budget that was not enough.
    pub spent: Option<Box<Spent>>,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), spent: None }
    }
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Only these methods may be used.
    MethodNotAllowed {
        allowed: &'static str,
    },
    NotAcceptable,
    Unauthenticated,
    UnsupportedMediaType,
    CsrfPrevention,
    /// The body is not JSON, or ended too soon.
    Malformed,
    /// It is JSON and no GraphQL request.
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    PersistedQueryNotFound,
    PersistedQueryHashMismatch,
    /// Only documents that are known beforehand may run.
    DocumentNotTrusted,
    QueryTooLarge,
    QueryTooDeep,
    CostTooHigh,
    ParseFailed,
    ValidationFailed,
    OperationUnclear,
    IntrospectionDisabled,
    SubscriptionTransport,
    BadUserInput,
    RateLimited,
    Busy,
    Timeout,
    Unavailable,
    Internal,
}

impl Code {
    /// For programs, in `extensions.code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::NotAcceptable => "NOT_ACCEPTABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::CsrfPrevention => "CSRF_PREVENTION",
            Self::Malformed | Self::BadRequest | Self::BodyTooLarge | Self::BodyTooSlow => "BAD_REQUEST",
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::PersistedQueryHashMismatch => "PERSISTED_QUERY_HASH_MISMATCH",
            Self::DocumentNotTrusted => "DOCUMENT_NOT_TRUSTED",
            Self::QueryTooLarge => "QUERY_TOO_LARGE",
            Self::QueryTooDeep => "QUERY_TOO_DEEP",
            Self::CostTooHigh => "COST_TOO_HIGH",
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::OperationUnclear => "OPERATION_RESOLUTION_FAILURE",
            Self::IntrospectionDisabled => "INTROSPECTION_DISABLED",
            Self::SubscriptionTransport => "SUBSCRIPTION_TRANSPORT",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::RateLimited => "RATE_LIMITED",
            Self::Busy => "BUSY",
            Self::Timeout => "TIMEOUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL_SERVER_ERROR",
        }
    }

    /// The status that says it.
    pub fn status(self, media_type: MediaType, codes: StatusCodes) -> StatusCode {
        match self {
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::CsrfPrevention | Self::Malformed | Self::PersistedQueryHashMismatch | Self::DocumentNotTrusted => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::PersistedQueryNotFound => StatusCode::OK,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadRequest => match codes {
                StatusCodes::Audit => StatusCode::BAD_REQUEST,
                StatusCodes::Draft => StatusCode::UNPROCESSABLE_ENTITY,
            },
            // Of the document or its variables. Those who know only JSON learn of the status that the request arrived.
            Self::QueryTooLarge
            | Self::QueryTooDeep
            | Self::CostTooHigh
            | Self::ParseFailed
            | Self::ValidationFailed
            | Self::OperationUnclear
            | Self::IntrospectionDisabled
            | Self::SubscriptionTransport
            | Self::BadUserInput => match (codes, media_type) {
                (StatusCodes::Draft, _) if self == Self::ParseFailed => StatusCode::BAD_REQUEST,
                (StatusCodes::Draft, _) => StatusCode::UNPROCESSABLE_ENTITY,
                (StatusCodes::Audit, MediaType::Json) => StatusCode::OK,
                (StatusCodes::Audit, _) => StatusCode::BAD_REQUEST,
            },
        }
    }
}
