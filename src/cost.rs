//! The cost model: from what was seen to whose money it is.
//!
//! No I/O, no clock, no floats, no errors. Time arrives as data inside the observation; what is wrong with the input
//! is part of the output (`unmeasured`, `unattributed`, unpriced). For each physical GPU and each interval between two
//! observations,
//!
//! ```text
//! rate × elapsed = Σ holders (used + underused + idle + unmeasured + unavailable)
//!                + unallocated + stranded + unattributed + unavailable (of what nobody holds)
//! ```
//!
//! exactly, in integers. The modules in reading order: [`money`] and [`share`] (amounts, and how they are divided),
//! [`gpu_model`] and [`pricing`] (names of GPUs, and their rates), [`attribution`] (who has which share), `work` and
//! `window` (who did what with it, now and over time), [`account`] and [`ledger`] (what was counted), [`meter`] (what
//! counts), [`report`] (the answer).

#![deny(clippy::float_arithmetic)]

pub mod money;
pub mod share;

pub mod gpu_model;
pub mod pricing;

pub mod attribution;
mod window;
mod work;

pub mod account;
pub mod ledger;
pub mod meter;
pub mod report;
