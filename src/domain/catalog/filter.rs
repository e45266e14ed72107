//! Which products: a tree of tests in canonical form, so that filters that mean the same are equal.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::catalog::category::Tree;
use crate::domain::catalog::model::{Product, Status, check_json};
use crate::domain::catalog::money;
use crate::domain::error::Error;
use crate::domain::ids::{CategoryId, ProductId};
use crate::domain::text;

/// Tests in a filter, at most.
const MAX_TESTS: usize = 100;
/// Values in one test, at most.
const MAX_VALUES: usize = 100;
/// Characters in a text to compare with, at most.
const MAX_TEXT: usize = 200;

/// A condition on a product. It is always true or false: what a product does not have matches no test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Filter {
    /// Every one; true if there is none.
    All(Vec<Filter>),
    /// At least one; false if there is none.
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Is(Test),
}

/// A condition that is not made of others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Test {
    Id(BTreeSet<ProductId>),
    Text(TextField, TextTest),
    HasExternalReference,
    Status(BTreeSet<Status>),
    /// The price's currency.
    Currency(String),
    /// The price, in minor units of its currency.
    PriceAtLeast(i64),
    StockAtLeast(i32),
    Stock(BTreeSet<i32>),
    /// In one of these categories or below.
    Category(BTreeSet<CategoryId>),
    HasCategory,
    TagsAny(BTreeSet<String>),
    TagsAll(BTreeSet<String>),
    HasAttribute(String),
    /// The attribute's value is one of these, as JSON text.
    Attribute(String, BTreeSet<String>),
    CreatedAtLeast(DateTime<Utc>),
    UpdatedAtLeast(DateTime<Utc>),
}

/// A field that holds text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TextField {
    Sku,
    Slug,
    Name,
    ExternalReference,
}

/// A condition on a text. Whole texts are compared to the letter, parts of them without regard to case (and of a name,
/// to accents).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TextTest {
    In(BTreeSet<String>),
    Contains(String),
    StartsWith(String),
}

impl Filter {
    /// Matches every product.
    pub const EVERYTHING: Self = Self::All(Vec::new());
    /// Matches none.
    pub const NOTHING: Self = Self::Any(Vec::new());

    /// The opposite.
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// The one form of all filters that say the same: nothing nested without need, nothing twice, in one order.
    pub fn canonical(self) -> Self {
        match self {
            Self::Is(test) => Self::Is(test),
            Self::Not(inner) => match inner.canonical() {
                Self::Not(twice) => *twice,
                Self::All(parts) if parts.is_empty() => Self::NOTHING,
                Self::Any(parts) if parts.is_empty() => Self::EVERYTHING,
                inner => inner.negated(),
            },
            Self::All(parts) => {
                let nested = parts.into_iter().map(Self::canonical).flat_map(|part| match part {
                    Self::All(parts) => parts,
                    part => vec![part],
                });
                Self::tidy(nested, Self::NOTHING, Self::All)
            }
            Self::Any(parts) => {
                let nested = parts.into_iter().map(Self::canonical).flat_map(|part| match part {
                    Self::Any(parts) => parts,
                    part => vec![part],
                });
                Self::tidy(nested, Self::EVERYTHING, Self::Any)
            }
        }
    }

    /// Joins canonical parts; `decides` alone settles the whole.
    fn tidy(parts: impl Iterator<Item = Self>, decides: Self, join: fn(Vec<Self>) -> Self) -> Self {
        let parts: BTreeSet<Self> = parts.collect();
        if parts.contains(&decides) {
            return decides;
        }
        let mut parts: Vec<Self> = parts.into_iter().collect();
        match parts.pop() {
            Some(only) if parts.is_empty() => only,
            Some(last) => {
                parts.push(last);
                join(parts)
            }
            None => join(parts),
        }
    }

    /// The filter, if it is not too large to run.
    pub fn check(self) -> Result<Self, Error> {
        if self.tests() > MAX_TESTS {
            return Err(Error::bad_input(&["filter"], format!("must have at most {MAX_TESTS} conditions")));
        }
        Ok(self.canonical())
    }

