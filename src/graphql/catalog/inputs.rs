//! What clients say about products and categories.

use async_graphql::{Enum, ID, InputObject, MaybeUndefined, OneofObject};

use crate::domain::catalog::filter::{Test, TextField};
use crate::domain::catalog::{
    self, CategoryDraft, CategoryPatch as DomainCategoryPatch, Direction, Filter, MoneyDraft, Patch, ProductDraft,
    ProductPatch as DomainProductPatch, SortField,
};
use crate::graphql::catalog::types::ProductStatus;
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id;
use crate::graphql::scalars::{CurrencyCode, DateTime, Decimal, Json, Url};

/// Filters inside one another, at most.
const MAX_FILTER_DEPTH: usize = 8;

/// One way to name a product.
#[derive(OneofObject)]
pub enum ProductKey {
    /// By its id.
    Id(ID),
    /// By its name in URLs.
    Slug(String),
    /// By its stock keeping unit.
    Sku(String),
    /// By its id in a system of yours.
    ExternalReference(String),
}

impl ProductKey {
    pub fn read(self, argument: &str) -> Result<catalog::ProductKey> {
        // No product has a key with such a character, and PostgreSQL takes none.
        let plain = |text: String| match text.contains('\0') {
            true => Err(ApiError::bad_input(argument, "must not contain the character U+0000")),
            false => Ok(text),
        };
        Ok(match self {
            Self::Id(id) => catalog::ProductKey::Id(id::product(argument, &id)?),
            Self::Slug(slug) => catalog::ProductKey::Slug(plain(slug)?),
            Self::Sku(sku) => catalog::ProductKey::Sku(plain(sku)?),
            Self::ExternalReference(reference) => catalog::ProductKey::ExternalReference(plain(reference)?),
        })
    }
}

/// Which products. All that is given must hold.
#[derive(InputObject, Default)]
pub struct ProductFilter {
    /// All of these hold.
    and: Option<Vec<ProductFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ProductFilter>>,
    /// This does not hold.
    not: Option<Box<ProductFilter>>,
    /// The id.
    id: Option<IdFilter>,
    /// The stock keeping unit.
    sku: Option<StringFilter>,
    /// The name in URLs.
    slug: Option<StringFilter>,
    /// The name.
    name: Option<StringFilter>,
    /// The id in a system of yours.
    external_reference: Option<StringFilter>,
    /// Where it is in its life. Only the staff sees others than `ACTIVE`.
    status: Option<ProductStatusFilter>,
    /// The price.
    price: Option<MoneyFilter>,
    /// The pieces that can be sold.
    stock: Option<IntFilter>,
    /// Whether any piece can be sold.
    in_stock: Option<bool>,
    /// The category, or any above it.
    category: Option<IdFilter>,
    /// The words to find it by.
    tags: Option<TagsFilter>,
    /// Properties that only some products have.
    attributes: Option<Vec<AttributeFilter>>,
    /// When it was put into the catalogue.
    created_at: Option<DateTimeFilter>,
    /// When it last changed.
    updated_at: Option<DateTimeFilter>,
}

/// A condition on an id. All that is given must hold.
#[derive(InputObject)]
pub struct IdFilter {
    /// It is this.
    eq: Option<ID>,
    /// It is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<ID>>,
    /// It is none of these.
    not_in: Option<Vec<ID>>,
    /// There is none, or there is one.
    is_null: Option<bool>,
}

/// A condition on a text. All that is given must hold.
#[derive(InputObject)]
pub struct StringFilter {
    /// It is this, to the letter.
    eq: Option<String>,
    /// It is one of these, to the letter.
    #[graphql(name = "in")]
    one_of: Option<Vec<String>>,
    /// It is none of these, to the letter.
    not_in: Option<Vec<String>>,
    /// This is a part of it; capitals (and in names accents) do not matter.
    contains: Option<String>,
    /// It starts with this; capitals (and in names accents) do not matter.
    starts_with: Option<String>,
    /// There is none, or there is one.
    is_null: Option<bool>,
}

