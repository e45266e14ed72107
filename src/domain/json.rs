//! JSON as PostgreSQL keeps it. Most of what is read nobody looks into, and to take it apart would cost as much as all the
//! other columns together.

use std::io::Write;
use std::sync::OnceLock;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Jsonb;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The first byte of a `jsonb` as it is sent (`jsonb_send` and `jsonb_recv` in PostgreSQL).
const RELEASE: u8 = 1;

/// A JSON value that is parsed when somebody looks into it. In compact forms it is its text, in JSON it is itself.
#[derive(Clone, Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
pub struct Json {
    text: Box<str>,
    value: OnceLock<Value>,
}

impl Json {
    /// A value, put into words.
    ///
    /// # Errors
    /// When it cannot be JSON.
    pub fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(|text| text.into_boxed_str().into())
    }

    /// What it says; null where that is beyond what can be read, such as a number of a thousand digits.
    pub fn value(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.read().unwrap_or(&NULL)
    }

    /// Of its text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The same.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self) -> serde_json::Result<&Value> {
        match self.value.get() {
            Some(value) => Ok(value),
            None => serde_json::from_str(&self.text).map(|value| self.value.get_or_init(|| value)),
        }
    }
}

impl From<Box<str>> for Json {
    fn from(text: Box<str>) -> Self {
        Self { text, value: OnceLock::new() }
    }
}

impl Default for Json {
    fn default() -> Self {
        Box::<str>::from("null").into()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text || matches!((self.read(), other.read()), (Ok(one), Ok(another)) if one == another)
    }
}

impl FromSql<Jsonb, Pg> for Json {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes().split_first() {
            Some((&RELEASE, text)) => Ok(Box::<str>::from(std::str::from_utf8(text)?).into()),
            _ => Err("jsonb of an unknown release".into()),
        }
    }
}

impl ToSql<Jsonb, Pg> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[RELEASE])?;
        out.write_all(self.text.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => self.value().serialize(serializer),
            false => serializer.serialize_str(&self.text),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => Value::deserialize(deserializer)
                .map(|value| Self { text: value.to_string().into(), value: value.into() }),
            false => Box::<str>::deserialize(deserializer).map(Self::from),
        }
    }
}
