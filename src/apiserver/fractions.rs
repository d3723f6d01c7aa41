//! Which parts of which GPUs a scheduler gave to a pod, as it wrote that into the pod's annotations.
//!
//! Schedulers that give out parts of GPUs choose the GPU themselves and tell the pod; the device ids that the kubelet
//! hands out with it are slots, which may name another GPU. Each writes in a way of its own:
//!
//! - HAMi and Volcano: a list of containers, each a list of devices with megabytes and percent ([`hami`]).
//! - Alibaba's gpushare and ACK: the index of the GPU and the memory on it ([`gpushare`]).
//! - KAI and Run:ai: the part alone; which GPU it is says another pod, which holds it for a group ([`kai`]).
//!
//! Whatever cannot be read is no fraction: an annotation is text that anybody may write.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::objects::Object;
use crate::observation::{Fraction, FractionOf, Ppm};

mod gpushare;
mod hami;
mod kai;

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// Bytes of a gibibyte.
const GIB: u64 = 1 << 30;

/// The most devices that are kept of one pod: no node has as many, and an annotation has room for thousands.
const DEVICES_MAX: usize = 256;

/// The longest UUID that is kept, in bytes. Real ones have 40.
const UUID_BYTES_MAX: usize = 64;

/// How much of a device; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    compute: Option<Ppm>,
    memory: Option<u64>,
}

/// What a pod has of each device.
type Parts = BTreeMap<FractionOf, Part>;

/// Which parts of which GPUs the pod has, each device once, sorted.
pub(super) fn of(pod: &Object) -> Vec<Fraction> {
    let mut parts = hami::read(pod);
    if parts.is_empty() {
        parts = gpushare::read(pod);
    }
    if parts.is_empty() {
        parts = kai::read(&pod.metadata);
    }
    let parts = parts.into_iter().take(DEVICES_MAX);
    parts.map(|(of, Part { compute, memory })| Fraction { of, compute, memory }).collect()
}

/// The group of pods for which the pod holds its GPU.
pub(super) fn reserved_for(pod: &Object) -> Option<Arc<str>> {
    kai::reserved_for(&pod.metadata)
}

/// A UUID that begins as those of its kind do.
fn uuid(text: &str, begin: &str) -> Option<Arc<str>> {
    (text.starts_with(begin) && text.len() <= UUID_BYTES_MAX).then(|| text.into())
}

/// Adds a part to what is there of the device.
fn add(parts: &mut Parts, of: FractionOf, part: Part) {
    parts.entry(of).and_modify(|before| *before = before.and(part)).or_insert(part);
}

// === impl Part ===

impl Part {
    /// A device as a whole.
    const WHOLE: Self = Self { compute: None, memory: None };

    /// Both at once. Where one has no limit both have none.
    fn and(self, other: Self) -> Self {
        let compute = self.compute.zip(other.compute);
        let memory = self.memory.zip(other.memory);
        Self {
            compute: compute.map(|(one, other)| Ppm::new(one.get().saturating_add(other.get()))),
            memory: memory.map(|(one, other)| one.saturating_add(other)),
        }
    }

    /// One after the other: the larger one.
    fn or(self, other: Self) -> Self {
        Self {
            compute: self.compute.zip(other.compute).map(|(one, other)| one.max(other)),
            memory: self.memory.zip(other.memory).map(|(one, other)| one.max(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The fractions of a pod with these annotations and labels, and the resources of its one container.
    pub(super) fn read(pod: &Value) -> String {
        let pod: Object = serde_json::from_value(pod.clone()).unwrap();
        let fractions = of(&pod).into_iter().map(|Fraction { of, compute, memory }| {
            let device = match of {
                FractionOf::Gpu(uuid) | FractionOf::MigDevice(uuid) => uuid.to_string(),
                FractionOf::Index(index) => format!("#{index}"),
                FractionOf::Group(group) => format!("@{group}"),
            };
            let compute = compute.map(|ppm| format!(" {}ppm", ppm.get())).unwrap_or_default();
            let memory = memory.map(|bytes| format!(" {}MiB", bytes / MIB)).unwrap_or_default();
            format!("{device}{compute}{memory}")
        });
        fractions.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn no_annotation_is_no_fraction() {
        assert_eq!(read(&json!({})), "");
    }

    const KEYS: &[&str] = &[
        "hami.io/vgpu-devices-allocated",
        "hami.io/vgpu-mig-allocations",
        "volcano.sh/vgpu-ids-new",
        "scheduler.framework.gpushare.allocation",
        "gpushare.alibabacloud.com/core-percentage",
        "ALIYUN_COM_GPU_MEM_IDX",
        "ALIYUN_COM_GPU_MEM_POD",
        "ALIYUN_COM_GPU_MEM_DEV",
        "gpu-fraction",
        "gpu-memory",
    ];

    proptest! {
        #[test]
        fn no_text_is_too_odd(
            texts in prop::collection::vec((prop::sample::select(KEYS), text()), 1..4),
            group in text(),
        ) {
            let annotations: BTreeMap<&str, String> = texts.into_iter().collect();
            let pod = json!({ "metadata": { "annotations": annotations, "labels": { "runai-gpu-group": group } } });
            let pod: Object = serde_json::from_value(pod).unwrap();
            let fractions = of(&pod);
            prop_assert!(fractions.windows(2).all(|pair| pair[0].of < pair[1].of), "{:?}", fractions);
        }
    }

    /// What annotations are made of.
    const PIECES: [&str; 24] = [
        "GPU-1",
        "GPU-2",
        "MIG-1",
        ",",
        ":",
        ";",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "NVIDIA",
        "A100",
        "0",
        "1",
        "8000",
        "30",
        "-1",
        "1.5",
        "18446744073709551616",
        "deviceIndex",
        "migUUID",
        " ",
        "\u{0}",
    ];

    /// A fuzz target: what is written is chosen piece by piece.
    #[test]
    fn any_annotations() {
        bolero::check!().with_iterations(10_000).with_type::<[(u8, Vec<u8>); 3]>().for_each(|written| {
            let piece = |piece: &u8| PIECES[usize::from(*piece) % PIECES.len()];
            let annotation = |(key, pieces): &(u8, Vec<u8>)| {
                (KEYS[usize::from(*key) % KEYS.len()], pieces.iter().map(piece).collect::<String>())
            };
            let annotations: BTreeMap<&str, String> = written.iter().map(annotation).collect();
            let pod: Object =
                serde_json::from_value(json!({ "metadata": { "annotations": annotations } })).unwrap();
            let fractions = of(&pod);
            assert!(
                fractions.windows(2).all(|pair| pair[0].of < pair[1].of) && fractions.len() <= DEVICES_MAX
            );
        });
    }

    /// Anything, and much that is nearly right.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "(GPU-[0-9a-f]{0,2}|MIG-1)?[,:;\\[\\]]{0,2}(NVIDIA)?[,:;]{0,2}-?[0-9]{0,20}[,:;]{0,2}[0-9]{0,4}[:;]{0,2}",
            "[0-9.e+-]{0,12}",
            "\\{?(\"[0-9]{0,3}\":)?\\{?(\"-?[0-9]{0,12}\":-?[0-9]{0,21})?\\}{0,2}",
            "\\[\\{\"containerIndex\":-?[0-9]{0,3},\"deviceIndex\":0,\"migUUID\":\"MIG-1\"\\}\\]",
        ]
    }
}
