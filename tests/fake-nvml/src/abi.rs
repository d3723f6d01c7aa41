//! The structures and numbers of NVML's C interface, written down anew so that a client's own bindings are put to the
//! test.

use std::ffi::{c_char, c_void};

/// `nvmlReturn_t`.
pub(crate) type Code = u32;

pub(crate) const SUCCESS: Code = 0;
pub(crate) const UNINITIALIZED: Code = 1;
pub(crate) const INVALID_ARGUMENT: Code = 2;
pub(crate) const NOT_SUPPORTED: Code = 3;
pub(crate) const NOT_FOUND: Code = 6;
pub(crate) const INSUFFICIENT_SIZE: Code = 7;
pub(crate) const TIMEOUT: Code = 10;
pub(crate) const ARGUMENT_VERSION_MISMATCH: Code = 25;

/// `nvmlDevice_t`: never dereferenced, a number in disguise.
pub(crate) type Device = *mut c_void;
/// `nvmlGpmSample_t`, a number too.
pub(crate) type GpmSample = *mut c_void;
/// `nvmlEventSet_t`, a number too.
pub(crate) type EventSet = *mut c_void;

/// `nvmlUtilization_t`.
#[repr(C)]
pub(crate) struct Utilization {
    pub(crate) gpu: u32,
    pub(crate) memory: u32,
}

/// `nvmlMemory_t`.
#[repr(C)]
pub(crate) struct MemoryV1 {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// `nvmlMemory_v2_t`; the caller sets `version`.
#[repr(C)]
pub(crate) struct MemoryV2 {
    pub(crate) version: u32,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// The only `MemoryV2::version` there is.
pub(crate) const MEMORY_V2: u32 = 0x0200_0028;

/// `nvmlPciInfo_t` of `nvmlDeviceGetPciInfo_v3`.
#[repr(C)]
pub(crate) struct PciInfo {
    pub(crate) bus_id_legacy: [c_char; 16],
    pub(crate) domain: u32,
    pub(crate) bus: u32,
    pub(crate) device: u32,
    pub(crate) pci_device_id: u32,
    pub(crate) pci_subsystem_id: u32,
    pub(crate) bus_id: [c_char; 32],
}

/// `nvmlDeviceAttributes_t`.
#[repr(C)]
pub(crate) struct Attributes {
    pub(crate) multiprocessors: u32,
    /// Copy engines, decoders, encoders, JPEG and optical flow engines.
    pub(crate) engines: [u32; 5],
    pub(crate) gpu_instance_slices: u32,
    pub(crate) compute_instance_slices: u32,
    pub(crate) mebibytes: u64,
}

/// `nvmlSample_t` with an unsigned value.
#[repr(C)]
pub(crate) struct Sample {
    pub(crate) micros: u64,
    pub(crate) value: u64,
}

/// `nvmlProcessUtilizationSample_t`.
#[repr(C)]
pub(crate) struct ProcessUtilizationSample {
    pub(crate) pid: u32,
    pub(crate) micros: u64,
    pub(crate) sm: u32,
    pub(crate) memory: u32,
    pub(crate) encoder: u32,
    pub(crate) decoder: u32,
}

/// `NVML_VALUE_TYPE_UNSIGNED_INT`.
pub(crate) const VALUE_UNSIGNED_INT: u32 = 1;
/// `NVML_GPU_UTILIZATION_SAMPLES`.
pub(crate) const SAMPLES_OF_GPU_UTILIZATION: u32 = 1;

/// `nvmlFieldValue_t` with an unsigned value.
#[repr(C)]
pub(crate) struct FieldValue {
    pub(crate) field: u32,
    pub(crate) scope: u32,
    pub(crate) micros: i64,
    pub(crate) latency_micros: i64,
    pub(crate) kind: u32,
    pub(crate) code: Code,
    pub(crate) value: u64,
}

/// `nvmlEventData_t`.
#[repr(C)]
pub(crate) struct EventData {
    pub(crate) device: Device,
    pub(crate) kind: u64,
    pub(crate) data: u64,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
}

/// `nvmlEventTypeXidCriticalError`.
pub(crate) const EVENT_XID: u64 = 8;

/// `nvmlGpmSupport_t`.
#[repr(C)]
pub(crate) struct GpmSupport {
    pub(crate) version: u32,
    pub(crate) supported: u32,
}

/// `nvmlGpmMetric_t`.
#[repr(C)]
pub(crate) struct GpmMetric {
    pub(crate) id: u32,
    pub(crate) code: Code,
    pub(crate) value: f64,
    pub(crate) names: [*const c_char; 3],
}

/// `nvmlGpmMetricsGet_t` without its metrics, which follow in a number that each header chose for itself.
#[repr(C)]
pub(crate) struct GpmMetricsGet {
    pub(crate) version: u32,
    pub(crate) count: u32,
    pub(crate) first: GpmSample,
    pub(crate) second: GpmSample,
    pub(crate) metrics: [GpmMetric; 0],
}

/// The only version of the GPM structures.
pub(crate) const GPM_VERSION: u32 = 1;

const _: () = {
    assert!(size_of::<Utilization>() == 8);
    assert!(size_of::<MemoryV1>() == 24);
    assert!(size_of::<MemoryV2>() == 40);
    assert!(size_of::<PciInfo>() == 68);
    assert!(size_of::<Attributes>() == 40);
    assert!(size_of::<Sample>() == 16);
    assert!(size_of::<FieldValue>() == 40);
    assert!(size_of::<ProcessUtilizationSample>() == 32);
    assert!(size_of::<EventData>() == 32);
    assert!(size_of::<GpmMetric>() == 40);
    assert!(size_of::<GpmMetricsGet>() == 24);
};

/// Writes an answer to where the caller wants it.
///
/// # Safety
///
/// `out` must be null or valid for a write.
pub(crate) unsafe fn put<T>(out: *mut T, answer: Result<T, Code>) -> Code {
    match answer {
        Err(code) => code,
        Ok(_) if out.is_null() => INVALID_ARGUMENT,
        Ok(value) => {
            // SAFETY: it is not null, so the caller promises that it is valid.
            unsafe { out.write(value) };
            SUCCESS
        }
    }
}

/// Writes a text with its NUL to where the caller wants it.
///
/// # Safety
///
/// `out` must be valid for `len` bytes.
pub(crate) unsafe fn put_text(out: *mut c_char, len: u32, answer: Result<String, Code>) -> Code {
    let text = match answer {
        Ok(text) => text,
        Err(code) => return code,
    };
    if text.len() >= len as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: the text and its NUL fit into the `len` bytes that the caller promises.
    unsafe {
        out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        out.add(text.len()).write(0);
    }
    SUCCESS
}

/// A text in an array of fixed length, cut to fit.
pub(crate) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().take(N - 1).zip(text.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    array
}
