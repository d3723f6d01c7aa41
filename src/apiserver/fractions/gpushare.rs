//! Alibaba's gpushare, and the scheduler of ACK that came from it.
//!
//! The open-source scheduler extender writes the index of one GPU, the memory that the pod asks for and the memory of
//! the GPU, both in the unit that its device plugin was started with. It does not write the unit: a GPU with more than
//! [`UNITS_MAX`] units has no gibibytes, and where the GPU's memory is missing the pod's own tells as much. With both
//! the part is exact whatever the unit.
//!
//! ACK writes JSON, `{"container":{"gpu":GiB}}`, and in the same form the percent of the cores, for which the pod asks
//! by the resource `aliyun.com/gpu-core.percentage`, 100 for one GPU. Its next form (`gpushare.alibabacloud.com/gpumemory`)
//! is documented nowhere and not read.

use std::collections::BTreeMap;

use super::super::objects::Object;
use super::{GIB, MIB, Part, Parts};
use crate::observation::{FractionOf, Ppm};

/// ACK: gibibytes by container and GPU.
const MEMORY: &str = "scheduler.framework.gpushare.allocation";
/// ACK: percent of the cores by container and GPU.
const CORES: &str = "gpushare.alibabacloud.com/core-percentage";
/// ACK: what a container asks for of the cores.
const CORES_ASKED: &str = "aliyun.com/gpu-core.percentage";

/// Open source: the index of the GPU.
const INDEX: &str = "ALIYUN_COM_GPU_MEM_IDX";
/// Open source: units of memory that the pod asks for.
const OF_POD: &str = "ALIYUN_COM_GPU_MEM_POD";
/// Open source: units of memory that the GPU has.
const OF_GPU: &str = "ALIYUN_COM_GPU_MEM_DEV";

/// More units than this are no gibibytes: no GPU has a tebibyte of memory, and none as little as a gibibyte.
const UNITS_MAX: u64 = 1024;

/// What the pod has of each device.
pub(super) fn read(pod: &Object) -> Parts {
    let memory = by_gpu(pod, MEMORY);
    let cores = by_gpu(pod, CORES);
    if memory.is_empty() && cores.is_empty() {
        return one_gpu(pod).into_iter().collect();
    }
    let asked = pod.spec.beside(CORES_ASKED);
    let on_each = asked.checked_div(u32::try_from(memory.len()).unwrap_or(u32::MAX)).unwrap_or(0);
    let part = |gpu: u32| {
        let percent = cores.get(&gpu).map_or(on_each, |percent| u32::try_from(*percent).unwrap_or(u32::MAX));
        let compute = (percent > 0).then(|| Ppm::from_percent(percent));
        let memory = memory.get(&gpu).filter(|gibibytes| **gibibytes > 0);
        let memory = memory.map(|gibibytes| gibibytes.saturating_mul(GIB));
        (FractionOf::Index(gpu), Part { compute, memory })
    };
    let parts = memory.keys().chain(cores.keys()).map(|gpu| part(*gpu));
    // Nothing of a GPU is not the whole of it.
    parts.filter(|(_, part)| *part != Part::WHOLE).collect()
}

/// What ACK wrote, without the containers.
fn by_gpu(pod: &Object, annotation: &str) -> BTreeMap<u32, u64> {
    let written = pod.metadata.annotation(annotation).unwrap_or_default();
    let containers: BTreeMap<String, BTreeMap<String, u64>> =
        serde_json::from_str(written).unwrap_or_default();
    let mut by_gpu: BTreeMap<u32, u64> = BTreeMap::new();
    for (gpu, amount) in containers.values().flatten() {
        let Ok(gpu) = gpu.parse() else { continue };
        let sum = by_gpu.entry(gpu).or_default();
        *sum = sum.saturating_add(*amount);
    }
    by_gpu
}

