//! What a division depends on: as long as that is as it was, so is the division.

use std::sync::Arc;

use crate::observation::{
    Allocation, Allocations, DeviceId, Dynamic, Gpu, Memory, Mig, Node, Observation, Pod, Span, Uptime,
};

use super::Rules;

/// Everything that attribution reads of an observation. Of most observations it is that of the one before: the kubelet
/// and the API server said nothing new, and no GPU was partitioned or broke. An answer that says the same as the one before
/// may still bring back who was taken for gone: only the listing knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    rules: Rules,
    /// What the kubelet said, but for the time; `None` until it has said something.
    answer: Option<Answer>,
    pods: Arc<[Pod]>,
    /// Whether the pods were told recently enough to say who is gone.
    is_watched: bool,
    dynamic: Arc<Dynamic>,
    node: Arc<Node>,
    gpus: Vec<Gpu>,
}

/// An answer of the kubelet, but for the time when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    containers: Arc<[Allocation]>,
    advertised: Option<Arc<[DeviceId]>>,
    answering_since: Uptime,
    /// Whether it is young enough to say what is free.
    is_fresh: bool,
    /// Whether it came long enough after a break to say who is gone.
    is_settled: bool,
}

// === impl Ground ===

impl Ground {
    pub(super) fn of(seen: &Observation, gpus: &[Arc<Gpu>], rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            answer: seen.allocations.as_ref().map(|answer| Answer::of(answer, seen.at, rules.max_age)),
            pods: Arc::clone(&seen.pods),
            is_watched: seen.is_watched(rules.max_age),
            dynamic: Arc::clone(&seen.dynamic),
            node: Arc::clone(&seen.node),
            gpus: gpus.iter().map(|gpu| layout(gpu)).collect(),
        }
    }
}

// === impl Answer ===

impl Answer {
    fn of(answer: &Allocations, now: Uptime, max_age: Span) -> Self {
        Self {
            containers: Arc::clone(&answer.containers),
            advertised: answer.advertised.clone(),
            answering_since: answer.answering_since,
            is_fresh: now.since(answer.read_at) <= max_age,
            is_settled: answer.read_at.since(answer.answering_since) > max_age,
        }
    }
}

/// A GPU without what it measured, but for how much memory there is.
fn layout(gpu: &Gpu) -> Gpu {
    let size = |memory: Option<Memory>| memory.map(|memory| Memory { used: 0, ..memory });
    let mut layout = Gpu { memory: size(gpu.memory), ..gpu.unmeasured(gpu.health) };
    if let (Mig::Enabled(bare), Mig::Enabled(measured)) = (&mut layout.mig, &gpu.mig) {
        for (bare, measured) in bare.devices.iter_mut().zip(&measured.devices) {
            bare.memory = size(measured.memory);
        }
    }
    layout
}
