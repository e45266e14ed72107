//! Servers that answer one question each, with nothing between the socket and the data: what no GraphQL server can beat.
//!
//! `limits memory FILE` sends the bytes of a file. `limits rows URL` runs prepared SQL and writes JSON by hand. `limits
//! lists URL` keeps whole lists by category until a product of the category changes. Each prints its port and ends with its
//! standard input.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections to PostgreSQL; more only make them wait for each other on two cores.
const CONNECTIONS: usize = 8;
const COLUMNS: &str = "p.id, p.sku, p.slug, p.name, p.price_amount, p.price_currency, p.stock, p.rating, p.version, \
    p.created_at::text, p.tags, c.id, c.name, c.slug";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let router = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["memory", file] => {
            let bytes = Bytes::from(std::fs::read(file)?);
            let send = || async move { json(bytes) };
            Router::new().route("/graphql", post(send))
        }
        [kind @ ("rows" | "lists"), url] => {
            let keeps = *kind == "lists";
            let rows = Arc::new(Rows::connect(url, keeps).await?);
            let router = Router::new().route("/list", post(list)).route("/product", post(product));
            router.route("/stock", post(stock)).with_state(rows)
        }
        _ => anyhow::bail!("use: limits memory FILE, limits rows URL, limits lists URL"),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "whoever started it reads the port")]
    {
        println!("{}", listener.local_addr()?.port());
    }
    tokio::task::spawn_blocking(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Ok(axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router).await?)
}

fn json(bytes: Bytes) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], bytes)
}

/// One connection with what is prepared on it.
struct Prepared {
    client: Client,
    /// By `SORTS`: from the start, and after a place.
    pages: Vec<(Statement, Statement)>,
    count: Statement,
    product: Statement,
    stock: Statement,
}

/// The columns of each order, a place in it, and whether it descends.
const SORTS: [(&[&str], &str, bool); 4] = [
    (&["created_at"], "$2::text::timestamptz", true),
    (&["name_key"], "$2::text", false),
    (&["price_currency", "price_amount"], "left($2::text, 3), substr($2::text, 4)::bigint", false),
    (&["stock"], "$2::text::integer", true),
];

impl Prepared {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let from = "FROM products p JOIN categories c ON c.id = p.category_id";
        let mut pages = Vec::new();
        for (columns, place, descends) in SORTS {
            let (compare, way) = if descends { ("<", "DESC") } else { (">", "ASC") };
            let list = format!("{from} WHERE p.category_id = $1 AND p.status = 'ACTIVE'");
            let keys =
                |suffix: &str| columns.iter().map(|key| format!("p.{key}{suffix}")).collect::<Vec<_>>().join(", ");
            let order = format!("ORDER BY {}, p.id {way} LIMIT 21", keys(&format!(" {way}")));
            let first = client.prepare(&format!("SELECT {COLUMNS} {list} {order}")).await?;
            let after = format!("AND ({}, p.id) {compare} ({place}, $3)", keys(""));
            pages.push((first, client.prepare(&format!("SELECT {COLUMNS} {list} {after} {order}")).await?));
        }
        let count = "SELECT count(*) FROM products WHERE category_id = $1 AND status = 'ACTIVE'";
        let stock = "UPDATE products SET stock = stock + 1, version = version + 1 WHERE id = $1 RETURNING category_id";
        Ok(Self {
            count: client.prepare(count).await?,
            product: client.prepare(&format!("SELECT {COLUMNS} {from} WHERE p.id = $1")).await?,
            stock: client.prepare(stock).await?,
            pages,
            client,
        })
    }
}

struct Rows {
    connections: Vec<Prepared>,
    next: AtomicUsize,
    kept: Option<Mutex<HashMap<String, Kept>>>,
}

/// The lists of a category, each loaded once for all that wait.
type Kept = Arc<OnceCell<Bytes>>;

#[derive(Deserialize)]
struct ListBody {
    category: Uuid,
    #[serde(default)]
    sort: usize,
    after: Option<(String, Uuid)>,
}

#[derive(Deserialize)]
struct ProductBody {
    id: Uuid,
}

