//! Products and lists of them, written as JSON straight from their rows.
//!
//! async-graphql makes a future of each field and a value of each result, which is most of the work that a page takes. Where
//! all that an operation selects lies in the rows at hand, a plan is made of its document once, and an answer is one walk
//! over the rows. What a plan does not know of has none, and where one does not get on, async-graphql is asked as ever.

use std::any::TypeId;
use std::ops::Range;
use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet};
use async_graphql::resolver_utils::enum_value;
use async_graphql::{Error, InputType, PathSegment, Positioned, Request, ScalarType, ServerError, Variables};
use chrono::Utc;
use serde::Serialize;

use crate::domain::catalog::{self, Tree, queries};
use crate::domain::ids::CategoryId;
use crate::domain::page::PageArguments;
use crate::graphql::catalog::inputs::ProductKey;
use crate::graphql::catalog::queries::ListArguments;
use crate::graphql::catalog::types::{
    Attribute, Media, Money, ProductConnection, ProductEdge, ProductStatus, Stock, is_visible,
};
use crate::graphql::context::RequestContext;
use crate::graphql::error::ApiError;
use crate::graphql::facts::Facts;
use crate::graphql::id::NodeId;
use crate::graphql::scalars::DateTime;

/// Bytes of an answer, about.
const ABOUT: usize = 8 * 1024;

/// How the answers to an operation are written.
pub struct Plan {
    field: Positioned<Field>,
    root: Root,
    shows_categories: bool,
    counts: bool,
    /// What the root field costs beside its objects.
    weight: u64,
}

enum Root {
    Products(Write<ProductConnection>),
    Product(Write<catalog::Product>),
}

/// Writes a value.
type Write<T> = Box<dyn Fn(&T, &mut Written) + Send + Sync>;

/// An answer, which anybody would get.
pub struct Written {
    pub body: Vec<u8>,
    /// What it did cost.
    pub cost: u64,
    tree: Arc<Tree>,
    count: Option<i64>,
    shown: Option<Shown>,
}

/// The category that was written last.
struct Shown {
    /// Where it was selected.
    place: usize,
    id: Option<CategoryId>,
    bytes: Range<usize>,
    cost: u64,
}

impl Plan {
    /// The plan for a query, if all that it selects can be written. The document was walked before: its fragments are few and
    /// have no circle.
    pub fn of(operation: &OperationDefinition, document: &ExecutableDocument, facts: &Facts) -> Option<Self> {
        let [Positioned { node: Selection::Field(field), .. }] = operation.selection_set.node.items.as_slice() else {
            return None;
        };
        if !operation.directives.is_empty() || !field.node.directives.is_empty() {
            return None;
        }
        let (name, selections) = (&field.node.name.node, &field.node.selection_set.node);
        let mut draft = Draft { document, facts, categories: 0, counts: false };
        let root = match name.as_str() {
            "products" => Root::Products(draft.object("ProductConnection", selections, connection)?),
            "product" => Root::Product(draft.object("Product", selections, product)?),
            _ => return None,
        };
        let (shows_categories, counts) = (draft.categories > 0, draft.counts);
        let weight = facts.field("Query", name)?.weight;
        Some(Self { field: field.clone(), root, shows_categories, counts, weight })
    }

    /// The answer to a request that nobody in particular sends, or the failure of its one field. `None`: async-graphql knows
    /// better.
    pub async fn answer(&self, request: &Request) -> Option<Result<Written, ServerError>> {
        let context: &RequestContext = request.data.get(&TypeId::of::<RequestContext>())?.downcast_ref()?;
        let (body, cost, tree) = (Vec::with_capacity(ABOUT), self.weight, Arc::default());
        let mut written = Written { body, cost, tree, count: None, shown: None };
        written.body.extend_from_slice(b"{\"data\":{");
        written.body.extend_from_slice(key(&self.field.node.response_key().node).as_bytes());
        match &self.root {
            Root::Products(write) => {
                let arguments = self.list(&request.variables)?;
                let connection = match arguments.read(context) {
                    Ok((list, window)) => {
                        let count = async {
                            match self.counts {
                                true => queries::product_count(&context.core, &list, None).await.map(Some),
                                false => Ok(None),
                            }
                        };
                        let (page, count) = tokio::join!(queries::products(&context.core, &list, window), count);
                        // A count that fails leaves the page as it is, which is for others to say.
                        written.count = if page.is_ok() { count.ok()? } else { None };
                        page.map(|page| ProductConnection { list: Arc::clone(&list), page }).map_err(ApiError::from)
                    }
                    Err(refused) => Err(refused),
                };
                let connection = match connection {
                    Ok(connection) => connection,
                    Err(error) => return Some(Err(self.failure(error))),
                };
                self.look_up(context, &mut written).await?;
                write(&connection, &mut written);
            }
            Root::Product(write) => {
                let by: ProductKey = self.argument("by", &request.variables)?;
                let found = match by.read("by") {
                    Ok(key) => queries::product(&context.core, key).await.map_err(ApiError::from),
                    Err(refused) => Err(refused),
                };
                let found = match found {
                    Ok(found) => found.filter(|product| is_visible(product.status, context)),
                    Err(error) => return Some(Err(self.failure(error))),
                };
                self.look_up(context, &mut written).await?;
                nullable(found.as_deref(), write, &mut written);
            }
        }
        written.body.extend_from_slice(b"}}");
        written.cost = written.cost.max(1);
        Some(Ok(written))
    }