    fn tests(&self) -> usize {
        match self {
            Self::Is(_) => 1,
            Self::Not(inner) => 1 + inner.tests(),
            Self::All(parts) | Self::Any(parts) => 1 + parts.iter().map(Self::tests).sum::<usize>(),
        }
    }

    /// Whether the product passes; what the database decides for lists.
    pub fn matches(&self, product: &Product, tree: &Tree) -> bool {
        self.decide(&|test| Some(test.passes(product, tree))) == Some(true)
    }

    /// The same without the tree, for a [resolved](Self::resolved) filter; `None` where the database might see it otherwise.
    pub fn surely_matches(&self, product: &Product) -> Option<bool> {
        self.decide(&|test| test.surely_passes(product))
    }

    /// Whether each test says the same of two states of a product, whatever that is: then both pass, or neither does.
    pub fn sees_no_difference(&self, before: &Product, after: &Product) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().all(|part| part.sees_no_difference(before, after)),
            Self::Not(inner) => inner.sees_no_difference(before, after),
            Self::Is(test) => match (test.surely_passes(before), test.surely_passes(after)) {
                (Some(passed), Some(passes_now)) => passed == passes_now,
                _ => matches!(test, Test::Text(field, _) if field.of(before) == field.of(after)),
            },
        }
    }

    /// What the tests make of it together, of which some say nothing; `None` if it depends on those.
    fn decide(&self, test: &impl Fn(&Test) -> Option<bool>) -> Option<bool> {
        let join = |parts: &[Self], settles: bool| {
            let mut whole = Some(!settles);
            for part in parts {
                match part.decide(test) {
                    Some(said) if said == settles => return Some(settles),
                    Some(_) => {}
                    None => whole = None,
                }
            }
            whole
        };
        match self {
            Self::All(parts) => join(parts, false),
            Self::Any(parts) => join(parts, true),
            Self::Not(inner) => inner.decide(test).map(|said| !said),
            Self::Is(is) => test(is),
        }
    }

    /// The same filter with each category and all below it by name, so that it needs no tree.
    pub fn resolved(&self, tree: &Tree) -> Self {
        let all = |parts: &[Self]| parts.iter().map(|part| part.resolved(tree)).collect();
        match self {
            Self::All(parts) => Self::All(all(parts)),
            Self::Any(parts) => Self::Any(all(parts)),
            Self::Not(inner) => inner.resolved(tree).negated(),
            Self::Is(Test::Category(roots)) => Self::Is(Test::Category(tree.subtrees(roots).into_iter().collect())),
            Self::Is(test) => Self::Is(test.clone()),
        }
    }

    /// Adds the categories that it names.
    pub fn categories(&self, all: &mut BTreeSet<CategoryId>) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.categories(all)),
            Self::Not(inner) => inner.categories(all),
            Self::Is(Test::Category(ids)) => all.extend(ids),
            Self::Is(_) => {}
        }
    }

    /// Whether the tree of categories has a part in it.
    pub fn depends_on_categories(&self) -> bool {
        match self {
            Self::Is(test) => matches!(test, Test::Category(_)),
            Self::Not(inner) => inner.depends_on_categories(),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::depends_on_categories),
        }
    }

    /// A text field has one of these values.
    pub fn text_in(path: &[&str], field: TextField, values: Vec<String>) -> Result<Self, Error> {
        let values = values.iter().map(|value| checked_text(path, value)).collect::<Result<_, _>>()?;
        Ok(Self::Is(Test::Text(field, TextTest::In(limited(path, values)?))))
    }

    /// A text field contains this.
    pub fn text_contains(path: &[&str], field: TextField, part: &str) -> Result<Self, Error> {
        Ok(Self::Is(Test::Text(field, TextTest::Contains(folded_part(path, field, part)?))))
    }

    /// A text field starts with this.
    pub fn text_starts_with(path: &[&str], field: TextField, part: &str) -> Result<Self, Error> {
        Ok(Self::Is(Test::Text(field, TextTest::StartsWith(folded_part(path, field, part)?))))
    }

    /// The price is in this currency.
    pub fn currency(path: &[&str], code: &str) -> Result<Self, Error> {
        let currency = money::currency(code).map_err(|(_, message)| Error::bad_input(path, message))?;
        Ok(Self::Is(Test::Currency(currency.code().to_owned())))
    }

    /// The price is at least this, for prices in this currency.
    pub fn price_at_least(path: &[&str], currency: &str, amount: &str) -> Result<Self, Error> {
        Ok(Self::Is(Test::PriceAtLeast(minor_units(path, currency, amount)?)))
    }

    /// The price is at most this, for prices in this currency.
    pub fn price_at_most(path: &[&str], currency: &str, amount: &str) -> Result<Self, Error> {
        Ok(Self::Is(Test::PriceAtLeast(minor_units(path, currency, amount)? + 1)).negated())
    }

    /// Has any of these tags, or all of them.
    pub fn tags(path: &[&str], tags: Vec<String>, test: fn(BTreeSet<String>) -> Test) -> Result<Self, Error> {
        let tags = tags.iter().map(|tag| checked_text(path, tag)).collect::<Result<_, _>>()?;
        Ok(Self::Is(test(limited(path, tags)?)))
    }

    /// Has an attribute with this key.
    pub fn has_attribute(path: &[&str], key: &str) -> Result<Self, Error> {
        Ok(Self::Is(Test::HasAttribute(checked_text(path, key)?)))
    }

    /// Has an attribute with this key and one of these values.
    pub fn attribute(path: &[&str], key: &str, values: &[Value]) -> Result<Self, Error> {
        let key = checked_text(path, key)?;
        let mut texts = BTreeSet::new();
        for value in values {
            check_json(value).map_err(|(_, message)| Error::bad_input(path, message))?;
            texts.insert(value.to_string());
        }
        Ok(Self::Is(Test::Attribute(key, limited(path, texts)?)))
    }

    /// One of a set of values, by a test on such sets.
    pub fn one_of<T: Ord>(path: &[&str], values: Vec<T>, test: fn(BTreeSet<T>) -> Test) -> Result<Self, Error> {
        Ok(Self::Is(test(limited(path, values.into_iter().collect())?)))
    }
}

