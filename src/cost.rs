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
//! exactly, in integers. The modules in reading order: [`money`] (amounts), [`pricing`] (rates), [`gpu_model`] (names),
//! [`report`] (the answer).

#![deny(clippy::float_arithmetic)]

pub mod attribution;
pub mod gpu_model;
pub mod ledger;
pub mod meter;
pub mod money;
pub mod pricing;
pub mod report;
pub mod share;
pub mod window;
pub mod work;
