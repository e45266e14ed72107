//! Products: `ProductDraft` is as somebody typed it, `NewProduct` is checked, `Product` is stored.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::{AsChangeset, Insertable, Queryable, Selectable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::catalog::money::{self, MoneyDraft, format_minor};
use crate::domain::error::{FieldErrorCode, FieldErrors};
use crate::domain::ids::{CategoryId, ProductId, UserId, text_enum};
use crate::domain::json::Json;
use crate::domain::text::{self, Problem};
use crate::domain::time;
use crate::infra::schema::products;

const MAX_SKU: usize = 64;
const MAX_SLUG: usize = 200;
const MAX_NAME: usize = 200;
const MAX_DESCRIPTION: usize = 10_000;
const MAX_REFERENCE: usize = 200;
const MAX_TAGS: usize = 50;
const MAX_TAG: usize = 50;
const MAX_ATTRIBUTES: usize = 50;
const MAX_ATTRIBUTE_KEY: usize = 64;
const MAX_ATTRIBUTE_BYTES: usize = 2_000;
const MAX_MEDIA: usize = 20;
const MAX_URL: usize = 2_000;
const MAX_ALT: usize = 300;
const MAX_PIXELS: i32 = 100_000;
/// Pieces of one product, at most.
pub const MAX_STOCK: i32 = 1_000_000_000;
/// So few are left that shops say so.
const LOW_STOCK: i32 = 5;

text_enum! {
    /// Where a product is in its life.
    Status {
        /// Only the staff sees it.
        Draft = "DRAFT",
        /// On sale.
        Active = "ACTIVE",
        /// Off sale; only the staff sees it.
        Archived = "ARCHIVED",
    }
}

/// A stored product.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = products)]
pub struct Product {
    pub id: ProductId,
    pub sku: String,
    pub slug: String,
    pub name: String,
    /// What the name sorts by; see [`text::sort_key`].
    pub name_key: String,
    #[serde(default)]
    pub description: Option<String>,
    pub status: Status,
    /// Minor units.
    pub price_amount: i64,
    pub price_currency: String,
    /// The former price, in the same currency.
    pub compare_at_amount: Option<i64>,
    pub stock: i32,
    pub category_id: Option<CategoryId>,
    pub tags: Vec<String>,
    /// An object.
    pub attributes: Json,
    /// An array of [`Media`].
    #[serde(default)]
    pub media: Json,
    /// 0 to 5.
    pub rating: Option<f64>,
    pub external_reference: Option<String>,
    pub created_by: Option<UserId>,
    /// Rises with every change.
    pub version: i32,
    #[serde(with = "time")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "time")]
    pub updated_at: DateTime<Utc>,
}

/// A picture or a film.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    pub url: String,
    pub alt: Option<String>,
    pub width: Option<i32>,
    pub height: Option<i32>,
}

/// How well stocked a product is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockState {
    In,
    Low,
    Out,
}

impl Product {
    pub fn stock_state(&self) -> StockState {
        match self.stock {
            ..=0 => StockState::Out,
            1..=LOW_STOCK => StockState::Low,
            _ => StockState::In,
        }
    }

    /// The attributes by key.
    pub fn attributes(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.attributes.value().as_object().into_iter().flatten()
    }

    /// The pictures in their order.
    pub fn media(&self) -> Vec<Media> {
        Media::deserialize_list(self.media.value())
    }

    /// What lists neither find nor sort by, and what is long.
    pub fn texts(&self) -> (&Option<String>, &Json) {
        (&self.description, &self.media)
    }

    /// All but that.
    #[must_use]
    pub fn without_texts(&self) -> Self {
        self.with_texts(None, Json::default())
    }

    /// The same with others.
    #[must_use]
    pub fn with_texts(&self, description: Option<String>, media: Json) -> Self {
        Self { description, media, ..self.clone() }
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let texts = [&self.sku, &self.slug, &self.name, &self.name_key].into_iter().chain(&self.tags);
        let texts = texts.chain(&self.description).chain(&self.external_reference);
        let json = self.attributes.bytes() + self.media.bytes();
        size_of::<Self>() + json + texts.map(|text| size_of::<String>() + text.len()).sum::<usize>()
    }

    /// As somebody would type it to get the same again.
    fn draft(&self) -> ProductDraft {
        let digits = money::fraction_digits(&self.price_currency) as usize;
        ProductDraft {
            sku: self.sku.clone(),
            name: self.name.clone(),
            slug: Some(self.slug.clone()),
            description: self.description.clone(),
            status: self.status,
            price: MoneyDraft {
                amount: format_minor(self.price_amount, digits),
                currency: self.price_currency.clone(),
            },
            compare_at_price: self.compare_at_amount.map(|amount| MoneyDraft {
                amount: format_minor(amount, digits),
                currency: self.price_currency.clone(),
            }),
            stock: self.stock,
            category_id: self.category_id,
            tags: self.tags.clone(),
            attributes: self.attributes().map(|(key, value)| (key.clone(), value.clone())).collect(),
            media: self.media(),
            rating: self.rating,
            external_reference: self.external_reference.clone(),
        }
    }
}