impl Test {
    /// `None` where PostgreSQL may see it otherwise: how it folds the case of letters that are not ASCII depends on its
    /// locale, and numbers are exact there.
    fn surely_passes(&self, product: &Product) -> Option<bool> {
        let is_sure = match self {
            Self::Text(TextField::Name, _) | Self::Text(_, TextTest::In(_)) => true,
            Self::Text(field, TextTest::Contains(part) | TextTest::StartsWith(part)) => {
                field.of(product).is_none_or(|value| value.is_ascii() && part.is_ascii())
            }
            Self::Attribute(key, values) => product.attributes.value().get(key).is_none_or(|value| {
                let mut wanted = values.iter().filter_map(|text| serde_json::from_str(text).ok());
                is_exact(value) && wanted.all(|wanted| is_exact(&wanted))
            }),
            _ => true,
        };
        is_sure.then(|| self.passes(product, &Tree::default()))
    }

    fn passes(&self, product: &Product, tree: &Tree) -> bool {
        match self {
            Self::Id(ids) => ids.contains(&product.id),
            Self::Text(TextField::Name, test) => test.passes(&product.name, &product.name_key),
            Self::Text(field, test) => field.of(product).is_some_and(|value| test.passes(value, &value.to_lowercase())),
            Self::HasExternalReference => product.external_reference.is_some(),
            Self::Status(states) => states.contains(&product.status),
            Self::Currency(code) => product.price_currency == *code,
            Self::PriceAtLeast(amount) => product.price_amount >= *amount,
            Self::StockAtLeast(stock) => product.stock >= *stock,
            Self::Stock(values) => values.contains(&product.stock),
            Self::Category(roots) => product.category_id.is_some_and(|category| {
                roots.contains(&category) || tree.path(category).iter().any(|above| roots.contains(&above.id))
            }),
            Self::HasCategory => product.category_id.is_some(),
            Self::TagsAny(tags) => product.tags.iter().any(|tag| tags.contains(tag)),
            Self::TagsAll(tags) => tags.iter().all(|tag| product.tags.contains(tag)),
            Self::HasAttribute(key) => product.attributes.value().get(key).is_some(),
            Self::Attribute(key, values) => product.attributes.value().get(key).is_some_and(|value| {
                let mut wanted = values.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
                wanted.any(|wanted| equal_json(&wanted, value))
            }),
            Self::CreatedAtLeast(time) => product.created_at >= *time,
            Self::UpdatedAtLeast(time) => product.updated_at >= *time,
        }
    }
}

