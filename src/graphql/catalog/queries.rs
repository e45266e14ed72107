//! Questions about the catalogue.

use std::sync::Arc;

use async_graphql::{Context, ID, Object};

use crate::domain::accounts::Right;
use crate::domain::catalog::cursor::Cursor;
use crate::domain::catalog::filter::Test;
use crate::domain::catalog::{Filter, List, ListDraft, queries};
use crate::domain::ids::CategoryId;
use crate::domain::page::{PageArguments, Window};
use crate::graphql::catalog::inputs::{ProductFilter, ProductKey, ProductSort};
use crate::graphql::catalog::types::{Category, Product, ProductConnection};
use crate::graphql::context::{OfRequest, RequestContext};
use crate::graphql::directives::{cost, list_size, names};
use crate::graphql::error::{ApiError, Result};
use crate::graphql::id;

/// Sort keys, at most.
const MAX_SORTS: usize = 7;

#[derive(Default)]
pub struct CatalogQueries;

#[Object]
impl CatalogQueries {
    /// The product with this key; null if there is none, or none for this viewer.
    #[graphql(directive = cost::apply("2".to_owned()))]
    async fn product(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "One way to name it.")] by: ProductKey,
    ) -> Result<Option<Product>> {
        let request = ctx.request();
        let product = queries::product(&request.core, by.read("by")?).await?;
        Ok(product.map(Product::from).filter(|product| product.is_visible_in(request)))
    }

    /// Products. Cached by what the arguments mean, and never older than the last change.
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
        #[graphql(desc = "In what order; if it is not given, the best match of `search` first, else the newest.")]
        sort_by: Option<Vec<ProductSort>>,
    ) -> Result<Option<ProductConnection>> {
        let page = PageArguments { first, after, last, before, offset };
        let arguments = ListArguments { page, search, filter, sort_by, within: None };
        product_connection(ctx.request(), arguments).await.map(Some)
    }

    /// The category with this id or this slug; null if there is none.
    async fn category(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: Option<ID>,
        #[graphql(desc = "Its name in URLs.")] slug: Option<String>,
    ) -> Result<Option<Category>> {
        let tree = ctx.request().categories().await?;
        let category = match (id, slug) {
            (Some(id), None) => tree.get(id::category("id", &id)?),
            (None, Some(slug)) => tree.by_slug(&slug),
            _ => return Err(ApiError::bad_input("id", "or `slug`: give exactly one")),
        };
        Ok(category.map(|category| Category::new(category, &tree)))
    }

    /// The categories right below one, or those at the top.
    #[graphql(directive = list_size::apply(Some(20), None, None, None))]
    async fn categories(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id of the category above; at the top if it is not given.")] parent: Option<ID>,
    ) -> Result<Option<Vec<Category>>> {
        let parent = parent.map(|id| id::category("parent", &id)).transpose()?;
        let tree = ctx.request().categories().await?;
        ctx.request().count_items(tree.children(parent).count())?;
        Ok(Some(tree.children(parent).map(|category| Category::new(category, &tree)).collect()))
    }
}

/// What lists of products take.
pub struct ListArguments {
    pub page: PageArguments,
    pub search: Option<String>,
    pub filter: Option<ProductFilter>,
    pub sort_by: Option<Vec<ProductSort>>,
    /// Only what is in this category or below.
    pub within: Option<CategoryId>,
}

/// The page of the list that the arguments describe.
pub async fn product_connection(request: &RequestContext, arguments: ListArguments) -> Result<ProductConnection> {
    let (list, window) = arguments.read(request)?;
    let page = queries::products(&request.core, &list, window).await?;
    Ok(ProductConnection { list, page })
}

impl ListArguments {
    /// The list that they describe, and the part of it.
    pub fn read(self, request: &RequestContext) -> Result<(Arc<List>, Window<Cursor>)> {
        let Self { page, search, filter, sort_by, within } = self;
        let sort = sort_by.unwrap_or_default();
        if sort.len() > MAX_SORTS {
            return Err(ApiError::bad_input("sortBy", format!("must have at most {MAX_SORTS} keys")));
        }
        let mut filter = filter.unwrap_or_default().read()?;
        if let Some(category) = within {
            filter = Filter::All(vec![filter, Filter::Is(Test::Category([category].into()))]);
        }
        let sort = sort.into_iter().map(ProductSort::read).collect();
        let draft = ListDraft { search, filter, sort, all_states: request.may(Right::STAFF) };
        let list = Arc::new(draft.check()?);
        let window = page.check(|text| Cursor::decode(&list, text))?;
        Ok((list, window))
    }
}
