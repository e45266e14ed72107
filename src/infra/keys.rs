//! The Ed25519 keys of access tokens: one signs, all of them verify, and the world may know their public halves, as a
//! JSON Web Key Set (RFC 7517, RFC 8037).
//!
//! A file or a folder is read again when it changes, so that keys rotate while the server runs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, NaiveDateTime, Utc};
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::infra::postgres::write_secret;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// How a file name tells from when its key signs.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same, where tokens name unknown keys. Looking is cheap, and once a second would not do: tokens of a key that has
/// just been retired would keep that of its successor from being found.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Longest wait of a token for that.
const PATIENCE: Duration = Duration::from_secs(1);
/// A file that changed later than this may change again without showing it.
const SETTLED: Duration = Duration::from_secs(2);
/// Characters of a key's name: a SHA-256 in base64url.
const KID_LENGTH: usize = 43;
/// As many of them tell keys apart, in file names and on the command line.
pub const KID_START: usize = 8;

/// A private key, and what the world may know of it.
pub struct SigningKey {
    /// PKCS #8 in PEM.
    pub pem: SecretString,
    /// The public key's 32 bytes, base64url: `x` of its JWK.
    pub public: String,
    /// Its name in tokens: the thumbprint of RFC 7638.
    pub kid: String,
    pub private_half: EncodingKey,
    pub public_half: DecodingKey,
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> anyhow::Result<Self> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())
            .map_err(|_| anyhow!("the system's random numbers are not available"))?;
        Self::from_base64(&STANDARD.encode(pkcs8.as_ref()))
    }

    /// The keys in this PEM text, one after the other; at least one.
    ///
    /// # Errors
    /// When there is anything but Ed25519 private keys in PKCS #8.
    pub fn all_from_pem(pem: &SecretString) -> anyhow::Result<Vec<Self>> {
        let (mut keys, mut rest) = (Vec::new(), pem.expose_secret());
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (base64, after) = after.split_once(END).context("the signing key's PEM text is cut off")?;
            if before.contains("-----") {
                bail!("beside private keys there is something else in the signing key's PEM text");
            }
            keys.push(Self::from_base64(&base64.split_whitespace().collect::<String>())?);
            rest = after;
        }
        match (keys.is_empty(), rest.contains("-----")) {
            (true, _) => bail!("the signing key is not a PEM private key; `stockroom keys generate` prints one"),
            (_, true) => bail!("beside private keys there is something else in the signing key's PEM text"),
            _ => Ok(keys),
        }
    }

    fn from_base64(base64: &str) -> anyhow::Result<Self> {
        let der = STANDARD.decode(base64).context("the signing key's PEM text is damaged")?;
        let pair = Ed25519KeyPair::from_pkcs8(&der)
            .map_err(|_| anyhow!("the signing key is not an Ed25519 key; `stockroom keys generate` prints one"))?;
        let lines = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default());
        let pem = format!("{BEGIN}\n{}\n{END}\n", lines.collect::<Vec<_>>().join("\n"));
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let thumbprint = digest(&SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#).as_bytes());
        Ok(Self {
            private_half: EncodingKey::from_ed_pem(pem.as_bytes())?,
            public_half: DecodingKey::from_ed_components(&public)?,
            pem: pem.into(),
            kid: URL_SAFE_NO_PAD.encode(thumbprint.as_ref()),
            public,
        })
    }

    /// Writes the key into a folder, to sign from this moment on; only its owner may read it.
    pub fn save(&self, folder: &Path, since: DateTime<Utc>) -> anyhow::Result<()> {
        let start: String = self.kid.chars().take(KID_START).collect();
        let file = folder.join(format!("{}-{start}.pem", since.format(MOMENT)));
        write_secret(&file, self.pem.expose_secret()).with_context(|| format!("writing {}", file.display()))
    }
}

/// A key and its time.
#[derive(Clone)]
pub struct Dated {
    pub key: Arc<SigningKey>,
    /// When it begins to sign; without one, it could always.
    pub since: Option<DateTime<Utc>>,
    /// The file of a folder that it is in.
    pub file: Option<PathBuf>,
}

