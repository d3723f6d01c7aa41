//! What somebody holds and no list shows: GPUs of init containers, and ids that cannot be read.
//!
//! How many GPUs that are is known, which of the free ones they are is not. So the node's sum is right in any case, and
//! a pod is named only where there is no other way it could be.

use std::sync::Arc;

use crate::observation::{Gpu, Health, Mig, Observation, Pod};

use super::{Claim, GpuClaims, Holding};
use crate::cost::report::{Basis, Sharing, State};
use crate::cost::share::{Division, Share};

const FREE: Claim = Claim::Nobody(State::Unallocated);

/// Gives free GPUs to the pod whose plain init containers asked for them: it keeps them until it ends, and the kubelet
/// never lists them. Where more GPUs are free than that, or another pod has some too, which of them they are is not known.
pub(super) fn give(seen: &Observation, gpus: &[Arc<Gpu>], claims: &mut [GpuClaims]) {
    let owed: Vec<&Pod> = seen.pods.iter().filter(|pod| !pod.ended && pod.unlisted_gpus > 0).collect();
    let count = owed.iter().fold(0u32, |sum, pod| sum.saturating_add(pod.unlisted_gpus));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let free: Vec<&mut GpuClaims> =
        gpus.iter().zip(claims).filter_map(|(gpu, claims)| is_free(gpu, claims).then_some(claims)).collect();
    let only = if let [pod] = owed[..] { Some(pod).filter(|_| free.len() == count) } else { None };
    for claims in free.into_iter().take(count) {
        claims.division = Division::whole(match only {
            Some(pod) => {
                let (part, basis) = (Share::WHOLE, Basis::Whole);
                Claim::Holder(Holding { pod: pod.key.clone(), mig_device: None, part, basis })
            }
            None => Claim::Nobody(State::Unattributed),
        });
    }
}

fn is_free(gpu: &Gpu, claims: &GpuClaims) -> bool {
    gpu.health == Health::Healthy
        && gpu.mig == Mig::Disabled
        && claims.sharing == Sharing::Exclusive
        && claims.division.claimants().all(|claim| *claim == FREE)
}

/// Takes as many free capacities as there are ids that we cannot read out of `unallocated`: somebody holds them, and we cannot
/// say who. Which they are is not known; how many they are is, so the node's sum is right. GPUs that nobody holds come
/// first, as most ids stand for whole GPUs; a GPU that is broken hides nobody, as it is `unavailable` whoever has it.
pub(super) fn hide(gpus: &[Arc<Gpu>], claims: &mut [GpuClaims], ids: usize) {
    let mut healthy: Vec<&mut GpuClaims> = (gpus.iter().zip(claims))
        .filter_map(|(gpu, claims)| (gpu.health == Health::Healthy).then_some(claims))
        .collect();
    healthy.sort_by_key(|gpu| gpu.sharing == Sharing::Mig || gpu.holdings().next().is_some());
    let claims = healthy.into_iter().flat_map(|gpu| gpu.division.claimants_mut());
    for claim in claims.filter(|claim| **claim == FREE).take(ids) {
        *claim = Claim::Nobody(State::Unattributed);
    }
}
