//! Signing keys: where they come from, how they rotate, and how they end.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stockroom::infra::keys::{Keys, SigningKey};
use stockroom::infra::migrations;

use crate::support::process::{Server, complained, run, run_with_input, said};
use crate::support::servers::{TestDatabase, scratch};
use crate::support::{Client, eventually};

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn new_key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn write(file: &Path, key: &SigningKey) {
    fs::write(file, key.pem.expose_secret()).unwrap();
}

/// `stockroom keys` with these words, on this folder: what it says, or complains of.
fn keys(folder: &Path, words: &[&str]) -> Result<String, String> {
    let folder = folder.display().to_string();
    let output = run(&[&["keys"], words, &["--jwt-private-key-file", &folder]].concat());
    if output.status.success() { Ok(said(&output)) } else { Err(complained(&output)) }
}

/// The states and names that `keys list` tells.
fn listed(folder: &Path) -> Vec<(String, String)> {
    let told = keys(folder, &["list"]).unwrap();
    let words = told.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.map(|words| (words[0].clone(), words[1].clone())).collect()
}

#[test]
fn keys_rotate_in_their_folder_and_retire_from_it() {
    let folder = scratch("keys");
    assert!(keys(&folder, &["list"]).unwrap_err().contains("`stockroom keys rotate` makes one"));
    // The first signs whatever its moment is: there is no other.
    keys(&folder, &["rotate"]).unwrap();
    let first = listed(&folder)[0].1.clone();
    assert_eq!(listed(&folder), [("signs".to_owned(), first.clone())]);
    let files = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files()[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let name = files()[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("20") && name.ends_with(&format!("Z-{}.pem", &first[..8])), "{name}");

    let made = keys(&folder, &["rotate", "--after", "10m"]).unwrap();
    let next = listed(&folder)[0].1.clone();
    assert!(made.starts_with(&format!("Made {next}: it signs from 20")), "{made}");
    // The first one's moment has not come either, but somebody must sign.
    assert_eq!(listed(&folder), [("next".to_owned(), next.clone()), ("signs".to_owned(), first.clone())]);
    keys(&folder, &["retire", &next]).unwrap();
    keys(&folder, &["rotate", "--after", "0s"]).unwrap();
    let now = listed(&folder).into_iter().find(|(state, _)| state == "signs").unwrap().1;
    assert_ne!(now, first);

    let refused = keys(&folder, &["retire", &now]).unwrap_err();
    assert!(refused.contains("signs now") && refused.contains("--emergency"), "{refused}");
    for unknown in ["", "unknown", "-unknown-", &"A".repeat(43)] {
        let refused = keys(&folder, &["retire", unknown]).unwrap_err();
        assert!(refused.contains(&first) && refused.contains(&now), "{refused}");
    }
    assert_eq!(files().len(), 2);
    let retired = keys(&folder, &["retire", &now[..8], "--emergency"]).unwrap();
    assert!(retired.contains(&format!("Removed {now}")), "{retired}");
    let after = listed(&folder);
    assert!(after.iter().any(|(state, kid)| state == "signs" && *kid != now && *kid != first), "{after:?}");
    assert!(after.iter().all(|(_, kid)| *kid != now), "{after:?}");
}

#[test]
fn pruning_removes_what_no_valid_token_needs_and_nothing_else() {
    let folder = scratch("pruned");
    let old = [("b.pem", new_key()), ("a.pem", new_key()), ("20250101T000000Z-x.pem", new_key())];
    for (name, key) in &old {
        write(&folder.join(name), key);
    }
    let just_now = (Utc::now() - TimeDelta::minutes(2)).format("%Y%m%dT%H%M%SZ-y.pem").to_string();
    let recent = new_key();
    write(&folder.join(&just_now), &recent);
    let states: Vec<_> = listed(&folder).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["signs", "verifies", "verifies", "verifies"]);
    let kids: Vec<_> = listed(&folder).into_iter().map(|(_, kid)| kid).collect();
    assert_eq!(kids, [&recent.kid, &old[2].1.kid, &old[0].1.kid, &old[1].1.kid].map(String::clone));
    keys(&folder, &["rotate", "--prune"]).unwrap();
    // The key of 2025 signed until two minutes ago: its tokens live.
    let kids: Vec<_> = listed(&folder).into_iter().skip(1).map(|(_, kid)| kid).collect();
    assert_eq!(kids, [recent.kid, old[2].1.kid.clone()]);
}

