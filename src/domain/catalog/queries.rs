//! Reads of the catalogue, and what is remembered of them.

use std::collections::HashMap;
use std::sync::Arc;

use diesel_async::AsyncPgConnection;
use serde::Serialize;

use crate::domain::Core;
use crate::domain::answers::{Answer, Reach, Region};
use crate::domain::catalog::category::Tree;
use crate::domain::catalog::cursor::Cursor;
use crate::domain::catalog::list::{Found, List};
use crate::domain::catalog::model::{Product, ProductKey, Status};
use crate::domain::catalog::store;
use crate::domain::catalog::touch::{Count, Interest};
use crate::domain::changes::{Dependencies, Entity};
use crate::domain::error::Error;
use crate::domain::ids::{CategoryId, ProductId};
use crate::domain::page::{Page, Window};

const PAGES: Region = Region { name: "products", reach: Reach::Shared };
const COUNTS: Region = Region { name: "product_count", reach: Reach::Shared };
const PRODUCTS: Region = Region { name: "product", reach: Reach::Process };
const KEYS: Region = Region { name: "product_by_key", reach: Reach::Shared };
const TREE: Region = Region { name: "categories", reach: Reach::Shared };

/// A page of a list.
pub async fn products(core: &Arc<Core>, list: &Arc<List>, window: Window<Cursor>) -> Result<Arc<Page<Found>>, Error> {
    let question = PageQuestion {
        list,
        size: window.size,
        backward: window.backward,
        after: window.after.as_ref(),
        before: window.before.as_ref(),
        offset: window.offset,
    };
    let (list, page) = (Arc::clone(list), window.clone());
    core.answer(PAGES, &question, async move |core: Arc<Core>| {
        let tree = tree_for(&core, &list).await?;
        let is_walk = store::is_walk(&list, &page, &tree);
        let read = async |connection: &AsyncPgConnection| store::page(connection, &list, &page, &tree, is_walk).await;
        let rows = match is_walk {
            true => core.read_together(read).await?,
            false => core.read(async |connection| read(connection).await).await?,
        };
        let interest = Interest::page(&list, &page, &rows, &tree);
        Ok((page.page(rows), Dependencies::on(interest)))
    })
    .await
}

impl Answer for Option<Product> {}
impl Answer for Tree {}

#[derive(Serialize)]
struct PageQuestion<'a> {
    list: &'a List,
    size: u8,
    backward: bool,
    after: Option<&'a Cursor>,
    before: Option<&'a Cursor>,
    offset: u16,
}

/// How many products the list has; with `most` counting stops there.
pub async fn product_count(core: &Arc<Core>, list: &Arc<List>, most: Option<i64>) -> Result<i64, Error> {
    // How a list is sorted does not change how long it is.
    let question = (&list.search, &list.filter, most);
    let counted = Arc::clone(list);
    let count = core.answer(COUNTS, &question, async move |core: Arc<Core>| {
        let tree = tree_for(&core, &counted).await?;
        let (value, version) =
            core.read(async |connection| store::count(connection, &counted, &tree, most).await).await?;
        Ok((Count { value, most, version }, Dependencies::on(Interest::count(&counted, &tree))))
    });
    Ok(count.await?.value)
}

/// The tree, where the list asks for it.
async fn tree_for(core: &Arc<Core>, list: &List) -> Result<Arc<Tree>, Error> {
    if list.filter.depends_on_categories() { categories(core).await } else { Ok(Arc::default()) }
}

/// The product with this key.
pub async fn product(core: &Arc<Core>, key: ProductKey) -> Result<Option<Arc<Product>>, Error> {
    if let ProductKey::Id(id) = key {
        return Ok(products_by_ids(core, &[id]).await?.remove(&id));
    }
    let asked = key.clone();
    let found: Arc<Option<Product>> = core
        .answer(KEYS, &key, async move |core: Arc<Core>| {
            let product = core.read(async |connection| store::by_key(connection, &asked).await).await?;
            let dependencies = match &product {
                Some(product) => Dependencies::on_one(Entity::Product, product.id.0),
                None => Dependencies::on(Interest::Key(asked)),
            };
            Ok((product, dependencies))
        })
        .await?;
    Ok(found.as_ref().clone().map(Arc::new))
}

/// Of these products those that exist.
pub async fn products_by_ids(core: &Arc<Core>, ids: &[ProductId]) -> Result<HashMap<ProductId, Arc<Product>>, Error> {
    core.answer_each(PRODUCTS, Entity::Product, ids, async |core: Arc<Core>, missing: Vec<ProductId>| {
        let products = core.read(async |connection| store::by_ids(connection, &missing).await).await?;
        Ok(products.into_iter().map(|product| (product.id, product)).collect())
    })
    .await
}

/// Of these products those that exist, each with where it is in its life: all that another service knows of them. It is
/// not remembered.
pub async fn statuses(core: &Arc<Core>, ids: &[ProductId]) -> Result<HashMap<ProductId, Arc<Status>>, Error> {
    let found = core.read(async |connection| store::statuses(connection, ids).await).await?;
    Ok(found.into_iter().map(|(id, status)| (id, Arc::new(status))).collect())
}

/// The same of categories, of which another service knows no more than that.
pub async fn existing_categories(core: &Arc<Core>, ids: &[CategoryId]) -> Result<HashMap<CategoryId, Arc<()>>, Error> {
    let found = core.read(async |connection| store::existing_categories(connection, ids).await).await?;
    Ok(found.into_iter().map(|id| (id, Arc::new(()))).collect())
}

/// All categories.
pub async fn categories(core: &Arc<Core>) -> Result<Arc<Tree>, Error> {
    core.answer(TREE, &(), async |core: Arc<Core>| {
        let all = core.read(store::categories).await?;
        Ok((Tree::from(all), Dependencies::on_all(&[Entity::Category])))
    })
    .await
}
