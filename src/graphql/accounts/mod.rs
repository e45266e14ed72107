//! Accounts in the graph.

mod audit;
mod mutations;
mod queries;
mod types;

pub use audit::AuditQueries;
pub use mutations::AccountMutations;
pub use queries::AccountQueries;
pub use types::{ApiKey, Role, Scope, Session, User};
