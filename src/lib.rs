//! gpu-cost-exporter: who is spending which GPU money on this node, and how much of it does nothing.
//!
//! ```text
//!   nvml ─────┐
//!   kubelet ──┤
//!   procfs ───┤
//!   apiserver ┤──▶ sampler ──▶ Observation ──▶ cost::Meter ──▶ Report ──▶ metrics, http
//!   demo ─────┤                    │
//!   trace ────┘                  trace    state_file
//! ```
//!
//! The modules in reading order, by layer. Each uses only those above it; `tests/it/tidy.rs` keeps them so.

// What every layer shares: all that one tick saw.
pub mod observation;

// The cost model: no I/O, no clock, no floats. From what was seen to whose money it is.
pub mod cost;

// The memory, the one clock, files that people write, and what the exporter says about itself.
pub mod allocator;
pub mod clock;
mod errors;
mod yaml;
pub mod status;

// Where observations come from.
pub mod nvml;
pub mod kubelet;
pub mod apiserver;
pub mod procfs;
pub mod demo;

// The files that people write and keep.
mod watched_file;
mod kept_file;
pub mod pricing_file;
pub mod labels_file;
pub mod web_config;
pub mod trace;
pub mod state_file;

// The loop: read the sources, meter, publish.
pub mod sampler;

// Where reports go.
pub mod metrics;
mod ledger_json;
mod why;
pub mod http;

// The other end of the line: asks a running exporter and says how it comes to a number.
pub mod explain;

// What the user typed, what is answered at once, and the one place that composes.
pub mod args;
pub mod commands;
pub mod app;
