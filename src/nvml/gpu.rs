//! One opened GPU, and what is asked of it in a tick.

use std::sync::Arc;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::Sampling;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, EventSet, Nvml};

use super::error::{Error, Subject};
use super::framebuffer;
use super::gpm::Gpm;
use super::health::Condition;
use super::memory::{Progress, Remembered};
use super::mig::{Described, Parent};
use super::questions::{Absent, Outcome, Questions};
use super::samples::Sample;
use super::watch::Watch;
use crate::observation::{Activity, Fault, Gpu, Health, Memory, Mig, Ppm, UnixTime, UtilizationSource, Xid};

/// How many ticks in a row a GPU may give nothing but unknown errors before it counts as out of order: the driver gives
/// a few of them while it is busy with another client.
const SILENT_TICKS_MAX: u32 = 3;

/// How many critical errors one GPU can report in one tick. A GPU that fails reports them in floods.
const XIDS_MAX: usize = 32;

/// NVML's value for MIG being on.
const MIG_ENABLED: u32 = 1;

/// A GPU whose handle we have.
pub(super) struct OpenGpu<'nvml> {
    nvml: &'nvml Nvml,
    device: Device<'nvml>,
    /// Who it is and how it was partitioned at the last tick, nothing measured.
    pub(super) last: Gpu,
    /// How far its samples were read.
    pub(super) progress: Progress,
    /// Critical errors that wait for a reading that somebody gets.
    pub(super) xids: Vec<Xid>,
    absent: Absent,
    slow: Slow,
    described: Described,
    gpm: Gpm<'nvml>,
    /// A set per GPU, because NVML drops a whole set when one GPU refuses to be in it.
    events: Option<EventSet<'nvml>>,
    silent_ticks: u32,
    /// Whether it can be used when it answers.
    pub(super) condition: Condition,
    /// Whether it did not answer at the last tick.
    pub(super) out_of_order: bool,
}

/// What hardly ever changes: asked for once per discovery, or until it is told.
#[derive(Default)]
struct Slow {
    power_limit_milliwatts: Option<u32>,
    /// How many MIG devices there can be.
    mig_devices_max: Option<u32>,
}

// === impl OpenGpu ===

impl<'nvml> OpenGpu<'nvml> {
    pub(super) fn new(nvml: &'nvml Nvml, device: Device<'nvml>, known: Remembered) -> Self {
        Self {
            nvml,
            device,
            last: known.gpu,
            progress: known.progress,
            xids: known.undelivered,
            condition: known.condition.reopened(),
            out_of_order: false,
            absent: Absent::default(),
            slow: Slow::default(),
            described: Described::default(),
            gpm: Gpm::default(),
            events: None,
            silent_ticks: 0,
        }
    }

    /// Continues with a new handle and a new look at what the GPU can tell.
    pub(super) fn refresh(self, device: Device<'nvml>, last: Gpu) -> Self {
        let mut gpm = self.gpm;
        gpm.probe_again();
        let condition = self.condition.reopened();
        Self {
            device,
            last,
            gpm,
            condition,
            absent: Absent::default(),
            slow: Slow::default(),
            described: Described::default(),
            ..self
        }
    }

    /// Reads the GPU: what it is now, and what the answers were worth. Its processes are read if somebody wants them.
    pub(super) fn read(&mut self, watch: &Watch, now: UnixTime, processes: bool) -> (Gpu, Outcome) {
        let mut absent = std::mem::take(&mut self.absent);
        let mut questions = Questions::new(watch, self.subject(), &mut absent);
        let gpu = self.measure(&mut questions, now);
        self.condition.ask(&mut questions, &self.device, &self.xids);
        let whole = gpu.mig == Mig::Disabled;
        let processes =
            (processes && whole).then(|| self.progress.processes.read(&mut questions, &self.device, now));
        let gpu = Gpu { processes: processes.flatten(), ..gpu };
        let outcome = questions.outcome;
        self.absent = absent;

        self.silent_ticks = if outcome.is_silent() { self.silent_ticks.saturating_add(1) } else { 0 };
        let silent = (self.silent_ticks >= SILENT_TICKS_MAX).then_some(Fault::NotResponding);
        let fault = outcome.fault.or(silent);
        self.out_of_order = fault.is_some();
        let gpu = if let Some(fault) = fault {
            self.condition.fail(fault);
            self.last.unmeasured(Health::Unavailable(fault))
        } else {
            self.last = gpu.unmeasured(Health::Healthy);
            let fault = self.condition.judge(&gpu, &self.xids, now);
            Gpu { health: fault.map_or(Health::Healthy, Health::Unavailable), ..gpu }
        };
        (Gpu { xids: std::mem::take(&mut self.xids), ..gpu }, outcome)
    }

