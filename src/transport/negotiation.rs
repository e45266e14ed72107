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
}

impl MediaType {
    /// As a header's value.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Response => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
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
        let quality = |media_type: Self| {
            let matching = ranges.iter().filter_map(|range| Some((range.matches(media_type)?, range)));
            matching.max_by_key(|(precision, _)| *precision).map_or((0, usize::MAX), |(_, range)| {
                let place = ranges.iter().position(|other| std::ptr::eq(other, range)).unwrap_or(usize::MAX);
                (range.quality, place)
            })
        };
        let (response, json) = (quality(Self::Response), quality(Self::Json));
        match (response.0, json.0) {
            (0, 0) => None,
            (response, json) if response > json => Some(Self::Response),
            (response, json) if response < json => Some(Self::Json),
            // Equally liked: the one that was named first; a wildcard names the older one.
            _ if response.1 < json.1 => Some(Self::Response),
            _ => Some(Self::Json),
        }
    }
}

struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
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
        let subtype = match media_type {
            MediaType::Response => "graphql-response+json",
            MediaType::Json => "json",
        };
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (kind, "*") if kind.eq_ignore_ascii_case("application") => Some(1),
            (kind, given) if kind.eq_ignore_ascii_case("application") && given.eq_ignore_ascii_case(subtype) => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

    use super::MediaType::{self, Json, Response};

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
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(MediaType::wanted(&headers), wanted, "{accept}");
        }
    }
}
