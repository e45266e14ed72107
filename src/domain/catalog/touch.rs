//! Which changes touch which reads of the catalogue: the same tests that PostgreSQL runs for a list, run over what the
//! change log tells. A change that leaves an answer as it is does not touch it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::answers::Answer;
use crate::domain::catalog::category::{Category, Tree};
use crate::domain::catalog::cursor::{Cursor, SortValue};
use crate::domain::catalog::filter::Filter;
use crate::domain::catalog::list::{Direction, Found, List, SortColumn};
use crate::domain::catalog::model::{Product, ProductKey};
use crate::domain::changes::{Dependencies, Entity, Noted, Subject, Version};
use crate::domain::ids::{CategoryId, ProductId};
use crate::domain::page::{Page, Window};

/// A change, as far as a list can see it.
#[derive(Debug)]
pub enum Sight {
    /// Without its description and pictures.
    Product {
        before: Option<Box<Product>>,
        after: Option<Box<Product>>,
        /// Whether those are others now.
        is_retold: bool,
    },
    Category {
        before: Option<Box<Category>>,
        after: Option<Box<Category>>,
    },
}

impl Sight {
    /// What the log says of a change; `None` where it does not say enough.
    pub fn read(entity: Entity, before: Option<&str>, after: Option<&str>, is_retold: bool) -> Option<Self> {
        fn each<T: for<'a> Deserialize<'a>>(side: Option<&str>) -> serde_json::Result<Option<T>> {
            side.map(serde_json::from_str).transpose()
        }
        match entity {
            _ if before.is_none() && after.is_none() => None,
            Entity::Product => Some(Self::Product { before: each(before).ok()?, after: each(after).ok()?, is_retold }),
            Entity::Category => Some(Self::Category { before: each(before).ok()?, after: each(after).ok()? }),
            _ => None,
        }
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Product { before, after, .. } => {
                [before, after].into_iter().flatten().map(|product| product.bytes()).sum()
            }
            Self::Category { before, after } => [before, after].into_iter().flatten().count() * size_of::<Category>(),
        }
    }
}

impl Subject for Product {
    fn sight(before: Option<&Self>, after: Option<&Self>) -> Option<Sight> {
        let is_retold = before.map(Product::texts) != after.map(Product::texts);
        let [before, after] = [before, after].map(|side| side.map(|product| Box::new(product.without_texts())));
        Some(Sight::Product { before, after, is_retold })
    }
}

impl Subject for Category {
    fn sight(before: Option<&Self>, after: Option<&Self>) -> Option<Sight> {
        let [before, after] = [before, after].map(|side| side.cloned().map(Box::new));
        Some(Sight::Category { before, after })
    }
}

/// What a read of many products depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Interest {
    Page(Box<PageInterest>),
    /// How many products pass.
    Count(Passing),
    /// That no product has the key.
    Key(ProductKey),
}

/// Products that pass a filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    /// Its categories are all that it means, those below others too.
    filter: Filter,
    /// Only those among them that a search finds, in its order; what it finds is not known here.
    is_searched: bool,
}

/// How many products passed at exactly this version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// As many at least, where that is [`Self::most`].
    pub value: i64,
    /// Where counting stops.
    pub most: Option<i64>,
    pub version: Version,
}

/// A page: where it lies in its list, in the direction in which it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageInterest {
    passing: Passing,
    sort: Vec<(SortColumn, Direction)>,
    backward: bool,
    /// The cursors that it lies between.
    start: Option<Cursor>,
    end: Option<Cursor>,
    /// Products before it are passed over by their number.
    is_offset: bool,
    /// In the order of ids.
    shown: Vec<ProductId>,
    first: Option<Cursor>,
    last: Option<Cursor>,
    is_full: bool,
    /// One that follows.
    beyond: Option<ProductId>,
}

/// Where a product is, seen from a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Region {
    /// Not between the cursors, or not in the list.
    Outside,
    PassedOver,
    OnPage,
    Beyond,
}

impl Interest {
    /// In a page, which was made of these rows.
    pub fn page(list: &List, window: &Window<Cursor>, rows: &[Found], tree: &Tree) -> Self {
        let size = usize::from(window.size);
        let shown = rows.get(..size).unwrap_or(rows);
        let mut ids: Vec<_> = shown.iter().map(|found| found.product.id).collect();
        ids.sort_unstable();
        let (start, end) =
            if window.backward { (&window.before, &window.after) } else { (&window.after, &window.before) };
        Self::Page(Box::new(PageInterest {
            passing: Passing::new(list, tree),
            sort: list.sort.clone(),
            backward: window.backward,
            start: start.clone(),
            end: end.clone(),
            is_offset: window.offset > 0,
            first: shown.first().map(|found| Cursor::of(list, found)),
            last: shown.last().map(|found| Cursor::of(list, found)),
            is_full: shown.len() == size,
            shown: ids,
            beyond: rows.get(size).map(|found| found.product.id),
        }))
    }

