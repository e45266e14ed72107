//! The migrations, and running them.

use anyhow::Context;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use secrecy::SecretString;

use crate::config::Settings;
use crate::infra::db::{Access, Connector};
use crate::infra::pooler;

/// The migrations, embedded.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
/// The advisory lock that whoever migrates holds; any number that nobody else takes.
const MIGRATION_LOCK: i64 = 0x5354_4f43_4b52_4d31;

/// A clock from before this program was made is wrong, and with it what it makes of tokens.
pub fn check_clock(now: DateTime<Utc>) -> anyhow::Result<()> {
    let newest = known()?.iter().map(|migration| migration.name().version().to_string()).max().unwrap_or_default();
    let made = NaiveDateTime::parse_from_str(&newest, "%Y%m%d%H%M%S").context("the migrations' names tell no time")?;
    // They are named by a clock on somebody's wall.
    if now < made.and_utc() - TimeDelta::days(1) {
        anyhow::bail!("the clock says {}, which is before this program was made; set it", now.format("%F %T UTC"));
    }
    Ok(())
}

/// Runs the migrations that are missing and names them, oldest first. Of several processes one works, the others wait.
pub async fn run(settings: &Settings, url: &SecretString) -> anyhow::Result<Vec<String>> {
    let mut connection = migration_connection(settings, url).await?;
    if pending(&mut connection).await?.is_empty() {
        return Ok(Vec::new());
    }
    let lock = diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<diesel::sql_types::BigInt, _>(MIGRATION_LOCK);
    lock.execute(&mut connection).await.context("waiting for another process to finish the migrations")?;
    // Another process may have run them meanwhile.
    let missing = pending(&mut connection).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    harness.run_pending_migrations(MIGRATIONS).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(missing)
}

/// The migrations that this database lacks, oldest first.
pub async fn missing(settings: &Settings, url: &SecretString) -> anyhow::Result<Vec<String>> {
    pending(&mut migration_connection(settings, url).await?).await
}

async fn migration_connection(settings: &Settings, url: &SecretString) -> anyhow::Result<AsyncPgConnection> {
    let connector = Connector::new(url, Access::Write, settings, None)?;
    // The lock below is a session's.
    pooler::past(&connector).await?;
    let mut connection = connector.connect().await?;
    // A migration takes as long as it takes; another process's may, too.
    connection.batch_execute("SET statement_timeout = 0; SET lock_timeout = '60s'").await?;
    Ok(connection)
}

diesel::table! {
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

diesel::table! {
    pg_tables (tablename) {
        tablename -> Text,
    }
}

/// Looks without writing, which diesel's own harness cannot: it makes its table first.
async fn pending(connection: &mut AsyncPgConnection) -> anyhow::Result<Vec<String>> {
    let table = pg_tables::table.filter(pg_tables::tablename.eq("__diesel_schema_migrations"));
    let migrated_ever: bool = diesel::select(diesel::dsl::exists(table)).get_result(connection).await?;
    let applied: Vec<String> = match migrated_ever {
        true => {
            let versions = __diesel_schema_migrations::table.select(__diesel_schema_migrations::version);
            versions.load(connection).await?
        }
        false => Vec::new(),
    };
    let mut known = known()?;
    known.sort_by_key(|migration| migration.name().to_string());
    let missing = known.iter().filter(|migration| !applied.contains(&migration.name().version().to_string()));
    Ok(missing.map(|migration| migration.name().to_string()).collect())
}

fn known() -> anyhow::Result<Vec<Box<dyn Migration<Pg>>>> {
    MIGRATIONS.migrations().map_err(|error| anyhow::anyhow!("{error}"))
}
