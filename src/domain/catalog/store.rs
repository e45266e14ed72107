//! The catalogue's SQL: one function a statement, on a connection that the caller chose.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::{LazyLock, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use diesel::dsl::{AsSelect, SqlTypeOf};
use diesel::expression::{BoxableExpression, Expression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Double, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel::{
    AppearsOnTable, AsChangeset, BoolExpressionMethods, ExpressionMethods, IntoSql, NullableExpressionMethods,
    OptionalExtension, PgAnyJsonExpressionMethods, PgArrayExpressionMethods, PgJsonbExpressionMethods,
    PgTextExpressionMethods, QueryDsl, QueryResult, SelectableExpression, SelectableHelper, TextExpressionMethods,
    debug_query,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use crate::domain::catalog::category::{Category, NewCategory, Tree};
use crate::domain::catalog::cursor::{Cursor, SortValue};
use crate::domain::catalog::demo::{DemoCategory, DemoProduct};
use crate::domain::catalog::filter::{Filter, Test, TextField, TextTest};
use crate::domain::catalog::list::{Direction, Found, List, SortColumn};
use crate::domain::catalog::model::{MAX_STOCK, NewProduct, Product, ProductChanges, ProductKey, Status};
use crate::domain::catalog::search::{self, SearchPage};
use crate::domain::changes::Version;
use crate::domain::ids::{CategoryId, ProductId, UserId};
use crate::domain::page::{MAX_SIZE, Window};
use crate::infra::schema::{categories, products};

/// A condition on products; never NULL, unless it says so.
pub(super) type Condition = Box<dyn BoxableExpression<products::table, Pg, SqlType = Bool>>;

/// All columns of a product, as what it is made of. They are put into words once, and not for each statement: to quote two
/// names for each column takes longer than the rest of a statement.
#[derive(Clone, Copy, QueryId)]
pub(super) struct Columns;

impl Expression for Columns {
    type SqlType = SqlTypeOf<AsSelect<Product, Pg>>;
}

impl QueryFragment<Pg> for Columns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        static WORDS: LazyLock<String> = LazyLock::new(|| {
            let debugged = debug_query::<Pg, _>(&Product::as_select()).to_string();
            debugged.split(" -- binds:").next().unwrap_or_default().to_owned()
        });
        out.push_sql(&WORDS);
        Ok(())
    }
}

impl<G> ValidGrouping<G> for Columns {
    type IsAggregate = is_aggregate::No;
}

impl AppearsOnTable<products::table> for Columns {}
impl SelectableExpression<products::table> for Columns {}

/// The product by one of its keys.
pub async fn by_key(connection: &mut AsyncPgConnection, key: &ProductKey) -> QueryResult<Option<Product>> {
    let query = products::table.filter(has_key(key)).select(Columns);
    query.first(connection).await.optional()
}

/// The same, locked until the transaction ends.
pub async fn lock_by_key(connection: &mut AsyncPgConnection, key: &ProductKey) -> QueryResult<Option<Product>> {
    // Boxed conditions cannot be locked, ids can.
    let id = if let ProductKey::Id(id) = key {
        *id
    } else {
        let found = products::table.filter(has_key(key)).select(products::id).first(connection).await;
        let Some(id) = found.optional()? else { return Ok(None) };
        id
    };
    let query = products::table.find(id).select(Columns).for_no_key_update();
    let locked = query.first(connection).await.optional()?.map(readable).transpose()?;
    // Meanwhile the key may have gone to another product.
    Ok(locked.filter(|product| key.names(product)))
}

/// Whoever changes a product writes back what it is.
fn readable(product: Product) -> QueryResult<Product> {
    for json in [&product.attributes, &product.media] {
        json.read().map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    }
    Ok(product)
}

fn has_key(key: &ProductKey) -> Condition {
    match key {
        ProductKey::Id(id) => Box::new(products::id.eq(*id)),
        ProductKey::Slug(slug) => Box::new(products::slug.eq(slug.clone())),
        ProductKey::Sku(sku) => Box::new(products::sku.eq(sku.clone())),
        ProductKey::ExternalReference(reference) => Box::new(
            products::external_reference
                .is_not_null()
                .and(products::external_reference.assume_not_null().eq(reference.clone())),
        ),
    }
}