/// A condition on a whole number. All that is given must hold.
#[derive(InputObject)]
pub struct IntFilter {
    /// It is this.
    eq: Option<i32>,
    /// It is greater.
    gt: Option<i32>,
    /// It is this or greater.
    gte: Option<i32>,
    /// It is less.
    lt: Option<i32>,
    /// It is this or less.
    lte: Option<i32>,
    /// It is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<i32>>,
}

/// A condition on a price. All that is given must hold; amounts need the currency.
#[derive(InputObject)]
pub struct MoneyFilter {
    /// It is in this currency.
    currency: Option<CurrencyCode>,
    /// It is greater.
    gt: Option<Decimal>,
    /// It is this or greater.
    gte: Option<Decimal>,
    /// It is less.
    lt: Option<Decimal>,
    /// It is this or less.
    lte: Option<Decimal>,
}

/// A condition on a moment. All that is given must hold.
#[derive(InputObject)]
pub struct DateTimeFilter {
    /// It is later.
    gt: Option<DateTime>,
    /// It is this or later.
    gte: Option<DateTime>,
    /// It is earlier.
    lt: Option<DateTime>,
    /// It is this or earlier.
    lte: Option<DateTime>,
}

/// A condition on where a product is in its life. All that is given must hold.
#[derive(InputObject)]
pub struct ProductStatusFilter {
    /// It is this.
    eq: Option<ProductStatus>,
    /// It is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<ProductStatus>>,
}

/// A condition on tags. All that is given must hold.
#[derive(InputObject)]
#[expect(clippy::struct_field_names, reason = "they are the API's")]
pub struct TagsFilter {
    /// It has at least one of these.
    any_of: Option<Vec<String>>,
    /// It has all of these.
    all_of: Option<Vec<String>>,
    /// It has none of these.
    none_of: Option<Vec<String>>,
}

/// A condition on an attribute. All that is given must hold.
#[derive(InputObject)]
pub struct AttributeFilter {
    /// The attribute's name.
    key: String,
    /// Its value is this.
    eq: Option<Json>,
    /// Its value is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<Json>>,
    /// There is such an attribute, or there is none.
    exists: Option<bool>,
}

/// A way to sort. The id comes last in every sort, so that no two products are equal; what has no value comes last.
#[derive(InputObject)]
pub struct ProductSort {
    /// By what.
    field: ProductSortField,
    /// Which way.
    #[graphql(default_with = "SortDirection::Ascending")]
    direction: SortDirection,
}

/// What products can be sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "SortField")]
pub enum ProductSortField {
    /// How well it matches `search`; ascending is the best first. It comes before all other fields; if none follows, what
    /// matches as well is sorted by age, the newest first.
    Relevance,
    /// Its name, without regard to capitals and accents.
    Name,
    /// Its price: by currency, then by amount.
    Price,
    /// The pieces that can be sold.
    Stock,
    /// What customers think of it.
    Rating,
    /// When it was put into the catalogue.
    CreatedAt,
    /// When it last changed.
    UpdatedAt,
}

/// Which way to sort.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Direction")]
pub enum SortDirection {
    /// From the smallest to the largest.
    #[graphql(name = "ASC")]
    Ascending,
    /// From the largest to the smallest.
    #[graphql(name = "DESC")]
    Descending,
}

impl ProductSort {
    pub fn read(self) -> (SortField, Direction) {
        (self.field.into(), self.direction.into())
    }
}

/// Collects the conditions of one filter.
#[derive(Default)]
struct Conditions(Vec<Filter>);

impl Conditions {
    fn add<T>(&mut self, given: Option<T>, read: impl FnOnce(T) -> Result<Filter>) -> Result<()> {
        if let Some(given) = given {
            self.0.push(read(given)?);
        }
        Ok(())
    }
}

impl ProductFilter {
    /// The domain's filter.
    pub fn read(self) -> Result<Filter> {
        self.read_at(0)
    }

