//! What a division depends on: as long as that is as it was, so is the division.

use std::sync::Arc;

use crate::observation::{Allocations, Dynamic, Gpu, Memory, Mig, Node, Observation, Pod};

use super::Rules;

/// Everything that attribution reads of an observation. Of most observations it is that of the one before: the kubelet
/// and the API server said nothing new, and no GPU was partitioned or broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    rules: Rules,
    answer: Option<Arc<Allocations>>,
    /// Whether the answer is young enough to say what is free.
    is_fresh: bool,
    pods: Arc<[Pod]>,
    /// Whether the pods were told recently enough to say who is gone.
    is_watched: bool,
    dynamic: Arc<Dynamic>,
    node: Arc<Node>,
    gpus: Vec<Gpu>,
}

// === impl Ground ===

impl Ground {
    pub(super) fn of(seen: &Observation, gpus: &[Arc<Gpu>], rules: &Rules) -> Self {
        let is_fresh = |answer: &Arc<Allocations>| seen.at.since(answer.read_at) <= rules.max_age;
        Self {
            rules: rules.clone(),
            answer: seen.allocations.clone(),
            is_fresh: seen.allocations.as_ref().is_some_and(is_fresh),
            pods: Arc::clone(&seen.pods),
            is_watched: seen.is_watched(rules.max_age),
            dynamic: Arc::clone(&seen.dynamic),
            node: Arc::clone(&seen.node),
            gpus: gpus.iter().map(|gpu| layout(gpu)).collect(),
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
