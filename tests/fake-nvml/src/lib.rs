//! A libnvidia-ml that obeys a node description.
//!
//! Built as a C library it exports the functions of NVML that the exporter calls, with the ABI of the real one. What it
//! answers is a [`Node`]: boards, their numbers, and everything that can go wrong with them. A test changes it while
//! a client reads:
//!
//! - in the same process, through [`fake_nvml_load`] of the very file that the client has loaded;
//! - from outside, through the JSON file that the environment variable `FAKE_NVML_NODE` names, which is read again
//!   whenever it changes. Write it anew and rename it into place.
//!
//! Each call is counted by function ([`fake_nvml_calls`]); if `FAKE_NVML_CALLS` names a file, the counts are written to
//! it as JSON at each `nvmlDeviceGetCount_v2`, which the exporter calls once per tick.
//!
//! To hang or to fail is said per function, for the node or for one board; `*` stands for every function. A hang ends
//! when the description no longer asks for it.

use std::ffi::{CStr, c_char};

pub use description::{
    Board, Energy, Gpm, Memory, Mig, MigDevice, Node, ProcessSample, Processes, Utilization, Wave,
};
pub use profiles::Profile;

mod description;

mod boards;
mod profiles;

mod state;

mod device;
mod events;
mod fields;
mod gpm;
mod mig;
mod processes;
mod system;

mod abi;

/// Replaces the node by the description in `json`; returns 0, or 1 when it cannot be read and the old one stays.
///
/// # Safety
///
/// `json` must point to `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_nvml_load(json: *const c_char, len: usize) -> i32 {
    // SAFETY: the caller promises `len` readable bytes.
    let json = unsafe { std::slice::from_raw_parts(json.cast::<u8>(), len) };
    match serde_json::from_slice(json) {
        Ok(node) => {
            state::replace(node);
            0
        }
        Err(_) => 1,
    }
}

/// How often the C function `name` was called since the library was loaded, unsuccessful calls included.
///
/// # Safety
///
/// `name` must be a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_nvml_calls(name: *const c_char) -> u64 {
    // SAFETY: the caller promises a NUL-terminated string.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map_or(0, state::calls)
}