    fn read_at(self, depth: usize) -> Result<Filter> {
        if depth > MAX_FILTER_DEPTH {
            let message = format!("must not have filters more than {MAX_FILTER_DEPTH} deep inside one another");
            return Err(ApiError::bad_input("filter", message));
        }
        let each = |filters: Vec<Self>| {
            filters.into_iter().map(|filter| filter.read_at(depth + 1)).collect::<Result<Vec<_>>>()
        };
        let mut all = Conditions::default();
        all.add(self.and, |filters| Ok(Filter::All(each(filters)?)))?;
        all.add(self.or, |filters| Ok(Filter::Any(each(filters)?)))?;
        all.add(self.not, |filter| Ok(filter.read_at(depth + 1)?.negated()))?;
        all.add(self.id, |filter| filter.read("id", id::product, Test::Id, Filter::EVERYTHING))?;
        all.add(self.sku, |filter| filter.read("sku", TextField::Sku))?;
        all.add(self.slug, |filter| filter.read("slug", TextField::Slug))?;
        all.add(self.name, |filter| filter.read("name", TextField::Name))?;
        all.add(self.external_reference, |filter| filter.read("externalReference", TextField::ExternalReference))?;
        all.add(self.status, ProductStatusFilter::read)?;
        all.add(self.price, MoneyFilter::read)?;
        all.add(self.stock, IntFilter::read_stock)?;
        all.add(self.in_stock, |wanted| Ok(if_else(wanted, Filter::Is(Test::StockAtLeast(1)))))?;
        let has_category = Filter::Is(Test::HasCategory);
        all.add(self.category, |filter| filter.read("category", id::category, Test::Category, has_category))?;
        all.add(self.tags, TagsFilter::read)?;
        for attribute in self.attributes.into_iter().flatten() {
            all.0.push(attribute.read()?);
        }
        all.add(self.created_at, |filter| Ok(filter.read(Test::CreatedAtLeast)))?;
        all.add(self.updated_at, |filter| Ok(filter.read(Test::UpdatedAtLeast)))?;
        Ok(Filter::All(all.0))
    }
}

fn if_else(wanted: bool, filter: Filter) -> Filter {
    if wanted { filter } else { filter.negated() }
}

impl IdFilter {
    fn read<I: Ord>(
        self,
        name: &str,
        read: fn(&str, &ID) -> Result<I>,
        test: fn(std::collections::BTreeSet<I>) -> Test,
        exists: Filter,
    ) -> Result<Filter> {
        let argument = format!("filter.{name}");
        let one_of = |ids: Vec<ID>| {
            let ids = ids.iter().map(|id| read(&argument, id)).collect::<Result<Vec<_>>>()?;
            Ok(Filter::one_of(&["filter", name], ids, test)?)
        };
        let mut all = Conditions::default();
        all.add(self.eq, |id| one_of(vec![id]))?;
        all.add(self.one_of, one_of)?;
        all.add(self.not_in, |ids| Ok(one_of(ids)?.negated()))?;
        all.add(self.is_null, |is_null| Ok(if_else(!is_null, exists)))?;
        Ok(Filter::All(all.0))
    }
}

impl StringFilter {
    fn read(self, name: &str, field: TextField) -> Result<Filter> {
        let path = ["filter", name];
        let mut all = Conditions::default();
        all.add(self.eq, |text| Ok(Filter::text_in(&path, field, vec![text])?))?;
        all.add(self.one_of, |texts| Ok(Filter::text_in(&path, field, texts)?))?;
        all.add(self.not_in, |texts| Ok(Filter::text_in(&path, field, texts)?.negated()))?;
        all.add(self.contains, |part| Ok(Filter::text_contains(&path, field, &part)?))?;
        all.add(self.starts_with, |part| Ok(Filter::text_starts_with(&path, field, &part)?))?;
        let exists = match field {
            TextField::ExternalReference => Filter::Is(Test::HasExternalReference),
            _ => Filter::EVERYTHING,
        };
        all.add(self.is_null, |is_null| Ok(if_else(!is_null, exists)))?;
        Ok(Filter::All(all.0))
    }
}

