//! How hard a password is to guess for those who know what people choose: common words and names, rows of the keyboard,
//! years, repetitions, what is known of the user, and letters that digits stand for.
//!
//! The work is bounded by the password's first 64 characters, whatever they are.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::domain::text;

/// Characters that are looked at.
const LOOKED_AT: usize = 64;
/// Characters that are looked at of each thing that is known of the user.
const LOOKED_AT_ABOUT: usize = 320;
/// Characters of a word, at least; shorter ones say nothing.
const SHORTEST: usize = 3;
/// Characters of a word, at most, and of a piece of a row.
const LONGEST: usize = 16;

/// Words and names that many passwords are made of, from several languages.
const COMMON: &str = include_str!("common.txt");
/// What fingers run along, in both directions.
const ROWS: &str = "abcdefghijklmnopqrstuvwxyz 01234567890 qwertyuiop asdfghjkl; zxcvbnm, qwertzuiop yxcvbnm azertyuiop \
    qsdfghjklm wxcvbn !@#$%^&*() 1qaz2wsx3edc4rfv5tgb6yhn7ujm 789456123 147258369 159753 13579 02468";

/// Bits of a guess at one of so many.
const OF_WORDS: u32 = 11;
const OF_ROWS: u32 = 7;
const OF_YEARS: u32 = 7;
const OF_WORDS_ABOUT: u32 = 3;
const OF_LETTERS: u32 = 5;
const OF_DIGITS_AND_MARKS: u32 = 3;
const OF_REPETITIONS: u32 = 1;

/// What a password may be made of, with the bits of a guess at it.
static PIECES: LazyLock<HashMap<String, u32>> = LazyLock::new(|| {
    let mut pieces: HashMap<String, u32> = COMMON.split_whitespace().map(|word| (plain(word), OF_WORDS)).collect();
    for row in ROWS.split_whitespace() {
        let there: Vec<char> = row.chars().map(letter).collect();
        let back: Vec<char> = there.iter().rev().copied().collect();
        for row in [there, back] {
            for length in SHORTEST..=LONGEST.min(row.len()) {
                pieces.extend(row.windows(length).map(|piece| (piece.iter().collect(), OF_ROWS)));
            }
        }
    }
    pieces.extend((1940..2040).map(|year| (plain(&year.to_string()), OF_YEARS)));
    pieces
});

/// Bits of the number of guesses that find the password, knowing this about its user.
pub fn bits(password: &str, about: &[&str]) -> u32 {
    let about = words(about);
    let folded: Vec<char> = text::sort_key(password).chars().take(LOOKED_AT).collect();
    let letters: Vec<char> = folded.iter().copied().map(letter).collect();
    // Of the guesses at the first so many characters.
    let mut cheapest = vec![0];
    for (index, &character) in folded.iter().enumerate() {
        let (known, _) = letters.split_at(index + 1);
        let alone = if character.is_alphabetic() { OF_LETTERS } else { OF_DIGITS_AND_MARKS };
        let ways = cheapest.iter().rev().zip(1..).filter_map(|(bits, length)| {
            let (before, piece) = known.split_at(known.len() - length);
            let last = match length {
                _ if before.ends_with(piece) => OF_REPETITIONS,
                1 => alone,
                SHORTEST..=LONGEST => guessed(&piece.iter().collect::<String>(), &about)?,
                _ => return None,
            };
            Some(bits + last)
        });
        let fewest = ways.min().unwrap_or_default();
        cheapest.push(fewest);
    }
    cheapest.last().copied().unwrap_or_default()
}

/// Bits of a guess at a piece that is a word, a row or a year.
fn guessed(piece: &str, about: &HashSet<String>) -> Option<u32> {
    if about.contains(piece) { Some(OF_WORDS_ABOUT) } else { PIECES.get(piece).copied() }
}

/// The words in what is known of a user, such as the parts of an address.
fn words(about: &[&str]) -> HashSet<String> {
    let texts = about.iter().map(|text| text.chars().take(LOOKED_AT_ABOUT).collect::<String>());
    let words = texts.flat_map(|text| {
        let words = text::sort_key(&text);
        let words = words.split(|character: char| !character.is_alphanumeric());
        words.map(|word| word.chars().map(letter).collect::<Vec<_>>()).collect::<Vec<_>>()
    });
    // No piece that is looked at is longer.
    let pieces =
        words.flat_map(|word| word.chunks(LONGEST).map(|piece| piece.iter().collect()).collect::<Vec<String>>());
    pieces.filter(|piece| piece.chars().count() >= SHORTEST).collect()
}

/// The text with letters for what stands for them.
fn plain(text: &str) -> String {
    text.chars().map(letter).collect()
}

/// The letter that a digit or a mark stands for; those that stand for the same are one.
fn letter(character: char) -> char {
    match character {
        '4' | '@' => 'a',
        '8' => 'b',
        '(' => 'c',
        '3' => 'e',
        '6' | '9' => 'g',
        '1' | '!' | '|' | 'l' => 'i',
        '0' => 'o',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '2' => 'z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::bits;

    const ABOUT: &[&str] = &["ada.lovelace@bigfish.example", "Ada Zoë Lovelace"];

    #[test]
    fn what_many_people_choose_takes_few_guesses() {
        for password in [
            "password",
            "Passw0rd!",
            "P@$$w0rd123",
            "12345678",
            "87654321",
            "1234567890123",
            "qwertyuiop",
            "1qaz2wsx",
            "abcd1234",
            "iloveyou2",
            "letmein!!",
            "Summer2026!",
            "dragonmonkey",
            "hunter2hunter2",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabc",
            "24121985",
            "  password  ",
            "ＰＡＳＳＷＯＲＤ",
            "Fußball1",
            "stockroom",
            "ada.lovelace@bigfish.example",
            "L0velace1815",
            "zoebigfish",
        ] {
            let bits = bits(password, ABOUT);
            assert!(bits < 24, "{password}: {bits}");
        }
    }

    #[test]
    fn what_few_people_choose_takes_many() {
        for password in [
            "correct horse",
            "a long password",
            "wrong horse",
            "x7Gk2pQ9",
            "vR9-kQ2_xL0w",
            "83726150",
            "Zugspitzblick",
            "horse lamp river",
            "kälteschutz",
            "пароль от склада",
            "正しい馬電池",
            "$!738|aogt3ezs$$b3$z8!g8bta3$gl|57$2[(as$2(5(l$5t[t[((2sl$iblb[l5a(z$lle",
        ] {
            let bits = bits(password, ABOUT);
            assert!(bits >= 24, "{password}: {bits}");
        }
    }
}
