//! What `deploy/` says of the server is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use stockroom::domain::accounts::Role;

use crate::support::TestServer;
use crate::support::servers::servers;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

/// The names that begin with the server's prefix, wherever they are in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words.filter(|word| word.starts_with("stockroom_")).map(str::to_owned).collect()
}

/// The names under which samples come, as the types of the metrics have it.
fn sampled(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| {
            let endings: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "gauge" => &[""],
                other => panic!("{other}"),
            };
            endings.iter().map(move |ending| format!("{name}{ending}"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_ask_for_figures_that_the_server_shows_and_for_all_of_them() {
    let redis = servers().redis_url();
    let server = TestServer::start_with(&["--redis-url", &redis, "--rate-limit", "1000/1s"]).await;
    // What has labels is shown once it was counted.
    server.signed_in(Role::Staff).await.create_product(json!({})).await;
    server.anonymous().data("{ products { totalCount } }", json!({})).await;
    let url = format!("http://{}/metrics", server.address);
    let shown = reqwest::get(url).await.unwrap().text().await.unwrap();
    let shown = sampled(&shown);
    let (alerts, dashboard) = (deploy("prometheus/alerts.yaml"), deploy("grafana/dashboard.json"));
    let dashboard = fs::read_to_string(dashboard).unwrap();
    let (alerts, drawn) = (metrics(&fs::read_to_string(alerts).unwrap()), metrics(&dashboard));
    assert!(alerts.len() > 10, "{alerts:?}");
    let unknown: Vec<_> = alerts.union(&drawn).filter(|name| !shown.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "nothing shows them");
    let is_drawn = |name: &String| {
        let stem = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
        drawn.contains(name) || stem.is_some_and(|stem| drawn.contains(&format!("{stem}_bucket")))
    };
    let missing: Vec<_> = shown.iter().filter(|name| !is_drawn(name)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "nobody looks at them");

    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

#[test]
fn each_alert_fires_when_it_should_and_not_for_a_server_that_is_well() {
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let done = Command::new("promtool").args(arguments).current_dir(deploy("prometheus")).output();
        let done = done.expect("promtool is installed (`make setup-test`)");
        let told = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{told}");
    }
    let alerts = fs::read_to_string(deploy("prometheus/alerts.yaml")).unwrap();
    let tests = fs::read_to_string(deploy("prometheus/alerts.test.yaml")).unwrap();
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} has no test");
    }
}

/// Proxies wait longer than the server, and take no more than it does.
#[test]
fn the_limits_of_the_balancers_are_the_servers() {
    let settings = stockroom::config::Settings::from_flags(&[]).unwrap();
    let (nginx, haproxy) =
        (fs::read_to_string(deploy("nginx.conf")).unwrap(), fs::read_to_string(deploy("haproxy.cfg")).unwrap());
    let after = |text: &str, words: &str| {
        let rest = text.split(words).nth(1).unwrap_or_else(|| panic!("{words} is missing"));
        let number: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        number.parse::<u64>().unwrap()
    };
    assert_eq!(after(&nginx, "client_max_body_size") * 1024, u64::from(settings.body_limit));
    assert_eq!(after(&haproxy, "req.hdr_val(content-length) gt"), u64::from(settings.body_limit));
    for (text, wait) in [(&nginx, "proxy_read_timeout"), (&haproxy, "timeout server")] {
        assert!(after(text, wait) > settings.request_timeout.as_secs(), "{wait}");
    }
    let upstream = nginx.split("upstream stockroom").nth(1).unwrap();
    assert!(after(upstream, "keepalive_timeout") < settings.shutdown_delay.as_secs());
    let asked = after(&haproxy, "check inter") * after(&haproxy, "ms fall");
    assert!(u128::from(asked) < settings.shutdown_delay.as_millis());
}