impl ProductStatusFilter {
    fn read(self) -> Result<Filter> {
        let one_of = |states: Vec<ProductStatus>| {
            let states = states.into_iter().map(catalog::Status::from).collect();
            Ok(Filter::one_of(&["filter", "status"], states, Test::Status)?)
        };
        let mut all = Conditions::default();
        all.add(self.eq, |status| one_of(vec![status]))?;
        all.add(self.one_of, one_of)?;
        Ok(Filter::All(all.0))
    }
}

impl IntFilter {
    fn read_stock(self) -> Result<Filter> {
        let at_least = |stock| Filter::Is(Test::StockAtLeast(stock));
        // Nothing is above the largest number.
        let above = |stock: i32| stock.checked_add(1).map_or(Filter::NOTHING, at_least);
        let one_of = |values| Ok(Filter::one_of(&["filter", "stock"], values, Test::Stock)?);
        let mut all = Conditions::default();
        all.add(self.eq, |value| one_of(vec![value]))?;
        all.add(self.gt, |value| Ok(above(value)))?;
        all.add(self.gte, |value| Ok(at_least(value)))?;
        all.add(self.lt, |value| Ok(at_least(value).negated()))?;
        all.add(self.lte, |value| Ok(above(value).negated()))?;
        all.add(self.one_of, one_of)?;
        Ok(Filter::All(all.0))
    }
}

impl MoneyFilter {
    fn read(self) -> Result<Filter> {
        let path = ["filter", "price"];
        let bounds = [&self.gt, &self.gte, &self.lt, &self.lte];
        let Some(CurrencyCode(currency)) = self.currency else {
            return match bounds.iter().any(|bound| bound.is_some()) {
                true => Err(ApiError::bad_input("filter.price", "needs `currency`: amounts of two do not compare")),
                false => Ok(Filter::EVERYTHING),
            };
        };
        let at_least = |amount: Decimal| Ok(Filter::price_at_least(&path, &currency, &amount.0)?);
        let at_most = |amount: Decimal| Ok(Filter::price_at_most(&path, &currency, &amount.0)?);
        let mut all = Conditions(vec![Filter::currency(&path, &currency)?]);
        all.add(self.gte, at_least)?;
        all.add(self.lte, at_most)?;
        all.add(self.gt, |amount| Ok(at_most(amount)?.negated()))?;
        all.add(self.lt, |amount| Ok(at_least(amount)?.negated()))?;
        Ok(Filter::All(all.0))
    }
}

impl DateTimeFilter {
    fn read(self, at_least: fn(chrono::DateTime<chrono::Utc>) -> Test) -> Filter {
        let at_least = |moment: DateTime| Filter::Is(at_least(moment.0));
        // Moments are whole microseconds.
        let above = |moment: DateTime| at_least(DateTime(moment.0 + chrono::TimeDelta::microseconds(1)));
        let conditions = [
            self.gte.map(at_least),
            self.gt.map(above),
            self.lt.map(|moment| at_least(moment).negated()),
            self.lte.map(|moment| above(moment).negated()),
        ];
        Filter::All(conditions.into_iter().flatten().collect())
    }
}

impl TagsFilter {
    fn read(self) -> Result<Filter> {
        let path = ["filter", "tags"];
        let mut all = Conditions::default();
        all.add(self.any_of, |tags| Ok(Filter::tags(&path, tags, Test::TagsAny)?))?;
        all.add(self.all_of, |tags| Ok(Filter::tags(&path, tags, Test::TagsAll)?))?;
        all.add(self.none_of, |tags| Ok(Filter::tags(&path, tags, Test::TagsAny)?.negated()))?;
        Ok(Filter::All(all.0))
    }
}

impl AttributeFilter {
    fn read(self) -> Result<Filter> {
        let path = ["filter", "attributes"];
        let one_of = |values: Vec<Json>| {
            let values: Vec<_> = values.into_iter().map(|value| value.0).collect();
            Ok(Filter::attribute(&path, &self.key, &values)?)
        };
        let mut all = Conditions::default();
        all.add(self.eq, |value| one_of(vec![value]))?;
        all.add(self.one_of, one_of)?;
        let exists = Filter::has_attribute(&path, &self.key)?;
        // The key alone asks whether there is one.
        let asked = self.exists.or(all.0.is_empty().then_some(true));
        all.add(asked, |wanted| Ok(if_else(wanted, exists)))?;
        Ok(Filter::All(all.0))
    }
}

