//! Where a page ends: the values that its last product sorts by, bound to the list they are of.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::catalog::list::{Found, List, SortColumn};
use crate::domain::ids::ProductId;
use crate::domain::time;

/// The release of the layout.
const RELEASE: u8 = 2;
/// Bytes of a cursor, about, before they are text.
const ABOUT: usize = 64;
/// A longer text is no cursor of ours.
const MAX_TEXT: usize = 2_000;

/// A place in a list, between two products: right after, or right before, the one with these values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor(pub Vec<SortValue>);

/// A value that a product sorts by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SortValue {
    Text(String),
    Whole(i64),
    Real(f64),
    Time(#[serde(with = "time")] DateTime<Utc>),
    Id(ProductId),
    /// Comes last.
    Nothing,
}

impl Cursor {
    /// The cursor of this product in this list.
    pub fn of(list: &List, found: &Found) -> Self {
        Self(list.sort.iter().map(|(column, _)| SortValue::of(found, *column)).collect())
    }

    /// As clients carry it.
    pub fn encode(&self, list: &List) -> String {
        let mut bytes = Vec::with_capacity(ABOUT);
        bytes.push(RELEASE);
        // Into memory, and of what has a form: it cannot fail.
        let _ = rmp_serde::encode::write(&mut bytes, self);
        bytes.extend_from_slice(&seal(list, &bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor in this text.
    ///
    /// # Errors
    /// What to do, when it is damaged or of another list.
    pub fn decode(list: &List, text: &str) -> Result<Self, String> {
        const ADVICE: &str = "is not a cursor of this list; pass an `endCursor` or `startCursor` of the same \
                              `search`, `filter` and `sortBy`, or leave it out to begin anew";
        let read = || {
            let bytes = (text.len() <= MAX_TEXT).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
            let (sealed, end) = bytes.split_last_chunk()?;
            let values = sealed.strip_prefix(&[RELEASE]).filter(|_| *end == seal(list, sealed))?;
            let cursor: Self = rmp_serde::from_slice(values).ok()?;
            let fits = cursor.0.len() == list.sort.len()
                && cursor.0.iter().zip(&list.sort).all(|(value, (column, _))| value.fits(*column));
            fits.then_some(cursor)
        };
        read().ok_or_else(|| ADVICE.to_owned())
    }
}

impl SortValue {
    /// What a product has in a column.
    pub fn of(Found { product, distance }: &Found, column: SortColumn) -> Self {
        match column {
            SortColumn::Distance => Self::Real(*distance),
            SortColumn::NameKey => Self::Text(product.name_key.clone()),
            SortColumn::Currency => Self::Text(product.price_currency.clone()),
            SortColumn::Amount => Self::Whole(product.price_amount),
            SortColumn::Stock => Self::Whole(product.stock.into()),
            SortColumn::Rating => product.rating.map_or(Self::Nothing, Self::Real),
            SortColumn::CreatedAt => Self::Time(product.created_at),
            SortColumn::UpdatedAt => Self::Time(product.updated_at),
            SortColumn::Id => Self::Id(product.id),
        }
    }

    fn fits(&self, column: SortColumn) -> bool {
        match self {
            Self::Text(text) => matches!(column, SortColumn::NameKey | SortColumn::Currency) && !text.contains('\0'),
            Self::Whole(whole) => {
                column == SortColumn::Amount || (column == SortColumn::Stock && i32::try_from(*whole).is_ok())
            }
            Self::Real(real) => matches!(column, SortColumn::Distance | SortColumn::Rating) && real.is_finite(),
            Self::Time(_) => matches!(column, SortColumn::CreatedAt | SortColumn::UpdatedAt),
            Self::Id(_) => column == SortColumn::Id,
            Self::Nothing => column == SortColumn::Rating,
        }
    }
}

/// Binds what a cursor says to the list, and shows damage. It keeps no secret: who makes up a cursor only begins elsewhere.
fn seal(list: &List, said: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&list.name);
    crc.update(said);
    crc.finalize().to_be_bytes()
}
