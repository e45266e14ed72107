//! The SQL of a search. It finds in four ways, the best first: by the product's very SKU; by words of its name and
//! description; by a part of its SKU or name; by words that resemble those of the search.
//!
//! What is found comes in an order that does not depend on the search, such as the newest first, so that a page for a word
//! that half of the catalogue has costs no more than another. Which words go together, or never do, PostgreSQL does not
//! know: left to itself it walks such an order to its end, or sorts half of the catalogue. So a page looks at the first few
//! thousand products in the order; then at ten times as many, where these are likely to fill it before all that the
//! indexes of texts find could be read; and only then at that. Each way is tried only where those before it leave room.

use std::cmp::Ordering;

use diesel::dsl::{AsSelect, SqlTypeOf, not};
use diesel::expression::{Expression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Double, Text};
use diesel::{
    AppearsOnTable, BoolExpressionMethods, ExpressionMethods, IntoSql, NullableExpressionMethods, QueryDsl,
    QueryResult, SelectableExpression, TextExpressionMethods,
};

use crate::domain::catalog::category::Tree;
use crate::domain::catalog::cursor::{Cursor, SortValue};
use crate::domain::catalog::filter::{Filter, Test};
use crate::domain::catalog::list::{Direction, List, SortColumn};
use crate::domain::catalog::model::Product;
use crate::domain::catalog::store::{self, Columns, Condition, Order, Side};
use crate::domain::ids::CategoryId;
use crate::domain::page::Window;
use crate::infra::schema::products;

/// Products at the beginning of an order that a page looks at before anything else.
const FIRST_LOOK: i64 = 2_000;
/// How many times as many it may look at next.
const FARTHER: i64 = 10;
/// Shorter parts of a text are in no index: a SKU may begin with them.
const MIN_PART: usize = 3;

/// How far a product is from what was searched, by the way in which it was found.
const VERY_SKU: f64 = 0.0;
const WORDS: f64 = 1.0;
const PART: f64 = 2.0;
const RESEMBLING: f64 = 3.0;

#[diesel::declare_sql_function]
extern "SQL" {
    fn lower(text: Text) -> Text;
    fn search_query(query: Text) -> TsQuery;
}

#[derive(diesel::sql_types::SqlType, QueryId)]
#[diesel(postgres_type(name = "tsquery", schema = "pg_catalog"))]
pub struct TsQuery;

diesel::infix_operator!(HasWords, " @@ ", backend: Pg);

/// The search finds the product, one way or the other.
pub fn finds(search: &str) -> Condition {
    one_of(ways(search, Some(search)))
}

fn one_of(ways: Vec<(f64, Condition)>) -> Condition {
    let found = ways.into_iter().map(|(_, found)| found);
    found.reduce(|one, other| Box::new(one.or(other))).unwrap_or_else(|| Box::new(false.into_sql::<Bool>()))
}

/// What of its statements does not depend on values.
pub fn shape(search: &str) -> (usize, bool) {
    (ways(search, None).len(), search.chars().count() < MIN_PART)
}

/// Each way of finding, with how far what it finds is. Alternatives are those of a text, or what a page looked up.
fn ways(search: &str, alternatives_of: Option<&str>) -> Vec<(f64, Condition)> {
    let ways = [
        (VERY_SKU, Some(is_sku(search))),
        (WORDS, Some(has_words(search, alternatives_of.is_none()))),
        (PART, has_part(search)),
        (RESEMBLING, Some(Box::new(Resembles(alternatives_of.map(str::to_owned))) as Condition)),
    ];
    ways.into_iter().filter_map(|(distance, found)| Some((distance, found?))).collect()
}

/// The way at this place, without what the ones before it find.
fn only_by(search: &str, place: usize) -> Option<(f64, Condition)> {
    let mut ways = ways(search, None).into_iter();
    let before: Vec<_> = ways.by_ref().take(place).collect();
    let (distance, found) = ways.next()?;
    Some((distance, before.into_iter().fold(found, |found, (_, earlier)| Box::new(found.and(not(earlier))))))
}

