//! Performance counters. A sample remembers what the description said when it was taken; the mean between two is what
//! the second one says.

use std::ptr::without_provenance_mut;

use crate::abi::{
    ARGUMENT_VERSION_MISMATCH, Code, Device, GPM_VERSION, GpmMetricsGet, GpmSample, GpmSupport,
    INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, SUCCESS, put,
};
use crate::description::Gpm;
use crate::state::{About, State, ask, enter};

/// Whether a GPU has counters.
///
/// # Safety
///
/// `support` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlGpmQueryDeviceSupport(device: Device, support: *mut GpmSupport) -> Code {
    let answer = ask("nvmlGpmQueryDeviceSupport", device, |seen| {
        Ok(GpmSupport { version: GPM_VERSION, supported: u32::from(seen.board.gpm.is_some()) })
    });
    // SAFETY: the caller's promise.
    unsafe { put(support, answer) }
}

/// Makes room for a sample.
///
/// # Safety
///
/// `sample` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlGpmSampleAlloc(sample: *mut GpmSample) -> Code {
    let answer = enter("nvmlGpmSampleAlloc", &About::Driver).map(|mut state| {
        let number = state.number();
        state.gpm_samples.insert(number, None);
        without_provenance_mut(number)
    });
    // SAFETY: the caller's promise.
    unsafe { put(sample, answer) }
}

/// Frees a sample.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlGpmSampleFree(sample: GpmSample) -> Code {
    let removed = enter("nvmlGpmSampleFree", &About::Driver)
        .and_then(|mut state| state.gpm_samples.remove(&sample.addr()).ok_or(INVALID_ARGUMENT));
    removed.map_or_else(|code| code, |_| SUCCESS)
}

/// Copies the counters of a GPU.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlGpmSampleGet(device: Device, sample: GpmSample) -> Code {
    take("nvmlGpmSampleGet", device, sample, |state| {
        Ok((device.addr(), state.seen(device)?.board.gpm.ok_or(NOT_SUPPORTED)?))
    })
}

/// Copies the counters of a GPU instance.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlGpmMigSampleGet(device: Device, gpu_instance: u32, sample: GpmSample) -> Code {
    take("nvmlGpmMigSampleGet", device, sample, |state| {
        let mig = state.seen(device)?.board.mig.as_ref().ok_or(NOT_SUPPORTED)?;
        let mut parts = mig.devices.iter().flatten();
        let part = parts.find(|part| part.gpu_instance == gpu_instance).ok_or(NOT_FOUND)?;
        let source = device.addr() + gpu_instance as usize + 1;
        Ok((source, part.gpm.ok_or(NOT_SUPPORTED)?))
    })
}

/// The means between two samples.
///
/// # Safety
///
/// `request` must be valid, with as many metrics as it says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlGpmMetricsGet(request: *mut GpmMetricsGet) -> Code {
    // SAFETY: the caller's promise.
    let (version, count, first, second) =
        unsafe { ((*request).version, (*request).count, (*request).first, (*request).second) };
    let state = match enter("nvmlGpmMetricsGet", &About::Driver) {
        Ok(state) => state,
        Err(code) => return code,
    };
    if version != GPM_VERSION {
        return ARGUMENT_VERSION_MISMATCH;
    }
    let sample = |sample: GpmSample| state.gpm_samples.get(&sample.addr()).copied().flatten();
    let (Some((first_of, _)), Some((second_of, gpm))) = (sample(first), sample(second)) else {
        return INVALID_ARGUMENT;
    };
    if first == second || first_of != second_of {
        return INVALID_ARGUMENT;
    }
    // SAFETY: the caller promises so many metrics behind the head of the request.
    let metrics = unsafe {
        std::slice::from_raw_parts_mut(
            (&raw mut (*request).metrics).cast::<crate::abi::GpmMetric>(),
            count as usize,
        )
    };
    for metric in metrics {
        let value = metric_of(gpm, metric.id);
        metric.code = value.map_or(NOT_SUPPORTED, |_| SUCCESS);
        metric.value = value.unwrap_or(0.0);
    }
    SUCCESS
}

fn take(
    function: &str,
    device: Device,
    sample: GpmSample,
    read: impl FnOnce(&State) -> Result<(usize, Gpm), Code>,
) -> Code {
    let taken = enter(function, &About::Handle(device.addr())).and_then(|mut state| {
        let counters = read(&state)?;
        let place = state.gpm_samples.get_mut(&sample.addr()).ok_or(INVALID_ARGUMENT)?;
        *place = Some(counters);
        Ok(())
    });
    taken.map_or_else(|code| code, |()| SUCCESS)
}

fn metric_of(gpm: Gpm, id: u32) -> Option<f64> {
    match id {
        1 => gpm.graphics,
        2 => gpm.sm,
        5 => gpm.tensor,
        10 => gpm.dram,
        _ => None,
    }
}
