//! The dashboards: written by their generator, kept to their conventions, and every query gives data.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::tools::{python, run};

#[test]
fn the_dashboards_are_what_their_source_says() {
    let check = std::env::var_os("UPDATE_EXPECT").is_none();
    passes(&root("dashboards/generate.py"), check.then_some("--check"));
}

#[test]
fn every_panel_keeps_the_conventions() {
    passes(&root("tests/dashboards/conventions.py"), None);
}

#[test]
fn every_query_of_every_panel_gives_data_from_a_real_prometheus() {
    passes(&root("tests/dashboards/live.py"), Some(env!("CARGO_BIN_EXE_gpu-cost-exporter")));
}

/// Runs a script of ours and shows what it complains about.
fn passes(script: &Path, argument: Option<&str>) {
    let mut command = Command::new(python());
    // Python would otherwise leave its compiled files beside the sources.
    command.arg("-B").arg(script).args(argument);
    let output = run(&mut command, b"", "install Python 3 and scripts/requirements.txt (make test does)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} says:\n{said}", script.display());
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