    /// In how many products a list has.
    pub fn count(list: &List, tree: &Tree) -> Self {
        Self::Count(Passing::new(list, tree))
    }

    /// Whether a change may make another answer of what was read before it. `id` and `sight` are missing where nothing is
    /// known but the kind.
    pub fn is_touched_by(&self, entity: Entity, id: Option<Uuid>, sight: Option<&Sight>) -> bool {
        let passing = match self {
            Self::Page(page) => Some(&page.passing),
            Self::Count(passing) => Some(passing),
            Self::Key(_) => None,
        };
        match (entity, id.zip(sight)) {
            (Entity::Product, Some((id, Sight::Product { before, after, .. }))) => {
                let (id, before, after) = (ProductId(id), before.as_deref(), after.as_deref());
                match self {
                    Self::Page(page) => page.is_touched_by(id, before, after),
                    Self::Count(passing) => passing.is_changed_by(before, after),
                    Self::Key(key) => after.is_some_and(|product| key.names(product)),
                }
            }
            (Entity::Product, _) => true,
            (Entity::Category, sight) => passing.is_some_and(|passing| match sight {
                Some((id, Sight::Category { before, after })) => {
                    passing.is_moved_by(CategoryId(id), before.as_deref(), after.as_deref())
                }
                _ => passing.filter.depends_on_categories(),
            }),
            _ => false,
        }
    }
}

impl Passing {
    fn new(list: &List, tree: &Tree) -> Self {
        Self { filter: list.filter.resolved(tree), is_searched: list.search.is_some() }
    }

    /// Whether a product passed before a change, and passes after it; `None` where PostgreSQL may see it otherwise. Where
    /// that is not known, but that it is the same before and after, both are taken to pass: if neither does, the change is
    /// none to this.
    fn passes(&self, before: Option<&Product>, after: Option<&Product>) -> Option<(bool, bool)> {
        let passes = |side: Option<&Product>| side.map_or(Some(false), |product| self.filter.surely_matches(product));
        let is_same = || before.zip(after).is_some_and(|(before, after)| self.filter.sees_no_difference(before, after));
        passes(before).zip(passes(after)).or_else(|| is_same().then_some((true, true)))
    }

    fn is_changed_by(&self, before: Option<&Product>, after: Option<&Product>) -> bool {
        match self.passes(before, after) {
            Some((passed, passes_now)) if self.is_searched => {
                // A new name brings words that others are taken for.
                let is_renamed = after.is_some_and(|now| before.is_none_or(|then| then.name_key != now.name_key));
                passed || passes_now || is_renamed
            }
            Some((passed, passes_now)) => passed != passes_now,
            None => true,
        }
    }

    /// Whether other categories are now below those of the filter.
    fn is_moved_by(&self, id: CategoryId, before: Option<&Category>, after: Option<&Category>) -> bool {
        // Nothing was in one that is gone.
        let Some(after) = after else { return false };
        if before.is_some_and(|before| before.parent_id == after.parent_id) {
            return false;
        }
        let mut all = BTreeSet::new();
        self.filter.categories(&mut all);
        all.contains(&id) || after.parent_id.is_some_and(|parent| all.contains(&parent))
    }
}

impl Answer for Page<Found> {
    fn after(&self, dependencies: &Dependencies, changes: &[Arc<Noted>]) -> Option<Self> {
        let [interest @ Interest::Page(page)] = dependencies.interests.as_slice() else { return None };
        let mut shown = self.clone();
        for change in changes.iter().filter(|change| change.touches(interest)) {
            let (id, Sight::Product { after: Some(after), is_retold, .. }) = change.seen()? else { return None };
            let found = shown.items.iter_mut().find(|found| found.product.id.0 == id)?;
            // The page may have been read after changes that its version does not have yet.
            if found.product.version < after.version {
                (!is_retold).then(|| page.replace(found, after))??;
            }
        }
        Some(shown)
    }
}

