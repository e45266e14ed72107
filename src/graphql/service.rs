//! What this server is, and what it allows.

use async_graphql::{Context, Object, SimpleObject};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Settings;
use crate::domain::page;
use crate::graphql::context::OfRequest;
use crate::graphql::directives::cost;
use crate::graphql::sdl;

/// What this server is, and what it allows.
#[derive(SimpleObject, Clone)]
#[graphql(complex, directive = cost::apply("0".to_owned()))]
pub struct ServiceInfo {
    /// The server's release.
    version: &'static str,
    /// SHA-256 of `schema.graphql`, in base64url: the same hash, the same API.
    schema_hash: &'static str,
    /// Items on a page, at most.
    max_page_size: i32,
    /// Items on a page where `first` and `last` are not given.
    default_page_size: i32,
    /// Largest `offset`.
    max_offset: i32,
    /// What a request may ask for.
    limits: RequestLimits,
}

/// What a request may ask for, at most.
#[derive(SimpleObject, Clone)]
#[graphql(directive = cost::apply("0".to_owned()))]
pub struct RequestLimits {
    /// Bytes of the body.
    body_bytes: i32,
    /// Bytes of the document.
    document_bytes: i32,
    /// Tokens of the document.
    tokens: i32,
    /// Brackets in one another.
    nesting: i32,
    /// Fields below one another, beside the introspection.
    depth: i32,
    /// Aliases of an operation.
    aliases: i32,
    /// Fields at the top of a query.
    root_fields: i32,
    /// Fields at the top of a mutation; one of them may be marked `@credentials`.
    mutations: i32,
    /// Directives of an operation.
    directives: i32,
    /// Directives in one place.
    directives_in_place: i32,
    /// Fragments of a document.
    fragments: i32,
    /// Operations of a document.
    operations: i32,
    /// Fields of a document, with its fragments in place.
    fields: i32,
    /// Variables in one another.
    variables_depth: i32,
    /// Values of all variables.
    variables_nodes: i32,
    /// Cost of an operation, by `@cost` and `@listSize` in the schema.
    cost: i32,
    /// Values in a response, as far as can be told beforehand.
    response_values: i32,
    /// Errors in a response.
    errors: i32,
}

/// What one user, or one address of a stranger, may spend.
#[derive(SimpleObject, Clone)]
#[graphql(directive = cost::apply("0".to_owned()))]
pub struct RateLimit {
    /// Cost that can be spent at once.
    capacity: i32,
    /// What of it is left after this request.
    available: i32,
    /// Cost that comes back in a second.
    restore_per_second: f64,
}

/// A number of the API; what is larger is as good as unlimited.
fn int<T: TryInto<i32>>(number: T) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

impl ServiceInfo {
    /// What these settings allow.
    pub fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            schema_hash: schema_hash(),
            max_page_size: page::MAX_SIZE,
            default_page_size: page::DEFAULT_SIZE,
            max_offset: page::MAX_OFFSET,
            limits: RequestLimits {
                body_bytes: int(settings.body_limit),
                document_bytes: int(limits.max_document_bytes),
                tokens: int(limits.max_tokens),
                nesting: int(limits.max_nesting),
                depth: int(limits.max_depth),
                aliases: int(limits.max_aliases),
                root_fields: int(limits.max_root_fields),
                mutations: int(limits.max_mutations),
                directives: int(limits.max_directives),
                directives_in_place: int(limits.max_directives_in_place),
                fragments: int(limits.max_fragments),
                operations: int(limits.max_operations),
                fields: int(limits.max_fields),
                variables_depth: int(limits.max_variables_depth),
                variables_nodes: int(limits.max_variables_nodes),
                cost: int(limits.max_cost),
                response_values: int(limits.max_response_values),
                errors: int(limits.max_errors),
            },
        }
    }
}

#[async_graphql::ComplexObject]
impl ServiceInfo {
    /// What whoever asks may spend; null if nothing limits it.
    async fn rate_limit(&self, ctx: &Context<'_>) -> Option<RateLimit> {
        let request = ctx.request();
        request.notes.is_personal();
        let spent = request.asker.spent?;
        Some(RateLimit {
            capacity: int(spent.burst),
            available: int(spent.available),
            restore_per_second: spent.restored_per_second,
        })
    }
}

#[derive(Default)]
pub struct ServiceQueries;

#[Object]
impl ServiceQueries {
    /// What this server is, and what it allows.
    async fn service(&self, ctx: &Context<'_>) -> Option<ServiceInfo> {
        ctx.data_opt::<ServiceInfo>().cloned()
    }
}

fn schema_hash() -> &'static str {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| URL_SAFE_NO_PAD.encode(digest(&SHA256, sdl().as_bytes()).as_ref()))
}