/// The keys that are known at one time, the oldest first.
pub struct Ring {
    oldest: Dated,
    newer: Vec<Dated>,
}

impl Ring {
    fn new(keys: impl IntoIterator<Item = Dated>) -> Option<Self> {
        let mut keys = keys.into_iter();
        Some(Self { oldest: keys.next()?, newer: keys.collect() })
    }

    /// The keys of a PEM text, of which the first is to sign.
    pub fn from_pem(pem: &SecretString) -> anyhow::Result<Self> {
        let keys = SigningKey::all_from_pem(pem)?.into_iter().rev();
        let undated = keys.map(|key| Dated { key: Arc::new(key), since: None, file: None });
        Self::new(undated).context("there is no key")
    }

    /// The keys in a file, as [`Self::from_pem`] takes them, or in a folder: of each `*.pem` one, which signs from the
    /// moment on that its name begins with, as in `20261125T130100Z-x.pem`. Names without one are older, in their order.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_files(path, &Files::look(path)?)
    }

    fn read_files(path: &Path, files: &Files) -> anyhow::Result<Self> {
        let read = |file: &Path| -> anyhow::Result<SecretString> {
            Ok(std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?.into())
        };
        if !files.in_folder {
            return Self::from_pem(&read(path)?).with_context(|| format!("in {}", path.display()));
        }
        let mut keys = Vec::new();
        for file in files.seen.iter().map(|seen| &seen.file) {
            let found = SigningKey::all_from_pem(&read(file)?).with_context(|| format!("in {}", file.display()))?;
            let Ok([key]) = <[SigningKey; 1]>::try_from(found) else {
                bail!("{} holds several keys; in a folder each has a file of its own", file.display());
            };
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let moment = name.split(['-', '.']).next().unwrap_or_default();
            let since = NaiveDateTime::parse_from_str(moment, MOMENT).ok().map(|moment| moment.and_utc());
            keys.push(Dated { key: Arc::new(key), since, file: Some(file.clone()) });
        }
        // Stable: of one moment, and of none, the names decide.
        keys.sort_by_key(|key| key.since);
        Self::new(keys).with_context(|| {
            format!("there is no *.pem in the folder {}; `stockroom keys rotate` makes one", path.display())
        })
    }

    /// From the oldest to the newest.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Dated> {
        std::iter::once(&self.oldest).chain(&self.newer)
    }

    /// The newest key whose moment has come.
    pub fn signing(&self, now: DateTime<Utc>) -> &Dated {
        self.keys().rev().find(|key| key.since.is_none_or(|since| since <= now)).unwrap_or(&self.oldest)
    }

    fn find(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.keys().find(|known| known.key.kid == kid).map(|known| Arc::clone(&known.key))
    }

    /// The JSON Web Key Set with the public keys, the newest first.
    pub fn jwks(&self) -> Value {
        let public = |key: &SigningKey| json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": key.public });
        json!({ "keys": self.keys().rev().map(|known| public(&known.key)).collect::<Vec<_>>() })
    }
}

/// What files look like from outside: it differs when what is in them does.
#[derive(PartialEq)]
struct Files {
    in_folder: bool,
    /// By name.
    seen: Vec<Seen>,
}

#[derive(PartialEq)]
struct Seen {
    file: PathBuf,
    inode: u64,
    /// Of content and name, in seconds and nanoseconds; unlike the time of modification nobody can set it.
    changed: (i64, i64),
}

impl Files {
    /// Follows links: what Kubernetes mounts consists of them.
    fn look(path: &Path) -> anyhow::Result<Self> {
        let unreadable = || format!("{} cannot be read", path.display());
        let look = |file: PathBuf| {
            let about = std::fs::metadata(&file)?;
            let seen = Seen { file, inode: about.ino(), changed: (about.ctime(), about.ctime_nsec()) };
            Ok::<_, std::io::Error>((seen, about))
        };
        let (itself, about) = look(path.to_owned()).with_context(unreadable)?;
        if !about.is_dir() {
            return Ok(Self { in_folder: false, seen: vec![itself] });
        }
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(path).with_context(unreadable)? {
            let file = entry.with_context(unreadable)?.path();
            if file.extension().is_some_and(|ending| ending == "pem") {
                let (file, about) = look(file).with_context(unreadable)?;
                seen.extend(about.is_file().then_some(file));
            }
        }
        seen.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(Self { in_folder: true, seen })
    }

