//! What tests put in place of the world.

// The far sides.
pub(crate) mod fake_apiserver;
pub(crate) mod fake_kubelet;
pub(crate) mod fake_nvml;
pub(crate) mod fake_procfs;

// The driver's edge alone.
pub(crate) mod read_driver;

// The product, run as its users run it, on a node made of the far sides.
pub(crate) mod daemon;
pub(crate) mod node;
pub(crate) mod scrape;
pub(crate) mod spending;

// The web server alone, with reports built by hand.
pub(crate) mod rich_report;
pub(crate) mod server;
pub(crate) mod tls;

// The programs of others that judge what we say.
pub(crate) mod client_model;
pub(crate) mod promql;
pub(crate) mod tools;
