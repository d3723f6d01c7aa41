//! What can go wrong between us and the driver, and what each return code means for us.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;

use crate::observation::Fault;

/// An attempt that failed; what was attempted is here, why it failed is the source.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no driver library to load.
    #[error(
        "load the NVIDIA driver's library (tried {tried}); install the driver on the node, \
         run the pod with the nvidia runtime class, or name the library with --nvml.library"
    )]
    NoLibrary {
        /// Where it was looked for.
        tried: Arc<str>,
        /// What the loader said of the last place.
        source: Arc<NvmlError>,
    },
    /// The library is there and does not want to work.
    #[error("initialise {library}; {advice}")]
    Initialise {
        /// The library as it was loaded.
        library: Arc<str>,
        /// What to do about it.
        advice: &'static str,
        /// What the library said.
        source: Arc<NvmlError>,
    },
    /// One call failed.
    #[error("call {function} for {subject}")]
    Call {
        /// The C function.
        function: &'static str,
        /// What the call was about.
        subject: Subject,
        /// What the driver said.
        source: Arc<NvmlError>,
    },
    /// One call has not returned for so long that it probably never will.
    #[error("get an answer from {function} for {subject}, which hangs for {} s", .elapsed.as_secs())]
    Hung {
        /// The C function.
        function: &'static str,
        /// What the call is about.
        subject: Subject,
        /// How long it has not returned.
        elapsed: Duration,
    },
    /// The driver has not answered within the deadline of this reading.
    #[error("read the driver within {} ms", .deadline.as_millis())]
    Late {
        /// The deadline.
        deadline: Duration,
    },
    /// The driver works and shows no GPU.
    #[error(
        "find a GPU, the driver shows none; run the pod with the nvidia runtime class and \
         NVIDIA_VISIBLE_DEVICES=all, and look for the GPU with nvidia-smi on the node"
    )]
    NoGpu,
    /// A GPU is listed and does not say who it is.
    #[error("identify the GPU with index {index}")]
    Unidentified {
        /// Its position in NVML's enumeration.
        index: u32,
    },
    /// A GPU that was there is not listed any more.
    #[error("find {gpu}, which the driver listed before")]
    Missing {
        /// UUID of the GPU.
        gpu: Arc<str>,
    },
    /// GPUs do not recover, so the library is given up to be opened anew.
    #[error("recover faulty GPUs without opening the library again")]
    Faulty,
    /// The thread that talks to the driver could not be started.
    #[error("start the thread that reads the driver")]
    Thread(#[source] Arc<std::io::Error>),
    /// The thread that talks to the driver gave no answer.
    #[error("hear from the thread that reads the driver")]
    NoAnswer,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The driver as a whole.
    Driver,
    /// One GPU.
    Gpu {
        /// Its position in NVML's enumeration.
        index: u32,
        /// Its UUID; `None` while it has not told it.
        uuid: Option<Arc<str>>,
    },
}

/// What a return code means for the rest of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The hardware, the driver or our rights do not give this: do not ask again before the next discovery.
    Absent {
        /// Whether somebody should be told.
        denied: bool,
    },
    /// There is nothing to tell this time.
    NoData,
    /// The handle is not valid any more: find the GPUs again.
    Stale,
    /// The GPU cannot be used.
    Faulty(Fault),
    /// The library and the driver have parted: open the library again.
    Parted,
    /// Something else; on its own it says nothing about the GPU.
    Unclear,
}

// === impl Error ===

impl Error {
    pub(super) fn call(function: &'static str, subject: &Subject, source: NvmlError) -> Self {
        Self::Call { function, subject: subject.clone(), source: Arc::new(source) }
    }

    /// Whether it says that the library and the driver have parted: the driver was unloaded or replaced.
    pub(super) fn is_parting(&self) -> bool {
        matches!(self, Self::Call { source, .. } if Meaning::of(source) == Meaning::Parted)
    }

