//! An authority of the test's own, and certificates of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::servers::scratch;

/// Whoever trusts [`Authority::file`] believes what it issues.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let folder = scratch("authority");
        // Servers run as somebody else.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        openssl(&folder, "req -x509 -days 2 -subj /CN=Tests", &["-keyout", "ca.key", "-out", "ca.pem"], NEW_KEY);
        Self { folder }
    }

    pub fn file(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// The files of a certificate for this host, and of its key.
    pub fn issue(&self, host: &str) -> [PathBuf; 2] {
        std::fs::write(self.folder.join("names"), format!("subjectAltName=DNS:{host}")).unwrap();
        let files = ["-keyout", "server.key", "-out", "server.csr"];
        openssl(&self.folder, &format!("req -new -subj /CN={host}"), &files, NEW_KEY);
        let files = ["-in", "server.csr", "-out", "server.pem", "-extfile", "names"];
        openssl(&self.folder, "x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial", &files, "");
        ["server.pem", "server.key"].map(|name| self.folder.join(name))
    }
}

const NEW_KEY: &str = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";

fn openssl(folder: &Path, what: &str, files: &[&str], more: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(what.split(' ')).args(files).args(more.split_whitespace());
    let done = command.output().expect("openssl is installed (`make setup-test`)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
