//! An interval that has begun: who holds what, and at which rate.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use crate::observation::{CostLabels, Gpu, Health, Observation, Pod, PodKey, Uptime, Workload};

use super::Price;
use crate::cost::attribution::{Attributed, Claim, GpuClaims, Holding, is_same};
use crate::cost::ledger::{Description, Ledger, PodId};
use crate::cost::pricing::{CapacityType, EnergyRates, NodeFacts, PriceModel, Quote};
use crate::cost::report::{LastCharge, Payer};
use crate::cost::share::Share;
use crate::cost::window::Window;

/// What the last observation opened.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) at: Uptime,
    /// The observation that opened it, without its GPUs.
    pub(super) seen: Observation,
    /// Whether the program was started anew since, so that nobody looked from then on.
    pub(super) resumed: bool,
    pub(super) gpus: Vec<OpenGpu>,
    pub(super) attributed: Attributed,
    /// What the prices depend on.
    pub(super) node: NodeFacts,
    pub(super) price_model: PriceModel,
    pub(super) capacity_type: Option<CapacityType>,
    /// What energy costs and emits, whatever the time is when the interval closes.
    pub(super) energy: Option<EnergyRates>,
}

/// A GPU at the start of an interval.
#[derive(Debug)]
pub(super) struct OpenGpu {
    pub(super) gpu: Arc<Gpu>,
    pub(super) model: Arc<str>,
    pub(super) quote: Option<Quote>,
    /// What it costs until the interval is closed; `None` if it is unpriced.
    pub(super) price: Option<Price>,
    pub(super) claims: Arc<GpuClaims>,
    /// The pods behind the holdings, in their order.
    holders: Arc<[Holder]>,
    /// What is remembered of each, in the same order.
    pub(super) recent: Vec<Recent>,
    /// Who pays for what nobody holds.
    pub(super) nobody: Arc<Payer>,
}

/// A pod that holds something, as its owner describes it at the start of an interval.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) id: PodId,
    pub(super) payer: Arc<Payer>,
    workload: Option<Workload>,
}

/// What one holder has of one GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    /// The position of the GPU.
    pub(super) at: usize,
    pub(super) gpu: &'a OpenGpu,
    pub(super) holder: &'a Holder,
    pub(super) holding: &'a Holding,
    pub(super) share: Share,
}

/// What is remembered of a holder for a while.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// What it did.
    pub(super) window: Window,
    /// What it was charged for the last interval, if it was.
    pub(super) last: Option<Arc<LastCharge>>,
}

/// Who the pods are behind the holdings of an observation. Of a GPU whose holders are as they were, they are those of the
/// interval before.
pub(super) struct Described<'a> {
    seen: &'a Observation,
    /// The interval before, if the pods are described as they were then.
    before: Option<&'a Open>,
    pods: OnceCell<BTreeMap<&'a PodKey, &'a Pod>>,
}

// === impl Open ===

impl Open {
    /// Whether `seen` is of the same boot, so that the time until then can be told. Without the name of a boot that is not
    /// known of a program that was started anew.
    pub(super) fn is_continued_by(&self, seen: &Observation) -> bool {
        let is_known = !self.resumed || !seen.boot.is_empty() && seen.at >= self.at;
        self.seen.boot == seen.boot && is_known
    }

    /// Everybody who holds something, sorted by pod; who holds several devices is there for each.
    pub(super) fn holders(&self) -> Vec<Held<'_>> {
        let held = self.gpus.iter().enumerate().flat_map(|(at, gpu)| {
            gpu.held().map(move |(holder, holding, share)| Held { at, gpu, holder, holding, share })
        });
        let mut held: Vec<Held<'_>> = held.collect();
        held.sort_by(|one, other| one.holder.id.cmp(&other.holder.id));
        held
    }
}

// === impl OpenGpu ===

impl OpenGpu {
    pub(super) fn new(
        gpu: Arc<Gpu>,
        model: Arc<str>,
        quote: Option<Quote>,
        claims: Arc<GpuClaims>,
        described: &Described<'_>,
    ) -> Self {
        let price = quote.as_ref().map(Price::of);
        Self { quote, ..Self::at_price(gpu, model, price, claims, described) }
    }

    /// A GPU whose price is known, but not how it was found.
    pub(super) fn at_price(
        gpu: Arc<Gpu>,
        model: Arc<str>,
        price: Option<Price>,
        claims: Arc<GpuClaims>,
        described: &Described<'_>,
    ) -> Self {
        let nobody = Arc::new(Payer {
            namespace: Arc::default(),
            labels: CostLabels::default(),
            gpu_model: Arc::clone(&model),
            price_model: price.map(|price| price.price_model),
        });
        let holders = described.holders(&gpu.uuid, &claims, &nobody);
        let recent = iter::repeat_with(Recent::default).take(holders.len()).collect();
        Self { gpu, model, quote: None, price, claims, holders, recent, nobody }
    }

