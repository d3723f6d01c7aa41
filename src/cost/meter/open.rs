//! An interval that has begun: who holds what, and at which rate.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::observation::{CostLabels, Gpu, Health, Observation, Pod, PodKey, Uptime, Workload};

use super::{Place, Price};
use crate::cost::attribution::{Attributed, Claim, GpuClaims, Holding};
use crate::cost::ledger::{Description, Ledger, PodId};
use crate::cost::pricing::{CapacityType, EnergyRates, NodeFacts, PriceModel, Quote};
use crate::cost::report::Payer;

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
    /// The pods behind the holdings.
    pub(super) holders: Arc<BTreeMap<PodKey, Holder>>,
    /// Who pays for what nobody holds.
    pub(super) nobody: Payer,
}

/// A pod that holds something, as its owner describes it at the start of an interval.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) id: PodId,
    pub(super) payer: Payer,
    workload: Option<Workload>,
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
        let nobody = Payer {
            namespace: Arc::default(),
            labels: CostLabels::default(),
            gpu_model: Arc::clone(&model),
            price_model: price.map(|price| price.price_model),
        };
        let holders = described.holders(&gpu.uuid, &claims, &nobody);
        Self { gpu, model, quote: None, price, claims, holders, nobody }
    }

    /// Opens the accounts of the GPU and its holders, so that their lines are there from their first moment.
    pub(super) fn open_accounts(&self, ledger: &mut Ledger, energy: Option<&EnergyRates>) {
        let (priced, now) = (self.price.is_some(), ledger.now);
        ledger.device(&self.gpu.uuid).open(priced, self.gpu.energy_millijoules, energy);
        for holder in self.holders.values() {
            let account = ledger.pod(&holder.id);
            account.totals.open(priced);
            holder.describe(&self.model, &mut account.description);
            ledger.payer(&holder.payer).open(priced);
        }
        for (holding, _) in self.claims.holdings() {
            if let (Some(containers), Some(holder)) = (&holding.containers, self.holders.get(&holding.pod)) {
                ledger.pod(&holder.id).open_containers(containers, priced, now);
            }
        }
        if self.claims.division.claimants().any(|claim| matches!(claim, Claim::Nobody(_))) {
            ledger.payer(&self.nobody).open(priced);
        }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        self.gpu.health != Health::Healthy
    }

    /// The pods that hold a part of the GPU.
    pub(super) fn pod_ids(&self) -> impl Iterator<Item = &PodId> {
        self.holders.values().map(|holder| &holder.id)
    }

    /// The holders and the devices they are on.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.claims.holdings().map(|(holding, _)| self.place(holding))
    }

    /// The pod of a holding and the device that it is on.
    pub(super) fn place(&self, holding: &Holding) -> Place {
        (holding.pod.clone(), (Arc::clone(&self.gpu.uuid), holding.mig_device.clone()))
    }
}

// === impl Described ===

impl<'a> Described<'a> {
    pub(super) fn new(seen: &'a Observation, before: Option<&'a Open>) -> Self {
        let before = before.filter(|open| open.seen.pods == seen.pods);
        Self { seen, before, pods: OnceCell::new() }
    }

    fn holders(
        &self,
        gpu: &Arc<str>,
        claims: &Arc<GpuClaims>,
        nobody: &Payer,
    ) -> Arc<BTreeMap<PodKey, Holder>> {
        let is_as_it_was =
            |it: &&OpenGpu| it.gpu.uuid == *gpu && Arc::ptr_eq(&it.claims, claims) && it.nobody == *nobody;
        if let Some(known) = self.before.and_then(|open| open.gpus.iter().find(is_as_it_was)) {
            return Arc::clone(&known.holders);
        }
        let pods = self.pods.get_or_init(|| self.seen.pods.iter().map(|pod| (&pod.key, pod)).collect());
        let holder = |holding: &Holding| (holding.pod.clone(), Holder::new(&holding.pod, nobody, pods));
        Arc::new(claims.holdings().map(|(holding, _)| holder(holding)).collect())
    }
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

    fn new(key: &PodKey, nobody: &Payer, pods: &BTreeMap<&PodKey, &Pod>) -> Self {
        let pod = pods.get(key);
        Self {
            workload: pod.and_then(|pod| pod.workload.clone()),
            id: PodId {
                namespace: Arc::clone(&key.namespace),
                name: Arc::clone(&key.name),
                uid: pod.map(|pod| Arc::clone(&pod.uid)).unwrap_or_default(),
            },
            payer: Payer {
                namespace: Arc::clone(&key.namespace),
                labels: pod.map(|pod| pod.labels.clone()).unwrap_or_default(),
                ..nobody.clone()
            },
        }
    }
}
