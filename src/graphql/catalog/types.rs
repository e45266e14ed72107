//! Products and categories as the API shows them.
//!
//! What has its fields at hand is `serial`: async-graphql then needs no task for each field. Loads are batched all the same,
//! since the items of a list do not wait for one another.

use std::ops::Deref;
use std::sync::Arc;

use async_graphql::{ComplexObject, Context, Enum, ID, Object, SimpleObject};

use crate::config::Service;
use crate::domain::accounts::Right;
use crate::domain::catalog::cursor::Cursor;
use crate::domain::catalog::model::StockState as DomainStockState;
use crate::domain::catalog::money::{format_minor, fraction_digits};
use crate::domain::catalog::{self, Found, List, Tree, queries};
use crate::domain::ids::CategoryId;
use crate::domain::page::{Page, PageArguments};
use crate::graphql::accounts::{Role, Scope, User};
use crate::graphql::catalog::inputs::{ProductFilter, ProductSort};
use crate::graphql::catalog::queries::{ListArguments, product_connection};
use crate::graphql::context::{OfRequest, RequestContext};
use crate::graphql::directives::{auth, cost, list_size, names};
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id::NodeId;
use crate::graphql::page::{Count, CountPrecision, PageInfo};
use crate::graphql::scalars::{CurrencyCode, DateTime, Decimal, Json, Url};

/// Furthest that `count` counts.
const MAX_COUNT: i32 = 100_000;

/// Something to sell.
pub enum Product {
    One(Arc<catalog::Product>),
    /// The one at this place of a page; it exists.
    OnPage(Arc<Page<Found>>, usize),
}

impl Deref for Product {
    type Target = catalog::Product;

    #[expect(clippy::indexing_slicing, reason = "places come from enumerating the page")]
    fn deref(&self) -> &catalog::Product {
        match self {
            Self::One(product) => product,
            Self::OnPage(page, place) => &page.items[*place].product,
        }
    }
}

impl From<Arc<catalog::Product>> for Product {
    fn from(product: Arc<catalog::Product>) -> Self {
        Self::One(product)
    }
}

impl From<catalog::Product> for Product {
    fn from(product: catalog::Product) -> Self {
        Self::One(Arc::new(product))
    }
}

impl Product {
    pub fn is_visible_in(&self, request: &RequestContext) -> bool {
        is_visible(self.status, request)
    }
}

/// Drafts and archived products are for the staff.
pub fn is_visible(status: catalog::Status, request: &RequestContext) -> bool {
    status == catalog::Status::Active || request.may(Right::STAFF)
}

/// Something to sell.
#[Object(serial)]
impl Product {
    /// Opaque, and unique among all types.
    pub async fn id(&self) -> ID {
        NodeId::Product(self.id).encode()
    }

    /// Rises with every change: pass it as `ifVersion`, and a change that others made meanwhile is not overwritten.
    async fn version(&self) -> i32 {
        self.version
    }

    /// Its name in URLs, unique.
    async fn slug(&self) -> &str {
        &self.slug
    }

    /// The stock keeping unit, unique.
    async fn sku(&self) -> &str {
        &self.sku
    }

    /// What it is called.
    async fn name(&self) -> &str {
        &self.name
    }

    /// What there is to say about it.
    async fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Where it is in its life.
    async fn status(&self) -> ProductStatus {
        self.status.into()
    }

    /// What one piece costs.
    async fn price(&self) -> Money {
        Money::new(self.price_amount, &self.price_currency)
    }

    /// What one piece cost before, in the same currency.
    async fn compare_at_price(&self) -> Option<Money> {
        self.compare_at_amount.map(|amount| Money::new(amount, &self.price_currency))
    }

    /// How many there are.
    async fn stock(&self) -> Stock {
        Stock::of(self)
    }

    /// The category it is in.
    async fn category(&self, ctx: &Context<'_>) -> Result<Option<Category>> {
        match self.category_id {
            Some(id) => Category::find(ctx, id).await,
            None => Ok(None),
        }
    }

    /// Words to find it by.
    async fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Properties that only some products have, by key.
    #[graphql(directive = list_size::apply(Some(10), None, None, None))]
    async fn attributes(&self) -> Vec<Attribute> {
        Attribute::all_of(self)
    }

    /// Pictures, the main one first.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    async fn media(&self) -> Vec<Media> {
        catalog::Product::media(self).into_iter().map(Media::from).collect()
    }

    /// What customers think of it, from 0 to 5; null before the first says so.
    async fn rating(&self) -> Option<f64> {
        self.rating
    }

    /// Its id in a system of yours, unique.
    async fn external_reference(&self) -> Option<&str> {
        self.external_reference.as_deref()
    }

    /// When it was put into the catalogue.
    async fn created_at(&self) -> DateTime {
        DateTime(self.created_at)
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.updated_at)
    }

    /// Who put it into the catalogue; null for those who are not of the staff.
    #[graphql(directive = auth::apply(Role::Staff, Some(Scope::CatalogRead), None))]
    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        let request = ctx.request();
        match self.created_by {
            Some(_) if !request.may_see("Product", "createdBy", None) => Ok(None),
            Some(id) if request.core.services.include(Service::Accounts) => {
                Ok(request.users.load(id).await?.map(User::from))
            }
            Some(id) => Ok(Some(User::Elsewhere(id))),
            None => Ok(None),
        }
    }
}

