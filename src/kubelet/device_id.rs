//! Device ids as device plugins spell them.
//!
//! The kubelet does not know what a device id means: it passes on what the plugin said. NVIDIA's plugin says the UUID
//! of the GPU or MIG device, with `::n` behind it for the n-th replica of a shared one. GKE's says the number of the
//! device file, `nvidia<N>`, with `/gi<M>` for a MIG device and `/vgpu<K>` for a shared slot.
//!
//! Other plugins use ids that look alike but do not name the GPU that the pod runs on (HAMi and Volcano decide later,
//! in an annotation; gpushare makes one up): a [`DeviceTarget::Slot`]. And some name what NVML does not show (PCI
//! addresses, IOMMU groups, mediated devices). Those are [`DeviceTarget::Unreadable`]: somebody holds something, and a
//! guess would bill the wrong GPU. The same goes for an id that is almost right: two spellings of one replica would
//! count twice.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::observation::{DeviceId, DeviceTarget};

/// What stands between a device and the number of its replica.
const REPLICA_SEPARATOR: &str = "::";

/// How NVML begins the UUID of a GPU.
const GPU_PREFIX: &str = "GPU-";

/// How NVML begins the UUID of a MIG device.
const MIG_PREFIX: &str = "MIG-";

/// The lengths of a UUID's five groups of hexadecimal digits.
const UUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// How long that is, with the hyphens between the groups.
const UUID_LENGTH: usize = 36;

/// Reads a device id; one that no rule reads is kept as it is.
///
/// UUIDs come back in lower case behind `GPU-` or `MIG-`, as NVML spells them.
#[must_use]
pub fn parse(id: &str) -> DeviceId {
    nvidia_device(id)
        .or_else(|| gke_device(id))
        .or_else(|| slot(id))
        .unwrap_or_else(|| DeviceId { target: DeviceTarget::Unreadable(id.into()), replica: None })
}

/// The forms of NVIDIA's plugin.
fn nvidia_device(id: &str) -> Option<DeviceId> {
    let (device, replica) = match id.split_once(REPLICA_SEPARATOR) {
        Some((device, replica)) => (device, Some(number(replica)?)),
        None => (id, None),
    };
    let target = gpu(device).map(DeviceTarget::Gpu).or_else(|| mig(device))?;
    Some(DeviceId { target, replica })
}

/// The forms of GKE's plugin.
fn gke_device(id: &str) -> Option<DeviceId> {
    let mut parts = id.strip_prefix("nvidia")?.split('/');
    let minor = number(parts.next()?)?;
    let mut gpu_instance = None;
    let mut replica = None;
    for part in parts {
        match (part.strip_prefix("gi"), part.strip_prefix("vgpu")) {
            (Some(instance), _) if gpu_instance.is_none() && replica.is_none() => {
                gpu_instance = Some(number(instance)?);
            }
            (_, Some(slot)) if replica.is_none() => replica = Some(number(slot)?),
            _ => return None,
        }
    }
    let target = match gpu_instance {
        Some(gpu_instance) => DeviceTarget::MinorInstance { minor, gpu_instance },
        None => DeviceTarget::Minor(minor),
    };
    Some(DeviceId { target, replica })
}

/// `GPU-<uuid>-<i>` of HAMi and Volcano, `GPU-<uuid>-memory-<i>` and `GPU-<uuid>-core-<i>` of Volcano,
/// `GPU-<uuid>-_-<n>` of gpushare.
fn slot(id: &str) -> Option<DeviceId> {
    let (device, unit) = id.split_at_checked(GPU_PREFIX.len() + UUID_LENGTH)?;
    gpu(device)?;
    let unit = unit.strip_prefix('-')?;
    let kinds = ["memory-", "core-", "_-"];
    number(kinds.into_iter().find_map(|kind| unit.strip_prefix(kind)).unwrap_or(unit))?;
    Some(DeviceId { target: DeviceTarget::Slot(id.into()), replica: None })
}

/// `GPU-<uuid>`.
fn gpu(device: &str) -> Option<Arc<str>> {
    let uuid = uuid(strip_prefix_of_any_case(device, GPU_PREFIX)?)?;
    Some(format!("{GPU_PREFIX}{uuid}").into())
}

/// `MIG-<uuid>`, or `MIG-GPU-<uuid>/<gpu instance>/<compute instance>` of drivers before 470.42.
fn mig(device: &str) -> Option<DeviceTarget> {
    let rest = strip_prefix_of_any_case(device, MIG_PREFIX)?;
    if let Some(uuid) = uuid(rest) {
        return Some(DeviceTarget::MigDevice(format!("{MIG_PREFIX}{uuid}").into()));
    }
    let mut parts = rest.split('/');
    let gpu = gpu(parts.next()?)?;
    let gpu_instance = number(parts.next()?)?;
    let compute_instance = number(parts.next()?)?;
    parts.next().is_none().then_some(DeviceTarget::MigInstance { gpu, gpu_instance, compute_instance })
}

