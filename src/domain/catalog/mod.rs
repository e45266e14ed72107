//! The catalogue: products in a tree of categories.

pub mod category;
pub mod commands;
pub mod cursor;
pub mod demo;
pub mod events;
pub mod filter;
pub mod list;
pub mod model;
pub mod money;
pub mod queries;
mod search;
mod store;
pub mod touch;

pub use category::{Category, CategoryDraft, CategoryPatch, Tree};
pub use filter::Filter;
pub use list::{Direction, Found, List, ListDraft, SortField};
pub use model::{Media, Patch, Product, ProductDraft, ProductKey, ProductPatch, Status};
pub use money::MoneyDraft;
