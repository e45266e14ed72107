//! The database: migrations, what the generated schema says of it, and that foreign keys are indexed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use diesel_async::AsyncMigrationHarness;
use diesel_migrations::MigrationHarness;
use secrecy::SecretString;
use stockroom::config::Settings;
use stockroom::infra::db::{Access, Connector};
use stockroom::infra::migrations::{self, MIGRATIONS};

use crate::support::process;
use crate::support::servers::TestDatabase;

/// The schema as `pg_dump` tells it.
fn dump(url: &str) -> String {
    let dumped = Command::new("pg_dump").args(["--schema-only", "--no-owner", url]).output().expect("pg_dump runs");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let text = String::from_utf8(dumped.stdout).unwrap();
    // Newer releases put a random word into lines that start with a backslash.
    text.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect()
}

async fn connect(url: &str) -> diesel_async::AsyncPgConnection {
    let url: SecretString = url.to_owned().into();
    let settings = Settings::from_flags(&[]).unwrap();
    Connector::new(&url, Access::Write, &settings, None).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_can_be_undone_and_done_again() {
    let database = TestDatabase::create_empty().await;
    let mut harness = AsyncMigrationHarness::new(connect(&database.url).await);
    let count = migrations_in_the_folder().len();
    // The harness makes its own table when it is first asked.
    assert_eq!(harness.pending_migrations(MIGRATIONS).unwrap().len(), count);
    for _ in 0..count {
        let before = dump(&database.url);
        harness.run_next_migration(MIGRATIONS).unwrap();
        let after = dump(&database.url);
        harness.revert_last_migration(MIGRATIONS).unwrap();
        assert_eq!(dump(&database.url), before, "down.sql leaves something behind");
        harness.run_next_migration(MIGRATIONS).unwrap();
        assert_eq!(dump(&database.url), after, "up.sql differs the second time");
    }
}

fn migrations_in_the_folder() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_that_migrate_at_once_run_each_migration_once() {
    let database = TestDatabase::create_empty().await;
    let settings = Settings::from_flags(&[]).unwrap();
    let url: SecretString = database.url.clone().into();
    let runs = (0..5).map(|_| {
        let (settings, url) = (settings.clone(), url.clone());
        tokio::spawn(async move { migrations::run(&settings, &url).await.unwrap().len() })
    });
    let mut ran = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        ran.push(run.await.unwrap());
    }
    assert_eq!(ran.iter().sum::<usize>(), migrations_in_the_folder().len(), "{ran:?}");
    assert_eq!(migrations::missing(&settings, &url).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_may_take_longer_than_any_statement_of_a_request() {
    let database = TestDatabase::create_empty().await;
    let settings = Settings::from_flags(&["--statement-timeout", "100ms"]).unwrap();
    let other = database.connect().await;
    // As another process does that migrates.
    other.batch_execute("SELECT pg_advisory_lock(x'53544f434b524d31'::bigint)").await.unwrap();
    let url = SecretString::from(database.url.clone());
    let migrating = tokio::spawn(async move { migrations::run(&settings, &url).await });
    // Longer than an answer to a request is waited for.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    other.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert!(!migrating.await.unwrap().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_check_tells_what_is_missing_and_changes_nothing() {
    let database = TestDatabase::create_empty().await;
    let before = dump(&database.url);
    let checked = process::run(&["migrate", "--check", "--database-url", &database.url]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(process::complained(&checked).contains("create_products"), "{}", process::complained(&checked));
    assert_eq!(dump(&database.url), before);
    let migrated = process::run(&["migrate", "--database-url", &database.url]);
    assert_eq!(process::said(&migrated).lines().count(), migrations_in_the_folder().len());
    let checked = process::run(&["migrate", "--check", "--database-url", &database.url]);
    assert!(checked.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generated_schema_says_what_the_database_has() {
    let database = TestDatabase::create().await;
    let client = database.connect().await;
    let columns = "SELECT table_name, column_name, udt_name, is_nullable = 'YES' FROM information_schema.columns
        WHERE table_schema IN ('accounts', 'catalog', 'shared') ORDER BY table_name, ordinal_position";
    let mut expected = String::new();
    let mut table = String::new();
    for row in client.query(columns, &[]).await.unwrap() {
        let (name, column, udt, nullable): (String, String, String, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if name != table {
            table.clone_from(&name);
            expected += &format!("{name}\n");
        }
        let sql_type = match udt.as_str() {
            "int4" => "Int4",
            "int8" => "Int8",
            "float8" => "Float8",
            "bool" => "Bool",
            "bytea" => "Bytea",
            "text" => "Text",
            "uuid" => "Uuid",
            "jsonb" => "Jsonb",
            "timestamptz" => "Timestamptz",
            "tsvector" => "Tsvector",
            "_text" => "Array<Text>",
            other => panic!("teach the test the type {other}"),
        };
        let sql_type = if nullable { format!("Nullable<{sql_type}>") } else { sql_type.to_owned() };
        expected += &format!("{column} -> {sql_type}\n");
    }
    let generated = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/infra/schema.rs")).unwrap();
    let mut found = String::new();
    for line in generated.lines().map(str::trim) {
        if let Some((column, sql_type)) = line.trim_end_matches(',').split_once(" -> ") {
            if !line.starts_with("diesel") {
                found += &format!("{column} -> {sql_type}\n");
            }
        } else if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with(") {")) {
            found += &format!("{name}\n");
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_key_has_an_index() {
    let database = TestDatabase::create().await;
    let client = database.connect().await;
    let bare = "SELECT conname FROM pg_constraint c WHERE contype = 'f' AND NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])";
    let bare: Vec<String> = client.query(bare, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(bare, Vec::<String>::new());
    let keys: i64 =
        client.query_one("SELECT count(*) FROM pg_constraint WHERE contype = 'f'", &[]).await.unwrap().get(0);
    assert_eq!(keys, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reading_pool_cannot_write() {
    use diesel_async::SimpleAsyncConnection;

    let server = crate::support::TestServer::start_with(&[]).await;
    let mut connection = server.core.infra.db.read().await.unwrap();
    let refused = connection.batch_execute("DELETE FROM users").await.unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_statistics_is_read_without_compiling_the_statement() {
    use diesel_async::RunQueryDsl;

    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
        line: String,
    }

    let database = TestDatabase::create().await;
    let client = database.connect().await;
    let fill = "INSERT INTO changes (v, n, entity, entity_id, kind)
        SELECT v, 0, 'PRODUCT', gen_random_uuid(), 'CREATED' FROM generate_series(1, 20000) AS v";
    client.batch_execute(fill).await.unwrap();
    let news = "EXPLAIN ANALYZE SELECT * FROM catalog_version LEFT JOIN LATERAL
        (SELECT * FROM changes WHERE changes.v > 19990 ORDER BY changes.v, n LIMIT 20000) AS c ON true ORDER BY c.v";
    let compiles = |plan: Vec<String>| plan.iter().any(|line| line.contains("JIT:"));
    let rows = client.query(news, &[]).await.unwrap();
    let is_able = client.query_one("SELECT pg_jit_available()", &[]).await.unwrap().get::<_, bool>(0);
    assert_eq!(compiles(rows.iter().map(|row| row.get(0)).collect()), is_able, "the plan would not be compiled anyway");
    let mut ours = connect(&database.url).await;
    let lines: Vec<Line> = diesel::sql_query(news).load(&mut ours).await.unwrap();
    assert!(!compiles(lines.into_iter().map(|line| line.line).collect()));
}
