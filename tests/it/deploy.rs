//! What people install, judged by the programs that install it: Helm, kustomize, Kubernetes' schemas, promtool, buildah.
//!
//! The tests themselves are in Python, where Helm and the schemas are libraries: `tests/deploy/`.

use std::path::Path;
use std::process::Command;

use fake_nvml::{Board, Node};

use crate::support::fake_nvml::built_library;
use crate::support::tools::{python, run};

#[test]
fn what_is_generated_for_installing_is_of_now() {
    check("test_generated");
}

#[test]
fn the_chart_installs_what_it_says() {
    check("test_chart");
}

#[test]
fn the_kustomizations_install_the_same() {
    check("test_kustomize");
}

#[test]
fn the_documents_say_how() {
    check("test_documents");
}

#[test]
fn the_image_starts_and_finds_the_driver() {
    check("test_image");
}

/// Runs a file of Python tests; with `UPDATE_EXPECT=1` it writes what it would compare.
fn check(module: &str) {
    let mut command = Command::new(python());
    command
        .args(["-B", "-m", "unittest", module])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy"))
        .env("GPU_COST_EXPORTER", env!("CARGO_BIN_EXE_gpu-cost-exporter"))
        .env("FAKE_NVML_LIBRARY", built_library())
        .env("FAKE_NVML_DESCRIPTION", Node::new([Board::h100_80gb(0)]).to_json());
    let output = run(&mut command, b"", "install the tools of the tests (make tools)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nmake tools installs what these tests need");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}
