//! What the documents say of large clusters, and that measuring them still works.
//!
//! The tests themselves are in Python, beside what they test: `benches/scale/`.

use crate::support::fake_nvml::one_gpu;
use crate::support::tools::unittest;

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

/// Runs a class of Python tests with a driver that has one GPU.
fn check(class: &str) {
    unittest("benches/scale", &format!("test_scale.{class}"), &one_gpu());
}
