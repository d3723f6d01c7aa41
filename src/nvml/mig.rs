//! MIG: one GPU cut into several that CUDA sees as devices.
//!
//! A GPU instance owns compute slices and memory slices; a compute instance inside it owns some or all of its compute
//! slices. NVML lists each compute instance as a MIG device with an index, and the indices have holes. A handle of a
//! MIG device dies when the device is destroyed and may be given to another one later, so handles are got anew in every
//! tick and what is kept by UUID is plain data. What a slice is comes from the GPU, never from a profile's name: `1g.10gb` is
//! an eighth of the memory of one model and a quarter of that of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use nvml_wrapper::{Device, Nvml};

use super::ffi;
use super::framebuffer;
use super::gpm::Gpm;
use super::questions::Questions;
use crate::observation::{Activity, MigDevice, Partition, Ppm, UnixTime};

const MIB: u64 = 1 << 20;

/// How many compute slices a GPU has whose driver does not say: all MIG-capable ones but the A30 and its like.
const COMPUTE_SLICES: u32 = 7;

/// More than any GPU has: what the driver says beyond it is not a number of slices.
const COMPUTE_SLICES_MAX: u32 = 64;

/// What a MIG device is, by its UUID, as long as its slices stay the same.
pub(super) type Described = BTreeMap<Arc<str>, (Slices, Description)>;

/// The size of a MIG device (`nvmlDeviceGetAttributes_v2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slices {
    of_gpu_instance: u32,
    of_compute_instance: u32,
    /// Memory of the GPU instance.
    mebibytes: u64,
}

/// What does not change while a MIG device exists.
#[derive(Clone, Debug)]
pub(super) struct Description {
    gpu_instance: u32,
    compute_instance: u32,
    profile: Arc<str>,
}

/// The GPU that is cut.
pub(super) struct Parent<'a, 'nvml> {
    pub(super) nvml: &'nvml Nvml,
    pub(super) device: &'a Device<'nvml>,
    /// How many MIG devices there can be (`nvmlDeviceGetMaxMigDeviceCount`); `None` where that is not told.
    pub(super) max: Option<u32>,
    /// Bytes of its framebuffer; `None` where its memory cannot be read while it is cut.
    pub(super) memory_total: Option<u64>,
    /// How it was cut when that was last read.
    pub(super) last: Option<&'a Partition>,
}

// === impl Parent ===

