//! What operators read: every command and file in README.md and `docs/` is run or read by those it is for.
//!
//! The tests themselves are in Python, beside those of the manifests, whose judges they share: `tests/docs/`.

use crate::support::tls::Authority;
use crate::support::tools::unittest;

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
    unittest("tests/docs", module, &[("CERTIFICATES", certificates.path().into())]);
}
