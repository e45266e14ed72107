//! The binary as people and machines run it: start, stop, crash, and its commands.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Client;
use crate::support::process::{self, Server, complained, postgres_id, run, run_with_input, said};
use crate::support::servers::{TestDatabase, process_runs, scratch, servers};

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bare_folder_it_serves_the_demo_and_on_the_next_start_the_same() {
    let folder = scratch("private");
    let path = folder.display().to_string();
    let mut server = Server::start(&["--data-dir", &path]);
    assert!(server.greeting.contains("private PostgreSQL"), "{}", server.greeting);
    assert!(server.greeting.contains("in process; set REDIS_URL"), "{}", server.greeting);
    assert!(server.greeting.contains("written to") && server.greeting.contains("/outbox;"), "{}", server.greeting);
    let client = server.client();

    let look = "query($drafts: ProductFilter!) { products { totalCount } none: products(filter: { inStock: false }) { totalCount }
        eur: products(filter: { price: { currency: \"EUR\" } }) { totalCount } jpy: products(filter: { price: { currency: \"JPY\" } }) { totalCount }
        drafts: products(filter: $drafts) { totalCount } categories { children { id } } }";
    let drafts = json!({ "drafts": { "status": { "eq": "DRAFT" } } });
    let data = client.data(look, drafts.clone()).await;
    let count = |name: &str| data[name]["totalCount"].as_i64().unwrap();
    assert!(count("products") > 450 && count("none") > 20 && count("eur") > 50 && count("jpy") > 50, "{data}");
    let roots = data["categories"].as_array().unwrap();
    let categories = roots.len() + roots.iter().map(|root| root["children"].as_array().unwrap().len()).sum::<usize>();
    assert!(categories >= 12, "{categories} categories");

    // The demo accounts' passwords are told, and work.
    let account = server.greeting.lines().find(|line| line.contains("staff@stockroom.test")).unwrap().to_owned();
    let password = account.split_whitespace().last().unwrap().to_owned();
    let staff = sign_in(&client, "staff@stockroom.test", &password).await;
    let data = staff.data(look, drafts).await;
    assert!(data["products"]["totalCount"].as_i64().unwrap() >= 500, "{data}");
    assert!(data["drafts"]["totalCount"].as_i64().unwrap() > 10, "{data}");
    staff.create_product(json!({ "sku": "MINE" })).await;

    // Accounts can be made while it runs; the first of them here beside the demo's.
    let create = ["user", "create", "root@shop.example", "--role", "ADMIN", "--password-stdin", "--data-dir", &path];
    let made = run_with_input(&create, "correct horse\n");
    assert!(made.status.success(), "{}", complained(&made));
    sign_in(&client, "root@shop.example", "correct horse").await;

    // A second server on the folder is told off.
    let second = run(&["serve", "--listen-addr", "127.0.0.1:0", "--data-dir", &path]);
    assert!(!second.status.success());
    assert!(complained(&second).contains("another stockroom runs the PostgreSQL in"), "{}", complained(&second));

    // Ctrl-C ends everything.
    let postgres = postgres_id(&folder).unwrap();
    assert!(process_runs(&postgres));
    server.signal("INT");
    assert!(server.wait(Duration::from_secs(5)).success());
    assert!(!process_runs(&postgres), "PostgreSQL outlives its server");

    // What was acknowledged is there after the next start, which a crash then ends.
    let started = Instant::now();
    let again = Server::start(&["--data-dir", &path]);
    assert!(again.greeting.contains(&account), "{}", again.greeting);
    let data = again.client().data("{ product(by: { sku: \"MINE\" }) { sku } }", json!({})).await;
    println!("second start to first answer: {:?}", started.elapsed());
    assert_eq!(data["product"]["sku"], "MINE");
    let postgres = postgres_id(&folder).unwrap();
    again.signal("KILL");
    crate::support::eventually("PostgreSQL ends with its killed server", async || !process_runs(&postgres)).await;

    // Commands work when no server runs, too.
    let listed = run(&["user", "list", "--data-dir", &path]);
    assert!(said(&listed).contains("root@shop.example"), "{}{}", said(&listed), complained(&listed));
    let set = run(&["user", "set-role", "root@shop.example", "staff", "--data-dir", &path]);
    assert!(said(&set).contains("root@shop.example is STAFF now."), "{}", complained(&set));
    let last = run(&["user", "set-role", "admin@stockroom.test", "CUSTOMER", "--data-dir", &path]);
    assert!(complained(&last).contains("the last administrator"), "{}", complained(&last));

    // A folder of another PostgreSQL is left alone.
    let version = folder.join("postgres/PG_VERSION");
    fs::write(&version, "12\n").unwrap();
    let refused = run(&["serve", "--listen-addr", "127.0.0.1:0", "--data-dir", &path]);
    assert!(complained(&refused).contains("was made by PostgreSQL 12"), "{}", complained(&refused));
}

async fn sign_in(client: &Client, email: &str, password: &str) -> Client {
    let login =
        "mutation($e: String!, $p: String!) { login(input: { email: $e, password: $p }) { tokens { accessToken } } }";
    let data = client.data(login, json!({ "e": email, "p": password })).await;
    Client { token: Some(data["login"]["tokens"]["accessToken"].as_str().unwrap().to_owned()), ..client.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_database_gets_no_demo_and_needs_a_key() {
    let database = TestDatabase::create_empty().await;
    let keyless = run(&["serve", "--listen-addr", "127.0.0.1:0", "--database-url", &database.url]);
    assert_eq!(keyless.status.code(), Some(2));
    assert!(complained(&keyless).contains("stockroom keys generate > key.pem"), "{}", complained(&keyless));
    let key = said(&run(&["keys", "generate"]));
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{key}");
    let file = scratch("configured").join("key.pem");
    fs::write(&file, &key).unwrap();
    let file = file.display().to_string();
    let server = Server::start(&["--database-url", &database.url, "--jwt-private-key-file", &file]);
    let data = server.client().data("{ products { totalCount } }", json!({})).await;
    assert_eq!(data["products"]["totalCount"], 0);
    // The key also fits into a variable, on one line.
    let one_line = key.trim_end().replace('\n', "\\n");
    let other = Server::start(&["--database-url", &database.url, "--jwt-private-key", &one_line]);
    let jwks = async |server: &Server| {
        let url = format!("http://127.0.0.1:{}/.well-known/jwks.json", server.port);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    assert_eq!(jwks(&server).await, jwks(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_migrate_a_server_says_what_is_missing() {
    let database = TestDatabase::create_empty().await;
    let key = said(&run(&["keys", "generate"]));
    let refused = run(&[
        "serve",
        "--listen-addr",
        "127.0.0.1:0",
        "--database-url",
        &database.url,
        "--jwt-private-key",
        &key,
        "--auto-migrate",
        "false",
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complained(&refused).contains("run `stockroom migrate`"), "{}", complained(&refused));
}

#[test]
fn a_setting_that_cannot_be_worked_with_is_one_line_and_exit_code_2() {
    let url = "postgres://u:s3cret@127.0.0.1:1/db";
    for (arguments, says) in [
        (vec!["--listen-addr", "nowhere"], "--listen-addr"),
        (vec!["--freshness", "sometimes"], "bounded:100ms"),
        (vec!["--cache-ttl", "5"], "250ms"),
        (vec!["--database-pool-size", "0"], "--database-pool-size"),
        (vec!["--nonsense"], "--nonsense"),
        (vec!["nonsense"], "nonsense"),
        (vec!["--log", "a=b=c"], "LOG"),
        (vec!["--database-url", "nonsense"], "postgres://user:password@host"),
        (vec!["--database-url", url, "--jwt-private-key", "nonsense"], "stockroom keys generate"),
        (vec!["--database-url", url, "--jwt-private-key-file", "/nowhere/key.pem"], "/nowhere/key.pem"),
        (vec!["--database-url", "postgres://u:s3cret@db.example/x?sslmode=prefer"], "sslmode=require"),
        (vec!["--redis-url", "nonsense", "--database-url", url, "--jwt-private-key", "KEY"], "redis://"),
        (vec!["--oidc-issuer", "https://issuer.example"], "--oidc-audience"),
        (vec!["--oidc-jwks-url", "http://issuer.example/jwks.json"], "use https"),
        (vec!["user", "create", "nobody", "--password-stdin"], "e-mail address"),
    ] {
        let key = said(&run(&["keys", "generate"]));
        let folder = scratch("misused").display().to_string();
        let arguments: Vec<&str> =
            arguments.iter().map(|&text| if text == "KEY" { key.as_str() } else { text }).collect();
        let arguments = [&arguments[..], &["--listen-addr", "127.0.0.1:0"][..], &["--data-dir", &folder]].concat();
        // The first flag wins over the default, the last one over the first.
        let arguments = if arguments[1] == "nowhere" { vec!["--listen-addr", "nowhere"] } else { arguments };
        let refused = run_with_input(&arguments, "password\n");
        let complaint = complained(&refused);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
        assert!(complaint.contains(says), "{arguments:?}: {complaint}");
        assert!(!complaint.contains("s3cret") && !complaint.contains("panicked"), "{complaint}");
    }
}

#[test]
fn config_explains_each_setting_with_its_source_and_no_secret() {
    let url = "postgres://u:s3cret@db.example/shop?sslmode=require";
    let mut command = process::stockroom(&["config", "--explain", "--cache-ttl", "5s"]);
    let told = said(&command.env("DATABASE_URL", url).env("JWT_PRIVATE_KEY", "s3cret").output().unwrap());
    let line = |variable: &str| {
        told.lines()
            .find(|line| line.starts_with(&format!("{variable} ")))
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(line("CACHE_TTL"), ["CACHE_TTL", "flag", "5s"]);
    assert_eq!(line("DATABASE_URL"), ["DATABASE_URL", "variable", "postgres://***@db.example/shop"]);
    assert_eq!(line("JWT_PRIVATE_KEY"), ["JWT_PRIVATE_KEY", "variable", "***"]);
    assert_eq!(line("LISTEN_ADDR"), ["LISTEN_ADDR", "default", "127.0.0.1:8000"]);
    assert_eq!(line("REDIS_URL"), ["REDIS_URL", "not", "set"]);
    assert!(!told.contains("s3cret"), "{told}");
    // Everything that is explained is also in the help.
    let help = said(&run(&["--help"]));
    for variable in told.lines().filter_map(|line| line.split_whitespace().next()) {
        assert!(help.contains(&format!("[env: {variable}")), "{variable}");
    }
    assert!(told.lines().count() >= 20);
}

#[test]
fn the_schema_command_prints_the_file_and_notices_a_difference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = fs::read_to_string(root.join("schema.graphql")).unwrap();
    assert_eq!(said(&run(&["schema"])), kept);
    let check = |folder: &Path| process::stockroom(&["schema", "--check"]).current_dir(folder).output().unwrap();
    assert!(check(root).status.success());
    let folder = scratch("schema");
    fs::write(folder.join("schema.graphql"), kept.replacen("type Query", "type Queries", 1)).unwrap();
    let differs = check(&folder);
    assert_eq!(differs.status.code(), Some(1));
    assert!(complained(&differs).contains("differs from line"), "{}", complained(&differs));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_wrong_and_what_to_do() {
    let database = TestDatabase::create().await;
    let key = said(&run(&["keys", "generate"]));
    let redis = servers().redis_url();
    let well = run(&["doctor", "--database-url", &database.url, "--jwt-private-key", &key, "--redis-url", &redis]);
    assert!(well.status.success(), "{}", said(&well));
    assert_eq!(said(&well).lines().filter(|line| line.starts_with("ok ")).count(), 6, "{}", said(&well));
    let empty = TestDatabase::create_empty().await;
    let nobody = ["--redis-url", "redis://127.0.0.1:1", "--smtp-url", "smtp://u:s3cret@127.0.0.1:1"];
    let ill = run(&[&["doctor", "--database-url", &empty.url], &nobody[..]].concat());
    assert_eq!(ill.status.code(), Some(1));
    let told = said(&ill);
    for mend in ["run `stockroom migrate`", "stockroom keys generate", "correct REDIS_URL", "correct SMTP_URL"] {
        assert!(told.contains(mend) && !told.contains("s3cret"), "{told}");
    }
    let gone = run(&["doctor", "--database-url", "postgres://u:s3cret@127.0.0.1:1/db"]);
    assert!(said(&gone).contains("connecting to PostgreSQL at 127.0.0.1:1/db"), "{}", said(&gone));
    assert!(!said(&gone).contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_is_the_same_each_time_and_can_be_repeated() {
    let (one, two) = (TestDatabase::create().await, TestDatabase::create().await);
    for database in [&one, &two, &one] {
        let seeded = run(&["seed", "--products", "6000", "--users", "100", "--database-url", &database.url]);
        assert!(seeded.status.success(), "{}", complained(&seeded));
        assert!(said(&seeded).contains("6000 products and 100 users are there"), "{}", said(&seeded));
    }
    let digest = "SELECT count(*)::text || md5(string_agg(p.id::text || p.sku || p.name || p.price_amount || p.created_at, ',' ORDER BY p.id))
        FROM products p UNION ALL SELECT count(*)::text || md5(string_agg(id::text || email, ',' ORDER BY id)) FROM users";
    let mut digests = Vec::new();
    for database in [&one, &two] {
        let rows = database.connect().await.query(digest, &[]).await.unwrap();
        digests.push(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>());
    }
    assert_eq!(digests[0], digests[1]);
    assert!(digests[0][0].starts_with("6000") && digests[0][1].starts_with("100"), "{digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_have_the_request_id_and_no_secret() {
    let database = TestDatabase::create().await;
    let key = said(&run(&["keys", "generate"]));
    let mut server = Server::start(&[
        "--database-url",
        &database.url,
        "--jwt-private-key",
        &key,
        "--log",
        "info,stockroom=debug,sql=debug",
        "--log-format",
        "json",
    ]);
    let client = server.client();
    let register = "mutation($e: String!, $p: String!) { register(input: { email: $e, password: $p }) { tokens { accessToken } } }";
    let data = client.data(register, json!({ "e": "ada.private@example.com", "p": "correct horse" })).await;
    let token = data["register"]["tokens"]["accessToken"].as_str().unwrap().to_owned();
    let request = client.http.post(&client.url).bearer_auth(&token).header("x-request-id", "my-request");
    request.json(&json!({ "query": "{ me { email } }" })).send().await.unwrap();
    sign_in(&client, "ada.private@example.com", "correct horse").await;
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(5)).success());
    let log = server.log();
    let line = log.lines().find(|line| line.contains("my-request")).expect("a line with the request's id");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert!(line["span"]["id"] == "my-request", "{line}");
    for secret in ["ada.private", "correct horse", token.as_str(), token.split('.').next_back().unwrap(), "argon2id"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_a_server_says_at_first_that_it_is_not_ready_and_serves_on() {
    let database = TestDatabase::create().await;
    let key = said(&run(&["keys", "generate"]));
    let own = ["--database-url", &database.url, "--jwt-private-key", &key, "--shutdown-delay", "60s"];
    let mut server = Server::start(&own);
    let client = server.client();
    let url = format!("http://127.0.0.1:{}/readyz", server.port);
    let readiness = async || {
        let response = client.http.get(&url).send().await.unwrap();
        let status = response.status().as_u16();
        let told: serde_json::Value = response.json().await.unwrap();
        (status, told["leaving"] == true)
    };
    assert_eq!(readiness().await, (200, false));
    assert!(client.post("{ __typename }", &json!({})).await.headers().get("connection").is_none());
    server.signal("TERM");
    crate::support::eventually("it is not ready", async || readiness().await == (503, true)).await;
    for _ in 0..2 {
        let answer = client.post("{ products { totalCount } }", &json!({})).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["connection"]), (200, &"close".parse().unwrap()));
    }
    // Who says it twice means it.
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());
}

#[test]
fn nothing_listens_on_the_usual_ports() {
    // The tests' own servers are elsewhere, so that they never touch a developer's.
    let servers = servers();
    assert!(!servers.redis_url().ends_with(":6379"));
    assert!(!servers.database_url("x").contains(":5432/"));
}
