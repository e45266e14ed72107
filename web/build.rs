//! Builds the crate anew when the pages were built anew: they are embedded.

fn main() {
    for path in ["web/build.rs", "web/dist", "web/pages", "migrations"] {
        println!("cargo::rerun-if-changed={path}");
    }
}
