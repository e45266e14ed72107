//! One look at the bytes of a document, before any parser sees them: how long it is, of how many tokens, and how deeply
//! its brackets are nested. It need not be right about what does not parse, only about what does.

use crate::config::Limits;
use crate::transport::refusal::{Code, Refusal};

/// Refuses a document that no parser should see.
///
/// # Errors
/// What to do.
pub fn scan(document: &str, limits: &Limits) -> Result<(), Refusal> {
    let too_large = |message: String| Err(Refusal::new(Code::QueryTooLarge, message));
    if document.len() > limits.max_document_bytes {
        return too_large(format!("the document has more than {} bytes; ask for less", limits.max_document_bytes));
    }
    let bytes = document.as_bytes();
    let (mut at, mut tokens, mut depth) = (0, 0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let (length, is_token) = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | 0xEF | 0xBB | 0xBF => (1, false),
            b'#' => (run(bytes, at, |byte| byte != b'\n' && byte != b'\r'), false),
            b'"' => (string(bytes, at)?, true),
            b'{' | b'[' | b'(' => {
                depth += 1;
                if depth > limits.max_nesting {
                    let message = format!("brackets are nested more than {} deep; nest fewer", limits.max_nesting);
                    return Err(Refusal::new(Code::QueryTooDeep, message));
                }
                (1, true)
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                (1, true)
            }
            b'.' if bytes.get(at..at + 3) == Some(b"...") => (3, true),
            byte if byte == b'-' || byte.is_ascii_digit() => (number(bytes, at), true),
            byte if is_of_a_name(byte) => (run(bytes, at, is_of_a_name), true),
            _ => (1, true),
        };
        at += length;
        tokens += usize::from(is_token);
        if tokens > limits.max_tokens {
            return too_large(format!("the document has more than {} tokens; ask for less", limits.max_tokens));
        }
    }
    Ok(())
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The bytes of the number that begins here. A sign is part of it at its start and after `e`.
fn number(bytes: &[u8], from: usize) -> usize {
    let mut length = 1;
    let mut before = bytes.get(from).copied().unwrap_or_default();
    while let Some(&byte) = bytes.get(from + length)
        && (is_of_a_name(byte) || byte == b'.' || (matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E')))
    {
        before = byte;
        length += 1;
    }
    length
}

/// How many bytes from here are like this; at least one.
fn run(bytes: &[u8], from: usize, like: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(from).take_while(|&&byte| like(byte)).count().max(1)
}

/// The bytes of the string that begins here. PostgreSQL keeps no NUL, so none may be in it.
fn string(bytes: &[u8], from: usize) -> Result<usize, Refusal> {
    let rest = bytes.get(from..).unwrap_or_default();
    let (quote, is_block): (&[u8], _) = if rest.starts_with(b"\"\"\"") { (b"\"\"\"", true) } else { (b"\"", false) };
    let mut length = quote.len();
    while let Some(here) = rest.get(length..).filter(|here| !here.is_empty()) {
        if here.starts_with(quote) {
            return Ok(length + quote.len());
        }
        if here.starts_with(b"\0") || (!is_block && (here.starts_with(b"\\u0000") || here.starts_with(b"\\u{0}"))) {
            return Err(Refusal::new(Code::BadUserInput, "a text contains the character NUL; leave it out"));
        }
        length += match here {
            [b'\\', b'"', b'"', b'"', ..] if is_block => 4,
            [b'\\', _, ..] if !is_block => 2,
            // It ends with its line, and is no string then.
            [b'\n' | b'\r', ..] if !is_block => return Ok(length),
            _ => 1,
        };
    }
    Ok(length)
}
