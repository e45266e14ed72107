//! Global ids: opaque to clients, `base64url("Product:<uuid>")` inside, so that an id of another type is seen.

use async_graphql::ID;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::ids::{ApiKeyId, CategoryId, ProductId, SessionId, UserId};
use crate::graphql::error::{ApiError, Result};

/// Longest text that can be an id.
const MAX_TEXT: usize = 100;

/// The id of any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeId {
    Product(ProductId),
    Category(CategoryId),
    User(UserId),
    Session(SessionId),
    ApiKey(ApiKeyId),
}

impl NodeId {
    /// The node's id in this text.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = (text.len() <= MAX_TEXT).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        let (kind, uuid) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        let id = Uuid::try_parse(uuid).ok()?;
        let node = match kind {
            "Product" => Self::Product(ProductId(id)),
            "Category" => Self::Category(CategoryId(id)),
            "User" => Self::User(UserId(id)),
            "Session" => Self::Session(SessionId(id)),
            "ApiKey" => Self::ApiKey(ApiKeyId(id)),
            _ => return None,
        };
        // One id, one text: clients compare them.
        (node.encode().as_str() == text).then_some(node)
    }

    /// As clients see it.
    pub fn encode(self) -> ID {
        let mut text = Vec::new();
        self.append_to(&mut text);
        ID(String::from_utf8(text).unwrap_or_default())
    }

    /// The same, behind what is there already.
    pub fn append_to(self, text: &mut Vec<u8>) {
        let (kind, id) = match self {
            Self::Product(id) => ("Product", id.0),
            Self::Category(id) => ("Category", id.0),
            Self::User(id) => ("User", id.0),
            Self::Session(id) => ("Session", id.0),
            Self::ApiKey(id) => ("ApiKey", id.0),
        };
        // Every product on a page has several: no formatter.
        let (mut uuid, mut encoded) = (Uuid::encode_buffer(), [0; MAX_TEXT]);
        let named = [kind, ":", id.hyphenated().encode_lower(&mut uuid)].concat();
        let length = URL_SAFE_NO_PAD.encode_slice(named, &mut encoded).unwrap_or_default();
        text.extend_from_slice(encoded.get(..length).unwrap_or_default());
    }

    /// The node's id in an argument.
    pub fn read(argument: &str, id: &ID) -> Result<Self> {
        Self::decode(id).ok_or_else(|| ApiError::bad_input(argument, "is not an id; pass an `id` that this API gave"))
    }
}

/// Reads the id of one type from an argument.
macro_rules! reads {
    ($($name:ident, $variant:ident, $id:ident, $noun:literal;)*) => {$(
        #[doc = concat!("The id of ", $noun, " in an argument.")]
        pub fn $name(argument: &str, id: &ID) -> Result<$id> {
            match NodeId::read(argument, id)? {
                NodeId::$variant(id) => Ok(id),
                _ => Err(ApiError::bad_input(argument, concat!("is the id of something else; pass the id of ", $noun))),
            }
        }
    )*};
}

reads! {
    product, Product, ProductId, "a product";
    category, Category, CategoryId, "a category";
    user, User, UserId, "a user";
    session, Session, SessionId, "a session";
    api_key, ApiKey, ApiKeyId, "an API key";
}
