//! How GPUs are divided, as it is typed.

use clap::ValueEnum;

use crate::cost::attribution::{MigShare, SharingPolicy};

/// How large the share of a MIG device is, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MigShareArg {
    /// Its compute slices out of the GPU's.
    Compute,
    /// Its memory slices out of the GPU's.
    Memory,
    /// The mean of the two.
    Blend,
}

/// Who pays for the free slots of a shared device, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SharingPolicyArg {
    /// The node: a holder pays for its own slots.
    Slots,
    /// Those who are present share the whole device.
    Active,
}

// === impl MigShareArg ===

impl From<MigShareArg> for MigShare {
    fn from(arg: MigShareArg) -> Self {
        match arg {
            MigShareArg::Compute => Self::Compute,
            MigShareArg::Memory => Self::Memory,
            MigShareArg::Blend => Self::Blend,
        }
    }
}

// === impl SharingPolicyArg ===

impl From<SharingPolicyArg> for SharingPolicy {
    fn from(arg: SharingPolicyArg) -> Self {
        match arg {
            SharingPolicyArg::Slots => Self::Slots,
            SharingPolicyArg::Active => Self::Active,
        }
    }
}
