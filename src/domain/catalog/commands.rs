//! Writes of the catalogue.

use diesel::result::Error as DieselError;
use diesel_async::AsyncPgConnection;

use crate::domain::Core;
use crate::domain::catalog::category::{Category, CategoryDraft, CategoryPatch, MAX_DEPTH, NewCategory, Tree};
use crate::domain::catalog::model::{
    self, MAX_STOCK, NewProduct, Product, ProductChanges, ProductDraft, ProductKey, ProductPatch,
};
use crate::domain::catalog::{demo, store};
use crate::domain::changes::{self, Change, Entity};
use crate::domain::error::{Error, FieldErrorCode, FieldErrors, violated};
use crate::domain::ids::{CategoryId, ProductId, UserId};
use crate::domain::transaction::{Mandate, failures};

/// Why a product stayed as it was.
#[derive(Debug)]
pub enum ProductError {
    Invalid(FieldErrors),
    /// Another product has this SKU, slug or external reference: the field's name in the API.
    Taken(&'static str),
    /// No product has the key.
    NotFound,
    /// The category does not exist.
    NoSuchCategory,
    /// It is not at the version, or the stock, that the caller expects.
    Moved(Box<Product>),
    Failed(Error),
}

/// Why a category stayed as it was.
#[derive(Debug)]
pub enum CategoryError {
    Invalid(FieldErrors),
    SlugTaken,
    NotFound,
    NoSuchParent,
    /// Categories or products are in it.
    InUse,
    Failed(Error),
}

failures! { ProductError CategoryError }

/// Puts a product into the catalogue.
pub async fn create_product(core: &Core, mandate: &Mandate, draft: ProductDraft) -> Result<Product, ProductError> {
    let own_slug = draft.slug.is_some();
    let mut product = draft.check().map_err(ProductError::Invalid)?;

    match insert(core, mandate, &product).await {
        // The slug was made from the name, so it may be made otherwise.
        Err(ProductError::Taken("slug")) if !own_slug => {
            product.slug = model::second_slug(&product.name, &product.sku);
            insert(core, mandate, &product).await
        }
        inserted => inserted,
    }
}

async fn insert(core: &Core, mandate: &Mandate, product: &NewProduct) -> Result<Product, ProductError> {
    core.transact(mandate, async |connection| {
        let inserted = store::insert(connection, ProductId::new(), mandate.actor, product).await;
        let product = inserted.map_err(named)?;
        let change = Change::created(Entity::Product, product.id.0, &product);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(product)
    })
    .await
}

/// Changes a product; what the patch leaves as it is raises no version.
pub async fn update_product(
    core: &Core,
    mandate: &Mandate,
    key: ProductKey,
    patch: ProductPatch,
    if_version: Option<i32>,
) -> Result<Product, ProductError> {
    core.transact(mandate, async |connection| {
        let before = locked(connection, &key, if_version).await?;
        let wanted = patch.clone().check(&before).map_err(ProductError::Invalid)?;
        let changes = wanted.changes(&before);
        if changes == ProductChanges::default() {
            return Ok(before);
        }
        let after = store::update(connection, before.id, &changes).await.map_err(named)?;
        let change = Change::updated(Entity::Product, after.id.0, &before, &after);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(after)
    })
    .await
}

/// Adds to a product's stock, or takes from it; with `change_from` only if that is the stock now.
pub async fn adjust_stock(
    core: &Core,
    mandate: &Mandate,
    key: ProductKey,
    delta: i32,
    change_from: Option<i32>,
) -> Result<Product, ProductError> {
    core.transact(mandate, async |connection| {
        let (before, after) = if let Some(adjusted) = store::adjust_stock(connection, &key, delta, change_from).await? {
            adjusted
        } else {
            let product = locked(connection, &key, None).await?;
            if change_from.is_some_and(|expected| expected != product.stock) {
                return Err(ProductError::Moved(Box::new(product)));
            }
            let stock = product.stock.checked_add(delta).filter(|stock| (0..=MAX_STOCK).contains(stock));
            if stock.is_none() {
                let mut errors = FieldErrors::default();
                let message = format!("must leave a stock between 0 and {MAX_STOCK}; it is {} now", product.stock);
                errors.add(FieldErrorCode::OutOfRange, &["delta"], message);
                return Err(ProductError::Invalid(errors));
            }
            // Either nothing is to be added, or there is room since a moment ago, and stays now that it is locked.
            let adjusted = store::adjust_stock(connection, &key, delta, change_from).await?;
            let Some(adjusted) = adjusted else { return Ok(product) };
            adjusted
        };
        let change = Change::updated(Entity::Product, after.id.0, &before, &after);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(after)
    })
    .await
}

/// Takes a product out of the catalogue.
pub async fn delete_product(
    core: &Core,
    mandate: &Mandate,
    key: ProductKey,
    if_version: Option<i32>,
) -> Result<ProductId, ProductError> {
    core.transact(mandate, async |connection| {
        let before = locked(connection, &key, if_version).await?;
        store::delete(connection, before.id).await?;
        let change = Change::deleted(Entity::Product, before.id.0, &before);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(before.id)
    })
    .await
}

async fn locked(
    connection: &mut AsyncPgConnection,
    key: &ProductKey,
    if_version: Option<i32>,
) -> Result<Product, ProductError> {
    let product = store::lock_by_key(connection, key).await?.ok_or(ProductError::NotFound)?;
    if if_version.is_some_and(|expected| expected != product.version) {
        return Err(ProductError::Moved(Box::new(product)));
    }
    Ok(product)
}

/// The meaning of a violated constraint of `products`.
fn named(error: DieselError) -> ProductError {
    match violated(&error) {
        Some("products_sku_key") => ProductError::Taken("sku"),
        Some("products_slug_key") => ProductError::Taken("slug"),
        Some("products_external_reference_key") => ProductError::Taken("externalReference"),
        Some("products_category_id_fkey") => ProductError::NoSuchCategory,
        _ => error.into(),
    }
}

/// Adds a category to the tree.
pub async fn create_category(core: &Core, mandate: &Mandate, draft: CategoryDraft) -> Result<Category, CategoryError> {
    let category = draft.check().map_err(CategoryError::Invalid)?;
    core.transact(mandate, async |connection| {
        store::lock_categories(connection).await?;
        let tree = Tree::from(store::categories(connection).await?);
        check_place(&tree, None, &category)?;
        let category =
            store::insert_category(connection, CategoryId::new(), &category).await.map_err(named_category)?;
        let change = Change::created(Entity::Category, category.id.0, &category);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(category)
    })
    .await
}

/// Changes a category, or moves it with all below it.
pub async fn update_category(
    core: &Core,
    mandate: &Mandate,
    id: CategoryId,
    patch: CategoryPatch,
) -> Result<Category, CategoryError> {
    core.transact(mandate, async |connection| {
        store::lock_categories(connection).await?;
        let tree = Tree::from(store::categories(connection).await?);
        let before = tree.get(id).ok_or(CategoryError::NotFound)?;
        let draft = patch.clone().apply(before).map_err(CategoryError::Invalid)?;
        let wanted = draft.check().map_err(CategoryError::Invalid)?;
        if wanted.is(before) {
            return Ok(before.clone());
        }
        check_place(&tree, Some(id), &wanted)?;
        let after = store::update_category(connection, id, &wanted).await.map_err(named_category)?;
        let change = Change::updated(Entity::Category, id.0, before, &after);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(after)
    })
    .await
}

/// Removes a category that nothing is in.
pub async fn delete_category(core: &Core, mandate: &Mandate, id: CategoryId) -> Result<CategoryId, CategoryError> {
    core.transact(mandate, async |connection| {
        store::lock_categories(connection).await?;
        let tree = Tree::from(store::categories(connection).await?);
        let before = tree.get(id).ok_or(CategoryError::NotFound)?;
        store::delete_category(connection, id).await.map_err(named_category)?;
        let change = Change::deleted(Entity::Category, id.0, before);
        changes::record(connection, mandate.actor, vec![change]).await?;
        Ok(id)
    })
    .await
}

/// The parent exists, is not below the category itself, and the tree does not become too deep.
fn check_place(tree: &Tree, id: Option<CategoryId>, category: &NewCategory) -> Result<(), CategoryError> {
    let Some(parent) = category.parent_id else { return Ok(()) };
    let path = tree.path(parent);
    if path.is_empty() {
        return Err(CategoryError::NoSuchParent);
    }
    let mut errors = FieldErrors::default();
    if path.iter().any(|above| Some(above.id) == id) {
        errors.add(FieldErrorCode::Invalid, &["parentId"], "must not be the category itself or one below it");
    } else if path.len() + id.map_or(1, |id| tree.height(id)) > MAX_DEPTH {
        errors.add(FieldErrorCode::OutOfRange, &["parentId"], format!("must keep the tree within {MAX_DEPTH} levels"));
    }
    if errors.0.is_empty() { Ok(()) } else { Err(CategoryError::Invalid(errors)) }
}

/// The meaning of a violated constraint of `categories`.
fn named_category(error: DieselError) -> CategoryError {
    match violated(&error) {
        Some("categories_slug_key") => CategoryError::SlugTaken,
        Some("categories_parent_id_fkey" | "products_category_id_fkey") => CategoryError::InUse,
        _ => error.into(),
    }
}

/// Adds the demo's categories, as far as they are missing.
pub async fn seed_categories(core: &Core) -> Result<(), Error> {
    core.transact(&Mandate::default(), async |connection| {
        store::insert_demo_categories(connection, &demo::categories()).await?;
        changes::record(connection, None, vec![Change::bulk(Entity::Category)]).await?;
        Ok(())
    })
    .await
}

/// Adds the demo's products with these numbers, as far as they are missing.
pub async fn seed_products(
    core: &Core,
    numbers: std::ops::Range<u64>,
    created_by: Option<UserId>,
) -> Result<(), Error> {
    let products: Vec<_> = numbers.filter_map(|number| demo::product(number, created_by)).collect();
    core.transact(&Mandate::default(), async |connection| {
        store::prepare_for_many(connection).await?;
        store::insert_demo_products(connection, &products).await?;
        changes::record(connection, None, vec![Change::bulk(Entity::Product)]).await?;
        Ok(())
    })
    .await
}