/// What the open-source extender wrote.
fn one_gpu(pod: &Object) -> Option<(FractionOf, Part)> {
    let number = |key: &str| pod.metadata.annotation(key)?.parse::<u64>().ok().filter(|number| *number > 0);
    let index: u32 = pod.metadata.annotation(INDEX)?.parse().ok()?;
    let (asked, all) = (number(OF_POD)?, number(OF_GPU));
    let unit = if all.unwrap_or(asked) > UNITS_MAX { MIB } else { GIB };
    let part = Part { compute: all.map(|all| part_of(asked, all)), memory: Some(asked.saturating_mul(unit)) };
    Some((FractionOf::Index(index), part))
}

fn part_of(asked: u64, all: u64) -> Ppm {
    let millionths = u128::from(asked) * u128::from(Ppm::ALL.get()) / u128::from(all.max(1));
    Ppm::new(u32::try_from(millionths).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::read;

    #[track_caller]
    fn check(annotations: &Value, cores_asked: &str, expected: &str) {
        let pod = json!({
            "metadata": { "annotations": annotations },
            "spec": { "containers": [{ "resources": { "limits": { "aliyun.com/gpu-core.percentage": cores_asked } } }] },
        });
        assert_eq!(read(&pod), expected, "{annotations}");
    }

    #[test]
    fn the_open_source_extender_names_one_gpu_and_units() {
        let check = |index: &str, asked: &str, all: &str, expected: &str| {
            let annotations = json!({
                "ALIYUN_COM_GPU_MEM_IDX": index, "ALIYUN_COM_GPU_MEM_POD": asked, "ALIYUN_COM_GPU_MEM_DEV": all,
                "ALIYUN_COM_GPU_MEM_ASSIGNED": "true", "ALIYUN_COM_GPU_MEM_ASSUME_TIME": "1564740000000000000",
            });
            check(&annotations, "0", expected);
        };
        check("0", "2", "8", "#0 250000ppm 2048MiB");
        check("3", "5", "15", "#3 333333ppm 5120MiB");
        check("1", "8", "", "#1 8192MiB");
        // Mebibytes: no GPU has that many gibibytes.
        check("1", "4055", "16220", "#1 250000ppm 4055MiB");
        check("1", "512", "16220", "#1 31565ppm 512MiB");
        check("1", "2048", "", "#1 2048MiB");
        check("1", "9", "8", "#1 1000000ppm 9216MiB");
        check("1", "18446744073709551615", "8", "#1 1000000ppm 17592186044415MiB");
        for (index, asked) in
            [("-1", "2"), ("", "2"), ("x", "2"), ("0", ""), ("0", "0"), ("0", "-2"), ("0", "2Gi")]
        {
            check(index, asked, "8", "");
        }
    }

    #[test]
    fn ack_writes_memory_and_cores_by_container_and_gpu() {
        let memory = |json: &str| json!({ "scheduler.framework.gpushare.allocation": json });
        check(&memory(r#"{"0":{"1":1},"1":{"1":7}}"#), "0", "#1 8192MiB");
        check(&memory(r#"{"0":{"0":4,"1":4}}"#), "0", "#0 4096MiB, #1 4096MiB");
        check(&memory(r#"{"0":{"2":4}}"#), "30", "#2 300000ppm 4096MiB");
        check(&memory(r#"{"0":{"0":4,"1":4}}"#), "60", "#0 300000ppm 4096MiB, #1 300000ppm 4096MiB");
        let both = json!({
            "scheduler.framework.gpushare.allocation": r#"{"0":{"1":1},"1":{"1":7}}"#,
            "gpushare.alibabacloud.com/core-percentage": r#"{"0":{"1":50},"1":{"1":25}}"#,
        });
        check(&both, "10", "#1 750000ppm 8192MiB");
        let cores = json!({ "gpushare.alibabacloud.com/core-percentage": r#"{"0":{"1":500}}"# });
        check(&cores, "0", "#1 1000000ppm");
        for garbage in [
            "",
            "{}",
            "[]",
            "null",
            "1",
            r#"{"0":1}"#,
            r#"{"0":{"x":1}}"#,
            r#"{"0":{"1":-1}}"#,
            r#"{"0":{"1":0}}"#,
        ] {
            check(&memory(garbage), "0", "");
        }
    }
}