/// Where a product is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "catalog::Status")]
pub enum ProductStatus {
    /// Only the staff sees it.
    Draft,
    /// On sale.
    Active,
    /// Off sale; only the staff sees it.
    Archived,
}

/// An amount of money.
#[derive(SimpleObject)]
#[graphql(serial, directive = cost::apply("0".to_owned()))]
pub struct Money {
    /// The amount, with all digits that the currency has.
    pub(super) amount: Decimal,
    /// The currency.
    pub(super) currency: CurrencyCode,
    /// Digits after the point in amounts of this currency.
    pub(super) fraction_digits: i32,
}

impl Money {
    pub(super) fn new(minor: i64, currency: &str) -> Self {
        let digits = fraction_digits(currency);
        Self {
            amount: Decimal(format_minor(minor, digits as usize)),
            currency: CurrencyCode(currency.to_owned()),
            fraction_digits: digits.cast_signed(),
        }
    }
}

/// How many pieces there are.
#[derive(SimpleObject)]
#[graphql(serial, directive = cost::apply("0".to_owned()))]
pub struct Stock {
    /// Pieces that can be sold.
    pub(super) available: i32,
    /// The same in a word.
    pub(super) state: StockState,
}

impl Stock {
    pub(super) fn of(product: &catalog::Product) -> Self {
        Self { available: product.stock, state: product.stock_state().into() }
    }
}

/// How well stocked a product is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "DomainStockState")]
pub enum StockState {
    /// There are plenty.
    #[graphql(name = "IN_STOCK")]
    In,
    /// At most five are left.
    #[graphql(name = "LOW_STOCK")]
    Low,
    /// None is left.
    #[graphql(name = "OUT_OF_STOCK")]
    Out,
}

/// A property that only some products have.
#[derive(SimpleObject)]
#[graphql(serial, directive = cost::apply("0".to_owned()))]
pub struct Attribute {
    /// Its name.
    pub(super) key: String,
    /// Its value.
    pub(super) value: Json,
}

impl Attribute {
    pub(super) fn all_of(product: &catalog::Product) -> Vec<Self> {
        product.attributes().map(|(key, value)| Self { key: key.clone(), value: Json(value.clone()) }).collect()
    }
}

/// A picture or a film.
#[derive(SimpleObject)]
#[graphql(serial, directive = cost::apply("0".to_owned()))]
pub struct Media {
    /// Where it is.
    pub(super) url: Url,
    /// What it shows, for those who cannot see it.
    pub(super) alt: Option<String>,
    /// Pixels across.
    pub(super) width: Option<i32>,
    /// Pixels down.
    pub(super) height: Option<i32>,
}

impl From<catalog::Media> for Media {
    fn from(media: catalog::Media) -> Self {
        Self { url: Url(media.url), alt: media.alt, width: media.width, height: media.height }
    }
}

/// A page of products.
pub struct ProductConnection {
    pub list: Arc<List>,
    pub page: Arc<Page<Found>>,
}

impl ProductConnection {
    /// The place of a product of the page.
    pub(super) fn cursor(&self, found: Option<&Found>) -> Option<String> {
        found.map(|found| Cursor::of(&self.list, found).encode(&self.list))
    }
}

/// A page of products.
#[Object]
impl ProductConnection {
    /// The products, each with its place in the list.
    async fn edges(&self) -> Vec<ProductEdge> {
        let places = 0..self.page.items.len();
        places.map(|place| ProductEdge { list: Arc::clone(&self.list), page: Arc::clone(&self.page), place }).collect()
    }

    /// The products without their cursors.
    async fn nodes(&self) -> Vec<Product> {
        (0..self.page.items.len()).map(|place| Product::OnPage(Arc::clone(&self.page), place)).collect()
    }

    /// Where the page lies.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.page.has_next,
            has_previous_page: self.page.has_previous,
            start_cursor: self.cursor(self.page.items.first()),
            end_cursor: self.cursor(self.page.items.last()),
        }
    }

    /// How many products the whole list has. Counted only when it is asked for; `count` is cheaper where lists are long.
    #[graphql(directive = cost::apply("10".to_owned()))]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<Option<i32>> {
        let count = queries::product_count(&ctx.request().core, &self.list, None).await?;
        Ok(i32::try_from(count).ok())
    }

    /// How many products the whole list has, counting no further than `atMost`.
    #[graphql(directive = cost::apply("5".to_owned()))]
    async fn count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Where to stop: 1 to 100000.", default = 1000)] at_most: i32,
    ) -> Result<Option<Count>> {
        if !(1..=MAX_COUNT).contains(&at_most) {
            return Err(ApiError::bad_input("atMost", format!("must be between 1 and {MAX_COUNT}")));
        }
        let most = i64::from(at_most) + 1;
        let count = queries::product_count(&ctx.request().core, &self.list, Some(most)).await?;
        let precision = if count < most { CountPrecision::Exact } else { CountPrecision::AtLeast };
        Ok(Some(Count { value: i32::try_from(count).unwrap_or(at_most).min(at_most), precision }))
    }
}

