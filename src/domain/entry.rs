//! An answer as Redis keeps it: a magic number, a CRC-32 of the rest, and the rest as `MessagePack`.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::changes::{Dependencies, Version};

/// What it is, and the release of its layout.
pub const MAGIC: [u8; 4] = *b"SRA5";
/// Bytes of a CRC-32.
const CRC: usize = 4;
/// Bytes of an entry, about.
const ABOUT: usize = 8 * 1024;

/// An answer, with the version at which it was read and what it depended on.
#[derive(Serialize, Deserialize)]
pub struct Entry<R, D, T> {
    /// The whole question again: a digest may collide, and keys may be moved about.
    region: R,
    digest: u128,
    pub version: Version,
    pub dependencies: D,
    pub value: T,
}

/// The bytes of an answer to the question of this digest.
///
/// # Errors
/// When the value cannot be written.
pub fn encode<T: Serialize>(
    region: &str,
    digest: u128,
    version: Version,
    dependencies: &Dependencies,
    value: &T,
) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(ABOUT);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; CRC]);
    rmp_serde::encode::write(&mut bytes, &Entry { region, digest, version, dependencies, value })?;
    if let Some((crc, body)) = bytes.get_mut(MAGIC.len()..).and_then(<[u8]>::split_first_chunk_mut::<CRC>) {
        *crc = crc32fast::hash(body).to_be_bytes();
    }
    Ok(bytes)
}

/// Bytes of a value as it would be kept.
///
/// # Errors
/// When it cannot be written.
pub fn size(value: &impl Serialize) -> Result<usize, rmp_serde::encode::Error> {
    let mut size = Size(0);
    value.serialize(&mut rmp_serde::Serializer::new(&mut size))?;
    Ok(size.0)
}

/// How many bytes were written.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was kept for the question of this digest; `None` if it is torn, foreign or of another release.
pub fn decode<T: DeserializeOwned>(region: &str, digest: u128, bytes: &[u8]) -> Option<Entry<String, Dependencies, T>> {
    let (crc, body) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<CRC>()?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let entry: Entry<String, Dependencies, T> = rmp_serde::from_slice(body).ok()?;
    (entry.region == region && entry.digest == digest).then_some(entry)
}