#[test]
fn keys_of_variables_and_files_are_listed_and_rotate_by_hand() {
    let (old, new) = (new_key(), new_key());
    let both = [old.pem.expose_secret(), new.pem.expose_secret()].concat();
    let file = scratch("file").join("keys.pem");
    fs::write(&file, &both).unwrap();
    assert_eq!(listed(&file), [("signs".to_owned(), old.kid.clone()), ("verifies".to_owned(), new.kid.clone())]);
    let in_variable = run(&["keys", "list", "--jwt-private-key", &both.replace('\n', "\\n")]);
    assert_eq!(said(&in_variable).lines().count(), 2, "{}", complained(&in_variable));
    for words in [&["rotate"][..], &["retire", &new.kid]] {
        let refused = keys(&file, words).unwrap_err();
        assert!(refused.contains("rotate in three steps") && refused.contains("keys.pem"), "{refused}");
        let refused = run(&[&["keys"], words, &["--jwt-private-key", &both]].concat());
        assert_eq!(refused.status.code(), Some(2));
        assert!(complained(&refused).contains("JWT_PRIVATE_KEY is not a folder"), "{}", complained(&refused));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), both);
    // Without anything configured they are in the private folder.
    let private = scratch("private").display().to_string();
    assert!(run(&["keys", "rotate", "--data-dir", &private]).status.success());
    assert!(said(&run(&["keys", "list", "--data-dir", &private])).starts_with("signs"));
    assert_eq!(fs::read_dir(Path::new(&private).join("keys")).unwrap().count(), 1);
}

#[test]
fn a_server_without_a_fit_key_or_a_fit_clock_refuses_to_start_in_one_line() {
    let folder = scratch("unfit");
    let url = "postgres://u:s3cret@127.0.0.1:1/db";
    let good = new_key().pem.expose_secret().to_owned();
    let rsa = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ec = ec.to_pkcs8v1().unwrap();
    let short = [
        &[0x30, 0x1e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x12, 0x04, 0x10][..],
        &[7; 16],
    ];
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    for (name, text, says) in [
        ("empty", String::new(), "is not a PEM private key"),
        ("RSA", pem("PRIVATE KEY", rsa.as_ref()), "not an Ed25519 key"),
        ("RSA of old", pem("RSA PRIVATE KEY", rsa.as_ref()), "is not a PEM private key"),
        ("EC", pem("PRIVATE KEY", ec.as_ref()), "not an Ed25519 key"),
        ("short", pem("PRIVATE KEY", &short.concat()), "not an Ed25519 key"),
        ("public", pem("PUBLIC KEY", ed25519.public_key().as_ref()), "is not a PEM private key"),
        ("damaged", good.replacen("\nM", "\n!", 1), "damaged"),
        ("cut off", good[..good.len() - 12].to_owned(), "cut off"),
        ("with a certificate", good.clone() + &pem("CERTIFICATE", b"x"), "something else"),
        ("with half a key", good.clone() + &good[5..], "something else"),
        ("the second damaged", good.clone() + &good.replacen("\nM", "\n!", 1), "damaged"),
    ] {
        let file = folder.join(format!("{name}.key")).display().to_string();
        fs::write(&file, text).unwrap();
        refuses(&["--database-url", url, "--jwt-private-key-file", &file], says, name);
    }
    let keys = folder.join("keys");
    fs::create_dir(&keys).unwrap();
    let path = keys.display().to_string();
    let on_folder = ["--database-url", url, "--jwt-private-key-file", &path];
    refuses(&on_folder, "stockroom keys rotate", "an empty folder");
    fs::write(keys.join("good.pem"), &good).unwrap();
    fs::write(keys.join("both.pem"), good.repeat(2)).unwrap();
    refuses(&on_folder, "each has a file of its own", "two keys in a file");
    fs::write(keys.join("both.pem"), "x").unwrap();
    refuses(&on_folder, "both.pem", "a damaged key in the folder");
    refuses(&["--database-url", url, "--jwt-private-key-file", "/nowhere"], "/nowhere", "no file");
    refuses(&["--database-url", url], "stockroom keys generate > key.pem", "no key");

    migrations::check_clock(Utc::now()).unwrap();
    let early = migrations::check_clock("2020-01-01T00:00:00Z".parse().unwrap()).unwrap_err();
    assert_eq!(
        early.to_string(),
        "the clock says 2020-01-01 00:00:00 UTC, which is before this program was made; set it"
    );
}