impl Media {
    fn deserialize_list(value: &Value) -> Vec<Self> {
        Vec::deserialize(value).unwrap_or_default()
    }
}

/// One way to name a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProductKey {
    Id(ProductId),
    Slug(String),
    Sku(String),
    ExternalReference(String),
}

impl ProductKey {
    /// Whether it is a key of this product.
    pub fn names(&self, product: &Product) -> bool {
        match self {
            Self::Id(id) => product.id == *id,
            Self::Slug(slug) => product.slug == *slug,
            Self::Sku(sku) => product.sku == *sku,
            Self::ExternalReference(reference) => product.external_reference.as_ref() == Some(reference),
        }
    }
}

/// A product as somebody typed it.
#[derive(Clone, Debug)]
pub struct ProductDraft {
    pub sku: String,
    pub name: String,
    /// Made from the name where it is not given.
    pub slug: Option<String>,
    pub description: Option<String>,
    pub status: Status,
    pub price: MoneyDraft,
    pub compare_at_price: Option<MoneyDraft>,
    pub stock: i32,
    pub category_id: Option<CategoryId>,
    pub tags: Vec<String>,
    pub attributes: Vec<(String, Value)>,
    pub media: Vec<Media>,
    pub rating: Option<f64>,
    pub external_reference: Option<String>,
}

/// A checked product.
#[derive(Clone, Debug, Insertable, Serialize)]
#[diesel(table_name = products, treat_none_as_default_value = false)]
pub struct NewProduct {
    pub sku: String,
    pub slug: String,
    pub name: String,
    pub name_key: String,
    pub description: Option<String>,
    pub status: Status,
    pub price_amount: i64,
    pub price_currency: String,
    pub compare_at_amount: Option<i64>,
    pub stock: i32,
    pub category_id: Option<CategoryId>,
    pub tags: Vec<String>,
    pub attributes: Value,
    pub media: Value,
    pub rating: Option<f64>,
    pub external_reference: Option<String>,
}

impl NewProduct {
    /// What must change of the stored product.
    pub fn changes<'a>(&'a self, product: &'a Product) -> ProductChanges<'a> {
        fn changed<T: PartialEq>(new: T, old: T) -> Option<T> {
            (new != old).then_some(new)
        }
        ProductChanges {
            sku: changed(&self.sku, &product.sku),
            slug: changed(&self.slug, &product.slug),
            name: changed(&self.name, &product.name),
            name_key: changed(&self.name_key, &product.name_key),
            description: changed(&self.description, &product.description).cloned(),
            status: changed(self.status, product.status),
            price_amount: changed(self.price_amount, product.price_amount),
            price_currency: changed(&self.price_currency, &product.price_currency),
            compare_at_amount: changed(self.compare_at_amount, product.compare_at_amount),
            stock: changed(self.stock, product.stock),
            category_id: changed(self.category_id, product.category_id),
            tags: changed(&self.tags, &product.tags),
            attributes: changed(&self.attributes, product.attributes.value()),
            media: changed(&self.media, product.media.value()),
            rating: changed(self.rating, product.rating),
            external_reference: changed(&self.external_reference, &product.external_reference).cloned(),
        }
    }
}

/// Columns of a product that get another value; of those that may be NULL an inner `None` is that.
#[derive(Debug, Default, PartialEq, AsChangeset)]
#[diesel(table_name = products)]
pub struct ProductChanges<'a> {
    pub sku: Option<&'a String>,
    pub slug: Option<&'a String>,
    pub name: Option<&'a String>,
    pub name_key: Option<&'a String>,
    pub description: Option<Option<String>>,
    pub status: Option<Status>,
    pub price_amount: Option<i64>,
    pub price_currency: Option<&'a String>,
    pub compare_at_amount: Option<Option<i64>>,
    pub stock: Option<i32>,
    pub category_id: Option<Option<CategoryId>>,
    pub tags: Option<&'a Vec<String>>,
    pub attributes: Option<&'a Value>,
    pub media: Option<&'a Value>,
    pub rating: Option<Option<f64>>,
    pub external_reference: Option<Option<String>>,
}

