//! HAMi's and Volcano's vGPUs.
//!
//! Containers are separated by `;`, the devices of one by `:`, and a device is `UUID,type,MiB,percent`. HAMi ends
//! each container and each device with its separator, Volcano puts it between containers only. A container
//! without devices is an empty entry. HAMi counts init containers first.
//!
//! - Percent of the cores: 0 is no limit. MiB: 0 is no limit, too.
//! - A UUID with brackets behind it, as in `GPU-…[0-1]`, is a MIG device of that GPU, which Volcano and older HAMi make
//!   without saying its UUID.
//! - Newer HAMi writes the MIG devices that it made as JSON into an annotation of its own, by container and device.
//!
//! (HAMi: `pkg/device/devices.go`, `pkg/device/initContainer.go`, `pkg/device/nvidia/mig_allocations.go`; Volcano:
//! `pkg/scheduler/api/devices/nvidia/vgpu`.)

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::super::objects::Object;
use super::super::requests::Role;
use super::{MIB, Part, Parts, add, uuid};
use crate::observation::{FractionOf, Ppm};

/// HAMi's annotation.
const HAMI: &str = "hami.io/vgpu-devices-allocated";

/// HAMi's MIG devices.
const MIG_DEVICES: &str = "hami.io/vgpu-mig-allocations";

/// Annotations of the same form: Volcano's, an older HAMi's, and HAMi's when it was 4paradigm's.
const ALIKE: &[&str] = &["volcano.sh/vgpu-ids-new", "hami.io/vgpu-ids-new", "4pd.io/vgpu-ids-new"];

/// A MIG device that HAMi made, or is to make.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MigDevice {
    container_index: usize,
    device_index: usize,
    /// Missing until it is made.
    #[serde(rename = "migUUID")]
    mig_uuid: String,
}

/// What the pod has of each device.
pub(super) fn read(pod: &Object) -> Parts {
    if let Some(written) = pod.metadata.annotation(HAMI) {
        return of_containers(pod, written, &mig_devices(pod));
    }
    let mut all = Parts::new();
    let written = ALIKE.iter().find_map(|key| pod.metadata.annotation(key)).unwrap_or_default();
    for container in written.split(';') {
        devices(container).for_each(|(of, part)| add(&mut all, of, part));
    }
    all
}

/// What init containers have is theirs one after the other, before the others, whose it is at once.
fn of_containers(pod: &Object, written: &str, mig_devices: &BTreeMap<(usize, usize), Arc<str>>) -> Parts {
    let containers: Vec<&str> = written.strip_suffix(';').unwrap_or(written).split(';').collect();
    let roles: Vec<Role> = pod.spec.roles().collect();
    let (mut first, mut beside) = (Parts::new(), Parts::new());
    for (at, container) in containers.iter().enumerate() {
        let is_first = roles.len() == containers.len() && roles.get(at) == Some(&Role::First);
        let mut own = Parts::new();
        for (nth, (of, part)) in devices(container).enumerate() {
            match mig_devices.get(&(at, nth)) {
                Some(uuid) => add(&mut own, FractionOf::MigDevice(Arc::clone(uuid)), Part::WHOLE),
                None => add(&mut own, of, part),
            }
        }
        for (of, part) in own {
            if is_first {
                first.entry(of).and_modify(|before| *before = before.or(part)).or_insert(part);
            } else {
                add(&mut beside, of, part);
            }
        }
    }
    if !pod.status.is_initialized() {
        for (of, part) in first {
            beside.entry(of).and_modify(|after| *after = after.or(part)).or_insert(part);
        }
    }
    beside
}

/// The devices of one container.
fn devices(container: &str) -> impl Iterator<Item = (FractionOf, Part)> {
    container.split(':').filter_map(device)
}

fn device(text: &str) -> Option<(FractionOf, Part)> {
    let mut fields = text.split(',');
    let (name, _type) = (fields.next()?.trim(), fields.next()?);
    let mebibytes: u32 = fields.next()?.trim().parse().ok()?;
    let percent: u32 = fields.next()?.trim().parse().ok()?;
    let name = name.split_once('[').map_or(name, |(name, _)| name);
    if let Some(uuid) = uuid(name, "MIG-") {
        // It was there before, and nobody else gets a part of it.
        return Some((FractionOf::MigDevice(uuid), Part::WHOLE));
    }
    let part = Part {
        compute: (percent > 0).then(|| Ppm::from_percent(percent)),
        memory: (mebibytes > 0).then(|| u64::from(mebibytes) * MIB),
    };
    Some((FractionOf::Gpu(uuid(name, "GPU-")?), part))
}