fn refuses(settings: &[&str], says: &str, what: &str) {
    let refused = run(&[&["serve", "--listen-addr", "127.0.0.1:0"], settings].concat());
    let complaint = complained(&refused);
    assert_eq!(refused.status.code(), Some(2), "{what}: {complaint}");
    assert_eq!(complaint.trim_end().lines().count(), 1, "{what}: {complaint}");
    assert!(complaint.contains(says) && !complaint.contains("s3cret"), "{what}: {complaint}");
}

#[test]
fn a_key_as_openssl_writes_it_is_fit() {
    let seed = [7; 32];
    let der =
        [&[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20][..], &seed];
    let found = SigningKey::all_from_pem(&pem("PRIVATE KEY", &der.concat()).into()).unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    assert_eq!(found[0].public, URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_secret_is_read_anew_when_its_links_move_and_kept_while_it_is_damaged() {
    // As Kubernetes mounts secrets: names are links into a folder that is itself a link.
    let folder = scratch("mount");
    let (old, new) = (new_key(), new_key());
    for (version, key) in [("..1", &old), ("..2", &new)] {
        fs::create_dir(folder.join(version)).unwrap();
        write(&folder.join(version).join("key.pem"), key);
    }
    fs::create_dir(folder.join("..3")).unwrap();
    fs::write(folder.join("..3/key.pem"), "damaged").unwrap();
    let point_to = |version: &str| {
        let link = folder.join("..data.new");
        symlink(version, &link).unwrap();
        fs::rename(link, folder.join("..data")).unwrap();
    };
    point_to("..1");
    symlink("..data/key.pem", folder.join("key.pem")).unwrap();
    let keys = Arc::new(Keys::open(folder.clone()).unwrap());
    // Whoever asks for a key that is not known has the files looked at.
    let finds = async |kid: &str| keys.find(kid).await.is_some();
    assert!(finds(&old.kid).await && !finds(&new.kid).await);
    point_to("..2");
    eventually("the new key is found", async || finds(&new.kid).await).await;
    assert!(!finds(&old.kid).await);
    // With nobody asking, too; and what is damaged changes nothing.
    keys.keep_reading();
    point_to("..3");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(finds(&new.kid).await);
    point_to("..1");
    eventually("the old key is back", async || keys.ring().signing(Utc::now()).key.kid == old.kid).await;
    fs::remove_dir_all(&folder).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(finds(&old.kid).await);
}

/// The name of a token's key.
fn kid(token: &str) -> String {
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn sign_in(client: &Client) -> String {
    let login = "mutation { login(input: { email: \"ada@shop.example\", password: \"correct horse\" }) { tokens { accessToken } } }";
    let data = client.data(login, json!({})).await;
    data["login"]["tokens"]["accessToken"].as_str().unwrap().to_owned()
}

async fn status(client: &Client, token: &str) -> u16 {
    let client = Client { token: Some(token.to_owned()), ..client.clone() };
    client.post("{ me { email } }", &json!({})).await.status().as_u16()
}

/// Copies the keys of one folder over those of another, as whoever distributes keys does.
fn distribute(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let names = |folder: &Path| -> HashSet<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().file_name().unwrap().into()).collect()
    };
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
    for name in names(to).difference(&names(from)) {
        fs::remove_file(to.join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_valid_token_fails_while_three_instances_rotate_and_retired_keys_end() {
    let (database, folder) = (TestDatabase::create().await, scratch("shared"));
    keys(&folder, &["rotate", "--after", "0s"]).unwrap();
    let create = ["user", "create", "ada@shop.example", "--password-stdin", "--database-url", &database.url];
    assert!(run_with_input(&create, "correct horse\n").status.success());
    let start = |folder: &Path| {
        Server::start(&["--database-url", &database.url, "--jwt-private-key-file", &folder.display().to_string()])
    };
    let servers = [start(&folder), start(&folder), start(&folder)];
    let clients = servers.each_ref().map(Server::client);

    // Without pause: a token from one instance, used on all of them, again and again.
    let (stop, used) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let issued: Arc<Mutex<Vec<String>>> = Arc::default();
    let retired: Arc<Mutex<HashSet<String>>> = Arc::default();
    let failed: Arc<Mutex<Vec<String>>> = Arc::default();
    let workers: Vec<_> = (0..3)
        .map(|number| {
            let (stop, used, clients) = (Arc::clone(&stop), Arc::clone(&used), clients.clone());
            let (issued, retired, failed) = (Arc::clone(&issued), Arc::clone(&retired), Arc::clone(&failed));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let token = sign_in(&clients[number]).await;
                    issued.lock().unwrap().push(token);
                    let tokens = issued.lock().unwrap().clone();
                    for token in tokens.iter().rev().take(3).chain(tokens.iter().step_by(tokens.len() / 3 + 1)) {
                        for client in &clients {
                            let status = status(client, token).await;
                            // A key may have been retired meanwhile.
                            if status != 200 && !retired.lock().unwrap().contains(&kid(token)) {
                                failed.lock().unwrap().push(format!("{status} for the key {}", kid(token)));
                            }
                            used.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            })
        })
        .collect();
    let signing = || listed(&folder).into_iter().find(|(state, _)| state == "signs").unwrap().1;
    // That every instance signs with the key that `keys list` says.
    let taken_over = async |by: &str| {
        eventually("all instances sign with the new key", async || {
            let mut kids = Vec::new();
            for client in &clients {
                kids.push(kid(&sign_in(client).await));
            }
            kids.iter().all(|kid| kid == by)
        })
        .await;
    };

    // With time to become known, and without any.
    let mut kids = vec![signing()];
    for after in ["2s", "0s"] {
        keys(&folder, &["rotate", "--after", after]).unwrap();
        let newest = listed(&folder)[0].1.clone();
        taken_over(&newest).await;
        kids.push(newest);
    }
    let tokens = issued.lock().unwrap().clone();
    for kid_of in &kids {
        let token = tokens.iter().find(|token| kid(token) == *kid_of).expect("a token of each key");
        for client in &clients {
            assert_eq!(status(client, token).await, 200);
        }
    }

    // The oldest key, in peace; then the one that signs.
    let old_copy = scratch("old-copy");
    distribute(&folder, &old_copy);
    for (number, words) in [(0, &["retire"][..]), (2, &["retire", "--emergency"][..])] {
        let kid_of = &kids[number];
        retired.lock().unwrap().insert(kid_of.clone());
        keys(&folder, &[words, &[kid_of]].concat()).unwrap();
        let token = tokens.iter().find(|token| kid(token) == *kid_of).unwrap();
        for client in &clients {
            eventually("a retired key's token is refused", async || status(client, token).await == 401).await;
        }
    }
    let newest = signing();
    assert!(!kids.contains(&newest));
    taken_over(&newest).await;
    assert_eq!(status(&clients[0], tokens.iter().rfind(|token| kid(token) == kids[1]).unwrap()).await, 200);

    // An instance with yesterday's keys gives tokens that the others refuse, until its keys are brought to it.
    let late = start(&old_copy);
    let stale = sign_in(&late.client()).await;
    assert_eq!(kid(&stale), kids[2]);
    let fresh = sign_in(&clients[0]).await;
    assert_eq!((status(&clients[0], &stale).await, status(&late.client(), &stale).await), (401, 200));
    assert_eq!(status(&late.client(), &fresh).await, 401);
    distribute(&folder, &old_copy);
    eventually("it knows the new key", async || status(&late.client(), &fresh).await == 200).await;
    eventually("it has forgotten the old", async || status(&late.client(), &stale).await == 401).await;

    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    println!("{} uses of {} tokens", used.load(Ordering::Relaxed), issued.lock().unwrap().len());
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new());
    let jwks = reqwest::get(clients[0].url.replace("/graphql", "/.well-known/jwks.json")).await.unwrap();
    let jwks: Value = jwks.json().await.unwrap();
    let published: HashSet<&str> =
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(published, HashSet::from([newest.as_str(), kids[1].as_str()]));
}
