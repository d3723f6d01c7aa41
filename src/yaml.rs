//! Files that people write by hand: YAML with positions, and every mistake at once.
//!
//! What such a file means is known to whoever reads it; how it is written, and how a mistake in it is told, is known
//! here.

pub(crate) mod decimal;
pub(crate) mod describe;
pub(crate) mod findings;
pub(crate) mod problem;
pub(crate) mod suggest;
pub(crate) mod text;
pub(crate) mod tree;