/// An amount of money.
#[derive(InputObject)]
pub struct MoneyInput {
    /// The amount, not negative, with at most as many digits after the point as the currency has.
    amount: Decimal,
    /// The currency.
    currency: CurrencyCode,
}

impl From<MoneyInput> for MoneyDraft {
    fn from(money: MoneyInput) -> Self {
        Self { amount: money.amount.0, currency: money.currency.0 }
    }
}

/// A property that only some products have.
#[derive(InputObject)]
pub struct AttributeInput {
    /// Its name.
    key: String,
    /// Its value.
    value: Option<Json>,
}

impl From<AttributeInput> for (String, serde_json::Value) {
    fn from(attribute: AttributeInput) -> Self {
        (attribute.key, attribute.value.map_or(serde_json::Value::Null, |value| value.0))
    }
}

/// A picture or a film.
#[derive(InputObject)]
pub struct MediaInput {
    /// Where it is.
    url: Url,
    /// What it shows, for those who cannot see it.
    alt: Option<String>,
    /// Pixels across.
    width: Option<i32>,
    /// Pixels down.
    height: Option<i32>,
}

impl From<MediaInput> for catalog::Media {
    fn from(media: MediaInput) -> Self {
        Self { url: media.url.0, alt: media.alt, width: media.width, height: media.height }
    }
}

/// A new product.
#[derive(InputObject)]
pub struct ProductInput {
    /// The stock keeping unit, unique, of at most 64 characters.
    sku: String,
    /// What it is called, in at most 200 characters.
    name: String,
    /// Its name in URLs, unique; made from the name if it is not given.
    slug: Option<String>,
    /// What there is to say about it, in at most 10000 characters.
    description: Option<String>,
    /// Where it is in its life.
    #[graphql(default_with = "ProductStatus::Draft")]
    status: ProductStatus,
    /// What one piece costs.
    price: MoneyInput,
    /// What one piece cost before, in the same currency.
    compare_at_price: Option<MoneyInput>,
    /// Pieces that can be sold.
    #[graphql(default)]
    stock: i32,
    /// The category to put it in.
    category_id: Option<ID>,
    /// Words to find it by, at most 50.
    tags: Option<Vec<String>>,
    /// Properties that only some products have, at most 50.
    attributes: Option<Vec<AttributeInput>>,
    /// Pictures, the main one first, at most 20.
    media: Option<Vec<MediaInput>>,
    /// What customers think of it, from 0 to 5.
    rating: Option<f64>,
    /// Its id in a system of yours, unique.
    external_reference: Option<String>,
}

impl ProductInput {
    pub fn read(self) -> Result<ProductDraft> {
        Ok(ProductDraft {
            category_id: self.category_id.map(|id| id::category("input.categoryId", &id)).transpose()?,
            sku: self.sku,
            name: self.name,
            slug: self.slug,
            description: self.description,
            status: self.status.into(),
            price: self.price.into(),
            compare_at_price: self.compare_at_price.map(MoneyDraft::from),
            stock: self.stock,
            tags: self.tags.unwrap_or_default(),
            attributes: each(self.attributes.unwrap_or_default()),
            media: each(self.media.unwrap_or_default()),
            rating: self.rating,
            external_reference: self.external_reference,
        })
    }
}

fn each<A: Into<B>, B>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(A::into).collect()
}

