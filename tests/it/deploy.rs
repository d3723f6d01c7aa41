//! What people install, judged by the programs that install it: Helm, kustomize, Kubernetes' schemas, promtool, buildah.
//!
//! The tests themselves are in Python, where Helm and the schemas are libraries: `tests/deploy/`.

use crate::support::fake_nvml::one_gpu;
use crate::support::tools::unittest;

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

/// Runs a file of Python tests with a driver that has one GPU.
fn check(module: &str) {
    unittest("tests/deploy", module, &one_gpu());
}
