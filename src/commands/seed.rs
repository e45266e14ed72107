//! `seed`: products and users that might be.

use std::sync::Arc;

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use crate::commands::{place, say};
use crate::config::Settings;
use crate::domain::error::Error;
use crate::domain::ids::UserId;
use crate::domain::{Core, accounts, catalog};

/// Rows of one transaction.
const BATCH: u64 = 1_000;
/// Transactions at a time: PostgreSQL works for each on a core.
const AT_ONCE: usize = 4;

pub async fn run(settings: &Settings, products_wanted: u64, users_wanted: u64) -> anyhow::Result<()> {
    let (core, place) = place::core_for_command(settings).await?;
    let bar = ProgressBar::new(products_wanted + users_wanted)
        .with_style(ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} rows, {per_sec}, {eta} to go")?);
    let counted = |rows| bar.inc(rows);
    users(&core, users_wanted, counted).await?;
    products(&core, products_wanted, None, counted).await?;
    bar.finish_and_clear();
    let took = bar.elapsed();
    let rows = products_wanted + users_wanted;
    #[expect(clippy::cast_precision_loss, reason = "it is for people")]
    let rate = rows as f64 / took.as_secs_f64().max(0.001);
    say(&format!("{products_wanted} products and {users_wanted} users are there: {took:.1?}, {rate:.0} rows/s."));
    tokio::task::spawn_blocking(move || drop(place)).await?;
    Ok(())
}

/// Adds the demo's categories and its first `wanted` products; those that exist stay as they are.
pub async fn products(
    core: &Arc<Core>,
    wanted: u64,
    created_by: Option<UserId>,
    counted: impl Fn(u64),
) -> anyhow::Result<()> {
    if wanted == 0 {
        return Ok(());
    }
    catalog::commands::seed_categories(core).await?;
    each_batch(wanted, counted, |numbers| catalog::commands::seed_products(core, numbers, created_by)).await
}

async fn users(core: &Arc<Core>, wanted: u64, counted: impl Fn(u64)) -> anyhow::Result<()> {
    if wanted == 0 {
        return Ok(());
    }
    // Nobody knows the password, so nobody signs in; hashing one each would take days.
    let password = Uuid::new_v4().to_string();
    let hash = core.infra.passwords.hash(&password.into()).await?;
    each_batch(wanted, counted, |numbers| accounts::commands::seed_users(core, numbers, &hash)).await
}

/// A few batches at a time; Ctrl-C leaves whole ones.
async fn each_batch<F: Future<Output = Result<(), Error>>>(
    wanted: u64,
    counted: impl Fn(u64),
    insert: impl Fn(std::ops::Range<u64>) -> F,
) -> anyhow::Result<()> {
    let starts = (0..wanted).step_by(usize::try_from(BATCH)?);
    let batches = futures_util::stream::iter(starts.map(|start| start..(start + BATCH).min(wanted)));
    let inserted = batches.map(|numbers| async {
        let rows = numbers.end - numbers.start;
        insert(numbers).await.map(|()| rows)
    });
    let mut inserted = std::pin::pin!(inserted.buffer_unordered(AT_ONCE));
    while let Some(rows) = inserted.next().await {
        counted(rows?);
    }
    Ok(())
}
