//! Who has which share of each GPU, from what the kubelet says and the driver shows.
//!
//! Every capacity of a GPU ends on exactly one [`Claim`]: a holder's, or nobody's in one of three ways. The claims of a
//! GPU sum to one. Which of its devices exist comes from the driver; who holds them comes from the kubelet; where the
//! kubelet cannot be believed the capacity is `unattributed`, never `unallocated`.

mod containers;
mod divider;
mod dynamic;
mod ground;
mod listing;
mod memory;
mod naming;
mod parts;
mod unlisted;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::observation::{Gpu, Mig, MigDevice, Observation, Partition, PodKey, Span};

use super::account::Containers;
use super::report::{Basis, NamedDevice, Sharing, State};
use super::share::{Division, Share};

pub use self::listing::{Held, Identity, Listing};
pub use self::memory::Memory;
pub use self::naming::DeviceKey;

pub(super) use self::ground::is_same;

use self::divider::Divider;
use self::ground::Ground;
use self::naming::Naming;

/// How a GPU is divided among holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How large the share of a MIG device is.
    pub mig_share: MigShare,
    /// Who pays for the free slots of a shared device.
    pub sharing_policy: SharingPolicy,
    /// How old the kubelet's answer may be before it is not believed any more.
    pub max_age: Span,
    /// Whether what a pod has is divided among its containers, too.
    pub containers: bool,
}

impl Default for Rules {
    /// What holds where nobody says otherwise.
    fn default() -> Self {
        Self {
            mig_share: MigShare::default(),
            sharing_policy: SharingPolicy::default(),
            max_age: Span::from_secs(60),
            containers: false,
        }
    }
}

/// How large the share of a MIG device is. Never the larger of the two: 4g + 3g would sum to 1.071.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigShare {
    /// Its compute slices out of the GPU's.
    #[default]
    Compute,
    /// Its memory slices out of the GPU's.
    Memory,
    /// The mean of the two.
    Blend,
}

/// Who pays for the free slots of a shared device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharingPolicy {
    /// The node: a holder has its slots, free slots are unallocated.
    #[default]
    Slots,
    /// Those who are present share the whole device.
    Active,
}

/// Who has a part of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A pod.
    Holder(Holding),
    /// Nobody, or nobody we can name: the state says in which way.
    Nobody(State),
}

/// What one pod has of one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The pod.
    pub pod: PodKey,
    /// The MIG device it is on; `None` on a whole GPU.
    pub mig_device: Option<Arc<str>>,
    /// The part that it has of the device.
    pub part: Share,
    /// By what that part is measured.
    pub basis: Basis,
    /// How the kubelet named it; nothing for a GPU that is held for another pod's group or by an init container.
    pub named: Arc<[NamedDevice]>,
    /// Which of the pod's containers has which part of that; `None` where nobody says, or nobody asks.
    pub containers: Option<Arc<Containers>>,
}

/// The division of one GPU for one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuClaims {
    /// Everybody's part; sums to the whole GPU.
    pub division: Division<Claim>,
    /// How it is shared.
    pub sharing: Sharing,
    /// Whether its holders were promised more than there is, so that their parts are scaled down to the whole.
    pub overcommitted: bool,
}

/// What attribution found on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed {
    /// The claims on each GPU, in the order of the GPUs given. What is as it was is the same object.
    pub gpus: Vec<Arc<GpuClaims>>,
    /// Allocated devices that could not be mapped to a GPU.
    pub unmapped: usize,
    /// Exclusive devices that several pods name, with those who name them.
    pub conflicts: BTreeSet<(DeviceKey, Vec<PodKey>)>,
    /// From what this follows.
    ground: Ground,
}

/// Divides each of `gpus` among its holders, as `before` where nothing has changed that it depends on. That must be what
/// came of the observation before, with the same memory.
#[must_use]
pub fn attribute(
    seen: &Observation,
    gpus: &[Arc<Gpu>],
    rules: &Rules,
    memory: &mut Memory,
    before: Option<&Attributed>,
) -> Attributed {
    let ground = Ground::of(seen, gpus, rules);
    let same = before.filter(|before| before.ground == ground);
    // What changes nothing need not be listened to a second time.
    let is_heard = same.is_some() && memory.has_heard(seen);
    let has_changed = if is_heard { false } else { memory.listen(seen, rules.max_age) };
    if let Some(before) = same.filter(|_| !has_changed) {
        debug_assert!(
            !cfg!(test) || before.follows_anew(seen, gpus, rules, memory),
            "attribution is not what it would be"
        );
        let Attributed { gpus, unmapped, conflicts, ground: _ } = before.clone();
        return Attributed { gpus, unmapped, conflicts, ground };
    }
    let divided = divide(seen, gpus, rules, memory);
    let known = before.map(|before| &before.gpus[..]).unwrap_or_default();
    let share = |(at, claims): (usize, GpuClaims)| match known.get(at) {
        Some(known) if **known == claims => Arc::clone(known),
        _ => Arc::new(claims),
    };
    let gpus = divided.gpus.into_iter().enumerate().map(share).collect();
    Attributed { gpus, unmapped: divided.unmapped, conflicts: divided.conflicts, ground }
}

