//! A window on a sorted list.

use crate::domain::error::Error;

/// Items on a page where the client does not say.
pub const DEFAULT_SIZE: i32 = 20;
/// Most items on a page.
pub const MAX_SIZE: i32 = 100;
/// Furthest `offset`; cursors go on from there.
pub const MAX_OFFSET: i32 = 10_000;

/// The client's arguments, as they come.
#[derive(Clone, Debug, Default)]
pub struct PageArguments {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
    pub offset: Option<i32>,
}

/// Which items of the list: `C` is a checked cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window<C> {
    /// 1 to [`MAX_SIZE`].
    pub size: u8,
    /// From the end of the list, or of what lies before `before`.
    pub backward: bool,
    pub after: Option<C>,
    pub before: Option<C>,
    pub offset: u16,
}

/// The items of a window, in the list's order.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_next: bool,
    pub has_previous: bool,
}

impl PageArguments {
    /// The window, its cursors read by `read_cursor`.
    ///
    /// # Errors
    /// When the arguments contradict each other or are out of range.
    pub fn check<C>(&self, read_cursor: impl Fn(&str) -> Result<C, String>) -> Result<Window<C>, Error> {
        let size = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(Error::bad_input(&["last"], "give `first` or `last`, not both")),
            (None, Some(last)) => size("last", last)?,
            (first, None) => size("first", first.unwrap_or(DEFAULT_SIZE))?,
        };
        let cursor = |name: &str, text: &Option<String>| match text {
            Some(text) => read_cursor(text).map(Some).map_err(|message| Error::bad_input(&[name], message)),
            None => Ok(None),
        };
        let offset = self.offset.unwrap_or(0);
        if self.offset.is_some() && (self.after.is_some() || self.before.is_some() || self.last.is_some()) {
            return Err(Error::bad_input(
                &["offset"],
                "`offset` goes with `first` alone; drop `after`, `before` and `last`",
            ));
        }
        match u16::try_from(offset) {
            Ok(offset) if i32::from(offset) <= MAX_OFFSET => Ok(Window {
                size,
                backward: self.last.is_some(),
                after: cursor("after", &self.after)?,
                before: cursor("before", &self.before)?,
                offset,
            }),
            _ => Err(Error::bad_input(
                &["offset"],
                format!("must be between 0 and {MAX_OFFSET}; further on, page with `after`"),
            )),
        }
    }
}

fn size(name: &str, size: i32) -> Result<u8, Error> {
    match u8::try_from(size) {
        Ok(checked) if (1..=MAX_SIZE).contains(&size) => Ok(checked),
        _ => Err(Error::bad_input(&[name], format!("must be between 1 and {MAX_SIZE}"))),
    }
}

impl<C> Window<C> {
    /// Rows to ask for: one more than fit, to know whether there are more.
    pub fn limit(&self) -> i64 {
        i64::from(self.size) + 1
    }

    /// The page in these rows, which came in the window's direction.
    pub fn page<T>(&self, mut rows: Vec<T>) -> Page<T> {
        let more = rows.len() > usize::from(self.size);
        rows.truncate(usize::from(self.size));
        let behind = if self.backward { self.before.is_some() } else { self.after.is_some() || self.offset > 0 };
        if self.backward {
            rows.reverse();
            Page { items: rows, has_next: behind, has_previous: more }
        } else {
            Page { items: rows, has_next: more, has_previous: behind }
        }
    }
}