/// The MIG devices that were made, by container and device.
fn mig_devices(pod: &Object) -> BTreeMap<(usize, usize), Arc<str>> {
    let written = pod.metadata.annotation(MIG_DEVICES).unwrap_or_default();
    let devices: Vec<MigDevice> = serde_json::from_str(written).unwrap_or_default();
    let made = devices.into_iter().filter_map(|device| {
        Some(((device.container_index, device.device_index), uuid(&device.mig_uuid, "MIG-")?))
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::read;

    #[track_caller]
    fn check(annotation: &str, expected: &str) {
        for key in ["hami.io/vgpu-devices-allocated", "volcano.sh/vgpu-ids-new", "4pd.io/vgpu-ids-new"] {
            let found = read(&json!({ "metadata": { "annotations": { key: annotation } } }));
            assert_eq!(found, expected, "{key}: {annotation}");
        }
    }

    #[test]
    fn devices_are_read_with_their_parts() {
        check("GPU-a,NVIDIA,3000,30:;", "GPU-a 300000ppm 3000MiB");
        check("GPU-a,NVIDIA,3000,0:;", "GPU-a 3000MiB");
        check("GPU-a,NVIDIA,0,30:;", "GPU-a 300000ppm");
        check("GPU-a,NVIDIA,0,0:;", "GPU-a");
        check("GPU-a,NVIDIA,3000,100:;", "GPU-a 1000000ppm 3000MiB");
        check("GPU-a,NVIDIA,3000,250:;", "GPU-a 1000000ppm 3000MiB");
        check("GPU-a,NVIDIA-A100-SXM4,3000,30,more:;", "GPU-a 300000ppm 3000MiB");
        check("GPU-b,NVIDIA,1,2:GPU-a,NVIDIA,3,4:;", "GPU-a 40000ppm 3MiB, GPU-b 20000ppm 1MiB");
        check("MIG-a,NVIDIA,4864,0:;", "MIG-a");
        check("GPU-a[0-1],NVIDIA,4864,0:;", "GPU-a 4864MiB");
    }

    #[test]
    fn separators_may_be_missing_doubled_or_trailing() {
        for odd in
            ["GPU-a,NVIDIA,1,2", "GPU-a,NVIDIA,1,2;", ";;:GPU-a,NVIDIA,1,2::;:;;", " GPU-a,NVIDIA, 1,2 ;"]
        {
            check(odd, "GPU-a 20000ppm 1MiB");
        }
    }

    #[test]
    fn what_several_containers_have_of_one_device_is_added_up() {
        check(
            "GPU-a,NVIDIA,1,60:;GPU-a,NVIDIA,2,60:;GPU-b,NVIDIA,1,1:;",
            "GPU-a 1000000ppm 3MiB, GPU-b 10000ppm 1MiB",
        );
        // Who has no limit in one container has none.
        check("GPU-a,NVIDIA,1,0:;GPU-a,NVIDIA,2,60:;", "GPU-a 3MiB");
    }

    #[test]
    fn garbage_is_no_fraction_and_costs_no_other() {
        for garbage in
            ["", ";", "x", "GPU-a", "GPU-a,NVIDIA", "GPU-a,NVIDIA,1", "GPU-a,NVIDIA,-1,2", "GPU-a,NVIDIA,1,x"]
        {
            check(garbage, "");
        }
        check(",,,", "");
        check("mlu-0,MLU,1,2:;", "");
        check(&format!("GPU-{},NVIDIA,1,2:;", "a".repeat(100_000)), "");
        check("GPU-a,NVIDIA,99999999999,2:;", "");
        check("GPU-a,NVIDIA,x,2:GPU-b,NVIDIA,1,2:;", "GPU-b 20000ppm 1MiB");
    }

    /// A pod with a plain init container, a sidecar and two containers.
    fn pod(annotation: &str, initialized: &str) -> Value {
        json!({
            "metadata": { "annotations": { "hami.io/vgpu-devices-allocated": annotation } },
            "spec": { "initContainers": [{}, { "restartPolicy": "Always" }], "containers": [{}, {}] },
            "status": { "conditions": [{ "type": "Initialized", "status": initialized }] },
        })
    }

    #[test]
    fn init_containers_come_first_and_give_back_what_they_had() {
        let written = "GPU-a,NVIDIA,9,90:GPU-b,NVIDIA,1,1:;GPU-a,NVIDIA,1,10:;GPU-a,NVIDIA,2,20:;;";
        assert_eq!(read(&pod(written, "False")), "GPU-a 900000ppm 9MiB, GPU-b 10000ppm 1MiB");
        assert_eq!(read(&pod(written, "True")), "GPU-a 300000ppm 3MiB");
        // Written by somebody who left the init containers out.
        assert_eq!(read(&pod("GPU-a,NVIDIA,1,10:;GPU-a,NVIDIA,2,20:;", "True")), "GPU-a 300000ppm 3MiB");
    }

    #[test]
    fn a_mig_device_that_was_made_is_the_device() {
        let pod = |mig_devices: &str| {
            read(&json!({ "metadata": { "annotations": {
                "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,4864,0:GPU-b,NVIDIA,4864,0:;",
                "hami.io/vgpu-mig-allocations": mig_devices,
            } } }))
        };
        let made = r#"[{"containerIndex":0,"deviceIndex":1,"gpuUUID":"GPU-b","profile":"1g.5gb",
            "placement":{"start":0,"size":1},"migUUID":"MIG-b","gpuInstanceID":7,"computeInstanceID":0}]"#;
        assert_eq!(pod(made), "GPU-a 4864MiB, MIG-b");
        let planned = r#"[{"containerIndex":0,"deviceIndex":1,"gpuUUID":"GPU-b","profile":"1g.5gb"}]"#;
        for unknown in [planned, "", "{}", "[1]", "[{\"containerIndex\":-1}]"] {
            assert_eq!(pod(unknown), "GPU-a 4864MiB, GPU-b 4864MiB", "{unknown}");
        }
    }
}
