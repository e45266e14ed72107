//! Which media type an answer has (RFC 9110, section 12.5.1; GraphQL over HTTP, section "Accept").

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue};

/// The types of a GraphQL response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/graphql-response+json`: the status tells whether the request could be executed.
    Response,
    /// `application/json`: it tells only whether the request was well-formed.
    Json,
    /// `text/event-stream`: one response after the other; refusals are JSON.
    EventStream,
}

impl MediaType {
    /// As a header's value.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Response => "application/graphql-response+json; charset=utf-8",
            Self::Json | Self::EventStream => "application/json; charset=utf-8",
        })
    }

    /// What the client likes best; `None` if it likes neither. Without a wish it gets what all understand.
    pub fn wanted(headers: &HeaderMap) -> Option<Self> {
        let mut ranges = Vec::new();
        for value in headers.get_all(ACCEPT) {
            ranges.extend(value.to_str().ok()?.split(',').map(str::trim).filter(|range| !range.is_empty()));
        }
        if ranges.is_empty() {
            return Some(Self::Json);
        }
        let ranges: Vec<_> = ranges.into_iter().filter_map(Range::parse).collect();
        let (response, json) = (quality(&ranges, Self::Response), quality(&ranges, Self::Json));
        let stream = quality(&ranges, Self::EventStream);
        if stream.0 > response.0.max(json.0) {
            return Some(Self::EventStream);
        }
        match (response.0, json.0) {
            (0, 0) => None,
            (response, json) if response > json => Some(Self::Response),
            (response, json) if response < json => Some(Self::Json),
            // Equally liked: the one that was named first; a wildcard names the older one.
            _ if response.1 < json.1 => Some(Self::Response),
            _ => Some(Self::Json),
        }
    }

    /// Whether the client can read a stream of events, even if it likes something else better.
    pub fn streams(headers: &HeaderMap) -> bool {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> = values.flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
        quality(&ranges, Self::EventStream).0 > 0
    }
}

/// How much a client likes a type, in thousandths, and at which place it said so.
fn quality(ranges: &[Range<'_>], media_type: MediaType) -> (u16, usize) {
    let matching =
        ranges.iter().enumerate().filter_map(|(place, range)| Some((range.matches(media_type)?, place, range)));
    // The most precise one, and of those the first.
    let best = matching.max_by_key(|&(precision, place, _)| (precision, std::cmp::Reverse(place)));
    best.map_or((0, usize::MAX), |(_, place, range)| (range.quality, place))
}

struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.trim().split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut quality = 1000;
        for parameter in parts {
            let (name, value) = parameter.split_once('=')?;
            if name.eq_ignore_ascii_case("q") {
                let value: f32 = value.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1000")]
                let thousandths = (value * 1000.0).round() as u16;
                quality = thousandths;
            } else if name.eq_ignore_ascii_case("charset") && !value.trim_matches('"').eq_ignore_ascii_case("utf-8") {
                return None;
            }
        }
        Some(Self { kind, subtype, quality })
    }

    /// How precisely the range names the type, if it does.
    fn matches(&self, media_type: MediaType) -> Option<u8> {
        let (main, subtype) = match media_type {
            MediaType::Response => ("application", "graphql-response+json"),
            MediaType::Json => ("application", "json"),
            // A wildcard wishes for one response.
            MediaType::EventStream => {
                let named = self.kind.eq_ignore_ascii_case("text") && self.subtype.eq_ignore_ascii_case("event-stream");
                return named.then_some(2);
            }
        };
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (kind, "*") if kind.eq_ignore_ascii_case(main) => Some(1),
            (kind, given) if kind.eq_ignore_ascii_case(main) && given.eq_ignore_ascii_case(subtype) => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

    use super::MediaType::{self, EventStream, Json, Response};

    #[test]
    fn the_best_liked_type_wins() {
        for (accept, wanted) in [
            ("", Some(Json)),
            ("*/*", Some(Json)),
            ("application/*", Some(Json)),
            ("application/json", Some(Json)),
            ("application/graphql-response+json", Some(Response)),
            ("application/graphql-response+json, application/json;q=0.9", Some(Response)),
            ("application/json, application/graphql-response+json", Some(Json)),
            ("application/graphql-response+json;q=0.5, application/json;q=0.9", Some(Json)),
            ("application/graphql-response+json;q=0, */*", Some(Json)),
            ("text/html, */*;q=0.1", Some(Json)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("application/json; charset=utf-16", None),
            ("text/event-stream", Some(EventStream)),
            ("application/graphql-response+json, application/json, text/event-stream", Some(Response)),
            ("text/event-stream, */*;q=0.5", Some(EventStream)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(MediaType::wanted(&headers), wanted, "{accept}");
        }
    }
}
