//! What somebody holds and no list shows: GPUs of init containers, and ids that cannot be read.
//!
//! How many GPUs that are is known, which of the free ones they are is not. So the node's sum is right in any case, and
//! a pod is named only where there is no other way it could be.

use std::sync::Arc;

use crate::observation::{Gpu, Health, Mig, Observation, Pod, Span};

use super::{Claim, GpuClaims, Holding};
use crate::cost::report::{Basis, Sharing, State};
use crate::cost::share::{Division, Share};

const FREE: Claim = Claim::Nobody(State::Unallocated);

/// Gives free GPUs to the pod whose plain init containers asked for them: it keeps them until it ends, and the kubelet
/// never lists them. Where more GPUs are free than that, or another pod has some too, which of them they are is not known.
/// So it is not when the pod watch is silent, as the pod may have ended since. Says how many are parts of GPUs then.
pub(super) fn give(seen: &Observation, gpus: &[Arc<Gpu>], claims: &mut [GpuClaims], max_age: Span) -> usize {
    let owed: Vec<&Pod> = seen.pods.iter().filter(|pod| !pod.ended && pod.unlisted_gpus > 0).collect();
    let count = owed.iter().fold(0u32, |sum, pod| sum.saturating_add(pod.unlisted_gpus));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let free: Vec<&mut GpuClaims> =
        gpus.iter().zip(claims).filter_map(|(gpu, claims)| is_free(gpu, claims).then_some(claims)).collect();
    let only = if let [pod] = owed[..] {
        Some(pod).filter(|_| seen.is_watched(max_age) && free.len() == count)
    } else {
        None
    };
    let parts = count.saturating_sub(free.len());
    for claims in free.into_iter().take(count) {
        claims.division = Division::whole(match only {
            Some(pod) => {
                let (part, basis) = (Share::WHOLE, Basis::Whole);
                let (pod, named) = (pod.key.clone(), Arc::default());
                Claim::Holder(Holding { pod, mig_device: None, part, basis, named, containers: None })
            }
            None => Claim::Nobody(State::Unattributed),
        });
    }
    parts
}

/// Takes as many free parts out of `unallocated`, slots first, which are as large as `slots` says: which of them somebody
/// holds is not known.
pub(super) fn hide_parts(
    gpus: &[Arc<Gpu>],
    claims: &mut [GpuClaims],
    parts: usize,
    slots: impl Fn(&Arc<str>) -> Option<u32>,
) {
    for _ in 0..parts {
        let mut shared = gpus.iter().zip(claims.iter_mut()).filter(|(gpu, _)| gpu.health == Health::Healthy);
        let is_hidden = shared.any(|(gpu, claims)| {
            let slot = slots(&gpu.uuid).map_or(Share::NONE, |of| Share::new(1, of.into()));
            hide_slot(claims, slot)
        });
        if !is_hidden {
            hide(gpus, claims, &[None]);
        }
    }
}

/// Whether there was a free slot to hide.
fn hide_slot(claims: &mut GpuClaims, slot: Share) -> bool {
    let free = claims.division.parts().find(|(claim, _)| **claim == FREE).map(|(_, share)| share);
    let Some(free) = free.filter(|_| !slot.is_none() && claims.sharing != Sharing::Mig) else { return false };
    let others = claims.division.parts().filter(|(claim, _)| **claim != FREE);
    let mut divided: Vec<(Claim, Share)> = others.map(|(claim, share)| (claim.clone(), share)).collect();
    divided.push((FREE, free.minus(slot)));
    claims.division = Division::new(divided, Claim::Nobody(State::Unattributed));
    true
}

fn is_free(gpu: &Gpu, claims: &GpuClaims) -> bool {
    gpu.health == Health::Healthy
        && gpu.mig == Mig::Disabled
        && claims.sharing == Sharing::Exclusive
        && claims.division.claimants().all(|claim| *claim == FREE)
}

/// Takes as much free capacity as there are ids that we cannot read out of `unallocated`: somebody holds it, and we cannot
/// say who. How many they are is known; which they are is not, but for those of a GPU that is known. GPUs that nobody
/// holds come first otherwise, as most ids stand for whole GPUs; a GPU that is broken hides nobody, as it is
/// `unavailable` whoever has it.
pub(super) fn hide(gpus: &[Arc<Gpu>], claims: &mut [GpuClaims], ids: &[Option<Arc<str>>]) {
    let mut healthy: Vec<(&Arc<str>, &mut GpuClaims)> = (gpus.iter().zip(claims))
        .filter_map(|(gpu, claims)| (gpu.health == Health::Healthy).then_some((&gpu.uuid, claims)))
        .collect();
    healthy.sort_by_key(|(_, gpu)| gpu.sharing == Sharing::Mig || gpu.holdings().next().is_some());
    let (known, unknown): (Vec<_>, Vec<_>) = ids.iter().partition(|id| id.is_some());
    for id in known.into_iter().chain(unknown) {
        let may_be = |gpu: &Arc<str>| id.as_ref().is_none_or(|id| id == gpu);
        let claims = healthy.iter_mut().filter(|(gpu, _)| may_be(gpu));
        let free = claims.flat_map(|(_, gpu)| gpu.division.claimants_mut()).find(|claim| **claim == FREE);
        if let Some(claim) = free {
            *claim = Claim::Nobody(State::Unattributed);
        }
    }
}
