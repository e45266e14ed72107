//! `doctor`: one line for each thing that a server needs, with what to do about it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use crate::commands::place::{self, Place};
use crate::commands::{Misused, say};
use crate::config::Settings;
use crate::domain::replicas;
use crate::infra::db::{Access, Connector};
use crate::infra::jwks::KeySet;
use crate::infra::mail::Route;
use crate::infra::metrics::Metrics;
use crate::infra::migrations;
use crate::infra::pooler::{self, Kept};
use crate::infra::redis::Redis;

/// The oldest PostgreSQL that works, as `server_version_num` tells it.
const OLDEST_POSTGRES: i32 = 150_000;

pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut healthy = true;
    let mut tell = |what: &str, found: anyhow::Result<String>| match found {
        Ok(fine) => say(&format!("ok    {what:11} {fine}")),
        Err(error) => {
            healthy = false;
            say(&format!("FAIL  {what:11} {error:#}"));
        }
    };
    tell("settings", Ok("can be read; `stockroom config --explain` shows them".to_owned()));
    let place = place::open(settings).await;
    match &place {
        Ok(place) => {
            tell("PostgreSQL", postgres(settings, place).await);
            tell("migrations", migrated(settings, place).await);
            match replicas(settings, place).await {
                Ok(all) => all.into_iter().for_each(|seen| tell("replica", seen)),
                Err(error) => tell("replicas", Err(error)),
            }
            tell("signing key", signing(settings).await);
        }
        Err(error) => tell("PostgreSQL", Err(anyhow::anyhow!("{error:#}"))),
    }
    tell("Redis", redis(settings).await);
    tell("mail", mail(settings, place.as_ref().ok().and_then(|place| place.outbox(settings))).await);
    if let Ok(place) = place {
        tokio::task::spawn_blocking(move || drop(place)).await?;
    }
    if healthy { Ok(()) } else { anyhow::bail!("not all is well; see the lines above") }
}

async fn postgres(settings: &Settings, place: &Place) -> anyhow::Result<String> {
    use diesel_async::RunQueryDsl;

    let connector = Connector::new(place.direct_url(), Access::Read, settings, None).map_err(Misused)?;
    let mut connection = connector.connect().await?;
    let number = diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>(
        "current_setting('server_version_num')::integer",
    ));
    let number: i32 = number.get_result(&mut connection).await?;
    if number < OLDEST_POSTGRES {
        anyhow::bail!("{} is release {}; upgrade it to 15 or newer", connector.place(), number / 10_000);
    }
    let mut told = format!("release {} at {}", number / 10_000, connector.place());
    if !place.is_private() && pooler::check(settings, place.url()).await? == Kept::Statements {
        told += ", behind a pooler in transaction mode that routes prepared statements";
    }
    Ok(told)
}

/// What there is to say of each replica, if there are any.
async fn replicas(settings: &Settings, place: &Place) -> anyhow::Result<Vec<anyhow::Result<String>>> {
    if settings.database_replica_urls.is_empty() {
        return Ok(Vec::new());
    }
    let all = replicas::check(&place::database(settings, place)?).await?;
    let told = all.into_iter().map(|(replica, seen)| match seen {
        Ok(behind) => Ok(format!("{replica} is {behind} versions behind the primary")),
        Err(error) => Err(error.context(format!("queries are not read from {replica}"))),
    });
    Ok(told.collect())
}

async fn migrated(settings: &Settings, place: &Place) -> anyhow::Result<String> {
    match migrations::missing(settings, place.direct_url()).await?.as_slice() {
        [] => Ok("have all run".to_owned()),
        missing => anyhow::bail!("{} are missing; run `stockroom migrate`", missing.len()),
    }
}

async fn signing(settings: &Settings) -> anyhow::Result<String> {
    let ring = match (place::keys(settings)?, &settings.accounts_jwks_url) {
        (Some(keys), _) => keys.ring(),
        (None, Some(url)) => {
            let keys = KeySet::new(url.clone(), Duration::ZERO, Arc::default())?.count().await?;
            return Ok(format!("is the accounts service's, which publishes {keys}"));
        }
        (None, None) => anyhow::bail!(place::NO_KEYS),
    };
    let signing = &ring.signing(Utc::now()).key.kid;
    Ok(match ring.keys().count() - 1 {
        0 => format!("has the id {signing}"),
        others => format!("has the id {signing}; {others} more verify"),
    })
}

async fn redis(settings: &Settings) -> anyhow::Result<String> {
    let Some(url) = &settings.redis_url else {
        return Ok("is not configured; the cache is in process".to_owned());
    };
    match Redis::new(url, settings, Arc::new(Metrics::default()))?.check().await {
        Ok(version) => Ok(format!("release {version}")),
        Err(error) => anyhow::bail!("cannot be used: {error:#}; start it, or correct REDIS_URL"),
    }
}

async fn mail(settings: &Settings, outbox: Option<PathBuf>) -> anyhow::Result<String> {
    let route = Route::new(settings, outbox)?;
    match route.test().await {
        Ok(()) => Ok(format!("is {route}")),
        Err(error) => anyhow::bail!("{error:#}; start it, or correct SMTP_URL"),
    }
}
