//! What the documents say of large clusters, and that measuring them still works.
//!
//! The tests themselves are in Python, beside what they test: `benches/scale/`.

use std::path::Path;
use std::process::Command;

use fake_nvml::{Board, Node};

use crate::support::fake_nvml::built_library;
use crate::support::tools::{python, run};

#[test]
fn a_nodes_series_are_as_many_as_the_documents_say() {
    check("Formula");
}

#[test]
fn what_the_documents_say_of_large_clusters_is_what_was_measured() {
    check("Document");
}

#[test]
fn two_nodes_can_be_measured_as_a_hundred_are() {
    check("Measuring");
}

/// Runs a class of Python tests; with `UPDATE_EXPECT=1` it writes what it would compare.
fn check(class: &str) {
    let mut command = Command::new(python());
    command
        .args(["-B", "-m", "unittest", &format!("test_scale.{class}")])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scale"))
        .env("GPU_COST_EXPORTER", env!("CARGO_BIN_EXE_gpu-cost-exporter"))
        .env("FAKE_NVML_LIBRARY", built_library())
        .env("FAKE_NVML_DESCRIPTION", Node::new([Board::h100_80gb(0)]).to_json());
    let output = run(&mut command, b"", "install the tools of the tests (make tools)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nmake tools installs what these tests need");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}
