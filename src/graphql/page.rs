//! Relay's connections (<https://relay.dev/graphql/connections.htm>) over the domain's pages.

use async_graphql::{Enum, SimpleObject};

use crate::graphql::directives::cost;

/// Where the page lies in its list.
#[derive(SimpleObject, Clone, Debug, Default)]
#[graphql(serial, directive = cost::apply("0".to_owned()))]
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
#[graphql(serial, directive = cost::apply("0".to_owned()))]
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