impl<'nvml> Parent<'_, 'nvml> {
    /// Reads the MIG devices that exist now.
    pub(super) fn partition(
        &self,
        questions: &mut Questions<'_>,
        described: &mut Described,
        gpm: &mut Gpm<'nvml>,
        now: UnixTime,
    ) -> Partition {
        let compute_slices = self
            .max
            .filter(|n| (1..=COMPUTE_SLICES_MAX).contains(n))
            .or(self.last.map(|last| last.compute_slices))
            .unwrap_or(COMPUTE_SLICES);
        let memory_slices = memory_slices_of_gpu(compute_slices);
        let errors = questions.outcome.errors.len();
        let mut devices: Vec<_> = (0..compute_slices)
            .filter_map(|index| self.device_at(index, memory_slices, questions, described))
            .collect();
        let complete = questions.outcome.errors.len() == errors;
        if !complete {
            self.keep_unread(&mut devices);
        }
        described.retain(|uuid, _| devices.iter().any(|device| device.uuid == *uuid));
        self.measure((&mut devices, complete), questions, gpm, now);
        Partition { compute_slices, memory_slices, devices }
    }

    /// Adds the devices of the last partition that could not be read now: whoever holds one has it still. One whose
    /// place another has now was unmade.
    fn keep_unread(&self, devices: &mut Vec<MigDevice>) {
        let last = self.last.into_iter().flat_map(|last| &last.devices);
        for device in last {
            let place = |one: &MigDevice| (one.gpu_instance, one.compute_instance);
            if !devices.iter().any(|read| read.uuid == device.uuid || place(read) == place(device)) {
                devices.push(MigDevice { memory: None, activity: Activity::default(), ..device.clone() });
            }
        }
    }

    fn device_at(
        &self,
        index: u32,
        memory_slices_of_gpu: u32,
        questions: &mut Questions<'_>,
        described: &mut Described,
    ) -> Option<MigDevice> {
        let handle = questions
            .ask_mig("nvmlDeviceGetMigDeviceHandleByIndex", || self.device.mig_device_by_index(index))?;
        let uuid: Arc<str> = questions.ask_mig("nvmlDeviceGetUUID", || handle.uuid())?.into();
        let slices = slices(questions, &handle)?;
        let known = described.get(&uuid).filter(|known| known.0 == slices).map(|known| known.1.clone());
        let description = known.or_else(|| self.describe(questions, &handle, slices))?;
        described.insert(Arc::clone(&uuid), (slices, description.clone()));
        Some(MigDevice {
            uuid,
            profile: description.profile,
            gpu_instance: description.gpu_instance,
            compute_instance: description.compute_instance,
            gpu_instance_slices: slices.of_gpu_instance,
            compute_slices: slices.of_compute_instance,
            memory_slices: slices.memory_slices(self.memory_total, memory_slices_of_gpu),
            memory: framebuffer::of_mig_device(questions, self.nvml, &handle),
            activity: Activity::default(),
        })
    }

    fn describe(
        &self,
        questions: &mut Questions<'_>,
        handle: &Device<'nvml>,
        slices: Slices,
    ) -> Option<Description> {
        let gpu_instance =
            questions.ask_mig("nvmlDeviceGetGpuInstanceId", || ffi::gpu_instance_id(self.nvml, handle))?;
        let compute_instance = questions
            .ask_mig("nvmlDeviceGetComputeInstanceId", || ffi::compute_instance_id(self.nvml, handle))?;
        let name = questions.ask_mig("nvmlDeviceGetName", || handle.name());
        let named = name.as_deref().and_then(profile_in_name).map(Arc::from);
        let profile = named.unwrap_or_else(|| slices.profile(self.memory_total));
        Some(Description { gpu_instance, compute_instance, profile })
    }

    /// The counters are those of a GPU instance, whatever compute instances are in it.
    fn measure(
        &self,
        (devices, complete): (&mut [MigDevice], bool),
        questions: &mut Questions<'_>,
        gpm: &mut Gpm<'nvml>,
        now: UnixTime,
    ) {
        let instances = gpu_instances(devices);
        let names: BTreeMap<u32, Arc<str>> =
            instances.iter().map(|(id, members)| (*id, members.join(" ").into())).collect();
        gpm.retain(|members| names.values().any(|name| **name == *members));
        if !gpm.is_supported(questions, self.device) {
            return;
        }
        for (id, members) in &names {
            let activity = gpm.instance(questions, self.nvml, self.device, (members, *id), now);
            let alone = complete && instances.get(id).is_some_and(|members| members.len() == 1);
            for device in devices.iter_mut().filter(|device| device.gpu_instance == *id) {
                device.activity = of_compute_instance(device, alone, activity);
            }
        }
    }
}

// === impl Slices ===

impl Slices {
    /// Memory slices of the GPU instance, rounded up: the driver keeps a little of each slice for itself.
    fn memory_slices(self, memory_total: Option<u64>, of_gpu: u32) -> u32 {
        let Some(total) = memory_total.map(|bytes| bytes / MIB).filter(|mebibytes| *mebibytes > 0) else {
            return self.usual_memory_slices(of_gpu);
        };
        let slices = self.mebibytes.saturating_mul(of_gpu.into()).div_ceil(total);
        u32::try_from(slices).unwrap_or(of_gpu).clamp(1, of_gpu.max(1))
    }

    /// Where the memory of the GPU is not known: on a GPU of seven compute and eight memory slices, three compute
    /// slices come with half of the memory and all of them with all of it.
    fn usual_memory_slices(self, of_gpu: u32) -> u32 {
        match (of_gpu, self.of_gpu_instance) {
            (8, 3) => 4,
            (8, 7) => 8,
            (_, slices) => slices.clamp(1, of_gpu.max(1)),
        }
    }