    /// Looks the categories up if they are shown.
    async fn look_up(&self, context: &RequestContext, written: &mut Written) -> Option<()> {
        if self.shows_categories {
            written.tree = context.categories().await.ok()?;
        }
        Some(())
    }

    fn list(&self, variables: &Variables) -> Option<ListArguments> {
        let page = PageArguments {
            first: self.argument("first", variables)?,
            after: self.argument("after", variables)?,
            last: self.argument("last", variables)?,
            before: self.argument("before", variables)?,
            offset: self.argument("offset", variables)?,
        };
        Some(ListArguments {
            page,
            search: self.argument("search", variables)?,
            filter: self.argument("filter", variables)?,
            sort_by: self.argument("sortBy", variables)?,
            within: None,
        })
    }

    /// An argument of the root field; `None` if it is not of its type.
    fn argument<T: InputType>(&self, name: &str, variables: &Variables) -> Option<T> {
        // A variable that is not given is null, which says as much of what is nullable.
        let variable = |name| Ok::<_, ()>(variables.get(&name).cloned().unwrap_or_default());
        let given = self.field.node.get_argument(name);
        let value = given.map(|value| value.node.clone().into_const_with(variable)).transpose().ok()?;
        T::parse(value).ok()
    }

    fn failure(&self, error: ApiError) -> ServerError {
        let mut error = Error::from(error).into_server_error(self.field.pos);
        error.path = vec![PathSegment::Field(self.field.node.response_key().node.to_string())];
        error
    }
}

/// A plan that is being made.
struct Draft<'a> {
    document: &'a ExecutableDocument,
    facts: &'a Facts,
    /// Places where one is selected.
    categories: usize,
    counts: bool,
}

/// How the fields of a type are written; `None` for those that are not.
type Fields<T> = fn(&mut Draft<'_>, &Field) -> Option<Write<T>>;

impl Draft<'_> {
    /// How objects of a type are written.
    fn object<T: 'static>(&mut self, of: &str, selections: &SelectionSet, fields: Fields<T>) -> Option<Write<T>> {
        let (mut members, mut weight) = (Vec::new(), self.facts.composite(of)?.weight);
        self.collect(of, selections, fields, &mut members, &mut weight)?;
        Some(Box::new(move |value, written| {
            written.cost = written.cost.saturating_add(weight);
            let mut before = b'{';
            for (key, write) in &members {
                written.body.push(before);
                written.body.extend_from_slice(key.as_bytes());
                write(value, written);
                before = b',';
            }
            written.body.push(b'}');
        }))
    }

    fn collect<T: 'static>(
        &mut self,
        of: &str,
        selections: &SelectionSet,
        fields: Fields<T>,
        members: &mut Vec<(String, Write<T>)>,
        weight: &mut u64,
    ) -> Option<()> {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) if field.node.directives.is_empty() => {
                    let (field, key) = (&field.node, key(&field.node.response_key().node));
                    // What is selected twice is to be merged.
                    if members.iter().any(|(known, _)| *known == key) {
                        return None;
                    }
                    let write = if field.name.node == "__typename" {
                        let of = of.to_owned();
                        Box::new(move |_: &T, written: &mut Written| written.put(&of))
                    } else {
                        *weight = weight.saturating_add(self.facts.field(of, &field.name.node)?.weight);
                        fields(self, field)?
                    };
                    members.push((key, write));
                }
                Selection::InlineFragment(fragment) if fragment.node.directives.is_empty() => {
                    let condition = fragment.node.type_condition.as_ref();
                    if condition.is_some_and(|on| on.node.on.node != of) {
                        return None;
                    }
                    self.collect(of, &fragment.node.selection_set.node, fields, members, weight)?;
                }
                Selection::FragmentSpread(spread) if spread.node.directives.is_empty() => {
                    let fragment = &self.document.fragments.get(&spread.node.fragment_name.node)?.node;
                    if fragment.type_condition.node.on.node != of || !fragment.directives.is_empty() {
                        return None;
                    }
                    self.collect(of, &fragment.selection_set.node, fields, members, weight)?;
                }
                _ => return None,
            }
        }
        (!members.is_empty()).then_some(())
    }
}