impl ProductDraft {
    /// The product, or all that is wrong with it.
    pub fn check(self) -> Result<NewProduct, FieldErrors> {
        let mut errors = FieldErrors::default();
        let name = errors.keep(&["name"], text::line(&self.name, MAX_NAME)).unwrap_or_default();
        let sku = errors.keep(&["sku"], text::line(&self.sku, MAX_SKU)).unwrap_or_default();
        let slug = match &self.slug {
            Some(slug) => errors.keep(&["slug"], text::slug(slug, MAX_SLUG)).unwrap_or_default(),
            None => slug_for(&name, &sku),
        };
        if slug.is_empty() && errors.0.is_empty() {
            errors.add(FieldErrorCode::Required, &["slug"], "neither name nor SKU has letters for a slug; give one");
        }
        let description = self.description.filter(|text| !text.trim().is_empty());
        let description = description
            .and_then(|description| errors.keep(&["description"], text::prose(&description, MAX_DESCRIPTION)));
        let price_amount = check_money(&["price"], &self.price, &mut errors).unwrap_or_default();
        let compare_at_amount = self.compare_at_price.and_then(|price| {
            check_money(&["compareAtPrice"], &price, &mut errors).inspect(|_| {
                if price.currency != self.price.currency {
                    let message = format!("must be {}, the currency of the price", self.price.currency);
                    errors.add(FieldErrorCode::Invalid, &["compareAtPrice", "currency"], message);
                }
            })
        });
        if !(0..=MAX_STOCK).contains(&self.stock) {
            errors.add(FieldErrorCode::OutOfRange, &["stock"], format!("must be between 0 and {MAX_STOCK}"));
        }
        let tags = check_tags(&self.tags, &mut errors);
        let attributes = check_attributes(self.attributes, &mut errors);
        let media = check_media(&self.media, &mut errors);
        if self.rating.is_some_and(|rating| !(0.0..=5.0).contains(&rating)) {
            errors.add(FieldErrorCode::OutOfRange, &["rating"], "must be between 0 and 5");
        }
        let external_reference = self.external_reference.as_deref();
        let external_reference = external_reference
            .and_then(|reference| errors.keep(&["externalReference"], text::line(reference, MAX_REFERENCE)));
        if !errors.0.is_empty() {
            return Err(errors);
        }
        Ok(NewProduct {
            name_key: text::sort_key(&name),
            sku,
            slug,
            name,
            description,
            status: self.status,
            price_amount,
            price_currency: self.price.currency,
            compare_at_amount,
            stock: self.stock,
            category_id: self.category_id,
            tags,
            attributes,
            media,
            rating: self.rating,
            external_reference,
        })
    }
}

/// A slug from the name, or from the SKU where the name has no letters for one.
fn slug_for(name: &str, sku: &str) -> String {
    match text::slugify(name, MAX_SLUG) {
        empty if empty.is_empty() => text::slugify(sku, MAX_SLUG),
        slug => slug,
    }
}

/// The slug to try when another product has the name's.
pub fn second_slug(name: &str, sku: &str) -> String {
    text::slugify(&format!("{} {sku}", text::slugify(name, MAX_SLUG - MAX_SKU - 1)), MAX_SLUG)
}

fn check_money(path: &[&str], money: &MoneyDraft, errors: &mut FieldErrors) -> Option<i64> {
    let currency = errors.keep(&[path, &["currency"]].concat(), money::currency(&money.currency))?;
    errors.keep(&[path, &["amount"]].concat(), money::minor_units(&money.amount, currency))
}

fn at_most(path: &[&str], count: usize, max: usize, errors: &mut FieldErrors) -> bool {
    if count > max {
        errors.add(FieldErrorCode::TooLong, path, format!("must have at most {max} entries"));
    }
    count <= max
}

fn check_tags(tags: &[String], errors: &mut FieldErrors) -> Vec<String> {
    let mut checked: Vec<String> = Vec::new();
    if at_most(&["tags"], tags.len(), MAX_TAGS, errors) {
        for (index, tag) in tags.iter().enumerate() {
            let tag = errors.keep(&["tags", &index.to_string()], text::line(tag, MAX_TAG));
            checked.extend(tag.filter(|tag| !checked.contains(tag)));
        }
    }
    checked
}

fn check_attributes(attributes: Vec<(String, Value)>, errors: &mut FieldErrors) -> Value {
    let mut checked = BTreeMap::new();
    if at_most(&["attributes"], attributes.len(), MAX_ATTRIBUTES, errors) {
        for (index, (key, value)) in attributes.into_iter().enumerate() {
            let index = index.to_string();
            let key = errors.keep(&["attributes", &index, "key"], text::line(&key, MAX_ATTRIBUTE_KEY));
            errors.keep(&["attributes", &index, "value"], check_json(&value));
            if let Some(key) = key
                && checked.insert(key, value).is_some()
            {
                errors.add(FieldErrorCode::Invalid, &["attributes", &index, "key"], "must not be given twice");
            }
        }
    }
    Value::Object(checked.into_iter().collect())
}

