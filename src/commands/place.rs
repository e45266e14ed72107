//! Where the database is: the one that is configured, or a private one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use chrono::Utc;
use secrecy::SecretString;

use crate::commands::Misused;
use crate::config::{KeySource, Service, Services, Settings};
use crate::domain::Core;
use crate::infra::Infra;
use crate::infra::db::Database;
use crate::infra::keys::{Keys, Ring, SigningKey};
use crate::infra::migrations;
use crate::infra::pooler::{self, Kept};
use crate::infra::postgres::{Durability, Opened, PrivatePostgres};

/// A database that can be connected to.
pub enum Place {
    Configured {
        url: SecretString,
        direct_url: SecretString,
    },
    /// Ours: it stops when this is dropped.
    Private(PrivatePostgres),
    /// Private, and run by another process.
    Borrowed(SecretString),
}

impl Place {
    pub fn url(&self) -> &SecretString {
        match self {
            Self::Configured { url, .. } | Self::Borrowed(url) => url,
            Self::Private(postgres) => postgres.url(),
        }
    }

    /// Past any pooler.
    pub fn direct_url(&self) -> &SecretString {
        match self {
            Self::Configured { direct_url, .. } => direct_url,
            other => other.url(),
        }
    }

    /// Whether it is this project's own.
    pub fn is_private(&self) -> bool {
        !matches!(self, Self::Configured { .. })
    }

    /// Where mails are written that no server is configured for.
    pub fn outbox(&self, settings: &Settings) -> Option<PathBuf> {
        self.is_private().then(|| settings.data_dir.join("outbox"))
    }
}

/// The configured database, or the private one, started if it does not run.
pub async fn open(settings: &Settings) -> anyhow::Result<Place> {
    let folder = settings.data_dir.clone();
    match configured(settings) {
        Some(place) => Ok(place),
        None => Ok(match blocking(move || PrivatePostgres::open(&folder, Durability::Full)).await? {
            Opened::Started(postgres) => Place::Private(postgres),
            Opened::Running(url) => Place::Borrowed(url),
        }),
    }
}

/// The same for a server, which shares a private database with no other.
pub async fn open_alone(settings: &Settings) -> anyhow::Result<Place> {
    let folder = settings.data_dir.clone();
    match configured(settings) {
        Some(place) => Ok(place),
        None if settings.services != Services::All => Err(Misused(anyhow::anyhow!(NO_DATABASE)).into()),
        None => Ok(Place::Private(blocking(move || PrivatePostgres::start(&folder, Durability::Full)).await?)),
    }
}

fn configured(settings: &Settings) -> Option<Place> {
    let (url, direct_url) = (settings.database_url.clone()?, settings.direct_url()?.clone());
    Some(Place::Configured { url, direct_url })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Migrates where that is wanted, and fails where it is not and something is missing.
pub async fn migrated(settings: &Settings, place: &Place) -> anyhow::Result<()> {
    if settings.auto_migrate || place.is_private() {
        for migration in migrations::run(settings, place.direct_url()).await? {
            tracing::info!(migration, "migrated");
        }
        return Ok(());
    }
    match migrations::missing(settings, place.direct_url()).await?.as_slice() {
        [] => Ok(()),
        missing => anyhow::bail!("migrations are missing ({}); run `stockroom migrate`", missing.join(", ")),
    }
}

/// What to do where services have no database in common.
const NO_DATABASE: &str = "a service alone shares a database with the other one; set DATABASE_URL";
/// What to do without keys.
pub const NO_KEYS: &str = "a configured database needs a signing key: `stockroom keys generate > key.pem`, then set \
                       JWT_PRIVATE_KEY_FILE=key.pem";

/// Where the catalogue is served alone, it has no key to sign with; it must know where those are that verify.
const NO_PUBLISHED_KEYS: &str = "`--services catalog` verifies access tokens by the keys of the accounts service; set \
                                 ACCOUNTS_JWKS_URL, as in https://accounts.internal/.well-known/jwks.json";
const KEYS_WITHOUT_USE: &str = "`--services catalog` signs nothing and should have no key; unset JWT_PRIVATE_KEY and \
                                JWT_PRIVATE_KEY_FILE";

/// The signing keys: the configured ones, or for a private database those of a folder, the first of them made here. None
/// where nothing is signed.
pub fn keys(settings: &Settings) -> anyhow::Result<Option<Arc<Keys>>> {
    if settings.services == Services::Only(Service::Catalog) {
        return match (settings.key_source(), &settings.accounts_jwks_url) {
            (Some(_), _) => Err(Misused(anyhow::anyhow!(KEYS_WITHOUT_USE)).into()),
            (None, None) => Err(Misused(anyhow::anyhow!(NO_PUBLISHED_KEYS)).into()),
            (None, Some(_)) => Ok(None),
        };
    }
    let keys = match settings.key_source() {
        Some(KeySource::Text(pem)) => Ring::from_pem(&pem).map(Keys::fixed),
        Some(KeySource::Path(path)) => Keys::open(path),
        Some(KeySource::Private(folder)) => {
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            if std::fs::read_dir(&folder)?.next().is_none() {
                SigningKey::generate()?.save(&folder, Utc::now())?;
            }
            Keys::open(folder)
        }
        None => Err(anyhow::anyhow!(NO_KEYS)),
    };
    Ok(Some(Arc::new(keys.map_err(Misused)?)))
}

/// The pools of this database; nothing connects yet.
pub fn database(settings: &Settings, place: &Place) -> anyhow::Result<Database> {
    Ok(Database::new(settings, place.url(), place.direct_url()).map_err(Misused)?)
}

/// Makes sure, before the pools are used, that they may be, and that what they need is there.
pub async fn ready(settings: &Settings, place: &Place, db: &Database) -> anyhow::Result<()> {
    if !place.is_private() && pooler::check(settings, place.url()).await? == Kept::Statements {
        db.keep_no_session();
    }
    migrated(settings, place).await
}

/// Everything between the settings and the domain.
pub fn core(settings: &Settings, place: &Place, db: Database, keys: Option<Arc<Keys>>) -> anyhow::Result<Arc<Core>> {
    let infra = Infra::new(settings, db, keys, place.outbox(settings)).map_err(Misused)?;
    Ok(Core::new(settings, infra))
}

/// The domain for a command that signs nothing.
pub async fn core_for_command(settings: &Settings) -> anyhow::Result<(Arc<Core>, Place)> {
    let place = open(settings).await?;
    let db = database(settings, &place)?;
    ready(settings, &place, &db).await?;
    let core = core(settings, &place, db, Some(Arc::new(Keys::generate()?)))?;
    Ok((core, place))
}