fn is_sku(search: &str) -> Condition {
    Box::new(lower(products::sku).eq(search.to_owned()))
}

fn has_words(search: &str, in_page: bool) -> Condition {
    // PostgreSQL takes each dash before anything else for one more denial, and fails at the 33rd.
    let next = search.chars().skip(1).chain([' ']);
    let denies = |next: char| next.is_alphanumeric() || next == '"';
    let words = search.chars().zip(next).filter(|&(letter, next)| letter != '-' || denies(next));
    let query = search_query(words.map(|(letter, _)| letter).collect::<String>());
    match in_page {
        // Selected, it is read once, and not for each product where one plan serves all searches.
        true => Box::new(HasWords::new(products::search_words, diesel::select(query).single_value().assume_not_null())),
        // How many products there are of a word decides how they are best counted.
        false => Box::new(HasWords::new(products::search_words, query)),
    }
}

/// `None` where the search has neither letters nor digits, and where it has several words without a digit, as SKUs have:
/// words are found wherever they are.
fn has_part(search: &str) -> Option<Condition> {
    if !search.contains(char::is_alphanumeric) || (search.contains(' ') && !search.contains(char::is_numeric)) {
        return None;
    }
    let text = store::escape_like(search);
    Some(match search.chars().count() < MIN_PART {
        true => Box::new(lower(products::sku).like(format!("{text}%"))),
        false => Box::new(products::search_text.like(format!("%{text}%"))),
    })
}

/// The product has for each word of the search that, or one that resembles it; see `search_alternatives` in the migrations.
/// Where words have no alternatives it is NULL, which finds nothing: it must not be negated. Without a search it has the
/// `alternatives` that its statement begins with.
struct Resembles(Option<String>);

/// `(SELECT search_alternatives(search) AS terms)`, which takes longer than all the rest where words resemble many.
fn walk_alternatives<'b>(search: &'b String, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql("(SELECT search_alternatives(");
    out.push_bind_param::<Text, _>(search)?;
    out.push_sql(") AS terms)");
    Ok(())
}

impl QueryFragment<Pg> for Resembles {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        products::search_words.walk_ast(out.reborrow())?;
        out.push_sql(" @@ ");
        // Looked up once, and not for each product.
        if let Some(search) = &self.0 {
            return walk_alternatives(search, out);
        }
        out.push_sql("(SELECT terms FROM alternatives)");
        Ok(())
    }
}

