//! What each service's role may do in PostgreSQL.

use anyhow::{Context, bail};
use diesel_async::SimpleAsyncConnection;
use secrecy::SecretString;

use crate::config::{Service, Settings};
use crate::infra::db::{Access, Connector};

/// What every grant begins with: whatever was given before is taken back.
const NOTHING: &str = "
    REVOKE ALL ON ALL TABLES IN SCHEMA accounts, catalog, shared FROM :role;
    REVOKE ALL ON SCHEMA accounts, catalog, shared FROM :role;
";

/// Gives a role exactly what a service needs, in one transaction.
///
/// # Errors
/// When there is no such role, or whoever connects may not do it.
pub async fn give(settings: &Settings, url: &SecretString, service: Service, role: &str) -> anyhow::Result<()> {
    if role.is_empty() || role.contains('\0') {
        bail!("name a role of PostgreSQL");
    }
    let needed = match service {
        Service::Accounts => include_str!("grants/accounts.sql"),
        Service::Catalog => include_str!("grants/catalog.sql"),
    };
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    let statements = format!("BEGIN; {NOTHING} {needed} COMMIT;").replace(":role", &quoted);
    let mut connection = Connector::new(url, Access::Write, settings, None)?.connect().await?;
    let given = connection.batch_execute(&statements).await;
    given.with_context(|| format!("the role {role} was given nothing; connect as the owner of the tables"))
}
