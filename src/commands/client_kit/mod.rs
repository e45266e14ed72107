//! `client-kit`: what every client of this API needs, from the schema, so that it cannot differ from it.

mod generated;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::commands::say;
use crate::graphql;
use generated::Types;

/// What is the same whatever the schema says. The shop uses these very files.
const FIXED: [(&str, &str); 9] = [
    ("apollo.ts", include_str!("../../../web/kit/apollo.ts")),
    ("codegen.ts", include_str!("../../../web/kit/codegen.ts")),
    ("consistency.ts", include_str!("../../../web/kit/consistency.ts")),
    ("credentials.ts", include_str!("../../../web/kit/credentials.ts")),
    ("graphcache.ts", include_str!("../../../web/kit/graphcache.ts")),
    ("tada.ts", include_str!("../../../web/kit/tada.ts")),
    ("tsconfig.tada.json", include_str!("../../../web/kit/tsconfig.tada.json")),
    ("typePolicies.ts", include_str!("../../../web/kit/typePolicies.ts")),
    ("urql.ts", include_str!("../../../web/kit/urql.ts")),
];

/// Tells later runs what was written by earlier ones.
const MANIFEST: &str = "kit.json";

#[derive(Default, Deserialize, Serialize)]
struct Manifest {
    /// SHA-256 of each file, in base64url, as `service.schemaHash` has that of `schema.graphql`.
    files: BTreeMap<String, String>,
}

pub fn run(folder: &Path, check: bool, force: bool) -> anyhow::Result<()> {
    let files = files()?;
    let manifest = Manifest { files: files.iter().map(|(name, text)| ((*name).to_owned(), hash(text))).collect() };
    let told = format!("{}\n", serde_json::to_string_pretty(&manifest)?);
    let before = read(&folder.join(MANIFEST))?;
    let before: Manifest = before.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();

    let (mut stale, mut foreign) = (Vec::new(), Vec::new());
    for (name, text) in files.into_iter().chain([(MANIFEST, told)]) {
        match read(&folder.join(name))? {
            Some(kept) if kept == text.as_bytes() => {}
            Some(kept) if name != MANIFEST && before.files.get(name) != Some(&hash(&kept)) => {
                foreign.push(name);
                stale.push((name, text));
            }
            _ => stale.push((name, text)),
        }
    }
    let place = folder.display();
    if stale.is_empty() {
        say(&format!("{place} is current."));
        return Ok(());
    }
    if check {
        let names: Vec<&str> = stale.iter().map(|(name, _)| *name).collect();
        bail!("{place} is not current: {}; run `stockroom client-kit {place}`", names.join(", "));
    }
    if !foreign.is_empty() && !force {
        bail!(
            "nothing was written, since these files in {place} were changed by others: {}; move what is yours \
             elsewhere, or add --force to lose it",
            foreign.join(", ")
        );
    }
    fs::create_dir_all(folder).with_context(|| format!("making {place}"))?;
    for (name, text) in &stale {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        say(&format!("Wrote {}.", path.display()));
    }
    Ok(())
}

/// Every file by its name, but for the manifest.
fn files() -> anyhow::Result<Vec<(&'static str, String)>> {
    let types = Types::read()?;
    let mut files = vec![
        ("api.ts", types.typescript()),
        ("introspection.json", types.introspection()),
        ("possibleTypes.json", types.possible_types()?),
        ("schema.graphql", graphql::sdl().to_owned()),
    ];
    files.extend(FIXED.map(|(name, text)| (name, text.to_owned())));
    Ok(files)
}

/// What the file has, if there is one.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn hash(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_ref()))
}