impl Answer for Count {
    fn after(&self, dependencies: &Dependencies, changes: &[Arc<Noted>]) -> Option<Self> {
        let [interest @ Interest::Count(passing @ Passing { is_searched: false, .. })] =
            dependencies.interests.as_slice()
        else {
            return None;
        };
        let mut count = self.clone();
        for change in changes.iter().filter(|change| change.touches(interest)) {
            let (_, Sight::Product { before, after, .. }) = change.seen()? else { return None };
            let (passed, passes_now) = passing.passes(before.as_deref(), after.as_deref())?;
            // It may have been counted after changes that the answer's version does not have yet.
            if self.version < change.version() {
                count.version = change.version();
                count.value += i64::from(passes_now) - i64::from(passed);
            }
        }
        let Some(most) = self.most else { return Some(count) };
        // Where counting stopped there were as many at least.
        let is_known = self.value < most || count.value >= most;
        is_known.then(|| Self { value: count.value.min(most), ..count })
    }
}

impl PageInterest {
    /// Shows a product as it is after a change, in its place; `None` if that is another now.
    fn replace(&self, shown: &mut Found, after: &Product) -> Option<()> {
        let (description, media) = (shown.product.description.take(), std::mem::take(&mut shown.product.media));
        let found = Found { product: after.with_texts(description, media), distance: shown.distance };
        let stays = !self.passing.is_searched
            && self.passing.filter.surely_matches(after) == Some(true)
            && self.sort.iter().all(|(column, _)| SortValue::of(shown, *column) == SortValue::of(&found, *column));
        stays.then(|| *shown = found)
    }

    fn is_touched_by(&self, id: ProductId, before: Option<&Product>, after: Option<&Product>) -> bool {
        if self.shown.binary_search(&id).is_ok() {
            return true;
        }
        if self.passing.is_searched {
            return self.passing.is_changed_by(before, after);
        }
        let Some((passed, passes_now)) = self.passing.passes(before, after) else { return true };
        match (self.region(before.filter(|_| passed)), self.region(after.filter(|_| passes_now))) {
            (Region::OnPage, _) | (_, Region::OnPage) => true,
            (Region::PassedOver, after) if after != Region::PassedOver => true,
            (before, Region::PassedOver) => before != Region::PassedOver,
            // The page has a next one as long as anything follows.
            (Region::Beyond, Region::Outside) => self.beyond == Some(id),
            (Region::Outside, Region::Beyond) => self.beyond.is_none(),
            _ => false,
        }
    }

    /// Of a product that passes.
    fn region(&self, product: Option<&Product>) -> Region {
        let Some(product) = product else { return Region::Outside };
        let place = |cursor: &Option<Cursor>| cursor.as_ref().map(|cursor| self.compare(product, cursor));
        match (place(&self.start), place(&self.end)) {
            (Some(Ordering::Less | Ordering::Equal), _) | (_, Some(Ordering::Greater | Ordering::Equal)) => {
                Region::Outside
            }
            _ if self.is_offset && place(&self.first).is_none_or(Ordering::is_lt) => Region::PassedOver,
            _ if self.is_full && place(&self.last).is_some_and(Ordering::is_gt) => Region::Beyond,
            _ => Region::OnPage,
        }
    }

    /// Whether the product comes before or after a place, in the direction of the page.
    fn compare(&self, product: &Product, place: &Cursor) -> Ordering {
        let columns = self.sort.iter().zip(&place.0).map(|(&(column, direction), value)| {
            let order = compare(product, column, value);
            // What has no value is last in both directions.
            let is_last = column == SortColumn::Rating && (product.rating.is_none() || *value == SortValue::Nothing);
            if direction == Direction::Descending && !is_last { order.reverse() } else { order }
        });
        let order = columns.fold(Ordering::Equal, Ordering::then);
        if self.backward { order.reverse() } else { order }
    }
}

