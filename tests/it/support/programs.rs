//! Programs for Node.js that say themselves what must hold.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Runs a program of a folder under `tests/`, and shows what it said if anything did not hold.
pub async fn every_check_holds(folder: &str, program: &[&str], given: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    assert!(folder.join("node_modules").is_dir(), "install what the programs need first: make clients");
    let mut command = Command::new("node");
    command.current_dir(folder).args(program).args(given);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("Node.js is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}:\n{said}{complaints}");
    println!("{program:?}: {}", said.lines().last().unwrap_or_default());
}