fn connection(draft: &mut Draft<'_>, field: &Field) -> Option<Write<ProductConnection>> {
    let selections = &field.selection_set.node;
    Some(match field.name.node.as_str() {
        "nodes" => {
            let write = draft.object("Product", selections, product)?;
            Box::new(move |shown, written| {
                written.list(shown.page.items.iter(), |found, written| write(&found.product, written));
            })
        }
        "edges" => {
            let write = draft.object("ProductEdge", selections, edge)?;
            Box::new(move |shown, written| {
                written.list(0..shown.page.items.len(), |place, written| {
                    let (list, page) = (Arc::clone(&shown.list), Arc::clone(&shown.page));
                    write(&ProductEdge { list, page, place }, written);
                });
            })
        }
        "pageInfo" => draft.object("PageInfo", selections, page_info)?,
        "totalCount" => {
            draft.counts = true;
            Box::new(|_, written| written.put(&written.count.and_then(|count| i32::try_from(count).ok())))
        }
        _ => return None,
    })
}

fn page_info(_: &mut Draft<'_>, field: &Field) -> Option<Write<ProductConnection>> {
    Some(match field.name.node.as_str() {
        "hasNextPage" => leaf(|shown: &ProductConnection| shown.page.has_next),
        "hasPreviousPage" => leaf(|shown: &ProductConnection| shown.page.has_previous),
        "startCursor" => leaf(|shown: &ProductConnection| shown.cursor(shown.page.items.first())),
        "endCursor" => leaf(|shown: &ProductConnection| shown.cursor(shown.page.items.last())),
        _ => return None,
    })
}

fn edge(draft: &mut Draft<'_>, field: &Field) -> Option<Write<ProductEdge>> {
    Some(match field.name.node.as_str() {
        "cursor" => leaf(ProductEdge::place_in_list),
        "score" => leaf(ProductEdge::match_score),
        "node" => {
            let write = draft.object("Product", &field.selection_set.node, product)?;
            Box::new(move |edge, written| {
                nullable(edge.page.items.get(edge.place).map(|found| &found.product), &write, written);
            })
        }
        _ => return None,
    })
}

fn product(draft: &mut Draft<'_>, field: &Field) -> Option<Write<catalog::Product>> {
    type Product = catalog::Product;
    let selections = &field.selection_set.node;
    Some(match field.name.node.as_str() {
        "id" => id(|product: &Product| NodeId::Product(product.id)),
        "version" => leaf(|product: &Product| product.version),
        "slug" => text(|product: &Product| Some(&product.slug)),
        "sku" => text(|product: &Product| Some(&product.sku)),
        "name" => text(|product: &Product| Some(&product.name)),
        "description" => text(|product: &Product| product.description.as_deref()),
        "status" => leaf(|product: &Product| enum_value(ProductStatus::from(product.status))),
        "price" => {
            let write = draft.object("Money", selections, money)?;
            Box::new(move |product, written| write(&Money::new(product.price_amount, &product.price_currency), written))
        }
        "compareAtPrice" => {
            let write = draft.object("Money", selections, money)?;
            Box::new(move |product, written| {
                let price = product.compare_at_amount.map(|amount| Money::new(amount, &product.price_currency));
                nullable(price.as_ref(), &write, written);
            })
        }
        "stock" => {
            let write = draft.object("Stock", selections, stock)?;
            Box::new(move |product, written| write(&Stock::of(product), written))
        }
        "category" => {
            let (write, place) = (draft.object("Category", selections, category)?, draft.categories);
            draft.categories += 1;
            Box::new(move |product, written| written.category(place, product.category_id, &write))
        }
        "tags" => Box::new(|product, written| written.list(product.tags.iter(), |tag, written| written.text(tag))),
        "attributes" => {
            let write = draft.object("Attribute", selections, attribute)?;
            Box::new(move |product, written| written.list(Attribute::all_of(product).iter(), &write))
        }
        "media" => {
            let write = draft.object("Media", selections, media)?;
            Box::new(move |product, written| {
                written.list(product.media().into_iter().map(Media::from), |media, written| write(&media, written));
            })
        }
        "rating" => leaf(|product: &Product| product.rating),
        "externalReference" => text(|product: &Product| product.external_reference.as_deref()),
        "createdAt" => moment(|product: &Product| product.created_at),
        "updatedAt" => moment(|product: &Product| product.updated_at),
        // It is for the staff, who are somebody in particular.
        "createdBy" => Box::new(|_, written| written.null()),
        _ => return None,
    })
}

fn money(_: &mut Draft<'_>, field: &Field) -> Option<Write<Money>> {
    Some(match field.name.node.as_str() {
        "amount" => text(|money: &Money| Some(&money.amount.0)),
        "currency" => text(|money: &Money| Some(&money.currency.0)),
        "fractionDigits" => leaf(|money: &Money| money.fraction_digits),
        _ => return None,
    })
}