impl Rows {
    async fn connect(url: &str, keeps: bool) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Prepared::connect(url).await?);
        }
        Ok(Self { connections, next: AtomicUsize::new(0), kept: keeps.then(Mutex::default) })
    }

    #[expect(clippy::indexing_slicing, reason = "it is one of them")]
    fn connection(&self) -> &Prepared {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS]
    }

    async fn load(&self, body: &ListBody) -> anyhow::Result<Bytes> {
        let connection = self.connection();
        let (first, after) = connection.pages.get(body.sort).ok_or_else(|| anyhow::anyhow!("no such order"))?;
        let page = async {
            match &body.after {
                Some((value, id)) => connection.client.query(after, &[&body.category, value, id]).await,
                None => connection.client.query(first, &[&body.category]).await,
            }
        };
        // Both at once on one connection.
        let count = async { connection.client.query_one(&connection.count, &[&body.category]).await };
        let (rows, count) = tokio::try_join!(page, count)?;
        let mut text = String::with_capacity(16 * 1024);
        let (has_next, rows) = (rows.len() > 20, rows.iter().take(20));
        let total: i64 = count.try_get(0)?;
        write!(
            text,
            r#"{{"data":{{"products":{{"totalCount":{total},"pageInfo":{{"hasNextPage":{has_next}}},"nodes":["#
        )?;
        for (place, row) in rows.enumerate() {
            text.push_str(if place == 0 { "" } else { "," });
            write_product(&mut text, row)?;
        }
        text.push_str("]}}}");
        Ok(text.into())
    }
}

fn write_product(text: &mut String, row: &Row) -> anyhow::Result<()> {
    let (id, sku, slug, name): (Uuid, &str, &str, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let (amount, currency, stock): (i64, &str, i32) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    let (rating, version): (Option<f64>, i32) = (row.try_get(7)?, row.try_get(8)?);
    let (created_at, tags): (&str, Vec<&str>) = (row.try_get(9)?, row.try_get(10)?);
    let (category, category_name, category_slug): (Uuid, &str, &str) =
        (row.try_get(11)?, row.try_get(12)?, row.try_get(13)?);
    let quoted = |text: &str| serde_json::to_string(text);
    write!(
        text,
        r#"{{"id":"{id}","version":{version},"sku":{},"slug":{},"name":{},"price":{{"amount":"{}.{:02}","currency":"{currency}"}},"stock":{{"available":{stock}}},"rating":{},"tags":{},"createdAt":"{created_at}","category":{{"id":"{category}","name":{},"slug":{}}}}}"#,
        quoted(sku)?,
        quoted(slug)?,
        quoted(name)?,
        amount / 100,
        amount % 100,
        serde_json::to_string(&rating)?,
        serde_json::to_string(&tags)?,
        quoted(category_name)?,
        quoted(category_slug)?,
    )?;
    Ok(())
}

/// What went wrong, as a status that no run goes unnoticed with.
struct Failed(anyhow::Error);

impl IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        (axum::http::StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

async fn list(State(rows): State<Arc<Rows>>, body: Bytes) -> Result<impl IntoResponse, Failed> {
    let asked: ListBody = serde_json::from_slice(&body)?;
    let Some(kept) = &rows.kept else { return Ok(json(rows.load(&asked).await?)) };
    let key = format!("{} {} {:?}", asked.category, asked.sort, asked.after);
    let kept = Arc::clone(kept.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    Ok(json(kept.get_or_try_init(|| rows.load(&asked)).await?.clone()))
}

async fn product(State(rows): State<Arc<Rows>>, body: Bytes) -> Result<impl IntoResponse, Failed> {
    let asked: ProductBody = serde_json::from_slice(&body)?;
    let connection = rows.connection();
    let row = connection.client.query_one(&connection.product, &[&asked.id]).await?;
    let mut text = String::from(r#"{"data":{"product":"#);
    write_product(&mut text, &row)?;
    text.push_str("}}");
    Ok(json(text.into()))
}

async fn stock(State(rows): State<Arc<Rows>>, body: Bytes) -> Result<impl IntoResponse, Failed> {
    let asked: ProductBody = serde_json::from_slice(&body)?;
    let connection = rows.connection();
    let row = connection.client.query_one(&connection.stock, &[&asked.id]).await?;
    let category: Option<Uuid> = row.try_get(0)?;
    if let (Some(kept), Some(category)) = (&rows.kept, category) {
        let category = category.to_string();
        kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !key.starts_with(&category));
    }
    Ok(json(Bytes::from_static(b"{\"data\":true}")))
}