impl QueryId for Resembles {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Expression for Resembles {
    type SqlType = Bool;
}

impl ValidGrouping<()> for Resembles {
    type IsAggregate = is_aggregate::No;
}

impl AppearsOnTable<products::table> for Resembles {}

impl SelectableExpression<products::table> for Resembles {}

/// A page of a list with a search: its products, and how far each is from what was searched.
pub struct SearchPage {
    search: String,
    columns: Columns,
    /// Each way of finding, with how far what it finds is.
    ways: Vec<(f64, Condition)>,
    order: Order,
    order_within_stages: Order,
    /// In the order in which the page has them.
    stages: Vec<Stage>,
    limit: i64,
    offset: i64,
    /// Products from the beginning to the end of the page.
    enough: i64,
}

/// Products that all come before those of the next stage.
struct Stage {
    passes: Condition,
    looks_first: bool,
    /// Where the category, if it is in one, and the page's cursors let it begin and end.
    between: Vec<Condition>,
}

impl SearchPage {
    pub fn new(list: &List, search: &str, window: &Window<Cursor>, tree: &Tree) -> Self {
        let (limit, offset) = (window.limit(), i64::from(window.offset));
        let (ranked, sort) = match list.sort.as_slice() {
            [(SortColumn::Distance, direction), rest @ ..] => (Some(*direction), rest),
            sort => (None, sort),
        };
        let within = store::only_category(&list.filter, tree);
        let has_index = store::has_index(sort, within.is_some()) && limit + offset <= FIRST_LOOK;
        let stage = |(distance, found): (f64, Condition)| {
            let cursors = [(&window.after, Side::After), (&window.before, Side::Before)];
            let ends = cursors.into_iter().filter_map(|(cursor, side)| Some((cursor.as_ref()?, side)));
            let ends = ends.map(|(cursor, side)| beyond(list, distance, cursor, side, within));
            let category = within.map(|id| store::matches(&Filter::Is(Test::Category([id].into())), tree));
            Stage {
                passes: Box::new(store::matches(&list.filter, tree).and(found)),
                looks_first: has_index && distance > VERY_SKU,
                between: category.into_iter().chain(ends).collect(),
            }
        };
        let found = match ranked {
            Some(_) => (0..).map_while(|place| only_by(search, place)).collect(),
            None => vec![(RESEMBLING, one_of(ways(search, None)))],
        };
        let mut stages: Vec<_> = found.into_iter().map(stage).collect();
        if ranked.is_some_and(|direction| (direction == Direction::Ascending) == window.backward) {
            stages.reverse();
        }
        let order = |sort: &[_]| Order { sort: sort.to_vec(), backward: window.backward };
        let (order, order_within_stages) = (order(&list.sort), order(sort));
        Self {
            search: search.to_owned(),
            columns: Columns,
            ways: ways(search, None),
            order,
            order_within_stages,
            stages,
            limit,
            offset,
            enough: limit + offset,
        }
    }
}

/// What is found at this distance lies beyond the cursor.
fn beyond(list: &List, distance: f64, Cursor(values): &Cursor, side: Side, within: Option<CategoryId>) -> Condition {
    match (list.sort.as_slice(), values.as_slice()) {
        ([(SortColumn::Distance, direction), sort @ ..], [SortValue::Real(then), values @ ..]) => {
            let is_greater = (*direction == Direction::Ascending) == (side == Side::After);
            match distance.total_cmp(then) {
                Ordering::Equal => store::beyond(sort, values, side, within),
                Ordering::Greater => Box::new(is_greater.into_sql::<Bool>()),
                Ordering::Less => Box::new((!is_greater).into_sql::<Bool>()),
            }
        }
        (sort, values) => store::beyond(sort, values, side, within),
    }
}

impl SearchPage {
    fn walk_stage<'b>(&'b self, place: usize, stage: &'b Stage, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if stage.looks_first {
            self.walk_look(place, stage, false, out.reborrow())?;
            self.walk_look(place, stage, true, out.reborrow())?;
        }
        out.push_sql(&format!("stage_{place} AS MATERIALIZED ("));
        let looks = if stage.looks_first { ["look", "far"].as_slice() } else { &[] };
        for look in looks {
            out.push_sql(&format!("SELECT * FROM {look}_{place} WHERE (SELECT count(*) FROM {look}_{place}) = "));
            out.push_bind_param::<BigInt, _>(&self.enough)?;
            out.push_sql(" UNION ALL ");
        }
        // OFFSET 0 keeps PostgreSQL from walking the order in the hope to meet them soon.
        out.push_sql("(SELECT * FROM (SELECT * FROM products WHERE ");
        stage.passes.walk_ast(out.reborrow())?;
        walk_all(&stage.between, out.reborrow())?;
        out.push_sql(" OFFSET 0) AS products WHERE true");
        self.walk_room(place, out.reborrow())?;
        for look in looks {
            out.push_sql(&format!(" AND (SELECT count(*) FROM {look}_{place}) < "));
            out.push_bind_param::<BigInt, _>(&self.enough)?;
        }
        self.walk_end(out.reborrow())?;
        out.push_sql(")), ");
        Ok(())
    }

    /// What passes among the first products in the order.
    fn walk_look<'b>(
        &'b self,
        place: usize,
        stage: &'b Stage,
        is_far: bool,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        let (name, rows) = if is_far { ("far", FARTHER * FIRST_LOOK) } else { ("look", FIRST_LOOK) };
        out.push_sql(&format!("{name}_{place} AS MATERIALIZED (SELECT * FROM (SELECT * FROM products WHERE true"));
        walk_all(&stage.between, out.reborrow())?;
        out.push_sql(" ORDER BY ");
        self.order_within_stages.walk_ast(out.reborrow())?;
        out.push_sql(&format!(" LIMIT {rows}) AS products WHERE "));
        stage.passes.walk_ast(out.reborrow())?;
        self.walk_room(place, out.reborrow())?;
        if is_far {
            // With `found` of the first LOOK products the page is full after `enough * LOOK / found`, and the indexes
            // find `found / LOOK` of all: if that is more, farther is sooner.
            let found = format!("(SELECT count(*) FROM look_{place})");
            let all = "(SELECT reltuples::double precision FROM pg_class WHERE oid = 'products'::regclass)";
            out.push_sql(&format!(" AND {found} < "));
            out.push_bind_param::<BigInt, _>(&self.enough)?;
            out.push_sql(&format!(" AND {FARTHER} * {found} >= "));
            out.push_bind_param::<BigInt, _>(&self.enough)?;
            out.push_sql(&format!(" AND {found} * {found} * {all} >= {} * ", FIRST_LOOK * FIRST_LOOK));
            out.push_bind_param::<BigInt, _>(&self.enough)?;
        }
        self.walk_end(out.reborrow())?;
        out.push_sql("), ");
        Ok(())
    }

    /// `AND` the stages before this one have not found enough.
    fn walk_room<'b>(&'b self, place: usize, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if place > 0 {
            let counts: Vec<_> = (0..place).map(|before| format!("(SELECT count(*) FROM stage_{before})")).collect();
            out.push_sql(&format!(" AND {} < ", counts.join(" + ")));
            out.push_bind_param::<BigInt, _>(&self.enough)?;
        }
        Ok(())
    }

    /// `ORDER BY` what stages are sorted by, as far as a page needs it.
    fn walk_end<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(" ORDER BY ");
        self.order_within_stages.walk_ast(out.reborrow())?;
        out.push_sql(" LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.enough)
    }
}

