//! The library and the driver as a whole.

use std::ffi::c_char;

use crate::abi::{Code, Device, INVALID_ARGUMENT, SUCCESS, put, put_text};
use crate::state::{About, enter};

/// Starts the library. Like the real one it may be started several times.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlInit_v2() -> Code {
    start("nvmlInit_v2")
}

/// Starts the library; the flags are about nodes without GPUs, which are no trouble here.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlInitWithFlags(_flags: u32) -> Code {
    start("nvmlInitWithFlags")
}

/// Ends one start of the library.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlShutdown() -> Code {
    match enter("nvmlShutdown", &About::Driver) {
        Ok(mut state) => {
            state.end();
            SUCCESS
        }
        Err(code) => code,
    }
}

/// The driver's version.
///
/// # Safety
///
/// `version` must be valid for `len` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, len: u32) -> Code {
    let answer = enter("nvmlSystemGetDriverVersion", &About::Driver);
    // SAFETY: the caller's promise.
    unsafe { put_text(version, len, answer.map(|state| state.node.driver_version.clone())) }
}

/// How many GPUs there are.
///
/// # Safety
///
/// `count` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut u32) -> Code {
    let answer = enter("nvmlDeviceGetCount_v2", &About::Driver).map(|state| {
        state.write_calls();
        u32::try_from(state.node.gpus.len()).unwrap_or(u32::MAX)
    });
    // SAFETY: the caller's promise.
    unsafe { put(count, answer) }
}

/// The handle of the GPU at an index.
///
/// # Safety
///
/// `device` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: u32, device: *mut Device) -> Code {
    let answer = enter("nvmlDeviceGetHandleByIndex_v2", &About::Index(index))
        .and_then(|mut state| state.handle(index).ok_or(INVALID_ARGUMENT));
    // SAFETY: the caller's promise.
    unsafe { put(device, answer) }
}

fn start(function: &str) -> Code {
    match enter(function, &About::Start) {
        Ok(mut state) => {
            state.start();
            SUCCESS
        }
        Err(code) => code,
    }
}
