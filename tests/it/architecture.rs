//! The floors of the house, as `src/lib.rs` tells them.

use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest to the highest.
const FLOORS: [&str; 5] = ["infra", "domain", "graphql", "transport", "commands"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// Lines of these files that contain a word, as `file: line`.
fn lines_with(files: &[PathBuf], word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).expect("a source file");
        let lines = text.lines().filter(|line| line.contains(word) && !line.trim_start().starts_with("//"));
        found.extend(lines.map(|line| format!("{}: {}", file.strip_prefix(source()).unwrap().display(), line.trim())));
    }
    found
}

#[test]
fn a_floor_imports_only_from_those_below_it() {
    let mut offences = Vec::new();
    for (height, floor) in FLOORS.iter().enumerate() {
        for above in &FLOORS[height + 1..] {
            offences.extend(lines_with(&rust_files(&source().join(floor)), &format!("crate::{above}")));
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn every_import_names_its_floor_so_that_the_search_above_is_sound() {
    let offences = lines_with(&rust_files(&source()), "use crate::{");
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn features_of_the_domain_do_not_meet() {
    let mut offences = lines_with(&rust_files(&source().join("domain/catalog")), "domain::accounts");
    offences.extend(lines_with(&rust_files(&source().join("domain/accounts")), "domain::catalog"));
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn the_lower_floors_know_neither_graphql_nor_http() {
    let files = [rust_files(&source().join("domain")), rust_files(&source().join("infra"))].concat();
    for word in ["async_graphql", "axum"] {
        assert_eq!(lines_with(&files, word), Vec::<String>::new());
    }
}

#[test]
fn infra_knows_no_product_category_or_user_but_in_the_generated_schema() {
    let files = rust_files(&source().join("infra"));
    let files: Vec<_> = files.into_iter().filter(|file| !file.ends_with("schema.rs")).collect();
    for word in ["products", "categories", "users::", "UserId", "ProductId"] {
        assert_eq!(lines_with(&files, word), Vec::<String>::new());
    }
}

#[test]
fn transactions_begin_in_one_place_and_only_stores_have_sql() {
    let files = rust_files(&source());
    let but = |names: &[&str]| {
        let others = files.iter().filter(|file| !names.iter().any(|name| file.ends_with(name)));
        others.cloned().collect::<Vec<_>>()
    };
    for word in [".transaction(", "begin_transaction", "build_transaction"] {
        assert_eq!(lines_with(&but(&["domain/transaction.rs"]), word), Vec::<String>::new());
    }
    assert_eq!(lines_with(&but(&["commands.rs"]), ".transact("), Vec::<String>::new());
    let mut stores = rust_files(&source().join("domain"));
    stores.retain(|file| !["store.rs", "changes.rs", "transaction.rs"].iter().any(|name| file.ends_with(name)));
    for word in [".execute(", ".get_result(", ".load(conn", ".first(conn", "diesel::insert_into", "diesel::update"] {
        assert_eq!(lines_with(&stores, word), Vec::<String>::new());
    }
}

#[test]
fn only_config_reads_the_environment() {
    let files = rust_files(&source());
    let files: Vec<_> = files.into_iter().filter(|file| !file.ends_with("config.rs")).collect();
    assert_eq!(lines_with(&files, "env::var"), Vec::<String>::new());
}

#[test]
fn the_top_level_has_what_convention_expects_and_no_more() {
    let expected = [
        "Cargo.lock",
        "Cargo.toml",
        "Makefile",
        "README.md",
        "benches",
        "deploy",
        "diesel.toml",
        "docs",
        "examples",
        "fuzz",
        "migrations",
        "schema.graphql",
        "src",
        "target",
        "tests",
        "web",
    ];
    let entries = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let unexpected: Vec<String> =
        names.filter(|name| !name.starts_with('.') && !expected.contains(&name.as_str())).collect();
    assert_eq!(unexpected, Vec::<String>::new());
}
