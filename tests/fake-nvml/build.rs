//! The driver's library stays loaded once it is loaded, so that what a test told it survives a client that closes it
//! and opens it again, and a thread that hangs in it never returns into nothing.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}
