//! The calls that nvml-wrapper lacks.
//!
//! Each function loads nothing and keeps nothing: the symbol comes from the library that `nvml` holds open, the handle
//! from a [`Device`] that borrows the same library, and what is written back is plain data.
#![expect(unsafe_code, reason = "nvml-wrapper has neither the ids of MIG devices nor the first memory call")]

use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlMemory_t, nvmlReturn_t};

use crate::observation::Memory;

/// The C signature of a question about a device whose answer is an `unsigned int`.
type AskNumber = unsafe extern "C" fn(nvmlDevice_t, *mut std::ffi::c_uint) -> nvmlReturn_t;

/// The framebuffer as drivers before R510 tell it (`nvmlDeviceGetMemoryInfo`), where `used` includes what the driver
/// reserves for itself.
pub(super) fn memory_v1(nvml: &Nvml, device: &Device<'_>) -> Result<Memory, NvmlError> {
    let ask = nvml_sym(nvml.lib().nvmlDeviceGetMemoryInfo.as_ref())?;
    let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: `ask` and the handle belong to the library that `nvml` keeps open and initialised; `memory` is valid for
    // the duration of the call and of the type that this version of the function writes.
    unsafe { nvml_try(ask(device.handle(), &raw mut memory))? };
    Ok(Memory { used: memory.used, total: memory.total })
}

/// The id of the GPU instance that a MIG device is in (`nvmlDeviceGetGpuInstanceId`).
pub(super) fn gpu_instance_id(nvml: &Nvml, mig_device: &Device<'_>) -> Result<u32, NvmlError> {
    number(*nvml_sym(nvml.lib().nvmlDeviceGetGpuInstanceId.as_ref())?, mig_device)
}

/// The id of a MIG device's compute instance inside its GPU instance (`nvmlDeviceGetComputeInstanceId`).
pub(super) fn compute_instance_id(nvml: &Nvml, mig_device: &Device<'_>) -> Result<u32, NvmlError> {
    number(*nvml_sym(nvml.lib().nvmlDeviceGetComputeInstanceId.as_ref())?, mig_device)
}

fn number(ask: AskNumber, device: &Device<'_>) -> Result<u32, NvmlError> {
    let mut answer = 0;
    // SAFETY: `ask` was loaded from the library that `device` borrows, which is open and initialised as long as
    // `device` lives; `answer` is valid for the duration of the call.
    unsafe { nvml_try(ask(device.handle(), &raw mut answer))? };
    Ok(answer)
}