/// What follows from an observation and from what is remembered.
#[derive(Debug)]
struct Divided {
    gpus: Vec<GpuClaims>,
    unmapped: usize,
    conflicts: BTreeSet<(DeviceKey, Vec<PodKey>)>,
}

fn divide(seen: &Observation, gpus: &[Arc<Gpu>], rules: &Rules, memory: &mut Memory) -> Divided {
    if seen.allocations.is_none() {
        let gpus = gpus.iter().map(|gpu| unattributed(gpu)).collect();
        return Divided { gpus, unmapped: 0, conflicts: BTreeSet::new() };
    }
    let naming = Naming::read(memory.held(), gpus, seen);
    memory.remember(seen, gpus, &naming);
    let mut conflicts = BTreeSet::new();
    let mut claims: Vec<GpuClaims> =
        (gpus.iter()).map(|gpu| Divider::new(rules, memory, &naming, &mut conflicts).divide(gpu)).collect();
    // Where a plugin gives out slots, what asks for a GPU asks for one of them.
    if !naming.has_slots() {
        let parts = unlisted::give(seen, gpus, &mut claims, rules.max_age);
        let slots = |gpu: &Arc<str>| memory.slots(&(Arc::clone(gpu), None));
        unlisted::hide_parts(gpus, &mut claims, parts, slots);
    }
    unlisted::hide(gpus, &mut claims, naming.hidden());
    Divided { gpus: claims, unmapped: naming.unmapped(), conflicts }
}

fn unattributed(gpu: &Gpu) -> GpuClaims {
    GpuClaims::unattributed(match gpu.mig {
        Mig::Enabled(_) => Sharing::Mig,
        Mig::Disabled => Sharing::Exclusive,
    })
}

// === impl Attributed ===

impl Attributed {
    /// Whether the same would come of it if everything were done anew, and the same be remembered.
    fn follows_anew(&self, seen: &Observation, gpus: &[Arc<Gpu>], rules: &Rules, memory: &Memory) -> bool {
        let mut anew = memory.clone();
        let _ = anew.listen(seen, rules.max_age);
        let Divided { gpus, unmapped, conflicts } = divide(seen, gpus, rules, &mut anew);
        let is_same = |(one, other): (&Arc<GpuClaims>, &GpuClaims)| **one == *other;
        self.gpus.len() == gpus.len()
            && self.gpus.iter().zip(&gpus).all(is_same)
            && (self.unmapped, &self.conflicts) == (unmapped, &conflicts)
            && *memory == anew
    }
}

// === impl MigShare ===

impl MigShare {
    fn of(self, device: &MigDevice, partition: &Partition) -> Share {
        let compute = Share::new(device.compute_slices.into(), partition.compute_slices.into());
        // Compute instances of one GPU instance share its memory.
        let memory = Share::new(device.compute_slices.into(), device.gpu_instance_slices.into())
            .of(Share::new(device.memory_slices.into(), partition.memory_slices.into()));
        self.choose(compute, memory)
    }

    fn choose(self, compute: Share, memory: Share) -> Share {
        match self {
            Self::Compute => compute,
            Self::Memory => memory,
            Self::Blend => compute.mean(memory),
        }
    }
}

// === impl Holding ===

impl Holding {
    /// Whether others may be on the device too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.basis != Basis::Whole
    }

    /// Whether `other` is the same pod on the same device.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.pod == other.pod && self.mig_device == other.mig_device
    }
}

// === impl GpuClaims ===

impl GpuClaims {
    /// Nobody has any of it that we can name.
    fn unattributed(sharing: Sharing) -> Self {
        Self { division: Division::whole(Claim::Nobody(State::Unattributed)), sharing, overcommitted: false }
    }

    /// The division of a gap, seen from both of its ends: who held something before and after held it in between, who
    /// did so at one end only may have or not, and that part is nobody's that we can name.
    #[must_use]
    pub fn over_gap(&self, after: &Self) -> Division<Claim> {
        let mut came = after
            .holdings()
            .fold(Share::NONE, |sum, (holding, share)| sum.plus(share.minus(self.share_of(holding))));
        let mut claims = Vec::new();
        for (claim, share) in self.division.parts() {
            let (kept, unknown) = match claim {
                Claim::Holder(holding) => {
                    let kept = share.min(after.share_of(holding));
                    (kept, share.minus(kept))
                }
                Claim::Nobody(State::Unallocated) => {
                    let taken = came.min(share);
                    came = came.minus(taken);
                    (share.minus(taken), taken)
                }
                Claim::Nobody(_) => (share, Share::NONE),
            };
            claims.push((claim.clone(), kept));
            claims.push((Claim::Nobody(State::Unattributed), unknown));
        }
        Division::new(claims, Claim::Nobody(State::Unattributed))
    }

    /// What the same pod has of the same device here.
    fn share_of(&self, holding: &Holding) -> Share {
        let same = self.holdings().filter(|(other, _)| other.is_same_place(holding));
        same.fold(Share::NONE, |sum, (_, share)| sum.plus(share))
    }

    /// Those who hold a part, with their shares.
    pub fn holdings(&self) -> impl Iterator<Item = (&Holding, Share)> {
        self.division.parts().filter_map(|(claim, share)| match claim {
            Claim::Holder(holding) => Some((holding, share)),
            Claim::Nobody(_) => None,
        })
    }
}
