//! What somebody holds and no list shows: GPUs of init containers, and ids that cannot be read.
//!
//! How many GPUs that are is known, which of the free ones they are is not. So the node's sum is right in any case, and
//! a pod is named only where there is no other way it could be.

use std::sync::Arc;

use crate::observation::{Gpu, Health, Mig, Observation};

use super::{Claim, GpuClaims, Holding};
use crate::cost::report::{Basis, Sharing, State};
use crate::cost::share::{Division, Share};

const FREE: Claim = Claim::Nobody(State::Unallocated);

/// Gives free GPUs to the pods whose plain init containers asked for them: they keep them until they end, and the
/// kubelet never lists them. Where more GPUs are free than that, which of them they are is not known.
pub(super) fn give(seen: &Observation, gpus: &[Arc<Gpu>], claims: &mut [GpuClaims]) {
    let pods = seen.pods.iter().filter(|pod| !pod.ended);
    let owed = pods.flat_map(|pod| (0..pod.unlisted_gpus).map(move |_| &pod.key));
    let free: Vec<&mut GpuClaims> =
        gpus.iter().zip(claims).filter_map(|(gpu, claims)| is_free(gpu, claims).then_some(claims)).collect();
    let is_certain = owed.clone().take(free.len() + 1).count() == free.len();
    for (claims, pod) in free.into_iter().zip(owed) {
        claims.division = Division::whole(if is_certain {
            let (part, basis) = (Share::WHOLE, Basis::Whole);
            Claim::Holder(Holding { pod: pod.clone(), mig_device: None, part, basis })
        } else {
            Claim::Nobody(State::Unattributed)
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
