//! Money: a whole number of a currency's minor units (ISO 4217), never a float.

use iso_currency::Currency;

use crate::domain::error::FieldErrorCode;
use crate::domain::text::Problem;

/// The largest amount, in minor units.
pub const MAX_MINOR: i64 = 1_000_000_000_000_000;

/// An amount as somebody typed it.
#[derive(Clone, Debug)]
pub struct MoneyDraft {
    /// A decimal, as in `19.90`.
    pub amount: String,
    /// An ISO 4217 code, as in `EUR`.
    pub currency: String,
}

/// The currency with this code.
pub fn currency(code: &str) -> Result<Currency, Problem> {
    let known = Currency::from_code(code).filter(|currency| currency.exponent().is_some());
    known.ok_or_else(|| {
        (FieldErrorCode::Invalid, "must be the code of a currency in ISO 4217, as in `EUR` or `JPY`".to_owned())
    })
}

/// Digits after the point in amounts of this currency.
pub fn fraction_digits(code: &str) -> u32 {
    currency(code).ok().and_then(Currency::exponent).map_or(2, u32::from)
}

/// The minor units of a decimal amount in this currency.
pub fn minor_units(amount: &str, currency: Currency) -> Result<i64, Problem> {
    let digits = usize::from(currency.exponent().unwrap_or(2));
    let invalid = || {
        let example = format_minor(1990, digits);
        let message =
            format!("must be a decimal as text, as in `{example}`, of at most {digits} digits after the point");
        (FieldErrorCode::Invalid, message)
    };
    let (negative, unsigned) = amount.strip_prefix('-').map_or((false, amount), |rest| (true, rest));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let dotted = unsigned.len() > whole.len();
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || (dotted && unsigned.ends_with('.')) || !numeric(whole) || !numeric(fraction) {
        return Err(invalid());
    }
    if fraction.len() > digits {
        return Err(invalid());
    }
    let out_of_range =
        || (FieldErrorCode::OutOfRange, format!("must be between 0 and {}", format_minor(MAX_MINOR, digits)));
    let minor: i64 = format!("{whole}{fraction:0<digits$}").parse().map_err(|_| out_of_range())?;
    if minor > MAX_MINOR || (negative && minor != 0) {
        return Err(out_of_range());
    }
    Ok(minor)
}

/// The decimal of this many minor units, of which there are none below 0.
pub fn format_minor(minor: i64, digits: usize) -> String {
    // Every product on a page has one: no formatter.
    let mut text = minor.to_string();
    if digits > 0 {
        if text.len() <= digits {
            text.insert_str(0, &"0".repeat(digits + 1 - text.len()));
        }
        text.insert(text.len() - digits, '.');
    }
    text
}

#[cfg(test)]
mod tests {
    use iso_currency::Currency;

    use super::{format_minor, minor_units};

    #[test]
    fn a_decimal_survives_the_way_in_and_out() {
        for (text, currency, minor, shown) in [
            ("19.90", Currency::EUR, 1990, "19.90"),
            ("19.9", Currency::EUR, 1990, "19.90"),
            ("0.05", Currency::USD, 5, "0.05"),
            ("1500", Currency::JPY, 1500, "1500"),
            ("1500.000", Currency::JPY, 1500, "1500"),
            ("1.234", Currency::KWD, 1234, "1.234"),
            ("-0.00", Currency::EUR, 0, "0.00"),
        ] {
            assert_eq!(minor_units(text, currency).unwrap(), minor, "{text}");
            assert_eq!(format_minor(minor, usize::from(currency.exponent().unwrap())), shown);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", ".", "1.", ".5", "1,5", "1e3", "NaN", "+1", "--1", "0x1", "1.999", "-0.01", "99999999999999999999"]
        {
            assert!(minor_units(text, Currency::EUR).is_err(), "{text}");
        }
    }
}
