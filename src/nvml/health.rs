//! Whether a GPU that answers can be used.
//!
//! A GPU may answer every question and run nothing any more: its memory has an error that cannot be contained, or a
//! processor of its own stands still. The driver tells that in two ways.
//!
//! - Since R565 it says what is to be done with the GPU (field value 230, the *recovery action*): nothing, a reset, a
//!   reboot. Where it says so its word decides, in both directions.
//! - It reports critical errors (XID) as events. The number says whether the GPU is lost until it is reset or only a
//!   program on it is; see [`is_fatal`]. Before R565 nobody says when the GPU is well again, so a fatal error holds
//!   until something shows that it is: the driver was loaded anew, the GPU had failed and answers again, its energy
//!   counter began anew, or something works on it.
//!
//! The sources are NVIDIA's "Analyzing Xid Errors with the Xid Catalog" and, for the recovery action, `nvml.h`.

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper_sys::bindings::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;

use super::questions::Questions;
use crate::observation::{Fault, Gpu, Mig, Ppm, UnixTime, Xid};

/// How long after a fatal error work on the GPU proves nothing: a sample stands for up to 2 s before it was taken and
/// for as long after it, so that later all work is work after the error.
const SHADOW_MILLIS: u64 = 5_000;

/// What is known of a GPU beside whether it answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Condition {
    /// The fatal error from which it is not known to have recovered.
    fatal: Option<Fatal>,
    /// Whether it had failed when it was last asked: then it is another one when it answers.
    failed: bool,
    /// What the driver last said is to be done with it; `None` where the driver does not say.
    advice: Option<Advice>,
    /// Whether the driver was asked since the last discovery.
    asked: bool,
}

/// A fatal error.
#[derive(Clone, Copy, Debug)]
struct Fatal {
    /// When it was reported.
    at: UnixTime,
    /// The energy counter since then, in millijoules.
    energy: Option<u64>,
}

/// What the driver says is to be done with a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    /// It can be used.
    Use,
    /// It has to be reset, by itself or with the node.
    Reset,
}

/// Whether a GPU runs nothing before it is reset once this critical error was reported.
///
/// Those are the errors for which NVIDIA's catalogue names a reset of the GPU or a restart of the machine as the
/// immediate action, without those after which the GPU goes on computing: 109, where the driver ends the program whose
/// context does not switch and NVIDIA's own device plugin keeps the GPU; 136 and 155, which are about links to other
/// GPUs; 156 and 160, which retire a resource at the next reset. Links are the matter of 74 and 144 to 150 too. Of the
/// pair 94 and 95 only the second, uncontained one is the GPU's. What a program did wrong (13, 31, 43, 45, 68, 69 and
/// others) never is.
fn is_fatal(xid: u64) -> bool {
    matches!(
        xid,
        // Stopped processing, and neither a program's end nor a channel's reset helped.
        46
        // Memory: an error of two bits, a page that could not be retired, an uncontained and an unrecovered error.
        | 48 | 64 | 95 | 140
        // Processors of its own: power management, security, system; the last with an answer too late or a failure.
        | 62 | 110 | 119 | 120
        // Fallen off the bus, not initialised, a timeout that the driver calls fatal.
        | 79 | 143 | 158
    )
}

// === impl Condition ===

impl Condition {
    /// The same with another handle or library, which may know other fields.
    pub(super) fn reopened(self) -> Self {
        Self { asked: false, advice: None, ..self }
    }

    /// Asks the driver what is to be done with the GPU: once per discovery, and whenever that may have changed.
    pub(super) fn ask(&mut self, questions: &mut Questions<'_>, device: &Device<'_>, xids: &[Xid]) {
        const FUNCTION: &str = "nvmlDeviceGetFieldValues";
        let well = self.fatal.is_none() && self.advice != Some(Advice::Reset);
        if (self.asked && xids.is_empty() && well) || !questions.has(FUNCTION) {
            return;
        }
        match questions.call(FUNCTION, || recovery_action(device)) {
            Some(Ok(action)) => {
                self.advice = Advice::of(action);
                self.asked = true;
            }
            Some(Err(error)) => {
                // What it said before this error is no word about it.
                self.advice = self.advice.filter(|_| xids.is_empty());
                questions.note_minor(FUNCTION, error);
            }
            None => {}
        }
    }

