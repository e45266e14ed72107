//! Changes of the catalogue. All are for the staff.

use async_graphql::{ComplexObject, Context, ID, Object, SimpleObject, Union};

use crate::domain::catalog;
use crate::domain::catalog::commands::{self, CategoryError as CategoryFailure, ProductError as ProductFailure};
use crate::domain::error::Error;
use crate::domain::ids::ProductId;
use crate::graphql::accounts::{Role, Scope};
use crate::graphql::catalog::inputs::{CategoryInput, CategoryPatch, ProductInput, ProductKey, ProductPatch};
use crate::graphql::catalog::types::{Category, Product};
use crate::graphql::context::OfRequest;
use crate::graphql::directives::{auth, cost, list_size};
use crate::graphql::error::{ErrorCode, NotFoundError, Result, TakenError, ValidationError, path};
use crate::graphql::id::{self, NodeId};

/// Others changed the product since the version, or the stock, that was given.
#[derive(SimpleObject)]
pub struct VersionConflictError {
    /// What kind of error it is, for programs.
    pub code: ErrorCode,
    /// What to do, for people.
    pub message: String,
    /// The argument at fault, as in `["ifVersion"]`.
    pub path: Option<Vec<String>>,
    /// The product as it is now.
    pub current: Product,
}

/// Why a product stayed as it was.
#[derive(Union)]
pub enum ProductError {
    Validation(ValidationError),
    Taken(TakenError),
    NotFound(NotFoundError),
    VersionConflict(VersionConflictError),
}

/// The product afterwards, or why it stayed as it was.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ProductPayload {
    /// The product afterwards.
    product: Option<Product>,
    /// Why it stayed as it was; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<ProductError>,
}

/// What was deleted, or why nothing was.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct DeleteProductPayload {
    /// The id that no product has any more.
    deleted_id: Option<ID>,
    /// Why nothing was deleted; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<ProductError>,
}

/// Why a category stayed as it was.
#[derive(Union)]
pub enum CategoryError {
    Validation(ValidationError),
    Taken(TakenError),
    NotFound(NotFoundError),
}

/// The category afterwards, or why it stayed as it was.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct CategoryPayload {
    /// The category afterwards.
    category: Option<Category>,
    /// Why it stayed as it was; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<CategoryError>,
}

/// What was deleted, or why nothing was.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct DeleteCategoryPayload {
    /// The id that no category has any more.
    deleted_id: Option<ID>,
    /// Why nothing was deleted; empty if all went well.
    #[graphql(directive = list_size::apply(Some(5), None, None, None))]
    errors: Vec<CategoryError>,
}

/// Lets whoever changed something see it wherever they read next.
macro_rules! with_token {
    ($($payload:ident)*) => {$(
        #[ComplexObject]
        impl $payload {
            /// Send it as the header `X-Consistency-Token`, and what you read has seen this change, on whichever replica.
            /// Null, with an error, if the change is made and no more can be read of it.
            async fn consistency_token(&self, ctx: &Context<'_>) -> Result<Option<String>> {
                Ok(Some(ctx.request().core.gate.token().await?.to_string()))
            }
        }
    )*};
}

with_token!(ProductPayload DeleteProductPayload CategoryPayload DeleteCategoryPayload);

#[derive(Default)]
pub struct CatalogMutations;