    /// The profile's name by the rule of NVIDIA's own tools, for drivers that do not tell it: gigabytes are those of the
    /// GPU times the eighths of it that the GPU instance has.
    fn profile(self, memory_total: Option<u64>) -> Arc<str> {
        const EIGHTHS: u64 = 8;
        let Self { of_gpu_instance, of_compute_instance, mebibytes } = self;
        let gigabytes = memory_total.map(|bytes| bytes / MIB).filter(|total| *total > 0).map_or_else(
            || mebibytes.div_ceil(1024),
            |total| {
                let eighths = mebibytes.saturating_mul(EIGHTHS).div_ceil(total);
                (eighths.saturating_mul(total.div_ceil(1024)) + EIGHTHS / 2) / EIGHTHS
            },
        );
        if of_compute_instance == of_gpu_instance {
            format!("{of_gpu_instance}g.{gigabytes}gb").into()
        } else {
            format!("{of_compute_instance}c.{of_gpu_instance}g.{gigabytes}gb").into()
        }
    }
}

/// The UUIDs of the MIG devices in each GPU instance, sorted.
fn gpu_instances(devices: &[MigDevice]) -> BTreeMap<u32, Vec<Arc<str>>> {
    let mut instances: BTreeMap<u32, Vec<Arc<str>>> = BTreeMap::new();
    for device in devices {
        instances.entry(device.gpu_instance).or_default().push(Arc::clone(&device.uuid));
    }
    for members in instances.values_mut() {
        members.sort();
    }
    instances
}

/// What a compute instance did of what its GPU instance did.
///
/// One that is alone did all of it, and did so on fewer slices. Where several share a GPU instance nobody can say which
/// of them worked, and giving each the whole of it would count it twice; that none of them did can be said of each.
fn of_compute_instance(device: &MigDevice, alone: bool, of_gpu_instance: Activity) -> Activity {
    let (own, all) = (device.compute_slices, device.gpu_instance_slices);
    if own >= all {
        of_gpu_instance
    } else if alone {
        let part = |part: Option<Ppm>| part.and_then(|part| concentrated(part, own, all));
        Activity {
            utilization: part(of_gpu_instance.utilization),
            sm_active: part(of_gpu_instance.sm_active),
            tensor_active: part(of_gpu_instance.tensor_active),
            // The memory is the GPU instance's whoever is in it.
            dram_active: of_gpu_instance.dram_active,
        }
    } else {
        let nothing = of_gpu_instance.utilization.filter(|utilization| *utilization == Ppm::ZERO);
        Activity { utilization: nothing, ..Activity::default() }
    }
}

/// A part of `all` slices as a part of the `own` ones on which it happened; at most all of them.
fn concentrated(part: Ppm, own: u32, all: u32) -> Option<Ppm> {
    let parts = (u64::from(part.get()) * u64::from(all)).checked_div(own.into())?;
    Some(u32::try_from(parts).map_or(Ppm::ALL, |parts| Ppm::new(parts.min(Ppm::ALL.get()))))
}

/// A GPU of seven compute slices has eight memory slices; the others have as many of both.
fn memory_slices_of_gpu(compute_slices: u32) -> u32 {
    if compute_slices == COMPUTE_SLICES { 8 } else { compute_slices }
}

fn slices(questions: &mut Questions<'_>, handle: &Device<'_>) -> Option<Slices> {
    let attributes = questions.ask_mig("nvmlDeviceGetAttributes_v2", || handle.attributes())?;
    Some(Slices {
        of_gpu_instance: attributes.gpu_instance_slice_count,
        of_compute_instance: attributes.compute_instance_slice_count,
        mebibytes: attributes.memory_size_mb,
    })
}