pub async fn by_ids(connection: &mut AsyncPgConnection, ids: &[ProductId]) -> QueryResult<Vec<Product>> {
    products::table.filter(products::id.eq_any(ids)).select(Columns).load(connection).await
}

/// Of these products those that exist, each with where it is in its life.
pub async fn statuses(connection: &mut AsyncPgConnection, ids: &[ProductId]) -> QueryResult<Vec<(ProductId, Status)>> {
    products::table.filter(products::id.eq_any(ids)).select((products::id, products::status)).load(connection).await
}

/// Of these categories those that exist.
pub async fn existing_categories(
    connection: &mut AsyncPgConnection,
    ids: &[CategoryId],
) -> QueryResult<Vec<CategoryId>> {
    categories::table.filter(categories::id.eq_any(ids)).select(categories::id).load(connection).await
}

pub async fn insert(
    connection: &mut AsyncPgConnection,
    id: ProductId,
    created_by: Option<UserId>,
    product: &NewProduct,
) -> QueryResult<Product> {
    diesel::insert_into(products::table)
        .values((products::id.eq(id), products::created_by.eq(created_by), product))
        .returning(Product::as_returning())
        .get_result(connection)
        .await
}

/// Sets these columns of a product, its next version, and when that was: later than the last time, whatever the clock says. A
/// change of stock alone, the commonest, stays prepared; diesel's own `UPDATE` never does.
pub async fn update(
    connection: &mut AsyncPgConnection,
    id: ProductId,
    changes: &ProductChanges<'_>,
) -> QueryResult<Product> {
    let kept = *changes == ProductChanges { stock: changes.stock, ..ProductChanges::default() };
    let query = Update { values: changes.as_changeset(), now: Utc::now(), id };
    Shaped { query, kept }.get_result(connection).await
}

/// The next version of a product, and when that was. The clocks of two instances may differ, and who waits for a lock has
/// looked at theirs before: it is later than the last time all the same.
fn walk_next_version<'b>(now: &'b DateTime<Utc>, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql("version = products.version + 1, updated_at = greatest(");
    out.push_bind_param::<Timestamptz, _>(now)?;
    out.push_sql(", products.updated_at + interval '1 microsecond')");
    Ok(())
}

/// Changes one product.
struct Update<V> {
    values: V,
    now: DateTime<Utc>,
    id: ProductId,
}

impl<V> Query for Update<V> {
    type SqlType = SqlTypeOf<AsSelect<Product, Pg>>;
}

impl<V> QueryId for Update<V> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<V: QueryFragment<Pg>> QueryFragment<Pg> for Update<V> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE products SET ");
        self.values.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        walk_next_version(&self.now, out.reborrow())?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<diesel::sql_types::Uuid, _>(&self.id)?;
        out.push_sql(" RETURNING ");
        Columns.walk_ast(out)
    }
}

/// Adds to the stock of the product with this key, in one statement, since no change is as frequent. Returns the product before
/// and after; `None` if there is no such product, its stock is not `change_from`, or it would stay or become what cannot be.
pub async fn adjust_stock(
    connection: &mut AsyncPgConnection,
    key: &ProductKey,
    delta: i32,
    change_from: Option<i32>,
) -> QueryResult<Option<(Product, Product)>> {
    let query = AdjustStock { has_key: has_key(key), delta, change_from, now: Utc::now() };
    let adjusted: Option<(Product, DateTime<Utc>)> = query.get_result(connection).await.optional()?;
    let Some((after, updated_at)) = adjusted else { return Ok(None) };
    let after = readable(after)?;
    let before = Product { stock: after.stock - delta, version: after.version - 1, updated_at, ..after.clone() };
    Ok(Some((before, after)))
}

struct AdjustStock {
    has_key: Condition,
    delta: i32,
    change_from: Option<i32>,
    now: DateTime<Utc>,
}

impl Query for AdjustStock {
    type SqlType = (SqlTypeOf<AsSelect<Product, Pg>>, Timestamptz);
}

