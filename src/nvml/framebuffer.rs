//! The framebuffer of a GPU or MIG device, by whichever call its driver has.

use nvml_wrapper::struct_wrappers::device::MemoryInfo;
use nvml_wrapper::{Device, Nvml};

use super::ffi;
use super::questions::Questions;
use crate::observation::Memory;

/// The call since R510, which tells the driver's own part apart.
const NEWER: &str = "nvmlDeviceGetMemoryInfo_v2";

/// The call before it.
const OLDER: &str = "nvmlDeviceGetMemoryInfo";

/// The framebuffer of a GPU; the older call only where there is no newer one, because the two do not count the same.
pub(super) fn of_gpu(questions: &mut Questions<'_>, nvml: &Nvml, gpu: &Device<'_>) -> Option<Memory> {
    let memory = questions.ask(NEWER, || gpu.memory_info()).map(|memory| without_reserved(&memory));
    if questions.has(NEWER) {
        return memory;
    }
    questions.ask(OLDER, || ffi::memory_v1(nvml, gpu))
}

/// The framebuffer of a MIG device's GPU instance.
pub(super) fn of_mig_device(
    questions: &mut Questions<'_>,
    nvml: &Nvml,
    mig_device: &Device<'_>,
) -> Option<Memory> {
    let memory = questions.ask_mig(NEWER, || mig_device.memory_info());
    memory
        .map(|memory| without_reserved(&memory))
        .or_else(|| questions.ask_mig(OLDER, || ffi::memory_v1(nvml, mig_device)))
}

/// The framebuffer without the driver's own part, whether or not this driver counts that part as used.
fn without_reserved(memory: &MemoryInfo) -> Memory {
    let used = memory.total.saturating_sub(memory.free).saturating_sub(memory.reserved);
    Memory { used, total: memory.total }
}