fn walk_all<'b>(conditions: &'b [Condition], mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    for condition in conditions {
        out.push_sql(" AND ");
        condition.walk_ast(out.reborrow())?;
    }
    Ok(())
}

impl QueryFragment<Pg> for SearchPage {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH alternatives AS MATERIALIZED ");
        walk_alternatives(&self.search, out.reborrow())?;
        out.push_sql(", ");
        for (place, stage) in self.stages.iter().enumerate() {
            self.walk_stage(place, stage, out.reborrow())?;
        }
        out.push_sql("found AS (SELECT * FROM products WHERE false");
        for place in 0..self.stages.len() {
            out.push_sql(&format!(" UNION ALL SELECT * FROM stage_{place}"));
        }
        out.push_sql(") SELECT ");
        self.columns.walk_ast(out.reborrow())?;
        out.push_sql(", CASE");
        for (distance, found) in &self.ways {
            out.push_sql(" WHEN ");
            found.walk_ast(out.reborrow())?;
            out.push_sql(&format!(" THEN {distance}"));
        }
        out.push_sql(" END::double precision AS distance FROM found AS products");
        out.push_sql(" ORDER BY ");
        self.order.walk_ast(out.reborrow())?;
        out.push_sql(" LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(" OFFSET ");
        out.push_bind_param::<BigInt, _>(&self.offset)
    }
}

impl QueryId for SearchPage {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for SearchPage {
    type SqlType = (SqlTypeOf<AsSelect<Product, Pg>>, Double);
}