    /// Whether the next change must show: the clock of files ticks coarsely.
    fn have_settled(&self) -> bool {
        let newest = self.seen.iter().map(|seen| seen.changed.0).max().unwrap_or_default();
        Utc::now().timestamp() - newest > SETTLED.as_secs().cast_signed()
    }
}

/// The keys as they are now.
pub struct Keys {
    path: Option<PathBuf>,
    ring: RwLock<Arc<Ring>>,
    /// One reads, whoever comes meanwhile waits for what comes of it.
    reading: Arc<Mutex<Reading>>,
}

#[derive(Default)]
struct Reading {
    /// What was read last, if it would show that it changed.
    files: Option<Files>,
    /// What is wrong with the files, so that it is logged once.
    complaint: Option<String>,
    /// When the files were looked at last.
    looked: Option<Instant>,
}

impl Keys {
    /// Keys that stay as they are.
    pub fn fixed(ring: Ring) -> Self {
        Self { path: None, ring: RwLock::new(Arc::new(ring)), reading: Arc::default() }
    }

    /// A key of this process alone.
    pub fn generate() -> anyhow::Result<Self> {
        let key = Dated { key: Arc::new(SigningKey::generate()?), since: None, file: None };
        Ok(Self::fixed(Ring { oldest: key, newer: Vec::new() }))
    }

    /// The keys in a file or in a folder, as [`Ring::read`] finds them.
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        Ok(Self { ring: RwLock::new(Arc::new(Ring::read(&path)?)), path: Some(path), reading: Arc::default() })
    }

    /// Those that are known.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key of this name. For a name that nobody knows the files are looked at first.
    pub async fn find(self: &Arc<Self>, kid: &str) -> Option<Arc<SigningKey>> {
        if let Some(key) = self.ring().find(kid) {
            return Some(key);
        }
        if self.path.is_some() && kid.len() == KID_LENGTH {
            let _ = tokio::time::timeout(PATIENCE, self.look()).await;
        }
        self.ring().find(kid)
    }

    /// Looks at the files every second, as long as anybody has the keys. Needs a runtime.
    pub fn keep_reading(self: &Arc<Self>) {
        let keys = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(keys) = keys.upgrade() else { return };
                keys.look().await;
            }
        });
    }

    /// Ready once the files were looked at, by whomever, later than this was called.
    async fn look(self: &Arc<Self>) {
        let Some(path) = self.path.clone() else { return };
        let called = Instant::now();
        let mut reading = Arc::clone(&self.reading).lock_owned().await;
        if reading.looked.is_some_and(|looked| looked >= called) {
            return;
        }
        if let Some(looked) = reading.looked {
            tokio::time::sleep_until(looked + LOOK_AT_MOST_EVERY).await;
        }
        reading.looked = Some(Instant::now());
        let keys = Arc::clone(self);
        let _ = tokio::task::spawn_blocking(move || keys.read_again(&path, &mut reading)).await;
    }

    /// Reads what has changed. What cannot be read leaves things as they were.
    fn read_again(&self, path: &Path, reading: &mut Reading) {
        let files = Files::look(path);
        if files.as_ref().is_ok_and(|files| reading.files.as_ref() == Some(files)) {
            return;
        }
        reading.files = None;
        match files.and_then(|files| Ok((Ring::read_files(path, &files)?, files))) {
            Ok((ring, files)) => {
                reading.files = files.have_settled().then_some(files);
                let kids = |ring: &Ring| ring.keys().map(|known| known.key.kid.clone()).collect::<Vec<_>>();
                if reading.complaint.take().is_some() || kids(&ring) != kids(&self.ring()) {
                    tracing::info!(kids = ?kids(&ring), "the signing keys were read again");
                }
                *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
            }
            Err(error) => {
                let complaint = Some(format!("{error:#}"));
                if reading.complaint != complaint {
                    tracing::error!(error = complaint, "the signing keys stay as they were");
                }
                reading.complaint = complaint;
            }
        }
    }
}
