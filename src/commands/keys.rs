//! `keys`: signing keys from the command line. Servers notice within a second what happens to a folder of keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Subcommand;
use secrecy::ExposeSecret;

use crate::commands::{Misused, place, say};
use crate::config::{KeySource, Settings, delay};
use crate::infra::keys::{Dated, KID_START, Ring, SigningKey};

/// A key that stopped signing is kept this much longer than its tokens live, whatever the clocks.
const PRUNE_MARGIN: TimeDelta = TimeDelta::minutes(1);

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Print a new private key as PEM
    Generate,
    /// Make the key that signs next, in the folder of keys
    Rotate {
        /// How long it only verifies, so that every instance knows it when it begins to sign
        #[arg(long, default_value = "60s", value_parser = delay)]
        after: Duration,
        /// Also remove keys that stopped signing so long ago that no token of theirs is valid
        #[arg(long)]
        prune: bool,
    },
    /// List the keys, the newest first
    List,
    /// Remove a key from the folder: tokens that it signed are refused within about a second
    Retire {
        /// The key's name, or how it begins
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Even the key that signs, for which a new one takes over at once
        #[arg(long)]
        emergency: bool,
    },
}

pub fn run(settings: &Settings, command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Generate => {
            say(SigningKey::generate()?.pem.expose_secret().trim_end());
            Ok(())
        }
        KeysCommand::Rotate { after, prune } => rotate(settings, after, prune),
        KeysCommand::List => list(settings),
        KeysCommand::Retire { kid, emergency } => retire(settings, &kid, emergency),
    }
}

fn rotate(settings: &Settings, after: Duration, prune: bool) -> anyhow::Result<()> {
    let folder = folder(settings)?;
    let (key, since) = (SigningKey::generate()?, free_moment(&folder, Utc::now() + after));
    key.save(&folder, since)?;
    say(&format!("Made {}: it signs from {} on.", key.kid, moment(since)));
    if prune {
        for old in outdated(&Ring::read(&folder).map_err(Misused)?, TimeDelta::from_std(settings.access_token_ttl)?) {
            remove(&old)?;
            say(&format!("Removed {}: no token of it is valid any more.", old.key.kid));
        }
    }
    Ok(())
}

/// This moment, or one after the last key that begins to sign before it: file names tell only seconds.
fn free_moment(folder: &Path, wanted: DateTime<Utc>) -> DateTime<Utc> {
    let Ok(ring) = Ring::read(folder) else { return wanted };
    let before = ring.keys().filter_map(|known| known.since).filter(|since| *since <= wanted).max();
    before.map_or(wanted, |before| wanted.max(before + TimeDelta::seconds(1)))
}

/// The keys after which another one has signed for longer than tokens live.
fn outdated(ring: &Ring, token_ttl: TimeDelta) -> Vec<Dated> {
    let long_ago = Utc::now() - token_ttl - PRUNE_MARGIN;
    let mut keys: Vec<Dated> = ring.keys().cloned().collect();
    let successor = keys.iter().rposition(|key| key.since.is_some_and(|since| since < long_ago));
    keys.truncate(successor.unwrap_or(0));
    keys
}

fn list(settings: &Settings) -> anyhow::Result<()> {
    let ring = match source(settings)? {
        KeySource::Text(pem) => Ring::from_pem(&pem),
        KeySource::Path(path) | KeySource::Private(path) => Ring::read(&path),
    };
    let (ring, now) = (ring.map_err(Misused)?, Utc::now());
    for known in ring.keys().rev() {
        let state = match known.since {
            _ if known.key.kid == ring.signing(now).key.kid => "signs",
            Some(since) if since > now => "next",
            _ => "verifies",
        };
        say(&format!("{state:8}  {}  {}", known.key.kid, known.since.map_or_else(|| "-".to_owned(), moment)));
    }
    Ok(())
}

fn retire(settings: &Settings, kid: &str, emergency: bool) -> anyhow::Result<()> {
    let folder = folder(settings)?;
    let ring = Ring::read(&folder).map_err(Misused)?;
    let meant: Vec<&Dated> =
        ring.keys().filter(|known| kid.len() >= KID_START && known.key.kid.starts_with(kid)).collect();
    let Some(first) = meant.first().filter(|first| meant.iter().all(|key| key.key.kid == first.key.kid)) else {
        let kids: Vec<&str> = ring.keys().map(|known| known.key.kid.as_str()).collect();
        bail!("{kid} names none of the keys, or several; there are {}", kids.join(", "));
    };
    if ring.signing(Utc::now()).key.kid == first.key.kid {
        if !emergency {
            bail!(
                "{} signs now; `stockroom keys rotate` makes its successor, and `--emergency` retires it at once",
                first.key.kid
            );
        }
        let successor = SigningKey::generate()?;
        successor.save(&folder, free_moment(&folder, Utc::now()))?;
        say(&format!("Made {}: it signs from now on.", successor.kid));
    }
    for key in &meant {
        remove(key)?;
    }
    say(&format!("Removed {}: tokens that it signed are refused within about a second.", first.key.kid));
    Ok(())
}

fn source(settings: &Settings) -> anyhow::Result<KeySource> {
    Ok(settings.key_source().ok_or_else(|| Misused(anyhow::anyhow!(place::NO_KEYS)))?)
}

/// Where key files can be made and removed.
fn folder(settings: &Settings) -> anyhow::Result<PathBuf> {
    let place = match source(settings)? {
        KeySource::Private(folder) => {
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            return Ok(folder);
        }
        KeySource::Path(path) if path.is_dir() => return Ok(path),
        KeySource::Path(path) => format!("JWT_PRIVATE_KEY_FILE {}", path.display()),
        KeySource::Text(_) => "JWT_PRIVATE_KEY".to_owned(),
    };
    Err(Misused(anyhow::anyhow!(
        "{place} is not a folder. Keys in one text rotate in three steps, each on every instance before the next: the \
         new key (`stockroom keys generate`) behind the old one; before it; alone"
    ))
    .into())
}

fn remove(known: &Dated) -> anyhow::Result<()> {
    let Some(file) = &known.file else { return Ok(()) };
    std::fs::remove_file(file).with_context(|| format!("removing {}", file.display()))
}

fn moment(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