/// A product on a page.
pub struct ProductEdge {
    pub(super) list: Arc<List>,
    pub(super) page: Arc<Page<Found>>,
    pub(super) place: usize,
}

/// A product on a page.
#[Object(serial, directive = cost::apply("0".to_owned()))]
impl ProductEdge {
    /// Its place in the list, for `after` and `before`.
    async fn cursor(&self) -> Option<String> {
        self.place_in_list()
    }

    /// The product.
    async fn node(&self) -> Product {
        Product::OnPage(Arc::clone(&self.page), self.place)
    }

    /// How it matches `search`: 4 by its very SKU, 3 by words of its name or description, 2 by a part of its SKU or name, 1 by
    /// words that resemble those searched. Null without `search`.
    async fn score(&self) -> Option<f64> {
        self.match_score()
    }
}

impl ProductEdge {
    pub(super) fn place_in_list(&self) -> Option<String> {
        self.page.items.get(self.place).map(|found| Cursor::of(&self.list, found).encode(&self.list))
    }

    pub(super) fn match_score(&self) -> Option<f64> {
        self.list.search.as_ref().and(self.page.items.get(self.place)).map(|found| 4.0 - found.distance)
    }
}

/// A part of the catalogue.
#[derive(SimpleObject)]
#[graphql(complex, directive = cost::apply("0".to_owned()))]
pub struct Category {
    /// Its name in URLs, unique.
    slug: String,
    /// What it is called.
    name: String,
    /// Its place among its siblings, the smallest first.
    position: i32,
    /// When it was made.
    created_at: DateTime,
    /// When it last changed.
    updated_at: DateTime,
    #[graphql(skip)]
    key: CategoryId,
    #[graphql(skip)]
    tree: Arc<Tree>,
}

impl Category {
    /// The category with this id.
    pub async fn find(ctx: &Context<'_>, id: CategoryId) -> Result<Option<Self>> {
        let tree = ctx.request().categories().await?;
        Ok(tree.get(id).map(|category| Self::new(category, &tree)))
    }

    /// The category, at its place in the tree.
    pub fn new(category: &catalog::Category, tree: &Arc<Tree>) -> Self {
        Self {
            slug: category.slug.clone(),
            name: category.name.clone(),
            position: category.position,
            created_at: DateTime(category.created_at),
            updated_at: DateTime(category.updated_at),
            key: category.id,
            tree: Arc::clone(tree),
        }
    }
}

#[ComplexObject]
impl Category {
    /// Opaque, and unique among all types.
    pub async fn id(&self) -> ID {
        NodeId::Category(self.key).encode()
    }

    /// The category it is in; null at the top.
    async fn parent(&self) -> Option<Self> {
        let parent = self.tree.get(self.key)?.parent_id?;
        self.tree.get(parent).map(|parent| Self::new(parent, &self.tree))
    }

    /// The categories right below it.
    #[graphql(directive = list_size::apply(Some(10), None, None, None))]
    async fn children(&self, ctx: &Context<'_>) -> Result<Option<Vec<Self>>> {
        ctx.request().count_items(self.tree.children(Some(self.key)).count())?;
        Ok(Some(self.tree.children(Some(self.key)).map(|child| Self::new(child, &self.tree)).collect()))
    }

    /// The names from the top down to this one.
    async fn path(&self) -> Vec<String> {
        self.tree.path(self.key).into_iter().map(|category| category.name.clone()).collect()
    }

    /// The products in it and below it.
    #[graphql(directive = cost::apply("10".to_owned()), directive = list_size::apply(Some(20), names(["first", "last"]), names(["edges", "nodes"]), Some(false)))]
    #[expect(clippy::too_many_arguments, reason = "they are the field's arguments")]
    async fn products(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, from the start or after `after`: 1 to 100, 20 if neither is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "A page's `endCursor`: what follows it.")] after: Option<String>,
        #[graphql(desc = "How many, from the end or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A page's `startCursor`: what precedes it.")] before: Option<String>,
        #[graphql(desc = "How many to pass over, up to 10000; goes with `first` alone.")] offset: Option<i32>,
        #[graphql(desc = "Words, also with quotes, `or`, `-`; part of a SKU or name; typos.")] search: Option<String>,
        #[graphql(desc = "Which products.")] filter: Option<ProductFilter>,
        #[graphql(desc = "In what order; the newest first if it is not given.")] sort_by: Option<Vec<ProductSort>>,
    ) -> Result<Option<ProductConnection>> {
        let page = PageArguments { first, after, last, before, offset };
        let within = Some(self.key);
        let arguments = ListArguments { page, search, filter, sort_by, within };
        product_connection(ctx.request(), arguments).await.map(Some)
    }
}