/// The profile at the end of a MIG device's name, such as `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
fn profile_in_name(name: &str) -> Option<&str> {
    name.rsplit_once(" MIG ").map(|(_, profile)| profile.trim()).filter(|profile| !profile.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A MIG device of a GPU with `total` mebibytes and `compute_slices` compute slices: its memory slices and profile.
    #[track_caller]
    fn check(total: u64, compute_slices: u32, slices: (u32, u32, u64), expected: (u32, &str)) {
        let (of_gpu_instance, of_compute_instance, mebibytes) = slices;
        let slices = Slices { of_gpu_instance, of_compute_instance, mebibytes };
        let total = Some(total * MIB);
        let memory_slices = slices.memory_slices(total, memory_slices_of_gpu(compute_slices));
        assert_eq!((memory_slices, &*slices.profile(total)), expected);
    }

    #[test]
    fn slices_come_from_what_the_driver_says() {
        // A100 40 GB.
        check(40_960, 7, (1, 1, 4_864), (1, "1g.5gb"));
        check(40_960, 7, (1, 1, 9_856), (2, "1g.10gb"));
        check(40_960, 7, (2, 2, 9_856), (2, "2g.10gb"));
        check(40_960, 7, (3, 3, 19_968), (4, "3g.20gb"));
        check(40_960, 7, (3, 1, 19_968), (4, "1c.3g.20gb"));
        check(40_960, 7, (4, 4, 19_968), (4, "4g.20gb"));
        check(40_960, 7, (7, 7, 40_192), (8, "7g.40gb"));
        // A100 and H100 80 GB.
        check(81_920, 7, (1, 1, 9_856), (1, "1g.10gb"));
        check(81_920, 7, (3, 3, 40_192), (4, "3g.40gb"));
        check(81_559, 7, (4, 4, 40_448), (4, "4g.40gb"));
        // A30.
        check(24_576, 4, (1, 1, 5_836), (1, "1g.6gb"));
        check(24_576, 4, (2, 2, 11_672), (2, "2g.12gb"));
        check(24_576, 4, (4, 4, 23_344), (4, "4g.24gb"));
    }

    #[test]
    fn slices_have_a_fallback_where_the_memory_of_the_gpu_is_not_known() {
        for (of_gpu, of_gpu_instance, expected) in [
            (8, 1, 1),
            (8, 2, 2),
            (8, 3, 4),
            (8, 4, 4),
            (8, 7, 8),
            (4, 1, 1),
            (4, 4, 4),
            (8, 0, 1),
            (0, 3, 1),
        ] {
            let slices = Slices { of_gpu_instance, of_compute_instance: of_gpu_instance, mebibytes: 0 };
            assert_eq!(slices.memory_slices(None, of_gpu), expected, "{of_gpu_instance} of {of_gpu}");
            assert_eq!(slices.memory_slices(Some(0), of_gpu), expected, "{of_gpu_instance} of {of_gpu}");
        }
    }

    #[test]
    fn work_on_fewer_slices_is_a_larger_part_of_them() {
        for (percent, own, all, expected) in [
            (30, 1, 3, Some(90)),
            (50, 1, 3, Some(100)),
            (0, 1, 7, Some(0)),
            (40, 2, 4, Some(80)),
            (40, 0, 4, None),
        ] {
            let part = concentrated(Ppm::from_percent(percent), own, all);
            assert_eq!(part, expected.map(Ppm::from_percent), "{percent} % of {all} slices on {own}");
        }
    }

    #[test]
    fn absurd_sizes_do_no_harm() {
        let absurd = Slices { of_gpu_instance: u32::MAX, of_compute_instance: 1, mebibytes: u64::MAX };
        assert_eq!(absurd.memory_slices(Some(MIB), 8), 8);
        assert!(absurd.profile(Some(u64::MAX)).starts_with("1c."));
    }

    #[test]
    fn the_name_has_the_profile_at_its_end() {
        for (name, expected) in [
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", Some("1g.5gb")),
            ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", Some("1c.3g.40gb")),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", Some("1g.5gb+me")),
            ("NVIDIA A100-SXM4-40GB", None),
            ("NVIDIA A100-SXM4-40GB MIG ", None),
        ] {
            assert_eq!(profile_in_name(name), expected);
        }
    }
}