impl QueryId for AdjustStock {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for AdjustStock {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE products SET ");
        walk_next_version(&self.now, out.reborrow())?;
        out.push_sql(", stock = before.stock + ");
        out.push_bind_param::<Integer, _>(&self.delta)?;
        // Locked first, so that it is the latest that is added to.
        out.push_sql(" FROM (SELECT id, stock, updated_at FROM products WHERE ");
        self.has_key.walk_ast(out.reborrow())?;
        out.push_sql(" FOR NO KEY UPDATE) AS before WHERE products.id = before.id AND before.stock = coalesce(");
        out.push_bind_param::<Nullable<Integer>, _>(&self.change_from)?;
        out.push_sql(", before.stock) AND 0 <> ");
        out.push_bind_param::<Integer, _>(&self.delta)?;
        out.push_sql(" AND before.stock::bigint + ");
        out.push_bind_param::<Integer, _>(&self.delta)?;
        out.push_sql(&format!(" BETWEEN 0 AND {MAX_STOCK} RETURNING "));
        Columns.walk_ast(out.reborrow())?;
        out.push_sql(", before.updated_at");
        Ok(())
    }
}

pub async fn delete(connection: &mut AsyncPgConnection, id: ProductId) -> QueryResult<()> {
    diesel::delete(products::table.find(id)).execute(connection).await.map(|_| ())
}

/// Products of the list in the window, in the window's direction; one more than fit. Whoever asks knows how they are read; see
/// [`is_walk`].
pub async fn page(
    mut connection: &AsyncPgConnection,
    list: &List,
    window: &Window<Cursor>,
    tree: &Tree,
    is_walk: bool,
) -> QueryResult<Vec<Found>> {
    let kept = is_kept(shape(list, window, tree, is_walk));
    if let Some(search) = &list.search {
        let query = SearchPage::new(list, search, window, tree);
        let rows: Vec<(Product, f64)> = Shaped { query, kept }.load(&mut connection).await?;
        return Ok(rows.into_iter().map(|(product, distance)| Found { product, distance }).collect());
    }
    let within = only_category(&list.filter, tree);
    let mut query = products::table.filter(matches(&list.filter, tree)).select(Columns).into_boxed();
    if let Some(after) = &window.after {
        query = query.filter(beyond(&list.sort, &after.0, Side::After, within));
    }
    if let Some(before) = &window.before {
        query = query.filter(beyond(&list.sort, &before.0, Side::Before, within));
    }
    let query = query.order_by(Order { sort: list.sort.clone(), backward: window.backward });
    let (limit, offset) = (window.limit(), i64::from(window.offset));
    let rows: Vec<Product> = match is_walk {
        true => Shaped { query: Walk { query, limit }, kept }.load(&mut connection).await?,
        false => Shaped { query: query.limit(limit).offset(offset), kept }.load(&mut connection).await?,
    };
    Ok(rows.into_iter().map(|product| Found { product, distance: 0.0 }).collect())
}

/// Whether the page is read from an index in its order, whatever the values in its statement are.
pub fn is_walk(list: &List, window: &Window<Cursor>, tree: &Tree) -> bool {
    let in_category = only_category(&list.filter, tree).is_some();
    list.search.is_none()
        && window.offset == 0
        && has_index(&list.sort, in_category)
        && passes_nearly_all(&list.filter, tree)
}

/// Whether an index that has the filter's category in order has little else than what passes.
fn passes_nearly_all(filter: &Filter, tree: &Tree) -> bool {
    match filter {
        Filter::All(filters) => filters.iter().all(|filter| passes_nearly_all(filter, tree)),
        Filter::Is(Test::Status(states)) => states.contains(&Status::Active),
        filter => only_category(filter, tree).is_some(),
    }
}

/// Such a page. Of a limit that is a parameter PostgreSQL thinks that it lets a tenth of the table pass, and so plans the
/// statement anew each time, which takes as long as to execute it. With another limit that it knows, within, it keeps one
/// plan for all. It hands rows on in the order in which they come.
#[derive(QueryId)]
struct Walk<T> {
    query: T,
    limit: i64,
}

impl<T: Query> Query for Walk<T> {
    type SqlType = T::SqlType;
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Walk<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT * FROM (");
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(&format!(" LIMIT {}) AS page LIMIT ", MAX_SIZE + 1));
        out.push_bind_param::<BigInt, _>(&self.limit)
    }
}

/// What a page is sorted by. Backwards everything turns round.
pub(super) struct Order {
    pub sort: Vec<(SortColumn, Direction)>,
    pub backward: bool,
}

impl QueryFragment<Pg> for Order {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (place, (column, direction)) in self.sort.iter().enumerate() {
            out.push_sql(if place == 0 { "" } else { ", " });
            walk_column(*column, *direction, out.reborrow())?;
            let is_ascending = (*direction == Direction::Ascending) != self.backward;
            out.push_sql(if is_ascending { " ASC" } else { " DESC" });
        }
        Ok(())
    }
}