    /// Takes in that the GPU cannot be asked.
    pub(super) fn fail(&mut self, fault: Fault) {
        // Silence may end by itself; what is lost, out of the machine or asks for a reset was reset when it is back.
        self.failed |= matches!(fault, Fault::Lost | Fault::ResetRequired | Fault::Missing);
    }

    /// Judges a GPU that answered, by what it measured and the errors it reported; the fault that it has all the same.
    pub(super) fn judge(&mut self, gpu: &Gpu, xids: &[Xid], now: UnixTime) -> Option<Fault> {
        let was_reset = std::mem::take(&mut self.failed);
        if let Some(advice) = self.advice {
            self.fatal = None;
            return (advice == Advice::Reset).then_some(Fault::ResetRequired);
        }
        if was_reset {
            // The errors that it reports now are those that it failed with.
            self.fatal = None;
            return None;
        }
        if let Some(xid) = xids.iter().rfind(|xid| is_fatal(xid.code)) {
            self.fatal = Some(Fatal { at: xid.at, energy: gpu.energy_millijoules });
        }
        self.fatal = self.fatal.filter(|fatal| !fatal.is_over(gpu, now));
        let fatal = self.fatal.as_mut()?;
        fatal.energy = gpu.energy_millijoules.or(fatal.energy);
        Some(Fault::Xid)
    }
}

// === impl Fatal ===

impl Fatal {
    /// Whether the GPU shows that it works again.
    fn is_over(self, gpu: &Gpu, now: UnixTime) -> bool {
        let began_anew = self.energy.is_some_and(|then| gpu.energy_millijoules.is_some_and(|now| now < then));
        let later = now.as_millis().saturating_sub(self.at.as_millis()) >= SHADOW_MILLIS;
        began_anew || (later && works(gpu))
    }
}

fn works(gpu: &Gpu) -> bool {
    let parts = match &gpu.mig {
        Mig::Disabled => &[][..],
        Mig::Enabled(partition) => &partition.devices,
    };
    let parts = parts.iter().map(|device| device.activity.utilization);
    parts.chain([gpu.activity.utilization]).flatten().any(|utilization| utilization > Ppm::ZERO)
}

// === impl Advice ===

impl Advice {
    /// The meaning of an `nvmlDeviceGpuRecoveryAction_t`; `None` for one that is not known yet.
    fn of(action: u64) -> Option<Self> {
        match action {
            // 3 takes it out of the traffic between GPUs; it computes on.
            0 | 3 => Some(Self::Use),
            1 | 2 | 4 => Some(Self::Reset),
            _ => None,
        }
    }
}

/// Asks for the field. A driver that does not know it calls it an invalid argument.
fn recovery_action(device: &Device<'_>) -> Result<u64, NvmlError> {
    let mut values = device.field_values_for(&[FieldId(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)])?;
    match values.pop().ok_or(NvmlError::NoData)??.value {
        Ok(SampleValue::U32(action)) => Ok(action.into()),
        Ok(SampleValue::U64(action)) => Ok(action),
        Ok(_) | Err(NvmlError::InvalidArg) => Err(NvmlError::NotSupported),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_did_wrong_is_not_the_gpus_fault() {
        for xid in [8, 13, 31, 32, 43, 45, 63, 68, 69, 74, 92, 94, 109, 144, 149, 154, 999] {
            assert!(!is_fatal(xid), "XID {xid}");
        }
        for xid in [46, 48, 62, 64, 79, 95, 110, 119, 120, 140, 143, 158] {
            assert!(is_fatal(xid), "XID {xid}");
        }
    }

    #[test]
    fn an_action_that_nobody_knows_yet_is_no_word_of_the_driver() {
        let advice = [0, 1, 2, 3, 4, 5].map(Advice::of);
        let (ok, reset) = (Some(Advice::Use), Some(Advice::Reset));
        assert_eq!(advice, [ok, reset, reset, ok, reset, None]);
    }
}
