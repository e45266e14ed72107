//! Scalars of the API.

use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{Datelike, SecondsFormat, Timelike, Utc};

/// Whether a value can be read as one of the scalars here; scalars of other names take anything.
///
/// # Errors
/// What the scalar says of it.
pub fn check(scalar: &str, value: &Value) -> Result<(), String> {
    fn read<T: InputType>(value: &Value) -> Result<(), String> {
        let read = <T as InputType>::parse(Some(value.clone())).map(|_| ());
        read.map_err(|error| error.into_server_error(async_graphql::Pos::default()).message)
    }
    match scalar {
        "DateTime" => read::<DateTime>(value),
        "Decimal" => read::<Decimal>(value),
        "CurrencyCode" => read::<CurrencyCode>(value),
        "URL" => read::<Url>(value),
        _ => Ok(()),
    }
}

/// A moment in RFC 3339, always UTC, as in `"2026-11-22T18:00:00.000Z"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// A moment in RFC 3339, always UTC, as in `"2026-11-22T18:00:00.000Z"`.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let moment = chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|_| InputValueError::custom("Use RFC 3339, as in \"2026-11-22T18:00:00Z\"."))?;
        // PostgreSQL keeps microseconds, and years of four digits suffice.
        let moment = moment.with_timezone(&Utc);
        let micros = chrono::DateTime::from_timestamp_micros(moment.timestamp_micros());
        micros.map(Self).ok_or_else(|| InputValueError::custom("The moment is out of range."))
    }

    fn to_value(&self) -> Value {
        let mut text = Vec::new();
        self.append_to(&mut text);
        Value::String(String::from_utf8(text).unwrap_or_default())
    }
}

impl DateTime {
    /// Its text behind what is there already: with three digits after the second, or six, or none, as many as it needs.
    pub fn append_to(self, text: &mut Vec<u8>) {
        let moment = self.0.naive_utc();
        let Some(year) = u32::try_from(moment.year()).ok().filter(|year| *year < 10_000) else {
            return text.extend_from_slice(self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true).as_bytes());
        };
        // Every product on a page has two: no formatter for those that there are.
        let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or_default();
        let two = |number: u32| [digit(number / 10), digit(number)];
        let micros = moment.nanosecond() / 1000;
        let ([c1, c2], [y1, y2]) = (two(year / 100), two(year));
        let ([m1, m2], [d1, d2]) = (two(moment.month()), two(moment.day()));
        let ([h1, h2], [n1, n2], [s1, s2]) = (two(moment.hour()), two(moment.minute()), two(moment.second()));
        let ([f1, f2], [f3, f4], [f5, f6]) = (two(micros / 10_000), two(micros / 100), two(micros));
        let digits = [
            c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.', f1, f2, f3, f4,
            f5, f6,
        ];
        let length = match (micros, micros % 1000) {
            (0, _) => 19,
            (_, 0) => 23,
            _ => 26,
        };
        text.extend_from_slice(digits.get(..length).unwrap_or(&digits));
        text.push(b'Z');
    }
}

/// An exact decimal as text, as in `"19.90"`; never a float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(pub String);

/// An exact decimal as text, as in `"19.90"`; never a float.
#[Scalar(name = "Decimal", specified_by_url = "https://www.w3.org/TR/xmlschema11-2/#decimal")]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err(InputValueError::custom("Use a decimal as text, as in \"19.90\".")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// A currency's code in ISO 4217, as in `"EUR"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrencyCode(pub String);

/// A currency's code in ISO 4217, as in `"EUR"`.
#[Scalar(name = "CurrencyCode", specified_by_url = "https://www.iso.org/iso-4217-currency-codes.html")]
impl ScalarType for CurrencyCode {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err(InputValueError::custom("Use a currency's code as text, as in \"EUR\".")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// An absolute URL, as in `"https://example.com/lamp.jpg"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

/// An absolute URL, as in `"https://example.com/lamp.jpg"`.
#[Scalar(name = "URL", specified_by_url = "https://url.spec.whatwg.org/")]
impl ScalarType for Url {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err(InputValueError::custom("Use an absolute URL as text.")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub serde_json::Value);

/// Any JSON value.
#[Scalar(name = "JSON", specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        value.into_json().map(Self).map_err(|_| InputValueError::custom("Use a JSON value."))
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_as_many_digits_as_it_needs() {
        for text in [
            "2026-11-22T18:00:00Z",
            "2026-01-02T03:04:05.006Z",
            "1999-12-31T23:59:59.999999Z",
            "2024-02-29T00:00:00.000001Z",
            "0001-01-01T10:20:30.100Z",
            "9999-12-31T23:59:59.123400Z",
        ] {
            let moment = <DateTime as ScalarType>::parse(Value::from(text)).unwrap();
            assert_eq!(ScalarType::to_value(&moment), Value::from(text));
            assert_eq!(moment.0.to_rfc3339_opts(SecondsFormat::AutoSi, true), text);
        }
        let far = DateTime(chrono::DateTime::<Utc>::MAX_UTC);
        assert!(ScalarType::to_value(&far).to_string().starts_with("\"+262142-12-31T23:59:59"));
    }
}
