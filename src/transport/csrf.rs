//! Queries by GET run only if no page elsewhere could have made a browser send them unasked: no link, image or form can.
//! They change nothing and no cookie signs anybody in, so this only keeps others from making visitors ask expensive
//! things.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};

use crate::transport::refusal::{Code, Refusal};

/// Headers that a page elsewhere can set only after a preflight.
const UNUSUAL: [&str; 4] = ["apollo-require-preflight", "authorization", "x-apollo-operation-name", "x-requested-with"];
/// Types that no link and no form accepts.
const TYPES: [&str; 3] = ["application/json", "application/graphql-response+json", "text/event-stream"];

/// Refuses a GET that any page could have made.
///
/// # Errors
/// With the header to send.
pub fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let unusual = UNUSUAL.iter().any(|name| headers.contains_key(*name)) || headers.contains_key(CONTENT_TYPE);
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants_data = accepts
        .flat_map(|value| value.split([',', ';']))
        .any(|range| TYPES.iter().any(|wanted| range.trim().eq_ignore_ascii_case(wanted)));
    let own_script = text("sec-fetch-mode") == Some("cors")
        && text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    if unusual || wants_data || own_script {
        return Ok(());
    }
    let message = "send `Accept: application/graphql-response+json` (or an `Apollo-Require-Preflight` header)";
    Err(Refusal::new(Code::CsrfPrevention, message))
}
