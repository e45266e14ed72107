//! What `stockroom client-kit` writes, and what it leaves alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::process::{complained, run, said};
use crate::support::servers::scratch;

/// A folder for a kit.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(scratch("kit"))
    }

    /// What the command says, or complains of.
    fn kit(&self, flags: &[&str]) -> Result<String, String> {
        let folder = self.0.display().to_string();
        let output = run(&[&["client-kit", &folder], flags].concat());
        if output.status.success() { Ok(said(&output)) } else { Err(complained(&output)) }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

#[test]
fn the_shop_uses_the_kit_as_it_is_written() {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/kit");
    let output = run(&["client-kit", "--check", &kit.display().to_string()]);
    assert!(output.status.success(), "run `make schema`, and review what changed: {}", complained(&output));
}

#[test]
fn a_kit_is_written_once_and_renewed_when_it_is_of_another_release() {
    let folder = Folder::new();
    assert!(folder.kit(&["--check"]).unwrap_err().contains("apollo.ts"));
    let written = folder.kit(&[]).unwrap();
    for name in ["api.ts", "credentials.ts", "introspection.json", "kit.json", "possibleTypes.json", "schema.graphql"] {
        assert!(written.contains(&format!("{name}.\n")), "{written}");
    }
    assert!(folder.kit(&["--check"]).unwrap().contains("is current"));
    assert!(folder.kit(&[]).unwrap().contains("is current"));

    // As another release wrote it: the manifest has its hash.
    let (current, manifest) = (folder.read("api.ts"), folder.read("kit.json"));
    folder.write("api.ts", "old\n");
    let line = manifest.lines().find(|line| line.contains("api.ts")).unwrap();
    folder
        .write("kit.json", &manifest.replace(line, "    \"api.ts\": \"AdCdGcITmkauv7V3eA0SPXOW6XIBvH6tIQouv_gjne4\","));
    assert!(folder.kit(&["--check"]).unwrap_err().contains("api.ts, kit.json"));
    folder.kit(&[]).unwrap();
    assert_eq!((folder.read("api.ts"), folder.read("kit.json")), (current, manifest));
}

#[test]
fn nothing_that_others_wrote_is_lost_unless_they_say_so() {
    let folder = Folder::new();
    folder.write("schema.graphql", "type Query { mine: Int }");
    let refused = folder.kit(&[]).unwrap_err();
    assert!(refused.contains("schema.graphql") && refused.contains("--force"), "{refused}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    assert_eq!(folder.read("schema.graphql"), "type Query { mine: Int }");

    folder.kit(&["--force"]).unwrap();
    let whole = folder.read("urql.ts");
    folder.write("urql.ts", &format!("{whole}// mine\n"));
    fs::remove_file(folder.0.join("apollo.ts")).unwrap();
    let refused = folder.kit(&[]).unwrap_err();
    assert!(refused.contains("urql.ts") && !refused.contains("apollo.ts"), "{refused}");
    assert!(folder.read("urql.ts").ends_with("// mine\n"));
    folder.kit(&["--force"]).unwrap();
    assert_eq!(folder.read("urql.ts"), whole);
}