    fn subject(&self) -> Subject {
        Subject::Gpu { index: self.last.index, uuid: Some(Arc::clone(&self.last.uuid)) }
    }

    fn measure(&mut self, questions: &mut Questions<'_>, now: UnixTime) -> Gpu {
        let (nvml, device) = (self.nvml, &self.device);
        let memory = framebuffer::of_gpu(questions, nvml, device);
        let power = questions.ask("nvmlDeviceGetPowerUsage", || device.power_usage());
        let limit = &mut self.slow.power_limit_milliwatts;
        *limit = limit
            .or_else(|| questions.ask("nvmlDeviceGetEnforcedPowerLimit", || device.enforced_power_limit()));
        let energy =
            questions.ask("nvmlDeviceGetTotalEnergyConsumption", || device.total_energy_consumption());
        let mig = self.mig(questions, memory, now);
        let (activity, utilization_source) = match mig {
            Mig::Disabled => self.whole_activity(questions, now),
            Mig::Enabled(_) => self.counted_activity(questions, now),
        };
        self.receive_xids(questions, now);
        Gpu {
            health: Health::Healthy,
            mig,
            memory,
            power_milliwatts: power.map(u64::from),
            power_limit_milliwatts: self.slow.power_limit_milliwatts.map(u64::from),
            energy_millijoules: energy,
            activity,
            utilization_source,
            processes: None,
            xids: Vec::new(),
            ..self.last.clone()
        }
    }

    /// The partition; the last one when the driver does not tell this time, because a GPU is not whole again only
    /// because a call failed.
    fn mig(&mut self, questions: &mut Questions<'_>, memory: Option<Memory>, now: UnixTime) -> Mig {
        const MODE: &str = "nvmlDeviceGetMigMode";
        match questions.ask(MODE, || self.device.mig_mode()) {
            Some(mode) if mode.current == MIG_ENABLED => {}
            None if questions.has(MODE) => return self.last.mig.clone(),
            _ => return Mig::Disabled,
        }
        let last = match &self.last.mig {
            Mig::Enabled(partition) => Some(partition),
            Mig::Disabled => None,
        };
        let memory_total = memory.map(|memory| memory.total);
        let max = &mut self.slow.mig_devices_max;
        *max = max
            .or_else(|| questions.ask("nvmlDeviceGetMaxMigDeviceCount", || self.device.mig_device_count()));
        let parent = Parent { nvml: self.nvml, device: &self.device, max: *max, memory_total, last };
        Mig::Enabled(parent.partition(questions, &mut self.described, &mut self.gpm, now))
    }

    /// A whole GPU: utilization from the sample buffer, the rest, and what that does not tell, from its counters.
    fn whole_activity(
        &mut self,
        questions: &mut Questions<'_>,
        now: UnixTime,
    ) -> (Activity, UtilizationSource) {
        let counted = self.counted_activity(questions, now);
        match self.utilization(questions, now) {
            (Some(utilization), source) => (Activity { utilization: Some(utilization), ..counted.0 }, source),
            (None, _) => counted,
        }
    }

    /// What the GPU's counters say. They are all that a partitioned GPU has, and those before Hopper have none.
    fn counted_activity(
        &mut self,
        questions: &mut Questions<'_>,
        now: UnixTime,
    ) -> (Activity, UtilizationSource) {
        if !self.gpm.is_supported(questions, &self.device) {
            return (Activity::default(), UtilizationSource::None);
        }
        let activity = self.gpm.whole(questions, self.nvml, &self.device, now);
        let measured = activity.utilization.map_or(UtilizationSource::None, |_| UtilizationSource::Gpm);
        (activity, measured)
    }