impl TextField {
    fn of(self, product: &Product) -> Option<&String> {
        match self {
            Self::Sku => Some(&product.sku),
            Self::Slug => Some(&product.slug),
            Self::Name => Some(&product.name),
            Self::ExternalReference => product.external_reference.as_ref(),
        }
    }
}

impl TextTest {
    fn passes(&self, text: &str, folded: &str) -> bool {
        match self {
            Self::In(values) => values.contains(text),
            Self::Contains(part) => folded.contains(part),
            Self::StartsWith(part) => folded.starts_with(part),
        }
    }
}

/// Equal as PostgreSQL's `jsonb` has it: numbers by their value, not by how they are written.
fn equal_json(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i128(), right.as_i128()) {
            (Some(left), Some(right)) => left == right,
            _ => left.as_f64() == right.as_f64(),
        },
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal_json(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(key, value)| right.get(key).is_some_and(|other| equal_json(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        (left, right) => left == right,
    }
}

/// Whether all numbers in it are what they are to PostgreSQL: as floats, large ones stand for their neighbours, too.
fn is_exact(value: &Value) -> bool {
    const LARGE: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|it| it.abs() < LARGE)
        }
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

fn minor_units(path: &[&str], currency: &str, amount: &str) -> Result<i64, Error> {
    let known = money::currency(currency).and_then(|currency| money::minor_units(amount, currency));
    known.map_err(|(_, message)| Error::bad_input(path, message))
}

fn checked_text(path: &[&str], text: &str) -> Result<String, Error> {
    text::prose(text, MAX_TEXT).map_err(|(_, message)| Error::bad_input(path, message))
}

/// Names are compared in the form they sort by, other texts without case.
fn folded_part(path: &[&str], field: TextField, part: &str) -> Result<String, Error> {
    let part = checked_text(path, part)?;
    Ok(if field == TextField::Name { text::sort_key(&part) } else { part.to_lowercase() })
}

fn limited<T>(path: &[&str], values: BTreeSet<T>) -> Result<BTreeSet<T>, Error> {
    if values.len() > MAX_VALUES {
        return Err(Error::bad_input(path, format!("must have at most {MAX_VALUES} values")));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::{Filter, Test};

    #[test]
    fn filters_that_say_the_same_have_one_form() {
        let stocked = || Filter::Is(Test::StockAtLeast(1));
        let many = || Filter::Is(Test::StockAtLeast(100));
        let both = Filter::All(vec![stocked(), many()]).canonical();
        for same in [
            Filter::All(vec![many(), stocked()]),
            Filter::All(vec![stocked(), many(), stocked()]),
            Filter::All(vec![Filter::All(vec![many()]), Filter::EVERYTHING, stocked()]),
            Filter::Not(Box::new(Filter::All(vec![stocked(), many()]).negated())),
            Filter::Any(vec![Filter::All(vec![stocked(), many()]), Filter::NOTHING]),
        ] {
            assert_eq!(same.canonical(), both);
        }
        assert_eq!(Filter::All(vec![stocked(), Filter::NOTHING]).canonical(), Filter::NOTHING);
        assert_eq!(Filter::Any(vec![stocked(), Filter::EVERYTHING]).canonical(), Filter::EVERYTHING);
        assert_eq!(Filter::EVERYTHING.negated().canonical(), Filter::NOTHING);
    }
}
