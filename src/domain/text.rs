//! What text may hold, and the forms under which text is compared.

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

use crate::domain::error::FieldErrorCode;

/// The problem with a text, and what to do about it.
pub type Problem = (FieldErrorCode, String);

/// Trimmed text on one line, of 1 to `max` characters.
pub fn line(text: &str, max: usize) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err((FieldErrorCode::Required, "must not be empty".to_owned()));
    }
    length(text, max)?;
    readable(text, |_| false)?;
    Ok(text.to_owned())
}

/// Text of several lines, of at most `max` characters.
pub fn prose(text: &str, max: usize) -> Result<String, Problem> {
    length(text, max)?;
    readable(text, |character| matches!(character, '\n' | '\t' | '\r'))?;
    Ok(text.to_owned())
}

fn length(text: &str, max: usize) -> Result<(), Problem> {
    // Bytes first: counting characters of a megabyte is work that nobody needs.
    if text.len() > max * 4 || text.chars().count() > max {
        return Err((FieldErrorCode::TooLong, format!("must have at most {max} characters")));
    }
    Ok(())
}

/// Refuses what does not show: control characters, and the marks that make text read otherwise than it is.
fn readable(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), Problem> {
    let hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
    };
    match text.chars().find(|&character| hidden(character) && !allowed(character)) {
        Some(character) => Err((
            FieldErrorCode::Invalid,
            format!("must not contain the invisible character U+{:04X}", u32::from(character)),
        )),
        None => Ok(()),
    }
}

/// The form under which names sort and are searched: no case, no accents, no double spaces.
pub fn sort_key(text: &str) -> String {
    let folded = fold(text);
    let bare = DecomposingNormalizer::new_nfkd()
        .normalize_iter(folded.chars())
        .filter(|character| !matches!(character, '\u{300}'..='\u{36f}'))
        .collect::<String>();
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without case and without compatibility variants (full-width letters, ligatures), composed.
pub fn fold(text: &str) -> String {
    let composed = ComposingNormalizer::new_nfkc();
    let folded = CaseMapper::new().fold_string(&composed.normalize(text)).into_owned();
    // Folding can undo composition, and composition folding: once more settles both.
    composed.normalize(&folded).into_owned()
}

/// Words of small letters and digits, joined by dashes; empty where the text has none.
pub fn slugify(text: &str, max: usize) -> String {
    let key = sort_key(text);
    let mut slug = String::new();
    for character in key.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= max {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// A slug as its owner chose it.
pub fn slug(text: &str, max: usize) -> Result<String, Problem> {
    let text = line(text, max)?;
    if slugify(&text, max) == text {
        return Ok(text);
    }
    let example = match slugify(&text, max) {
        empty if empty.is_empty() => "blue-chair".to_owned(),
        example => example,
    };
    Err((FieldErrorCode::Invalid, format!("must be small letters, digits and single dashes, as in `{example}`")))
}
