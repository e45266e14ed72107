//! Accounts: who there is, and who asks.

pub mod commands;
pub mod model;
pub mod queries;
mod store;

pub use model::{AccountDraft, Role, SignedIn, User, Viewer};
