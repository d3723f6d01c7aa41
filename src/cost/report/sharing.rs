//! How GPUs are shared, by what a part is measured, and how work is divided.

use crate::observation::Ppm;

/// How a GPU is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// One holder has the whole GPU.
    #[default]
    Exclusive,
    /// It is cut into MIG devices.
    Mig,
    /// Replicas of it are advertised, which take turns.
    TimeSlicing,
    /// Replicas of it are advertised, which run side by side under NVIDIA's multi-process service.
    Mps,
    /// Pods have parts of it by a scheduler's annotation or a claim.
    Fractional,
}

/// How work on a shared device was divided among its holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Attribution {
    /// One holder per device: all the work is its own.
    #[default]
    Device,
    /// By the samples of its processes.
    Processes,
    /// In equal parts per slot, because processes cannot be read, or do not tell whose work it was.
    EqualParts,
}

/// By what a holder's part of a device is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// It has the device alone.
    #[default]
    Whole,
    /// Slots that it has out of those that the device has.
    Slots {
        /// Slots it has.
        held: u32,
        /// Slots there are, or that are held where those who are present share the device.
        of: u32,
    },
    /// The part of the compute that a scheduler's annotation names.
    Compute(Ppm),
    /// The memory that a scheduler's annotation or a claim names, out of the device's.
    Memory {
        /// Bytes it has.
        bytes: u64,
        /// Bytes there are.
        of: u64,
    },
    /// An equal part of a claim that several pods use.
    Claim {
        /// How many pods use it.
        pods: u32,
    },
}

// === impl Sharing ===

impl Sharing {
    /// The sharing mode as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Mig => "mig",
            Self::TimeSlicing => "time-slicing",
            Self::Mps => "mps",
            Self::Fractional => "fractional",
        }
    }
}

// === impl Attribution ===

impl Attribution {
    /// The method as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Processes => "processes",
            Self::EqualParts => "equal_parts",
        }
    }
}
