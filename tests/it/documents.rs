//! What operators read: every command and file in README.md and `docs/` is run or read by those it is for.
//!
//! The tests themselves are in Python, beside those of the manifests, whose judges they share: `tests/docs/`.

use std::path::Path;
use std::process::Command;

use crate::support::tls::Authority;
use crate::support::tools::{python, run};

#[test]
fn every_block_of_the_documents_is_true() {
    check("test_blocks");
}

#[test]
fn every_name_and_link_in_the_documents_exists() {
    check("test_words");
}

/// Runs a file of Python tests; with `UPDATE_EXPECT=1` it writes into the documents what the program prints now.
fn check(module: &str) {
    let certificates = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    authority.vouch_for_us().write_to(certificates.path());
    std::fs::write(certificates.path().join("ca.crt"), authority.pem())
        .expect("write the authority's certificate");
    let mut command = Command::new(python());
    command
        .args(["-B", "-m", "unittest", module])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docs"))
        .env("GPU_COST_EXPORTER", env!("CARGO_BIN_EXE_gpu-cost-exporter"))
        .env("CERTIFICATES", certificates.path());
    let output = run(&mut command, b"", "install the tools of the tests (make tools)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nmake tools installs what these tests need");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}