    /// Opens the accounts of the GPU and its holders, so that their lines are there from their first moment.
    pub(super) fn open_accounts(
        &self,
        ledger: &mut Ledger,
        energy: Option<&EnergyRates>,
        before: Option<&Open>,
    ) {
        let (priced, now) = (self.price.is_some(), ledger.now);
        ledger.device(&self.gpu.uuid).open(priced, self.gpu.energy_millijoules, energy);
        let has_holders = |it: &Self| it.gpu.uuid == self.gpu.uuid && Arc::ptr_eq(&it.holders, &self.holders);
        if before.is_some_and(|open| open.gpus.iter().any(has_holders)) {
            return;
        }
        for (holder, holding, _) in self.held() {
            let account = ledger.pod(&holder.id);
            account.totals.open(priced);
            holder.describe(&self.model, &mut account.description);
            if let Some(containers) = &holding.containers {
                account.open_containers(containers, priced, now);
            }
            ledger.payer(&holder.payer).open(priced);
        }
        if self.claims.division.claimants().any(|claim| matches!(claim, Claim::Nobody(_))) {
            ledger.payer(&self.nobody).open(priced);
        }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        self.gpu.health != Health::Healthy
    }

    /// Those who hold a part of the GPU, with what that is.
    pub(super) fn held(&self) -> impl Iterator<Item = (&Holder, &Holding, Share)> {
        self.holders
            .iter()
            .zip(self.claims.holdings())
            .map(|(holder, (holding, share))| (holder, holding, share))
    }

    /// Takes over what is remembered of the holders that were there before.
    pub(super) fn remember(&mut self, before: &Self, recent: Vec<Recent>) {
        if Arc::ptr_eq(&self.claims, &before.claims) {
            self.recent = recent;
            return;
        }
        let place = |holding: &Holding| (holding.pod.clone(), holding.mig_device.clone());
        let places = before.claims.holdings().map(|(holding, _)| place(holding));
        let mut known: BTreeMap<_, Recent> = places.zip(recent).collect();
        let mine =
            self.claims.holdings().map(|(holding, _)| known.remove(&place(holding)).unwrap_or_default());
        self.recent = mine.collect();
    }
}

// === impl Described ===

impl<'a> Described<'a> {
    pub(super) fn new(seen: &'a Observation, before: Option<&'a Open>) -> Self {
        // Whose accounts were opened by another program is looked at again.
        let before = before.filter(|open| !open.resumed && is_same(&open.seen.pods, &seen.pods));
        Self { seen, before, pods: OnceCell::new() }
    }

    fn holders(&self, gpu: &Arc<str>, claims: &Arc<GpuClaims>, nobody: &Payer) -> Arc<[Holder]> {
        let is_as_it_was =
            |it: &&OpenGpu| it.gpu.uuid == *gpu && Arc::ptr_eq(&it.claims, claims) && *it.nobody == *nobody;
        if let Some(known) = self.before.and_then(|open| open.gpus.iter().find(is_as_it_was)) {
            return Arc::clone(&known.holders);
        }
        let pods = self.pods.get_or_init(|| self.seen.pods.iter().map(|pod| (&pod.key, pod)).collect());
        let mut payers = BTreeSet::new();
        let holders = claims.holdings().map(|(holding, _)| {
            let pod = pods.get(&holding.pod).copied();
            let payer = Holder::payer(&holding.pod, nobody, pod);
            Holder::new(&holding.pod, pod, one_of(&mut payers, payer))
        });
        holders.collect()
    }
}

/// The one among them that is equal, as most holders pay like others.
fn one_of(payers: &mut BTreeSet<Arc<Payer>>, payer: Payer) -> Arc<Payer> {
    if let Some(known) = payers.get(&payer) {
        return Arc::clone(known);
    }
    let payer = Arc::new(payer);
    payers.insert(Arc::clone(&payer));
    payer
}

// === impl Holder ===

impl Holder {
    /// Keeps what the pod is for the time when it is gone.
    fn describe(&self, gpu_model: &Arc<str>, description: &mut Arc<Description>) {
        if description.labels != self.payer.labels || description.workload != self.workload {
            let description = Arc::make_mut(description);
            description.labels = self.payer.labels.clone();
            description.workload.clone_from(&self.workload);
        }
        if !description.gpu_models.contains(gpu_model) {
            Arc::make_mut(description).gpu_models.insert(Arc::clone(gpu_model));
        }
    }

    fn new(key: &PodKey, pod: Option<&Pod>, payer: Arc<Payer>) -> Self {
        Self {
            id: PodId {
                namespace: Arc::clone(&key.namespace),
                name: Arc::clone(&key.name),
                uid: pod.map(|pod| Arc::clone(&pod.uid)).unwrap_or_default(),
            },
            payer,
            workload: pod.and_then(|pod| pod.workload.clone()),
        }
    }

    fn payer(key: &PodKey, nobody: &Payer, pod: Option<&Pod>) -> Payer {
        Payer {
            namespace: Arc::clone(&key.namespace),
            labels: pod.map(|pod| pod.labels.clone()).unwrap_or_default(),
            ..nobody.clone()
        }
    }
}