fn stock(_: &mut Draft<'_>, field: &Field) -> Option<Write<Stock>> {
    Some(match field.name.node.as_str() {
        "available" => leaf(|stock: &Stock| stock.available),
        "state" => leaf(|stock: &Stock| enum_value(stock.state)),
        _ => return None,
    })
}

fn category(_: &mut Draft<'_>, field: &Field) -> Option<Write<catalog::Category>> {
    type Category = catalog::Category;
    Some(match field.name.node.as_str() {
        "id" => id(|category: &Category| NodeId::Category(category.id)),
        "slug" => text(|category: &Category| Some(&category.slug)),
        "name" => text(|category: &Category| Some(&category.name)),
        "position" => leaf(|category: &Category| category.position),
        "createdAt" => moment(|category: &Category| category.created_at),
        "updatedAt" => moment(|category: &Category| category.updated_at),
        _ => return None,
    })
}

fn attribute(_: &mut Draft<'_>, field: &Field) -> Option<Write<Attribute>> {
    Some(match field.name.node.as_str() {
        "key" => text(|attribute: &Attribute| Some(&attribute.key)),
        "value" => leaf(|attribute: &Attribute| ScalarType::to_value(&attribute.value)),
        _ => return None,
    })
}

fn media(_: &mut Draft<'_>, field: &Field) -> Option<Write<Media>> {
    Some(match field.name.node.as_str() {
        "url" => text(|media: &Media| Some(&media.url.0)),
        "alt" => text(|media: &Media| media.alt.as_deref()),
        "width" => leaf(|media: &Media| media.width),
        "height" => leaf(|media: &Media| media.height),
        _ => return None,
    })
}

impl Written {
    fn put<V: Serialize + ?Sized>(&mut self, value: &V) {
        // Memory takes whatever is written to it, and no value of ours has keys that are not text.
        let _ = serde_json::to_writer(&mut self.body, value);
    }

    /// A text; most stand in JSON as they are, which is seen of many bytes at once.
    fn text(&mut self, text: &str) {
        let escaped = text.bytes().map(|byte| u8::from(byte < b' ' || byte == b'"' || byte == b'\\'));
        match escaped.fold(0, |any, one| any | one) {
            0 => self.quoted(|body| body.extend_from_slice(text.as_bytes())),
            _ => self.put(text),
        }
    }

    /// A text that stands in JSON as it is.
    fn quoted(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        self.body.push(b'"');
        append(&mut self.body);
        self.body.push(b'"');
    }

    fn null(&mut self) {
        self.body.extend_from_slice(b"null");
    }

    /// A product's category, which mostly is that of the product before.
    fn category(&mut self, place: usize, id: Option<CategoryId>, write: &Write<catalog::Category>) {
        if let Some(shown) = &self.shown
            && (shown.place, shown.id) == (place, id)
        {
            self.body.extend_from_within(shown.bytes.clone());
            self.cost = self.cost.saturating_add(shown.cost);
            return;
        }
        let (tree, start, cost) = (Arc::clone(&self.tree), self.body.len(), self.cost);
        nullable(id.and_then(|id| tree.get(id)), write, self);
        self.shown = Some(Shown { place, id, bytes: start..self.body.len(), cost: self.cost - cost });
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, write: impl Fn(T, &mut Self)) {
        self.body.push(b'[');
        for (place, item) in items.enumerate() {
            if place > 0 {
                self.body.push(b',');
            }
            write(item, self);
        }
        self.body.push(b']');
    }
}

/// A field with a value of its own.
fn leaf<T: 'static, V: Serialize + 'static>(of: fn(&T) -> V) -> Write<T> {
    Box::new(move |value, written| written.put(&of(value)))
}

/// A text.
fn text<T: 'static>(of: fn(&T) -> Option<&str>) -> Write<T> {
    Box::new(move |value, written| match of(value) {
        Some(text) => written.text(text),
        None => written.null(),
    })
}

fn id<T: 'static>(of: fn(&T) -> NodeId) -> Write<T> {
    Box::new(move |value, written| written.quoted(|body| of(value).append_to(body)))
}

fn moment<T: 'static>(of: fn(&T) -> chrono::DateTime<Utc>) -> Write<T> {
    Box::new(move |value, written| written.quoted(|body| DateTime(of(value)).append_to(body)))
}

fn nullable<T>(value: Option<&T>, write: &Write<T>, written: &mut Written) {
    match value {
        Some(value) => write(value, written),
        None => written.null(),
    }
}

/// As it stands before its value. No name needs to be escaped.
fn key(name: &str) -> String {
    format!("\"{name}\":")
}
