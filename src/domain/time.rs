//! How moments are kept: as text where people read it, elsewhere as microseconds since 1970, which is what PostgreSQL has.

use chrono::serde::ts_microseconds;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For `#[serde(with = "time")]`.
pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        time.serialize(serializer)
    } else {
        ts_microseconds::serialize(time, serializer)
    }
}

/// The other way.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    if deserializer.is_human_readable() {
        DateTime::deserialize(deserializer)
    } else {
        ts_microseconds::deserialize(deserializer)
    }
}