    /// Whether only another container may reach the driver: its library was put into this one when it was made and is of
    /// another version since, or the rights to its devices were taken from it (`Unknown` is what NVML says then).
    #[must_use]
    pub fn is_of_container(&self) -> bool {
        let Self::Initialise { source, .. } = self else { return false };
        matches!(
            **source,
            NvmlError::LibRmVersionMismatch
                | NvmlError::NoPermission
                | NvmlError::OperatingSystem
                | NvmlError::Unknown
        )
    }

    pub(super) fn initialise(library: &str, source: NvmlError) -> Self {
        let advice = match source {
            NvmlError::DriverNotLoaded => {
                "the kernel driver is not loaded: install it on the node, or give the pod /dev/nvidia* with the \
                 nvidia runtime class"
            }
            NvmlError::NoPermission | NvmlError::OperatingSystem => {
                "the pod may not use /dev/nvidia*: run it with the nvidia runtime class"
            }
            NvmlError::LibRmVersionMismatch => {
                "library and kernel driver have different versions, as during a driver upgrade: it is tried again, \
                 and the pod must be restarted if this stays"
            }
            NvmlError::FailedToLoadSymbol(_) => "this is not the NVIDIA driver's library: see --nvml.library",
            _ => "it is tried again; see dmesg on the node",
        };
        Self::Initialise { library: library.into(), advice, source: Arc::new(source) }
    }
}

// === impl Subject ===

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver => f.write_str("the driver"),
            Self::Gpu { uuid: Some(uuid), .. } => f.write_str(uuid),
            Self::Gpu { index, uuid: None } => write!(f, "the GPU with index {index}"),
        }
    }
}

// === impl Meaning ===

impl Meaning {
    /// The meaning of a failed call on one GPU. nvml-wrapper has no name for codes above 22.
    pub(super) fn of(error: &NvmlError) -> Self {
        const NOT_READY: u32 = 27;
        const GPU_NOT_FOUND: u32 = 28;
        match error {
            NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_) => {
                Self::Absent { denied: false }
            }
            NvmlError::NoPermission => Self::Absent { denied: true },
            NvmlError::NotFound
            | NvmlError::InsufficientSize(_)
            | NvmlError::Timeout
            | NvmlError::NoData
            | NvmlError::UnexpectedVariant(NOT_READY) => Self::NoData,
            NvmlError::InvalidArg => Self::Stale,
            NvmlError::GpuLost | NvmlError::UnexpectedVariant(GPU_NOT_FOUND) => Self::Faulty(Fault::Lost),
            NvmlError::ResetRequired => Self::Faulty(Fault::ResetRequired),
            NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::LibraryNotFound
            | NvmlError::LibRmVersionMismatch => Self::Parted,
            _ => Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use nvml_wrapper_sys::bindings::nvmlReturn_t;

    use super::*;

    #[test]
    fn every_return_code_has_a_meaning() {
        let table: &[(&[nvmlReturn_t], Meaning)] = &[
            (&[3, 13], Meaning::Absent { denied: false }),
            (&[4], Meaning::Absent { denied: true }),
            (&[6, 7, 10, 21, 27], Meaning::NoData),
            (&[2], Meaning::Stale),
            (&[15, 28], Meaning::Faulty(Fault::Lost)),
            (&[16], Meaning::Faulty(Fault::ResetRequired)),
            (&[1, 9, 12, 18], Meaning::Parted),
            (&[11, 14, 17, 19, 20, 23, 25, 29, 999, 31_337], Meaning::Unclear),
        ];
        for (codes, meaning) in table {
            for code in *codes {
                assert_eq!(Meaning::of(&NvmlError::from(*code)), *meaning, "code {code}");
            }
        }
    }

    #[test]
    fn an_error_says_what_to_do() {
        for (source, advice) in [
            (NvmlError::DriverNotLoaded, "not loaded"),
            (NvmlError::NoPermission, "runtime class"),
            (NvmlError::LibRmVersionMismatch, "restarted"),
            (NvmlError::FailedToLoadSymbol(String::new()), "--nvml.library"),
        ] {
            let text = Error::initialise("libnvidia-ml.so.1", source).to_string();
            assert!(text.contains(advice), "{text}");
        }
    }
}
