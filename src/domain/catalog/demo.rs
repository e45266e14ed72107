//! Products that might be: the same ones each time, for the first look and for load.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::domain::catalog::model::{NewProduct, ProductDraft, Status};
use crate::domain::catalog::money::MoneyDraft;
use crate::domain::ids::{CategoryId, ProductId, UserId};
use crate::domain::text;

/// A category, with what its products are made of.
struct Shelf {
    parent: &'static str,
    name: &'static str,
    /// What the things are called, and what a plain one costs in euros.
    things: &'static [(&'static str, u32)],
    materials: &'static [&'static str],
}

/// The categories at the top.
const ROOMS: [&str; 5] = ["Furniture", "Lighting", "Kitchen", "Outdoor", "Office"];

#[rustfmt::skip]
const SHELVES: [Shelf; 15] = [
    Shelf { parent: "Furniture", name: "Chairs", things: &[("Armchair", 340), ("Dining Chair", 120), ("Rocking Chair", 260), ("Bar Stool", 95)], materials: &["Oak", "Walnut", "Beech", "Rattan", "Steel"] },
    Shelf { parent: "Furniture", name: "Tables", things: &[("Dining Table", 690), ("Coffee Table", 240), ("Side Table", 110), ("Folding Table", 85)], materials: &["Oak", "Walnut", "Marble", "Glass", "Pine"] },
    Shelf { parent: "Furniture", name: "Shelves", things: &[("Bookcase", 310), ("Wall Shelf", 45), ("Ladder Shelf", 130), ("Shoe Rack", 60)], materials: &["Oak", "Birch", "Steel", "Bamboo"] },
    Shelf { parent: "Lighting", name: "Table Lamps", things: &[("Desk Lamp", 79), ("Bedside Lamp", 49), ("Reading Lamp", 89), ("Banker's Lamp", 109)], materials: &["Brass", "Ceramic", "Linen", "Opal Glass"] },
    Shelf { parent: "Lighting", name: "Floor Lamps", things: &[("Arc Lamp", 220), ("Tripod Lamp", 149), ("Uplighter", 99)], materials: &["Brass", "Oak", "Paper", "Black Steel"] },
    Shelf { parent: "Lighting", name: "Pendants", things: &[("Pendant Light", 129), ("Chandelier", 480), ("Lantern", 69)], materials: &["Rattan", "Opal Glass", "Copper", "Concrete"] },
    Shelf { parent: "Kitchen", name: "Cookware", things: &[("Frying Pan", 59), ("Saucepan", 69), ("Casserole", 139), ("Wok", 49)], materials: &["Cast Iron", "Copper", "Stainless Steel", "Carbon Steel"] },
    Shelf { parent: "Kitchen", name: "Knives", things: &[("Chef's Knife", 89), ("Bread Knife", 59), ("Paring Knife", 29), ("Cleaver", 75)], materials: &["Damascus", "Olive Wood", "Ceramic", "Stainless Steel"] },
    Shelf { parent: "Kitchen", name: "Coffee and Tea", things: &[("Coffee Grinder", 119), ("Teapot", 45), ("Moka Pot", 39), ("Pour-Over Set", 55), ("Kettle", 69)], materials: &["Enamel", "Porcelain", "Steel", "Walnut"] },
    Shelf { parent: "Kitchen", name: "Tableware", things: &[("Dinner Plate", 18), ("Café au Lait Bowl", 14), ("Water Jug", 32), ("Espresso Cup", 11)], materials: &["Stoneware", "Porcelain", "Bone China", "Enamel"] },
    Shelf { parent: "Outdoor", name: "Garden Furniture", things: &[("Garden Bench", 289), ("Deck Chair", 99), ("Hammock", 119), ("Parasol", 159)], materials: &["Teak", "Eucalyptus", "Aluminium", "Canvas"] },
    Shelf { parent: "Outdoor", name: "Planters", things: &[("Plant Pot", 24), ("Window Box", 35), ("Raised Bed", 149), ("Hanging Basket", 22)], materials: &["Terracotta", "Zinc", "Cedar", "Fibre Clay"] },
    Shelf { parent: "Outdoor", name: "Fire and Grill", things: &[("Fire Bowl", 189), ("Charcoal Grill", 249), ("Pizza Oven", 399), ("Log Holder", 79)], materials: &["Corten Steel", "Cast Iron", "Clay"] },
    Shelf { parent: "Office", name: "Desks", things: &[("Writing Desk", 420), ("Standing Desk", 560), ("Secretary", 610)], materials: &["Oak", "Walnut", "Linoleum", "Bamboo"] },
    Shelf { parent: "Office", name: "Stationery", things: &[("Notebook", 16), ("Fountain Pen", 68), ("Letter Tray", 27), ("Pencil Case", 19)], materials: &["Leather", "Kraft Paper", "Brass", "Felt"] },
];