impl QueryId for Order {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Expression for Order {
    type SqlType = diesel::expression::expression_types::NotSelectable;
}

impl AppearsOnTable<products::table> for Order {}

/// A value of each product, never NULL: what an index has in order.
fn walk_column(column: SortColumn, direction: Direction, mut out: AstPass<'_, '_, Pg>) -> QueryResult<()> {
    match column {
        // A search calls it so.
        SortColumn::Distance => out.push_identifier("distance"),
        SortColumn::NameKey => products::name_key.walk_ast(out),
        SortColumn::Currency => products::price_currency.walk_ast(out),
        SortColumn::Amount => products::price_amount.walk_ast(out),
        SortColumn::Stock => products::stock.walk_ast(out),
        SortColumn::Rating => {
            out.push_sql("coalesce(");
            products::rating.walk_ast(out.reborrow())?;
            out.push_sql(if direction == Direction::Ascending { ", 'infinity')" } else { ", '-infinity')" });
            Ok(())
        }
        SortColumn::CreatedAt => products::created_at.walk_ast(out),
        SortColumn::UpdatedAt => products::updated_at.walk_ast(out),
        SortColumn::Id => products::id.walk_ast(out),
    }
}

/// How many products the list has, counting no further than `most`, and the version of exactly those.
pub async fn count(
    connection: &mut AsyncPgConnection,
    list: &List,
    tree: &Tree,
    most: Option<i64>,
) -> QueryResult<(i64, Version)> {
    let mut rows = products::table.filter(belongs(list, tree)).select(products::id).into_boxed();
    if let Some(most) = most {
        rows = rows.limit(most);
    }
    Shaped { query: CountRows(rows), kept: is_kept(shape_of_filter(list, tree)) }.get_result(connection).await
}

/// Shapes of statements that stay prepared; clients can make up any number, and each costs memory on both sides.
const MAX_SHAPES: usize = 500;

/// Whether statements of this shape stay prepared: the first so many do.
fn is_kept(shape: u64) -> bool {
    static SHAPES: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    let mut shapes = SHAPES.lock().unwrap_or_else(PoisonError::into_inner);
    shapes.contains(&shape) || (shapes.len() < MAX_SHAPES && shapes.insert(shape))
}

/// A digest of what of a page's statement does not depend on values.
fn shape(list: &List, window: &Window<Cursor>, tree: &Tree, is_walk: bool) -> u64 {
    let mut digest = DefaultHasher::new();
    (&list.sort, window.backward, is_walk, shape_of_filter(list, tree)).hash(&mut digest);
    let is_ranked = matches!(list.sort.as_slice(), [(SortColumn::Distance, _), ..]);
    for cursor in [&window.after, &window.before] {
        let values = cursor.as_ref().map_or(&[][..], |cursor| &cursor.0);
        values.len().hash(&mut digest);
        for (place, value) in values.iter().enumerate() {
            (*value == SortValue::Nothing).hash(&mut digest);
            // How far what a search finds is decides which of its ways are asked for.
            if let (SortValue::Real(distance), true) = (value, is_ranked && place == 0) {
                distance.to_bits().hash(&mut digest);
            }
        }
    }
    digest.finish()
}

/// The same of what search and filter make of it.
fn shape_of_filter(list: &List, tree: &Tree) -> u64 {
    fn hash(filter: &Filter, tree: &Tree, digest: &mut DefaultHasher) {
        discriminant(filter).hash(digest);
        match filter {
            Filter::All(parts) | Filter::Any(parts) => {
                parts.len().hash(digest);
                for part in parts {
                    hash(part, tree, digest);
                }
            }
            Filter::Not(inner) => hash(inner, tree, digest),
            Filter::Is(test) => {
                discriminant(test).hash(digest);
                match test {
                    Test::Category(roots) => (tree.subtrees(roots).len() == 1).hash(digest),
                    Test::Status(states) => (states.len() == 1).hash(digest),
                    Test::Text(field, test) => (field, discriminant(test)).hash(digest),
                    _ => {}
                }
            }
        }
    }
    let mut digest = DefaultHasher::new();
    list.search.as_deref().map(search::shape).hash(&mut digest);
    hash(&list.filter, tree, &mut digest);
    digest.finish()
}

/// A query that stays prepared on its connection, or does not.
#[derive(QueryId)]
struct Shaped<T> {
    query: T,
    kept: bool,
}

impl<T: Query> Query for Shaped<T> {
    type SqlType = T::SqlType;
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Shaped<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.kept {
            out.unsafe_to_cache_prepared();
        }
        self.query.walk_ast(out)
    }
}

