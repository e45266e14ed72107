//! A list of products: which, and in what order.

use serde::{Deserialize, Serialize, Serializer};

use crate::domain::catalog::filter::{Filter, Test};
use crate::domain::catalog::model::{Product, Status};
use crate::domain::error::Error;
use crate::domain::ids::text_enum;
use crate::domain::text;

/// Characters of a search, at most.
const MAX_SEARCH: usize = 200;

/// A list as somebody asked for it.
#[derive(Clone, Debug)]
pub struct ListDraft {
    pub search: Option<String>,
    pub filter: Filter,
    pub sort: Vec<(SortField, Direction)>,
    /// Whether drafts and archived products may be seen.
    pub all_states: bool,
}

/// What a client can sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortField {
    Relevance,
    Name,
    Price,
    Stock,
    Rating,
    CreatedAt,
    UpdatedAt,
}

/// Which way; what has no value comes last in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    Ascending,
    Descending,
}

text_enum! {
    /// A column, or an expression, that lists are sorted by.
    SortColumn {
        /// In which way a search finds the product; only the first column can be this.
        Distance = "DISTANCE",
        NameKey = "NAME_KEY",
        Currency = "CURRENCY",
        Amount = "AMOUNT",
        Stock = "STOCK",
        /// The only one that may be NULL.
        Rating = "RATING",
        CreatedAt = "CREATED_AT",
        UpdatedAt = "UPDATED_AT",
        /// Ends every sort, so that no two products are equal.
        Id = "ID",
    }
}

impl Direction {
    fn opposite(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// A checked list in canonical form: lists that mean the same are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Folded, as the products' texts are.
    pub search: Option<String>,
    pub filter: Filter,
    /// Ends in [`SortColumn::Id`].
    pub sort: Vec<(SortColumn, Direction)>,
    /// All of that in bytes: what the list is known by.
    pub name: Vec<u8>,
}

impl List {
    fn new(search: Option<String>, filter: Filter, sort: Vec<(SortColumn, Direction)>) -> Result<Self, Error> {
        let name = rmp_serde::to_vec(&(&search, &filter, &sort)).map_err(Error::internal)?;
        Ok(Self { search, filter, sort, name })
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.name)
    }
}

/// A product on a page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub product: Product,
    /// In which way the search finds it, from 0 for its very SKU to 3 for words that resemble; 0 where nothing was searched.
    pub distance: f64,
}

impl ListDraft {
    /// The list.
    ///
    /// # Errors
    /// [`Error::BadInput`] with the argument at fault.
    pub fn check(self) -> Result<List, Error> {
        let search = match self.search.as_deref().map(str::trim).filter(|search| !search.is_empty()) {
            Some(search) => Some(check_search(search)?).filter(|search| !search.is_empty()),
            None => None,
        };
        let visible = match self.all_states {
            true => Filter::EVERYTHING,
            false => Filter::Is(Test::Status([Status::Active].into())),
        };
        let filter = Filter::All(vec![visible, self.filter.check()?]).canonical();
        let mut sort = match (self.sort.is_empty(), &search) {
            (true, Some(_)) => vec![(SortField::Relevance, Direction::Ascending)],
            (true, None) => vec![(SortField::CreatedAt, Direction::Descending)],
            (false, _) => self.sort,
        };
        let relevance = sort.iter().position(|(field, _)| *field == SortField::Relevance);
        if relevance.is_some() && search.is_none() {
            return Err(Error::bad_input(&["sortBy"], "RELEVANCE needs `search`; sort by something else without it"));
        }
        if relevance.is_some_and(|place| place > 0) {
            return Err(Error::bad_input(&["sortBy"], "RELEVANCE comes first; sort by the others after it"));
        }
        let is_all = sort.iter().all(|(field, _)| *field == SortField::Relevance);
        if let Some(&(_, direction)) = sort.first().filter(|_| is_all) {
            sort.push((SortField::CreatedAt, direction.opposite()));
        }
        List::new(search, filter, columns(&sort))
    }
}

fn check_search(search: &str) -> Result<String, Error> {
    let search = text::line(search, MAX_SEARCH).map_err(|(_, message)| Error::bad_input(&["search"], message))?;
    Ok(text::sort_key(&search))
}

/// The columns to sort by; a field that comes again decides nothing.
fn columns(sort: &[(SortField, Direction)]) -> Vec<(SortColumn, Direction)> {
    let mut columns: Vec<(SortColumn, Direction)> = Vec::new();
    let last = sort.last().map_or(Direction::Ascending, |(_, direction)| *direction);
    let fields = sort.iter().flat_map(|&(field, direction)| {
        let columns: &[SortColumn] = match field {
            SortField::Relevance => &[SortColumn::Distance],
            SortField::Name => &[SortColumn::NameKey],
            // Amounts of two currencies do not compare.
            SortField::Price => &[SortColumn::Currency, SortColumn::Amount],
            SortField::Stock => &[SortColumn::Stock],
            SortField::Rating => &[SortColumn::Rating],
            SortField::CreatedAt => &[SortColumn::CreatedAt],
            SortField::UpdatedAt => &[SortColumn::UpdatedAt],
        };
        columns.iter().map(move |&column| (column, direction))
    });
    for (column, direction) in fields.chain([(SortColumn::Id, last)]) {
        if columns.iter().all(|(earlier, _)| *earlier != column) {
            columns.push((column, direction));
        }
    }
    columns
}
