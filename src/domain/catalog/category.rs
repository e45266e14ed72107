//! Categories, and the tree they make. There are few, so the tree is read and remembered as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use diesel::{AsChangeset, Insertable, Queryable, Selectable};
use serde::{Deserialize, Serialize};

use crate::domain::catalog::model::Patch;
use crate::domain::error::{FieldErrorCode, FieldErrors};
use crate::domain::ids::CategoryId;
use crate::domain::{text, time};
use crate::infra::schema::categories;

/// Categories above one another, at most.
pub const MAX_DEPTH: usize = 10;
const MAX_NAME: usize = 200;
const MAX_SLUG: usize = 100;
const MAX_POSITION: i32 = 1_000_000;

/// A category.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = categories)]
pub struct Category {
    pub id: CategoryId,
    pub parent_id: Option<CategoryId>,
    pub slug: String,
    pub name: String,
    /// Its place among its siblings.
    pub position: i32,
    #[serde(with = "time")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "time")]
    pub updated_at: DateTime<Utc>,
}

/// A category as somebody typed it.
#[derive(Clone, Debug)]
pub struct CategoryDraft {
    pub name: String,
    /// Made from the name where it is not given.
    pub slug: Option<String>,
    pub parent_id: Option<CategoryId>,
    pub position: i32,
}

/// What to change of a category.
#[derive(Clone, Debug, Default)]
pub struct CategoryPatch {
    pub name: Patch<String>,
    pub slug: Patch<String>,
    pub parent_id: Patch<CategoryId>,
    pub position: Patch<i32>,
}

/// A checked category.
#[derive(Clone, Debug, Insertable, AsChangeset)]
#[diesel(table_name = categories, treat_none_as_null = true)]
pub struct NewCategory {
    pub parent_id: Option<CategoryId>,
    pub slug: String,
    pub name: String,
    pub position: i32,
}

impl NewCategory {
    /// Whether the stored category is already so.
    pub fn is(&self, category: &Category) -> bool {
        self.parent_id == category.parent_id
            && self.slug == category.slug
            && self.name == category.name
            && self.position == category.position
    }
}

impl CategoryDraft {
    /// The category, or all that is wrong with it.
    pub fn check(self) -> Result<NewCategory, FieldErrors> {
        let mut errors = FieldErrors::default();
        let name = errors.keep(&["name"], text::line(&self.name, MAX_NAME)).unwrap_or_default();
        let slug = match &self.slug {
            Some(slug) => errors.keep(&["slug"], text::slug(slug, MAX_SLUG)).unwrap_or_default(),
            None => text::slugify(&name, MAX_SLUG),
        };
        if slug.is_empty() && errors.0.is_empty() {
            errors.add(FieldErrorCode::Required, &["slug"], "the name has no letters for a slug; give one");
        }
        if self.position.abs() > MAX_POSITION {
            let message = format!("must be between -{MAX_POSITION} and {MAX_POSITION}");
            errors.add(FieldErrorCode::OutOfRange, &["position"], message);
        }
        if !errors.0.is_empty() {
            return Err(errors);
        }
        Ok(NewCategory { parent_id: self.parent_id, slug, name, position: self.position })
    }
}

impl CategoryPatch {
    /// The draft that makes `category` what the patch wants.
    pub fn apply(self, category: &Category) -> Result<CategoryDraft, FieldErrors> {
        let mut errors = FieldErrors::default();
        let draft = CategoryDraft {
            name: self.name.apply_required("name", &category.name, &mut errors),
            slug: self.slug.apply(Some(&category.slug)),
            parent_id: self.parent_id.apply(category.parent_id.as_ref()),
            position: self.position.apply(Some(&category.position)).unwrap_or(0),
        };
        if errors.0.is_empty() { Ok(draft) } else { Err(errors) }
    }
}

/// All categories.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Category>", into = "Vec<Category>")]
pub struct Tree {
    by_id: HashMap<CategoryId, Category>,
    /// Under `None` the roots; in the order of position, then name.
    children: HashMap<Option<CategoryId>, Vec<CategoryId>>,
}

impl From<Vec<Category>> for Tree {
    fn from(categories: Vec<Category>) -> Self {
        let mut sorted: BTreeMap<Option<CategoryId>, Vec<&Category>> = BTreeMap::new();
        for category in &categories {
            sorted.entry(category.parent_id).or_default().push(category);
        }
        let children = sorted.into_iter().map(|(parent, mut siblings)| {
            siblings.sort_by_key(|category| (category.position, text::sort_key(&category.name), category.id));
            (parent, siblings.into_iter().map(|category| category.id).collect())
        });
        Self { children: children.collect(), by_id: categories.into_iter().map(|one| (one.id, one)).collect() }
    }
}

impl From<Tree> for Vec<Category> {
    fn from(tree: Tree) -> Self {
        tree.by_id.into_values().collect()
    }
}

impl Tree {
    pub fn get(&self, id: CategoryId) -> Option<&Category> {
        self.by_id.get(&id)
    }

    pub fn by_slug(&self, slug: &str) -> Option<&Category> {
        self.by_id.values().find(|category| category.slug == slug)
    }

    /// The categories right below this one, or the roots.
    pub fn children(&self, parent: Option<CategoryId>) -> impl Iterator<Item = &Category> {
        self.children.get(&parent).into_iter().flatten().filter_map(|&id| self.get(id))
    }

    /// From the root down to the category itself.
    pub fn path(&self, id: CategoryId) -> Vec<&Category> {
        let mut path: Vec<&Category> =
            std::iter::successors(self.get(id), |category| self.get(category.parent_id?)).take(MAX_DEPTH + 1).collect();
        path.reverse();
        path
    }

    /// These categories and all below them.
    pub fn subtrees(&self, roots: &BTreeSet<CategoryId>) -> Vec<CategoryId> {
        let mut found: BTreeSet<CategoryId> = BTreeSet::new();
        let mut open: Vec<CategoryId> = roots.iter().copied().collect();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(self.children.get(&Some(id)).into_iter().flatten());
            }
        }
        found.into_iter().collect()
    }

    /// Levels from this category to the deepest below it, itself included.
    pub fn height(&self, id: CategoryId) -> usize {
        1 + self.children(Some(id)).map(|child| self.height(child.id)).max().unwrap_or(0)
    }
}
