//! What is between here and PostgreSQL: nothing, or a pooler, and what that keeps of a connection from one transaction to
//! the next.
//!
//! In session mode a pooler gives each client a connection of its own, and nobody need know. In transaction mode it gives
//! one for each transaction: what was set or prepared there is somebody else's the next time. pgbouncer routes prepared
//! statements since 1.21; what does not may run another's statement in place of ours.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use secrecy::SecretString;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::config::Settings;
use crate::infra::db::{Access, Bare, Connector};

/// Longest wait for a pooler to give a second connection while a first is in use.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often two connections are compared. A pooler that gives what was given back last is found at the first time, others
/// sooner or later.
const TRIES: usize = 4;

/// What is kept of a connection between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Session,
    /// Prepared statements alone.
    Statements,
    Nothing,
}

/// What pools may rely on at this URL.
///
/// # Errors
/// When it cannot be reached, or leads to a pooler that they cannot work with: what to do.
pub async fn check(settings: &Settings, url: &SecretString) -> anyhow::Result<Kept> {
    let connector = Connector::new(url, Access::Write, settings, None)?;
    let place = connector.place();
    match Box::pin(kept(&connector)).await? {
        Kept::Session => return Ok(Kept::Session),
        Kept::Nothing => bail!(
            "the pooler at {place} is in transaction mode and does not route prepared statements; let it be pgbouncer \
             1.21 or newer with `max_prepared_statements` above 0, or in session mode, or set DATABASE_URL past it"
        ),
        Kept::Statements => {}
    }
    ensure!(
        settings.database_direct_url.is_some(),
        "the pooler at {place} is in transaction mode; set DATABASE_DIRECT_URL past it, for migrations and the version \
         register"
    );
    let missing = Box::pin(missing(&connector)).await?;
    ensure!(
        missing.is_empty(),
        "the pooler at {place} is in transaction mode, where nothing can be set for a session; let the database set it: \
         {}; then RECONNECT the pooler",
        missing.join("; ")
    );
    Ok(Kept::Statements)
}

/// Makes sure that nothing is lost between transactions.
///
/// # Errors
/// When it is, or nobody answers.
pub async fn past(connector: &Connector) -> anyhow::Result<()> {
    let kept = Box::pin(kept(connector)).await?;
    ensure!(kept == Kept::Session, "{} is a pooler in transaction mode; name PostgreSQL itself", connector.place());
    Ok(())
}

/// Tells by trying: a pooler may be anywhere, and says neither that it is one nor how it works.
async fn kept(connector: &Connector) -> anyhow::Result<Kept> {
    let (mut one, mut other) = tokio::try_join!(connector.unset(), connector.unset())?;
    match compared(&mut one, &mut other).await {
        Err(error) if error.downcast_ref().and_then(tokio_postgres::Error::code).is_some_and(means_lost) => {
            Ok(Kept::Nothing)
        }
        compared => compared,
    }
}

/// Whether this is said of a statement that was prepared elsewhere, or of a transaction where there is none.
fn means_lost(code: &SqlState) -> bool {
    [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT, SqlState::PROTOCOL_VIOLATION].contains(code)
}

async fn compared(one: &mut Bare, other: &mut Bare) -> anyhow::Result<Kept> {
    let prepared = one.ask(async |client| client.prepare("SELECT pg_backend_pid()").await).await?;
    let mut backend = async || -> anyhow::Result<i32> {
        let asked = one.ask(async |client| client.query_one(&prepared, &[]).await);
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        let row = asked.map_err(|_| anyhow!("the pooler has one connection only; raise its pool size"))??;
        Ok(row.try_get(0)?)
    };
    for _ in 0..TRIES {
        let before = backend().await?;
        // It takes what was given back a moment ago, so that there is another one for us, or none.
        let taken = other.ask(async |client| client.simple_query("BEGIN; SELECT pg_backend_pid()").await).await?;
        let after = backend().await?;
        other.ask(async |client| client.batch_execute("ROLLBACK").await).await?;
        if after != before || column(&taken, 0).next() == Some(&*before.to_string()) {
            return Ok(Kept::Statements);
        }
    }
    Ok(Kept::Session)
}

/// The statements that let the database set what connections would be told, as far as it does not.
async fn missing(connector: &Connector) -> anyhow::Result<Vec<String>> {
    // As they are, and as they are to be: PostgreSQL writes both in the same way.
    let quoted = |(name, _): &(_, String)| format!("'{name}'");
    let names: Vec<_> = connector.session().iter().map(quoted).collect();
    let look = format!("SELECT current_setting(name, true) FROM unnest(ARRAY[{}]) AS name", names.join(", "));
    let set = |(name, value): &(_, String)| format!("SET LOCAL {name} = {value}");
    let set: Vec<_> = connector.session().iter().map(set).collect();
    let compare = format!("BEGIN; {look}; {}; {look}; SELECT current_database(); ROLLBACK", set.join("; "));
    let mut connection = connector.unset().await?;
    let told = connection.ask(async |client| client.simple_query(&compare).await).await?;
    let mut told = column(&told, 0);
    let found: Vec<_> = told.by_ref().take(names.len()).map(str::to_owned).collect();
    let wanted: Vec<_> = told.by_ref().take(names.len()).map(str::to_owned).collect();
    let database = told.next().context("the database has no name")?;
    let differing =
        connector.session().iter().zip(found.iter().zip(&wanted)).filter(|(_, (found, wanted))| found != wanted);
    Ok(differing.map(|((name, value), _)| format!("ALTER DATABASE \"{database}\" SET {name} = {value}")).collect())
}

/// What the rows have in a column; nothing is an empty text.
fn column(told: &[SimpleQueryMessage], number: usize) -> impl Iterator<Item = &str> {
    told.iter().filter_map(move |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(number).unwrap_or_default()),
        _ => None,
    })
}
