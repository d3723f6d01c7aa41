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
    pods: Shared<Arc<[Pod]>>,
    /// Whether the pods were told recently enough to say who is gone.
    is_watched: bool,
    dynamic: Shared<Arc<Dynamic>>,
    node: Shared<Arc<Node>>,
    gpus: Vec<Gpu>,
}

/// An answer of the kubelet, but for the time when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    containers: Shared<Arc<[Allocation]>>,
    advertised: Option<Shared<Arc<[DeviceId]>>>,
    answering_since: Uptime,
    /// Whether it is young enough to say what is free.
    is_fresh: bool,
    /// Whether it came long enough after a break to say who is gone.
    is_settled: bool,
}

/// Something that is mostly the same object as before, which then need not be looked at.
#[derive(Clone, Debug)]
struct Shared<P>(P);

// === impl Ground ===

impl Ground {
    pub(super) fn of(seen: &Observation, gpus: &[Arc<Gpu>], rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            answer: seen.allocations.as_ref().map(|answer| Answer::of(answer, seen.at, rules.max_age)),
            pods: Shared(Arc::clone(&seen.pods)),
            is_watched: seen.is_watched(rules.max_age),
            dynamic: Shared(Arc::clone(&seen.dynamic)),
            node: Shared(Arc::clone(&seen.node)),
            gpus: gpus.iter().map(|gpu| layout(gpu)).collect(),
        }
    }
}

// === impl Shared ===

impl<T: ?Sized + PartialEq> PartialEq for Shared<Arc<T>> {
    fn eq(&self, other: &Self) -> bool {
        is_same(&self.0, &other.0)
    }
}

impl<T: ?Sized + Eq> Eq for Shared<Arc<T>> {}

// === impl Answer ===

impl Answer {
    fn of(answer: &Allocations, now: Uptime, max_age: Span) -> Self {
        Self {
            containers: Shared(Arc::clone(&answer.containers)),
            advertised: answer.advertised.clone().map(Shared),
            answering_since: answer.answering_since,
            is_fresh: now.since(answer.read_at) <= max_age,
            is_settled: answer.read_at.since(answer.answering_since) > max_age,
        }
    }
}

/// Whether two are equal. Mostly they are one object, of which a list's own comparison takes no notice.
pub(in crate::cost) fn is_same<T: ?Sized + PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
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
