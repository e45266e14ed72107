//! Accounts in the graph.

mod mutations;
mod queries;
mod types;

pub use mutations::AccountMutations;
pub use queries::AccountQueries;
pub use types::{Role, User};