/// How many rows a query has, whose LIMIT then bounds the work, and the version of what it saw.
#[derive(QueryId)]
struct CountRows<T>(T);

impl<T> Query for CountRows<T> {
    type SqlType = (BigInt, BigInt);
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for CountRows<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT count(*), (SELECT v FROM catalog_version) FROM (");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(") AS counted");
        Ok(())
    }
}

/// The product is of the list.
fn belongs(list: &List, tree: &Tree) -> Condition {
    let filtered = matches(&list.filter, tree);
    match &list.search {
        Some(search) => Box::new(filtered.and(search::finds(search))),
        None => filtered,
    }
}

pub(super) fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// The product passes the filter.
pub(super) fn matches(filter: &Filter, tree: &Tree) -> Condition {
    match filter {
        Filter::All(parts) => join(parts, tree, true, |left, right| Box::new(left.and(right))),
        Filter::Any(parts) => join(parts, tree, false, |left, right| Box::new(left.or(right))),
        Filter::Not(inner) => Box::new(diesel::dsl::not(matches(inner, tree))),
        Filter::Is(test) => passes(test, tree),
    }
}

fn join(parts: &[Filter], tree: &Tree, none: bool, join: fn(Condition, Condition) -> Condition) -> Condition {
    let conditions = parts.iter().map(|part| matches(part, tree));
    conditions.reduce(join).unwrap_or_else(|| Box::new(none.into_sql::<Bool>()))
}

/// What may be NULL must be there first: then no test is neither true nor false.
fn passes(test: &Test, tree: &Tree) -> Condition {
    use products::dsl as p;

    match test {
        Test::Id(ids) => Box::new(p::id.eq_any(to_vec(ids))),
        Test::Text(field, test) => text_passes(*field, test),
        Test::HasExternalReference => Box::new(p::external_reference.is_not_null()),
        Test::Status(states) => match to_vec(states).as_slice() {
            [only] => Box::new(p::status.eq(*only)),
            several => Box::new(p::status.eq_any(several.to_vec())),
        },
        Test::Currency(code) => Box::new(p::price_currency.eq(code.clone())),
        Test::PriceAtLeast(amount) => Box::new(p::price_amount.ge(*amount)),
        Test::StockAtLeast(stock) => Box::new(p::stock.ge(*stock)),
        Test::Stock(values) => Box::new(p::stock.eq_any(to_vec(values))),
        Test::Category(roots) => {
            let ids = tree.subtrees(roots);
            let category = p::category_id.assume_not_null();
            let is_one_of: Condition = match ids.as_slice() {
                // An index that begins with the category has its products in order.
                [only] => Box::new(category.eq(*only)),
                _ => Box::new(category.eq_any(ids)),
            };
            Box::new(p::category_id.is_not_null().and(is_one_of))
        }
        Test::HasCategory => Box::new(p::category_id.is_not_null()),
        Test::TagsAny(tags) => Box::new(p::tags.overlaps_with(to_vec(tags))),
        Test::TagsAll(tags) => Box::new(p::tags.contains(to_vec(tags))),
        Test::HasAttribute(key) => Box::new(p::attributes.has_key(key.clone())),
        Test::Attribute(key, values) => {
            let values: Vec<Value> = values.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            let value = p::attributes.retrieve_as_object(key.clone()).assume_not_null();
            Box::new(p::attributes.has_key(key.clone()).and(value.eq_any(values)))
        }
        Test::CreatedAtLeast(time) => Box::new(p::created_at.ge(*time)),
        Test::UpdatedAtLeast(time) => Box::new(p::updated_at.ge(*time)),
    }
}

fn to_vec<'a, T: Clone + 'a>(values: impl IntoIterator<Item = &'a T>) -> Vec<T> {
    values.into_iter().cloned().collect()
}