const NAMES: [&str; 16] = [
    "Alder", "Bergen", "Calla", "Düne", "Ember", "Fjord", "Grove", "Harbour", "Isla", "Juno", "Kestrel", "Lumen",
    "Møn", "Nord", "Orrin", "Søren",
];
const COLOURS: [&str; 8] = ["natural", "black", "white", "sage", "terracotta", "navy", "mustard", "grey"];
const CLOSINGS: [&str; 4] = [
    "Made in small batches, and mended for free.",
    "Delivered in one piece, ready to use.",
    "It ages well, and says so.",
    "The workshop keeps parts for twenty years.",
];
/// Each with how many of its units a euro is, for prices that look at home.
const CURRENCIES: [(&str, u32); 4] = [("EUR", 1), ("USD", 1), ("GBP", 1), ("JPY", 160)];

/// A category to insert: its own id, its parent's, and its place.
pub struct DemoCategory {
    pub id: CategoryId,
    pub parent_id: Option<CategoryId>,
    pub slug: String,
    pub name: &'static str,
    pub position: i32,
}

/// All categories, parents first.
pub fn categories() -> Vec<DemoCategory> {
    let rooms = ROOMS.iter().map(|&name| (name, None));
    let shelves = SHELVES.iter().map(|shelf| (shelf.name, Some(category_id(shelf.parent))));
    (0_i32..)
        .zip(rooms.chain(shelves))
        .map(|(position, (name, parent_id))| DemoCategory {
            id: category_id(name),
            parent_id,
            slug: text::slugify(name, 100),
            name,
            position,
        })
        .collect()
}

/// When the demo's shop opened.
fn opening() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_735_722_000_000).unwrap_or_default()
}

fn category_id(name: &str) -> CategoryId {
    let number = name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    CategoryId(uuid_at(opening(), number))
}