#[Object]
impl CatalogMutations {
    /// Puts a product into the catalogue. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn create_product(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new product.")] input: ProductInput,
    ) -> Result<Option<ProductPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let created = commands::create_product(&request.core, &mandate, input.read()?).await;
        product_payload("input", "", created)
    }

    /// Changes a product. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn update_product(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which product.")] by: ProductKey,
        #[graphql(desc = "What to change of it.")] patch: ProductPatch,
        #[graphql(desc = "Only if this is its version still.")] if_version: Option<i32>,
    ) -> Result<Option<ProductPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let (key, patch) = (by.read("by")?, patch.read()?);
        let updated = commands::update_product(&request.core, &mandate, key, patch, if_version).await;
        product_payload("patch", "ifVersion", updated)
    }

    /// Takes a product out of the catalogue. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn delete_product(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which product.")] by: ProductKey,
        #[graphql(desc = "Only if this is its version still.")] if_version: Option<i32>,
    ) -> Result<Option<DeleteProductPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let deleted = commands::delete_product(&request.core, &mandate, by.read("by")?, if_version).await;
        let (deleted, errors): (Option<ProductId>, _) = split_product("", "ifVersion", deleted)?;
        Ok(Some(DeleteProductPayload { deleted_id: deleted.map(|id| NodeId::Product(id).encode()), errors }))
    }

    /// Adds to a product's stock, or takes from it, whatever others do meanwhile. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn adjust_stock(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which product.")] by: ProductKey,
        #[graphql(desc = "How many pieces to add; negative to take.")] delta: i32,
        #[graphql(desc = "Only if this is its stock now.")] change_from: Option<i32>,
    ) -> Result<Option<ProductPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let adjusted = commands::adjust_stock(&request.core, &mandate, by.read("by")?, delta, change_from).await;
        product_payload("", "changeFrom", adjusted)
    }

    /// Adds a category to the tree. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn create_category(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new category.")] input: CategoryInput,
    ) -> Result<Option<CategoryPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let created = commands::create_category(&request.core, &mandate, input.read()?).await;
        category_payload(ctx, "input", created).await
    }

    /// Changes a category, or moves it with all below it. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn update_category(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The category's id.")] id: ID,
        #[graphql(desc = "What to change of it.")] patch: CategoryPatch,
    ) -> Result<Option<CategoryPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let id = id::category("id", &id)?;
        let updated = commands::update_category(&request.core, &mandate, id, patch.read()?).await;
        category_payload(ctx, "patch", updated).await
    }

    /// Removes a category that nothing is in. For the staff.
    #[graphql(directive = cost::apply("10".to_owned()), directive = auth::apply(Role::Staff, Some(Scope::CatalogWrite), None))]
    async fn delete_category(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The category's id.")] id: ID,
    ) -> Result<Option<DeleteCategoryPayload>> {
        let request = ctx.request();
        let mandate = ctx.mandate().await?;
        let deleted = commands::delete_category(&request.core, &mandate, id::category("id", &id)?).await;
        let (deleted, errors) = split_category("", deleted)?;
        Ok(Some(DeleteCategoryPayload { deleted_id: deleted.map(|id| NodeId::Category(id).encode()), errors }))
    }
}

fn product_payload(
    argument: &str,
    expectation: &str,
    done: std::result::Result<catalog::Product, ProductFailure>,
) -> Result<Option<ProductPayload>> {
    let (product, errors) = split_product(argument, expectation, done)?;
    Ok(Some(ProductPayload { product: product.map(Product::from), errors }))
}

/// What was done, or the errors that the client can mend: in the argument that holds the input, or in the one that says
/// what the client expects.
fn split_product<T>(
    argument: &str,
    expectation: &str,
    done: std::result::Result<T, ProductFailure>,
) -> Result<(Option<T>, Vec<ProductError>)> {
    let failure = match done {
        Ok(done) => return Ok((Some(done), Vec::new())),
        Err(failure) => failure,
    };
    let errors = match failure {
        ProductFailure::Invalid(errors) => ValidationError::all(argument, errors),
        ProductFailure::Taken(field) => vec![TakenError::new(&[argument, field]).into()],
        ProductFailure::NotFound => vec![NotFoundError::new(&["by"], "there is no such product").into()],
        ProductFailure::NoSuchCategory => {
            vec![NotFoundError::new(&[argument, "categoryId"], "there is no such category").into()]
        }
        ProductFailure::Moved(current) => {
            let message = "it was changed meanwhile; look at `current` and try again".to_owned();
            let current = Product::from(*current);
            let code = ErrorCode::VersionConflict;
            vec![VersionConflictError { code, message, path: path(&[expectation]), current }.into()]
        }
        ProductFailure::Failed(error) => return Err(error.into()),
    };
    Ok((None, errors))
}

async fn category_payload(
    ctx: &Context<'_>,
    argument: &str,
    done: std::result::Result<catalog::Category, CategoryFailure>,
) -> Result<Option<CategoryPayload>> {
    let (category, errors) = split_category(argument, done)?;
    let category = match category {
        Some(category) => {
            let tree = ctx.request().categories().await?;
            // Others may have removed it already; it was made all the same.
            Some(Category::new(tree.get(category.id).unwrap_or(&category), &tree))
        }
        None => None,
    };
    Ok(Some(CategoryPayload { category, errors }))
}

/// What was done, or the errors that the client can mend, which lie in this argument.
fn split_category<T>(
    argument: &str,
    done: std::result::Result<T, CategoryFailure>,
) -> Result<(Option<T>, Vec<CategoryError>)> {
    let failure = match done {
        Ok(done) => return Ok((Some(done), Vec::new())),
        Err(failure) => failure,
    };
    let errors = match failure {
        CategoryFailure::Invalid(errors) => ValidationError::all(argument, errors),
        CategoryFailure::SlugTaken => vec![TakenError::new(&[argument, "slug"]).into()],
        CategoryFailure::NotFound => vec![NotFoundError::new(&["id"], "there is no such category").into()],
        CategoryFailure::NoSuchParent => {
            vec![NotFoundError::new(&[argument, "parentId"], "there is no such category").into()]
        }
        CategoryFailure::InUse => {
            let message = "categories or products are in it; move or delete them first".to_owned();
            vec![ValidationError { code: ErrorCode::InUse, message, path: path(&["id"]) }.into()]
        }
        CategoryFailure::Failed(error) => return Err(Error::into(error)),
    };
    Ok((None, errors))
}