    fn utilization(
        &mut self,
        questions: &mut Questions<'_>,
        now: UnixTime,
    ) -> (Option<Ppm>, UtilizationSource) {
        const SAMPLES: &str = "nvmlDeviceGetSamples";
        let last_seen = self.progress.utilization.last_seen(now);
        let samples = questions.ask(SAMPLES, || self.device.samples(Sampling::GpuUtilization, last_seen));
        if questions.has(SAMPLES) {
            let samples = samples.unwrap_or_default();
            let samples = samples.into_iter().filter_map(|sample| {
                Some(Sample { micros: sample.timestamp, percent: percent(&sample.value)? })
            });
            return (self.progress.utilization.mean(samples.collect(), now), UtilizationSource::NvmlSamples);
        }
        let rates = questions.ask("nvmlDeviceGetUtilizationRates", || self.device.utilization_rates());
        let utilization = rates.filter(|rates| rates.gpu <= 100).map(|rates| Ppm::from_percent(rates.gpu));
        (utilization, UtilizationSource::NvmlRate)
    }

    /// Takes the critical errors that the driver has for us, without waiting for one.
    fn receive_xids(&mut self, questions: &mut Questions<'_>, now: UnixTime) {
        const WAIT: &str = "nvmlEventSetWait_v2";
        self.events = self.events.take().or_else(|| self.subscribe(questions));
        let Some(events) = &self.events else { return };
        for _ in self.xids.len()..XIDS_MAX {
            match questions.call(WAIT, || events.wait(0)) {
                Some(Ok(event)) => {
                    let code = event.event_data.map(|xid| match xid {
                        XidError::Value(code) => code,
                        XidError::Unknown => 999,
                    });
                    self.xids.extend(code.map(|code| Xid { code, at: now }));
                }
                Some(Err(NvmlError::Timeout)) | None => return,
                Some(Err(error)) => {
                    questions.note(WAIT, error);
                    self.events = None;
                    return;
                }
            }
        }
    }

    fn subscribe(&self, questions: &mut Questions<'_>) -> Option<EventSet<'nvml>> {
        const REGISTER: &str = "nvmlDeviceRegisterEvents";
        if !questions.has(REGISTER) {
            return None;
        }
        let supported =
            questions.ask("nvmlDeviceGetSupportedEventTypes", || self.device.supported_event_types())?;
        let wanted = supported & EventTypes::CRITICAL_XID_ERROR;
        if wanted.is_empty() {
            return None;
        }
        let events = questions.ask("nvmlEventSetCreate", || self.nvml.create_event_set())?;
        questions
            .ask(REGISTER, || self.device.register_events(wanted, events).map_err(|refused| refused.error))
    }
}

/// Asks who the GPU at `index` is; its handle comes with it.
pub(super) fn identify<'nvml>(
    nvml: &'nvml Nvml,
    watch: &Watch,
    index: u32,
) -> (Option<(Device<'nvml>, Gpu)>, Outcome) {
    let mut absent = Absent::default();
    let mut questions = Questions::new(watch, Subject::Gpu { index, uuid: None }, &mut absent);
    let identified = identity(&mut questions, nvml, index);
    let mut outcome = questions.outcome;
    if identified.is_none() && outcome.errors.is_empty() {
        outcome.errors.push(Error::Unidentified { index });
    }
    (identified, outcome)
}

fn identity<'nvml>(
    questions: &mut Questions<'_>,
    nvml: &'nvml Nvml,
    index: u32,
) -> Option<(Device<'nvml>, Gpu)> {
    let device = questions.ask("nvmlDeviceGetHandleByIndex_v2", || nvml.device_by_index(index))?;
    let uuid = questions.ask("nvmlDeviceGetUUID", || device.uuid())?;
    let product = questions.ask("nvmlDeviceGetName", || device.name());
    let minor = questions.ask("nvmlDeviceGetMinorNumber", || device.minor_number());
    let pci = questions.ask("nvmlDeviceGetPciInfo_v3", || device.pci_info());
    let identity = Gpu {
        minor,
        pci_bus_id: pci.map(|pci| pci.bus_id.into()),
        ..Gpu::known_by(uuid.into(), index, product.unwrap_or_default().into())
    };
    Some((device, identity))
}

fn percent(value: &SampleValue) -> Option<u64> {
    match *value {
        SampleValue::U32(value) => Some(value.into()),
        SampleValue::U64(value) => Some(value),
        SampleValue::I64(value) => u64::try_from(value).ok(),
        SampleValue::F64(_) => None,
    }
}
