//! How a GPU is cut.

use crate::abi::{Attributes, Code, Device, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, put};
use crate::description::{Mig, MigDevice};
use crate::state::{About, Seen, ask, enter};

/// Whether MIG is on, now and after the next reset.
///
/// # Safety
///
/// `current` and `pending` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: Device,
    current: *mut u32,
    pending: *mut u32,
) -> Code {
    let answer = ask("nvmlDeviceGetMigMode", device, |Seen { board, .. }| {
        if board.mig_capable { Ok(u32::from(board.mig.is_some())) } else { Err(NOT_SUPPORTED) }
    });
    // SAFETY: the caller's promise.
    unsafe {
        put(pending, answer);
        put(current, answer)
    }
}

/// How many MIG devices there can be.
///
/// # Safety
///
/// `count` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(device: Device, count: *mut u32) -> Code {
    let answer = ask("nvmlDeviceGetMaxMigDeviceCount", device, |Seen { board, .. }| {
        Ok(board.mig.as_ref().map_or(0, |mig: &Mig| mig.max))
    });
    // SAFETY: the caller's promise.
    unsafe { put(count, answer) }
}

/// The handle of the MIG device at an index.
///
/// # Safety
///
/// `mig_device` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: Device,
    index: u32,
    mig_device: *mut Device,
) -> Code {
    let answer = enter("nvmlDeviceGetMigDeviceHandleByIndex", &About::Handle(device.addr()))
        .and_then(|state| state.mig_handle(device, index).ok_or(NOT_FOUND));
    // SAFETY: the caller's promise.
    unsafe { put(mig_device, answer) }
}

/// The id of the GPU instance of a MIG device.
///
/// # Safety
///
/// `id` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(mig_device: Device, id: *mut u32) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(id, of_part("nvmlDeviceGetGpuInstanceId", mig_device, |part| part.gpu_instance)) }
}

/// The id of the compute instance of a MIG device.
///
/// # Safety
///
/// `id` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetComputeInstanceId(mig_device: Device, id: *mut u32) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(id, of_part("nvmlDeviceGetComputeInstanceId", mig_device, |part| part.compute_instance)) }
}

/// The size of a MIG device.
///
/// # Safety
///
/// `attributes` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetAttributes_v2(
    mig_device: Device,
    attributes: *mut Attributes,
) -> Code {
    let answer = of_part("nvmlDeviceGetAttributes_v2", mig_device, |part| Attributes {
        multiprocessors: part.multiprocessors,
        engines: [0; 5],
        gpu_instance_slices: part.gpu_instance_slices,
        compute_instance_slices: part.compute_slices,
        mebibytes: part.mebibytes,
    });
    // SAFETY: the caller's promise.
    unsafe { put(attributes, answer) }
}

fn of_part<T>(function: &str, device: Device, answer: impl FnOnce(&MigDevice) -> T) -> Result<T, Code> {
    ask(function, device, |seen| seen.mig_device.map(answer).ok_or(INVALID_ARGUMENT))
}