/// What to change of a product: what is absent stays, null clears.
#[derive(InputObject)]
pub struct ProductPatch {
    /// The stock keeping unit; cannot be cleared.
    sku: MaybeUndefined<String>,
    /// What it is called; cannot be cleared.
    name: MaybeUndefined<String>,
    /// Its name in URLs; null makes it from the name.
    slug: MaybeUndefined<String>,
    /// What there is to say about it.
    description: MaybeUndefined<String>,
    /// Where it is in its life; cannot be cleared.
    status: MaybeUndefined<ProductStatus>,
    /// What one piece costs; cannot be cleared.
    price: MaybeUndefined<MoneyInput>,
    /// What one piece cost before.
    compare_at_price: MaybeUndefined<MoneyInput>,
    /// Pieces that can be sold; cannot be cleared. `adjustStock` does not overwrite what others do meanwhile.
    stock: MaybeUndefined<i32>,
    /// The category to put it in.
    category_id: MaybeUndefined<ID>,
    /// Words to find it by: all of them.
    tags: MaybeUndefined<Vec<String>>,
    /// Properties that only some products have: all of them.
    attributes: MaybeUndefined<Vec<AttributeInput>>,
    /// Pictures: all of them.
    media: MaybeUndefined<Vec<MediaInput>>,
    /// What customers think of it.
    rating: MaybeUndefined<f64>,
    /// Its id in a system of yours.
    external_reference: MaybeUndefined<String>,
}

fn patch<A, B>(given: MaybeUndefined<A>, read: impl FnOnce(A) -> B) -> Patch<B> {
    match given {
        MaybeUndefined::Undefined => Patch::Keep,
        MaybeUndefined::Null => Patch::Clear,
        MaybeUndefined::Value(value) => Patch::Set(read(value)),
    }
}

fn patch_category(argument: &str, given: MaybeUndefined<ID>) -> Result<Patch<crate::domain::ids::CategoryId>> {
    Ok(match given {
        MaybeUndefined::Undefined => Patch::Keep,
        MaybeUndefined::Null => Patch::Clear,
        MaybeUndefined::Value(id) => Patch::Set(id::category(argument, &id)?),
    })
}

impl ProductPatch {
    pub fn read(self) -> Result<DomainProductPatch> {
        Ok(DomainProductPatch {
            category_id: patch_category("patch.categoryId", self.category_id)?,
            sku: patch(self.sku, |sku| sku),
            name: patch(self.name, |name| name),
            slug: patch(self.slug, |slug| slug),
            description: patch(self.description, |description| description),
            status: patch(self.status, catalog::Status::from),
            price: patch(self.price, MoneyDraft::from),
            compare_at_price: patch(self.compare_at_price, MoneyDraft::from),
            stock: patch(self.stock, |stock| stock),
            tags: patch(self.tags, |tags| tags),
            attributes: patch(self.attributes, each),
            media: patch(self.media, each),
            rating: patch(self.rating, |rating| rating),
            external_reference: patch(self.external_reference, |reference| reference),
        })
    }
}

/// A new category.
#[derive(InputObject)]
pub struct CategoryInput {
    /// What it is called, in at most 200 characters.
    name: String,
    /// Its name in URLs, unique; made from the name if it is not given.
    slug: Option<String>,
    /// The category it is in; at the top if it is not given.
    parent_id: Option<ID>,
    /// Its place among its siblings, the smallest first.
    #[graphql(default)]
    position: i32,
}

impl CategoryInput {
    pub fn read(self) -> Result<CategoryDraft> {
        Ok(CategoryDraft {
            parent_id: self.parent_id.map(|id| id::category("input.parentId", &id)).transpose()?,
            name: self.name,
            slug: self.slug,
            position: self.position,
        })
    }
}

/// What to change of a category: what is absent stays, null clears.
#[derive(InputObject)]
pub struct CategoryPatch {
    /// What it is called; cannot be cleared.
    name: MaybeUndefined<String>,
    /// Its name in URLs; null makes it from the name.
    slug: MaybeUndefined<String>,
    /// The category it is in; null moves it to the top.
    parent_id: MaybeUndefined<ID>,
    /// Its place among its siblings; null is 0.
    position: MaybeUndefined<i32>,
}

impl CategoryPatch {
    pub fn read(self) -> Result<DomainCategoryPatch> {
        Ok(DomainCategoryPatch {
            parent_id: patch_category("patch.parentId", self.parent_id)?,
            name: patch(self.name, |name| name),
            slug: patch(self.slug, |slug| slug),
            position: patch(self.position, |position| position),
        })
    }
}