fn text_passes(field: TextField, test: &TextTest) -> Condition {
    use products::dsl as p;

    macro_rules! passes {
        ($column:expr, $like:ident) => {
            match test {
                TextTest::In(values) => Box::new($column.eq_any(to_vec(values))),
                TextTest::Contains(part) => Box::new($column.$like(format!("%{}%", escape_like(part)))),
                TextTest::StartsWith(part) => Box::new($column.$like(format!("{}%", escape_like(part)))),
            }
        };
    }
    match (field, test) {
        (TextField::Sku, _) => passes!(p::sku, ilike),
        (TextField::Slug, _) => passes!(p::slug, ilike),
        (TextField::Name, TextTest::In(names)) => Box::new(p::name.eq_any(to_vec(names))),
        (TextField::Name, _) => passes!(p::name_key, like),
        (TextField::ExternalReference, _) => {
            let passes: Condition = passes!(p::external_reference.assume_not_null(), ilike);
            Box::new(p::external_reference.is_not_null().and(passes))
        }
    }
}

/// The one category that all products that pass are in, if a part of the filter says so.
pub(super) fn only_category(filter: &Filter, tree: &Tree) -> Option<CategoryId> {
    match filter {
        Filter::All(filters) => filters.iter().find_map(|filter| only_category(filter, tree)),
        Filter::Is(Test::Category(roots)) => match tree.subtrees(roots).as_slice() {
            [only] => Some(*only),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an index has all products in this order, or those of each category.
pub(super) fn has_index(sort: &[(SortColumn, Direction)], in_category: bool) -> bool {
    use SortColumn as Column;

    let [(_, way), ..] = sort else { return false };
    sort.iter().all(|(_, direction)| direction == way)
        && match sort {
            [(Column::Rating | Column::UpdatedAt, _), (Column::Id, _)] => !in_category,
            [_, (Column::Id, _)] | [(Column::Currency, _), (Column::Amount, _), (Column::Id, _)] => true,
            _ => false,
        }
}

/// Which side of a cursor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    After,
    Before,
}

/// `(a, b, id) > (1, 2, 3)`, which an index on these columns begins with, however far in the list that is. Within one
/// category that comes first where it does in an index, too: PostgreSQL reckons how many rows are beyond by the first
/// column, and of one currency none would seem to be.
#[derive(Debug)]
struct RowComparison {
    within: Option<CategoryId>,
    columns: Vec<(SortColumn, Direction, SortValue)>,
    operator: &'static str,
}

impl QueryFragment<Pg> for RowComparison {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(");
        if self.within.is_some() {
            products::category_id.walk_ast(out.reborrow())?;
            out.push_sql(", ");
        }
        for (place, (column, direction, _)) in self.columns.iter().enumerate() {
            out.push_sql(if place == 0 { "" } else { ", " });
            walk_column(*column, *direction, out.reborrow())?;
        }
        out.push_sql(&format!(") {} (", self.operator));
        if let Some(category) = &self.within {
            out.push_bind_param::<diesel::sql_types::Uuid, _>(category)?;
            out.push_sql(", ");
        }
        for (place, (column, direction, value)) in self.columns.iter().enumerate() {
            out.push_sql(if place == 0 { "" } else { ", " });
            match value {
                SortValue::Text(text) => out.push_bind_param::<Text, _>(text)?,
                // The column is of 32 bits, and so is what a checked cursor has.
                SortValue::Whole(whole) if *column == SortColumn::Stock => {
                    out.push_bind_param::<BigInt, _>(whole)?;
                    out.push_sql("::integer");
                }
                SortValue::Whole(whole) => out.push_bind_param::<BigInt, _>(whole)?,
                SortValue::Real(real) => out.push_bind_param::<Double, _>(real)?,
                SortValue::Time(time) => out.push_bind_param::<Timestamptz, _>(time)?,
                SortValue::Id(id) => out.push_bind_param::<diesel::sql_types::Uuid, _>(id)?,
                SortValue::Nothing if *direction == Direction::Ascending => out.push_sql("'infinity'"),
                SortValue::Nothing => out.push_sql("'-infinity'"),
            }
        }
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for RowComparison {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl diesel::expression::Expression for RowComparison {
    type SqlType = Bool;
}

impl diesel::expression::ValidGrouping<()> for RowComparison {
    type IsAggregate = diesel::expression::is_aggregate::No;
}

impl diesel::AppearsOnTable<products::table> for RowComparison {}

impl diesel::SelectableExpression<products::table> for RowComparison {}

/// The product lies beyond the cursor: by the first sort column whose values differ.
pub(super) fn beyond(
    sort: &[(SortColumn, Direction)],
    values: &[SortValue],
    side: Side,
    within: Option<CategoryId>,
) -> Condition {
    let columns = sort.iter().zip(values).map(|(&(column, direction), value)| (column, direction, value.clone()));
    let columns: Vec<_> = columns.collect();
    let strictly = |direction| if (direction == Direction::Ascending) == (side == Side::After) { ">" } else { "<" };
    match columns.as_slice() {
        [(first, way, _), rest @ ..] if rest.iter().all(|(_, direction, _)| direction == way) => {
            let within = within.filter(|_| !matches!(first, SortColumn::UpdatedAt | SortColumn::Rating));
            Box::new(RowComparison { within, operator: strictly(*way), columns })
        }
        _ => {
            let one = |column: &(_, _, SortValue), operator| {
                let columns = vec![column.clone()];
                RowComparison { within: None, operator, columns }
            };
            let none: Condition = Box::new(false.into_sql::<Bool>());
            columns.iter().rev().fold(none, |rest, column| {
                let (beyond, equal) = (one(column, strictly(column.1)), one(column, "="));
                Box::new(beyond.or(equal.and(rest)))
            })
        }
    }
}

/// All categories.
pub async fn categories(connection: &mut AsyncPgConnection) -> QueryResult<Vec<Category>> {
    categories::table.select(Category::as_select()).load(connection).await
}

/// Keeps everybody else from changing the tree until the transaction ends; readers go on.
pub async fn lock_categories(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection.batch_execute("LOCK TABLE categories IN SHARE ROW EXCLUSIVE MODE").await
}

pub async fn insert_category(
    connection: &mut AsyncPgConnection,
    id: CategoryId,
    category: &NewCategory,
) -> QueryResult<Category> {
    diesel::insert_into(categories::table)
        .values((categories::id.eq(id), category))
        .returning(Category::as_returning())
        .get_result(connection)
        .await
}

pub async fn update_category(
    connection: &mut AsyncPgConnection,
    id: CategoryId,
    category: &NewCategory,
) -> QueryResult<Category> {
    diesel::update(categories::table.find(id))
        .set((category, categories::updated_at.eq(Utc::now())))
        .returning(Category::as_returning())
        .get_result(connection)
        .await
}

pub async fn delete_category(connection: &mut AsyncPgConnection, id: CategoryId) -> QueryResult<()> {
    diesel::delete(categories::table.find(id)).execute(connection).await.map(|_| ())
}

pub async fn insert_demo_categories(connection: &mut AsyncPgConnection, demo: &[DemoCategory]) -> QueryResult<()> {
    let rows: Vec<_> = demo
        .iter()
        .map(|category| {
            (
                categories::id.eq(category.id),
                categories::parent_id.eq(category.parent_id),
                categories::slug.eq(&category.slug),
                categories::name.eq(category.name),
                categories::position.eq(category.position),
            )
        })
        .collect();
    let inserted = diesel::insert_into(categories::table).values(rows).on_conflict_do_nothing();
    inserted.execute(connection).await.map(|_| ())
}

/// Lets the transaction leave more of the search indexes to the next vacuum.
pub async fn prepare_for_many(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection.batch_execute("SET LOCAL gin_pending_list_limit = '64MB'").await
}

/// Adds products as far as they are missing: one value for a thousand rows, since PostgreSQL takes longer to read a
/// statement of as many values than to insert them.
pub async fn insert_demo_products(connection: &mut AsyncPgConnection, demo: &[DemoProduct]) -> QueryResult<()> {
    const COLUMNS: &str = "id, created_by, created_at, updated_at, sku, slug, name, name_key, description, status, \
        price_amount, price_currency, compare_at_amount, stock, category_id, tags, attributes, media, rating, \
        external_reference, version";
    let inserted = diesel::sql_query(format!(
        "INSERT INTO products ({COLUMNS}) SELECT {COLUMNS} FROM jsonb_populate_recordset(NULL::products, $1)
         ON CONFLICT DO NOTHING"
    ));
    let rows = serde_json::to_value(demo).map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    inserted.bind::<Jsonb, _>(rows).execute(connection).await.map(|_| ())
}