/// A UUID in lower case.
fn uuid(text: &str) -> Option<String> {
    let groups = text.split('-').map(str::len);
    let is_uuid = groups.eq(UUID_GROUPS) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    is_uuid.then(|| text.to_ascii_lowercase())
}

/// A decimal number as a program writes it: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let is_canonical = text == "0" || (text.starts_with(|first: char| matches!(first, '1'..='9')));
    if is_canonical { u32::from_str(text).ok() } else { None }
}

fn strip_prefix_of_any_case<'text>(text: &'text str, prefix: &str) -> Option<&'text str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

// === impl DeviceId ===

/// The id as its device plugin spells it.
impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            DeviceTarget::Gpu(uuid) | DeviceTarget::MigDevice(uuid) => f.write_str(uuid)?,
            DeviceTarget::MigInstance { gpu, gpu_instance, compute_instance } => {
                write!(f, "{MIG_PREFIX}{gpu}/{gpu_instance}/{compute_instance}")?;
            }
            DeviceTarget::Minor(minor) => write!(f, "nvidia{minor}")?,
            DeviceTarget::MinorInstance { minor, gpu_instance } => {
                write!(f, "nvidia{minor}/gi{gpu_instance}")?;
            }
            DeviceTarget::Claimed { claim, device, .. } => write!(f, "{device} of claim {claim}")?,
            DeviceTarget::Claim(claim) => write!(f, "claim {claim}")?,
            DeviceTarget::Slot(id) | DeviceTarget::Unreadable(id) => f.write_str(id)?,
        }
        match (self.replica, &self.target) {
            (None, _) => Ok(()),
            (Some(slot), DeviceTarget::Minor(_) | DeviceTarget::MinorInstance { .. }) => {
                write!(f, "/vgpu{slot}")
            }
            (Some(replica), _) => write!(f, "{REPLICA_SEPARATOR}{replica}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "4cf8db2d-06c0-7d70-1a51-e59b25b2c16c";

    #[track_caller]
    fn check(id: &str, target: DeviceTarget, replica: Option<u32>) {
        assert_eq!(parse(id), DeviceId { target, replica }, "{id}");
    }

    #[track_caller]
    fn check_unreadable(ids: &[&str]) {
        for id in ids {
            check(id, DeviceTarget::Unreadable((*id).into()), None);
        }
    }

    fn gpu_target() -> DeviceTarget {
        DeviceTarget::Gpu(format!("GPU-{UUID}").into())
    }

    fn mig_target() -> DeviceTarget {
        DeviceTarget::MigDevice(format!("MIG-{UUID}").into())
    }

    fn mig_instance(gpu_instance: u32, compute_instance: u32) -> DeviceTarget {
        DeviceTarget::MigInstance { gpu: format!("GPU-{UUID}").into(), gpu_instance, compute_instance }
    }

    #[test]
    fn the_forms_of_nvidia() {
        check(&format!("GPU-{UUID}"), gpu_target(), None);
        check(&format!("GPU-{UUID}::0"), gpu_target(), Some(0));
        check(&format!("GPU-{UUID}::4294967295"), gpu_target(), Some(u32::MAX));
        check(&format!("MIG-{UUID}"), mig_target(), None);
        check(&format!("MIG-{UUID}::12"), mig_target(), Some(12));
        check(&format!("MIG-GPU-{UUID}/7/0"), mig_instance(7, 0), None);
        check(&format!("MIG-GPU-{UUID}/13/1::3"), mig_instance(13, 1), Some(3));
    }

    #[test]
    fn the_forms_of_gke() {
        check("nvidia0", DeviceTarget::Minor(0), None);
        check("nvidia15", DeviceTarget::Minor(15), None);
        check("nvidia3/vgpu2", DeviceTarget::Minor(3), Some(2));
        check("nvidia0/gi11", DeviceTarget::MinorInstance { minor: 0, gpu_instance: 11 }, None);
        check("nvidia1/gi3/vgpu0", DeviceTarget::MinorInstance { minor: 1, gpu_instance: 3 }, Some(0));
    }

    #[test]
    fn case_does_not_matter_in_a_uuid() {
        let upper = UUID.to_ascii_uppercase();
        check(&format!("GPU-{upper}"), gpu_target(), None);
        check(&format!("gpu-{upper}::1"), gpu_target(), Some(1));
        check(&format!("Mig-{upper}"), mig_target(), None);
        check(&format!("mig-gpu-{upper}/1/0"), mig_instance(1, 0), None);
    }

    #[test]
    fn a_slot_keeps_its_spelling_and_names_no_gpu() {
        let slot = |id: &str| check(id, DeviceTarget::Slot(id.into()), None);
        // HAMi and Volcano: the GPU is in an annotation.
        slot(&format!("GPU-{UUID}-3"));
        slot(&format!("GPU-{UUID}-memory-17"));
        slot(&format!("GPU-{UUID}-core-99"));
        // Alibaba's gpushare: a unit of memory; the GPU is made up.
        slot(&format!("GPU-{UUID}-_-42"));
    }

    #[test]
    fn the_forms_of_other_plugins_are_not_guessed() {
        check_unreadable(&[
            // KubeVirt: an IOMMU group, a PCI address, a mediated device.
            "42",
            "0000:3b:00.0",
            UUID,
            // Windows' Linux and Tegra: all there is.
            "all",
            "tegra",
        ]);
    }

    #[test]
    fn almost_right_is_not_right() {
        check_unreadable(&[
            "",
            " ",
            "::",
            "::1",
            "GPU-",
            "MIG-",
            "MIG-GPU-",
            "GPU-4cf8db2d",
            "GPU-4cf8db2d06c07d701a51e59b25b2c16c",
            "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16g",
            "GPU-4cf8db2d-06c07-d70-1a51-e59b25b2c16c",
            "GPU-é8db2d-06c0-7d70-1a51-e59b25b2c16c",
            &format!(" GPU-{UUID}"),
            &format!("GPU-{UUID}\n"),
            &format!("GPU-{UUID}::"),
            &format!("GPU-{UUID}::-1"),
            &format!("GPU-{UUID}::+1"),
            &format!("GPU-{UUID}::01"),
            &format!("GPU-{UUID}::1::2"),
            &format!("GPU-{UUID}::4294967296"),
            &format!("GPU-{UUID}/1/0"),
            &format!("GPU-{UUID}/vgpu0"),
            &format!("GPU-{UUID}-"),
            &format!("GPU-{UUID}-03"),
            &format!("GPU-{UUID}-memory-"),
            &format!("GPU-{UUID}-disk-1"),
            &format!("GPU-{UUID}-1-2"),
            &format!("MIG-{UUID}-1"),
            &format!("MIG-GPU-{UUID}"),
            &format!("MIG-GPU-{UUID}/1"),
            &format!("MIG-GPU-{UUID}/1/"),
            &format!("MIG-GPU-{UUID}/1/0/0"),
            &format!("MIG-MIG-{UUID}/1/0"),
            "nvidia",
            "nvidiactl",
            "nvidia-uvm",
            "nvidia00",
            "nvidia0/",
            "nvidia0::1",
            "nvidia0/gi",
            "nvidia0/vgpu",
            "nvidia0/gi1/gi2",
            "nvidia0/vgpu1/gi2",
            "nvidia0/vgpu1/vgpu2",
            "Nvidia0",
            "\0",
            "💸::1",
            &"G".repeat(10_240),
            &format!("GPU-{}", "4".repeat(10_240)),
        ]);
    }

    fn any_device_id() -> impl Strategy<Value = DeviceId> {
        let uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
        let target = prop_oneof![
            uuid.prop_map(|uuid| DeviceTarget::Gpu(format!("GPU-{uuid}").into())),
            uuid.prop_map(|uuid| DeviceTarget::MigDevice(format!("MIG-{uuid}").into())),
            (uuid, any::<u32>(), any::<u32>()).prop_map(|(uuid, gpu_instance, compute_instance)| {
                let gpu = format!("GPU-{uuid}").into();
                DeviceTarget::MigInstance { gpu, gpu_instance, compute_instance }
            }),
            any::<u32>().prop_map(DeviceTarget::Minor),
            any::<(u32, u32)>()
                .prop_map(|(minor, gpu_instance)| DeviceTarget::MinorInstance { minor, gpu_instance }),
        ];
        (target, any::<Option<u32>>()).prop_map(|(target, replica)| DeviceId { target, replica })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(id in any_device_id()) {
            prop_assert_eq!(parse(&id.to_string()), id);
        }

        #[test]
        fn every_text_is_some_device_and_keeps_its_spelling(
            text in prop_oneof![any::<String>(), "(GPU-|MIG-|MIG-GPU-|nvidia)[0-9a-f:/-]{0,40}(gi|vgpu|::)?[0-9]{0,3}"]
        ) {
            prop_assert_eq!(parse(&text).to_string().to_ascii_lowercase(), text.to_ascii_lowercase());
        }
    }
}