/// A UUID of version 7 whose random part is made from a number.
fn uuid_at(moment: DateTime<Utc>, number: u64) -> Uuid {
    let millis = moment.timestamp_millis().unsigned_abs();
    let mut bytes = [0_u8; 10];
    let (high, low) = bytes.split_at_mut(2);
    high.copy_from_slice(&mix(!number).to_be_bytes()[..2]);
    low.copy_from_slice(&mix(number).to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

/// The finaliser of SplitMix64: numbers in a row become numbers all over the place.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Numbers that a product is made of.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % bound.max(1)
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let place = self.below(choices.len() as u64);
        choices.get(usize::try_from(place).unwrap_or(0))
    }

    fn text(&mut self, choices: &[&'static str]) -> &'static str {
        self.one_of(choices).copied().unwrap_or_default()
    }
}

/// A product to insert; its fields are named as the columns are.
#[derive(Serialize)]
pub struct DemoProduct {
    pub id: ProductId,
    pub created_by: Option<UserId>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub version: i32,
    #[serde(flatten)]
    pub product: NewProduct,
}

/// The product with this number, the same each time.
pub fn product(number: u64, created_by: Option<UserId>) -> Option<DemoProduct> {
    let mut dice = Dice(mix(number));
    let shelf = dice.one_of(&SHELVES)?;
    let &(thing, euros) = dice.one_of(shelf.things)?;
    let (name, material) = (dice.text(&NAMES), dice.text(shelf.materials));
    let colour = dice.text(&COLOURS);
    let &(currency, rate) = dice.one_of(&CURRENCIES)?;
    // Between seven and sixteen tenths of the plain price, ending in 90 or 900.
    let price = u64::from(euros) * (7 + dice.below(10)) / 10 * u64::from(rate);
    let amount = |whole: u64| if currency == "JPY" { (whole / 10 * 10).to_string() } else { format!("{whole}.90") };
    let money = |whole: u64| MoneyDraft { amount: amount(whole), currency: currency.to_owned() };
    let (on_offer, rated) = (dice.below(6) == 0, dice.below(5) != 0);
    let stock = if dice.below(8) == 0 { 0 } else { dice.below(240) };
    let status = match dice.below(20) {
        0 => Status::Draft,
        1 => Status::Archived,
        _ => Status::Active,
    };
    let title = format!("{name} {material} {thing}");
    let code: String = thing.chars().filter(char::is_ascii_alphabetic).take(3).collect::<String>().to_uppercase();
    let article = if material.starts_with(['A', 'E', 'I', 'O', 'U']) { "An" } else { "A" };
    let draft = ProductDraft {
        sku: format!("{code}-{number:06}"),
        slug: Some(text::slugify(&format!("{title} {number}"), 200)),
        description: Some(format!(
            "{article} {} {} in {colour}, from the {name} series. {}",
            material.to_lowercase(),
            thing.to_lowercase(),
            dice.text(&CLOSINGS)
        )),
        name: title,
        status,
        price: money(price),
        compare_at_price: on_offer.then(|| money(price + price / 4 + 1)),
        stock: i32::try_from(stock).unwrap_or(0),
        category_id: Some(category_id(shelf.name)),
        tags: [Some(text::slugify(material, 50)), Some(colour.to_owned()), on_offer.then(|| "sale".to_owned())]
            .into_iter()
            .flatten()
            .collect(),
        attributes: vec![
            ("colour".to_owned(), json!(colour)),
            ("material".to_owned(), json!(material)),
            ("weightGrams".to_owned(), json!(200 + dice.below(19_800))),
        ],
        media: Vec::new(),
        #[expect(clippy::cast_precision_loss, reason = "it is below 50")]
        rating: rated.then(|| (20 + dice.below(31)) as f64 / 10.0),
        external_reference: Some(format!("ERP-{number:08}")),
    };
    // One every 37 minutes and a bit.
    let created_at =
        opening() + TimeDelta::milliseconds(i64::try_from(number % 100_000_000).ok()? * 2_222_222 % 60_000_000_000);
    Some(DemoProduct {
        id: ProductId(uuid_at(created_at, number)),
        created_by,
        created_at,
        updated_at: created_at,
        version: 1,
        product: draft.check().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{categories, product};

    #[test]
    fn every_demo_product_is_valid_and_no_two_are_equal() {
        let products: Vec<_> = (0..2_000).map(|number| product(number, None).expect("a valid product")).collect();
        let skus: HashSet<_> = products.iter().map(|one| &one.product.sku).collect();
        let slugs: HashSet<_> = products.iter().map(|one| &one.product.slug).collect();
        let ids: HashSet<_> = products.iter().map(|one| one.id).collect();
        assert_eq!((skus.len(), slugs.len(), ids.len()), (2_000, 2_000, 2_000));
        let known: HashSet<_> = categories().iter().map(|category| category.id).collect();
        assert!(products.iter().all(|one| one.product.category_id.is_some_and(|id| known.contains(&id))));
    }
}