/// The product's value in a column, beside another.
fn compare(product: &Product, column: SortColumn, value: &SortValue) -> Ordering {
    match (column, value) {
        (SortColumn::NameKey, SortValue::Text(name)) => product.name_key.cmp(name),
        (SortColumn::Currency, SortValue::Text(code)) => product.price_currency.cmp(code),
        (SortColumn::Amount, SortValue::Whole(amount)) => product.price_amount.cmp(amount),
        (SortColumn::Stock, SortValue::Whole(stock)) => i64::from(product.stock).cmp(stock),
        (SortColumn::CreatedAt, SortValue::Time(time)) => product.created_at.cmp(time),
        (SortColumn::UpdatedAt, SortValue::Time(time)) => product.updated_at.cmp(time),
        (SortColumn::Id, SortValue::Id(id)) => product.id.cmp(id),
        (SortColumn::Rating, SortValue::Real(rating)) => {
            product.rating.map_or(Ordering::Greater, |own| own.partial_cmp(rating).unwrap_or(Ordering::Equal))
        }
        (SortColumn::Rating, SortValue::Nothing) => match product.rating {
            Some(_) => Ordering::Less,
            None => Ordering::Equal,
        },
        // A checked cursor has no other values, and distances are not known here.
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::catalog::list::{ListDraft, SortField};

    fn product(version: i32, stock: i32, description: &str) -> Product {
        let product = json!({
            "id": ProductId(Uuid::nil()), "sku": "A", "slug": "a", "name": "A", "name_key": "a", "description": description,
            "status": "ACTIVE", "price_amount": 1, "price_currency": "EUR", "compare_at_amount": null, "stock": stock,
            "category_id": null, "tags": [], "attributes": {}, "media": [], "rating": null, "external_reference": null,
            "created_by": null, "version": version, "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(product).unwrap()
    }

    #[test]
    fn a_page_that_was_read_after_a_change_stays_as_it_was_read() {
        let sort = vec![(SortField::CreatedAt, Direction::Descending)];
        let list = ListDraft { search: None, filter: Filter::EVERYTHING, sort, all_states: false }.check().unwrap();
        let window = Window { size: 1, backward: false, after: None, before: None, offset: 0 };
        let change = |version: i32, before: &Product, after: &Product| {
            let noted = Noted::new(version.into(), Entity::Product, Some(Uuid::nil()));
            Arc::new(noted.with_sight(Product::sight(Some(before), Some(after))))
        };
        let states = [product(1, 1, "old"), product(2, 2, "old"), product(3, 3, "new"), product(4, 4, "new")];
        let changes: Vec<_> =
            (2..).zip(states.windows(2)).map(|(version, pair)| change(version, &pair[0], &pair[1])).collect();
        let shown = |state: &Product, changes: &[Arc<Noted>]| {
            let rows = vec![Found { product: state.clone(), distance: 0.0 }];
            let dependencies = Dependencies::on(Interest::page(&list, &window, &rows, &Tree::default()));
            let page = window.page(rows).after(&dependencies, changes)?;
            page.items.first().map(|found| found.product.clone())
        };
        let [one, two, three, four] = &states;
        assert_eq!(shown(one, &changes[..1]).as_ref(), Some(two), "what it has not is amended");
        assert_eq!(shown(two, &changes[..2]), None, "the log does not tell texts");
        assert_eq!(shown(three, &changes[..1]).as_ref(), Some(three), "what it has is not taken back");
        assert_eq!(shown(three, &changes).as_ref(), Some(four), "what it has is passed over");
    }

    #[test]
    fn a_count_of_later_than_a_change_has_it() {
        let list = ListDraft { search: None, filter: Filter::EVERYTHING, sort: Vec::new(), all_states: false };
        let dependencies = Dependencies::on(Interest::count(&list.check().unwrap(), &Tree::default()));
        let created = |version| {
            let noted = Noted::new(version, Entity::Product, Some(Uuid::now_v7()));
            Arc::new(noted.with_sight(Product::sight(None, Some(&product(1, 1, "")))))
        };
        // Two at once, as in one transaction.
        let changes = [created(2), created(3), created(3)];
        for (version, value) in [(1, 13), (2, 12), (3, 10), (4, 10)] {
            let counted = Count { value: 10, most: None, version };
            let expected = Count { value, most: None, version: version.max(3) };
            assert_eq!(counted.after(&dependencies, &changes), Some(expected));
        }
    }

    #[test]
    fn numbers_that_a_float_cannot_tell_apart_are_apart_or_unsure() {
        let wanted = json!(9_007_199_254_740_993_i64);
        let filter = Filter::attribute(&[], "n", std::slice::from_ref(&wanted)).unwrap();
        for (value, passes) in [
            (wanted, Some(true)),
            (json!(9_007_199_254_740_992_i64), Some(false)),
            (json!(9_007_199_254_740_992.0), None),
            (json!(1.5), Some(false)),
        ] {
            let attributes = serde_json::from_value(json!({ "n": value })).unwrap();
            let product = Product { attributes, ..product(1, 1, "") };
            assert_eq!(filter.surely_matches(&product), passes, "{value}");
        }
    }
}
