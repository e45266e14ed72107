//! Relay's connections (<https://relay.dev/graphql/connections.htm>) over the domain's pages.

use async_graphql::{Enum, SimpleObject};

use crate::domain::page;
use crate::graphql::MAX_COMPLEXITY;

/// Where the page lies in its list.
#[derive(SimpleObject, Clone, Debug, Default)]
pub struct PageInfo {
    /// Whether there is more after this page.
    pub has_next_page: bool,
    /// Whether there is more before this page.
    pub has_previous_page: bool,
    /// For `before`, to get what comes before this page.
    pub start_cursor: Option<String>,
    /// For `after`, to get what comes after this page.
    pub end_cursor: Option<String>,
}

/// A number of things, counted as far as was asked.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct Count {
    /// The number.
    pub value: i32,
    /// Whether there may be more.
    pub precision: CountPrecision,
}

/// How exact a count is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountPrecision {
    /// There are so many.
    Exact,
    /// There are so many, or more.
    AtLeast,
}

/// The cost of a list, as far as it matters: async-graphql adds costs without looking at overflow.
pub fn times(items: usize, each: usize) -> usize {
    items.saturating_mul(each).min(MAX_COMPLEXITY + 1)
}

/// How many items a page may have, for what an operation costs; a bad number is refused later, and costs nothing less.
pub fn page_cost(first: Option<i32>, last: Option<i32>) -> usize {
    let size = first.or(last).unwrap_or(page::DEFAULT_SIZE).clamp(1, page::MAX_SIZE);
    usize::try_from(size).unwrap_or(1)
}