/// JSON that PostgreSQL can keep.
pub fn check_json(value: &Value) -> Result<(), Problem> {
    let text = value.to_string();
    if text.len() > MAX_ATTRIBUTE_BYTES {
        return Err((FieldErrorCode::TooLong, format!("must have at most {MAX_ATTRIBUTE_BYTES} bytes as JSON")));
    }
    if text.contains("\\u0000") {
        return Err((FieldErrorCode::Invalid, "must not contain the character U+0000".to_owned()));
    }
    Ok(())
}

fn check_media(media: &[Media], errors: &mut FieldErrors) -> Value {
    if !at_most(&["media"], media.len(), MAX_MEDIA, errors) {
        return Value::Array(Vec::new());
    }
    let pixels = |size: Option<i32>| size.is_none_or(|size| (1..=MAX_PIXELS).contains(&size));
    for (index, one) in media.iter().enumerate() {
        let index = index.to_string();
        let url = url::Url::parse(&one.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if url.is_none() || one.url.len() > MAX_URL || text::line(&one.url, MAX_URL).is_err() {
            let message = format!("must be an http or https URL of at most {MAX_URL} characters");
            errors.add(FieldErrorCode::Invalid, &["media", &index, "url"], message);
        }
        if let Some(alt) = &one.alt {
            errors.keep(&["media", &index, "alt"], text::prose(alt, MAX_ALT));
        }
        for (name, size) in [("width", one.width), ("height", one.height)] {
            if !pixels(size) {
                let message = format!("must be between 1 and {MAX_PIXELS}");
                errors.add(FieldErrorCode::OutOfRange, &["media", &index, name], message);
            }
        }
    }
    serde_json::to_value(media).unwrap_or_default()
}

/// What a patch does to one field.
#[derive(Clone, Debug, Default)]
pub enum Patch<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T: Clone> Patch<T> {
    /// The field's value afterwards.
    pub fn apply(self, current: Option<&T>) -> Option<T> {
        match self {
            Self::Keep => current.cloned(),
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// The value afterwards of a field that must have one.
    pub fn apply_required(self, name: &str, current: &T, errors: &mut FieldErrors) -> T {
        self.apply(Some(current)).unwrap_or_else(|| {
            errors.add(FieldErrorCode::Required, &[name], "cannot be cleared; leave it out to keep it");
            current.clone()
        })
    }
}

/// What to change of a product.
#[derive(Clone, Debug, Default)]
pub struct ProductPatch {
    pub sku: Patch<String>,
    pub name: Patch<String>,
    pub slug: Patch<String>,
    pub description: Patch<String>,
    pub status: Patch<Status>,
    pub price: Patch<MoneyDraft>,
    pub compare_at_price: Patch<MoneyDraft>,
    pub stock: Patch<i32>,
    pub category_id: Patch<CategoryId>,
    pub tags: Patch<Vec<String>>,
    pub attributes: Patch<Vec<(String, Value)>>,
    pub media: Patch<Vec<Media>>,
    pub rating: Patch<f64>,
    pub external_reference: Patch<String>,
}

impl ProductPatch {
    /// The checked product that `product` becomes, or all that is wrong with it.
    pub fn check(self, product: &Product) -> Result<NewProduct, FieldErrors> {
        let mut errors = FieldErrors::default();
        let now = product.draft();
        let draft = ProductDraft {
            sku: self.sku.apply_required("sku", &now.sku, &mut errors),
            name: self.name.apply_required("name", &now.name, &mut errors),
            slug: self.slug.apply(now.slug.as_ref()),
            description: self.description.apply(now.description.as_ref()),
            status: self.status.apply_required("status", &now.status, &mut errors),
            price: self.price.apply_required("price", &now.price, &mut errors),
            compare_at_price: self.compare_at_price.apply(now.compare_at_price.as_ref()),
            stock: self.stock.apply_required("stock", &now.stock, &mut errors),
            category_id: self.category_id.apply(now.category_id.as_ref()),
            tags: self.tags.apply(Some(&now.tags)).unwrap_or_default(),
            attributes: self.attributes.apply(Some(&now.attributes)).unwrap_or_default(),
            media: self.media.apply(Some(&now.media)).unwrap_or_default(),
            rating: self.rating.apply(now.rating.as_ref()),
            external_reference: self.external_reference.apply(now.external_reference.as_ref()),
        };
        match draft.check() {
            Ok(checked) if errors.0.is_empty() => Ok(checked),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.0.extend(more.0);
                Err(errors)
            }
        }
    }
}
