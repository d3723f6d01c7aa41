//! What the meter says after an observation.

use std::sync::Arc;

use crate::observation::{Fault, Gpu, Health, Mig, Observation};

use super::Meter;
use super::open::{Held, Holder, Open, OpenGpu, Recent};
use crate::cost::attribution::{Claim, GpuClaims, Holding};
use crate::cost::ledger::{DeviceAccount, PayerAccount, PodAccount, PodId};
use crate::cost::money::Rate;
use crate::cost::report::{
    DeviceLine, FormerDevice, HoldingLine, Payer, PodDevice, PodLine, Report, ShowbackLine, State,
};
use crate::cost::share::Share;
use crate::cost::work::{Work, Worked};

/// How many parts a GPU has where holdings are shown: billionths.
const NANOS: u128 = 1_000_000_000;

/// What a pod has now, over all its devices.
#[derive(Default)]
struct Now {
    rate: Rate,
    gpus_nanos: u64,
    unpriced: u32,
    devices: Vec<PodDevice>,
}

// === impl Meter ===

impl Meter {
    /// Reads the ledger and what is open now.
    pub(super) fn summary(&self, seen: &Observation, open: &Open, holders: &[Held<'_>]) -> Report {
        let worked: Vec<Worked<'_>> =
            open.gpus.iter().map(|open| Worked::new(&open.gpu, &open.claims)).collect();
        Report {
            at: seen.at,
            wall: seen.wall,
            ledger_start: self.ledger_start.unwrap_or(seen.wall),
            node: Arc::clone(&seen.node),
            driver_version: seen.driver_version.clone(),
            devices: self.device_lines(open, &worked),
            former_devices: self.former_devices(open),
            pods: self.pod_lines(holders, &worked),
            showback: self.showback_lines(),
            imbalance: self.ledger.imbalance(),
            gpus_seen: seen.gpus.iter().flatten().filter(|gpu| is_shown(gpu)).count(),
            allocations_read_at: seen.allocations.as_ref().map(|allocations| allocations.read_at),
            unmapped_devices: open.attributed.unmapped,
            allocation_conflicts: self.conflicts,
            facts: open.node.clone(),
            price_model: open.price_model,
            capacity_type: open.capacity_type.clone(),
            folded_payers: self.ledger.folded_payers(),
            dropped_pods: self.ledger.dropped_pods(),
            prices: Arc::clone(&self.prices),
            energy: open.energy.clone(),
        }
    }

    fn device_lines(&self, open: &Open, worked: &[Worked<'_>]) -> Vec<DeviceLine> {
        let empty = DeviceAccount::default();
        let account = |gpu: &OpenGpu| self.ledger.devices.get(&gpu.gpu.uuid).unwrap_or(&empty);
        let gpus = open.gpus.iter().zip(worked);
        gpus.map(|(gpu, worked)| device_line(gpu, account(gpu), worked)).collect()
    }

    fn former_devices(&self, open: &Open) -> Vec<FormerDevice> {
        let is_here = |uuid: &Arc<str>| open.gpus.iter().any(|gpu| gpu.gpu.uuid == *uuid);
        let former = self.ledger.devices.iter().filter(|(uuid, _)| !is_here(uuid));
        let line = |(uuid, account): (&Arc<str>, &DeviceAccount)| FormerDevice {
            uuid: Arc::clone(uuid),
            since: account.since,
            totals: account.totals.clone(),
            energy_millijoules: account.energy_millijoules,
            electricity: account.electricity,
            bands: account.bands,
            xids: account.xids.values().copied().collect(),
            unobserved: account.unobserved,
            rebooting: account.rebooting,
            recovered: account.recovered,
        };
        former.map(line).collect()
    }

    fn pod_lines(&self, holders: &[Held<'_>], worked: &[Worked<'_>]) -> Vec<PodLine> {
        let mut held = holders.iter().peekable();
        let line = |(id, account): (&PodId, &Arc<PodAccount>)| {
            let mut now: Option<Now> = None;
            while let Some(held) = held.next_if(|held| held.holder.id <= *id) {
                if let (true, Some(worked)) = (held.holder.id == *id, worked.get(held.at)) {
                    now.get_or_insert_default().add(held, worked);
                }
            }
            pod_line(id, account, now)
        };
        self.ledger.pods.iter().map(line).collect()
    }

    fn showback_lines(&self) -> Vec<ShowbackLine> {
        let lines = self.ledger.payers.iter();
        let line = |(payer, account): (&Arc<Payer>, &PayerAccount)| ShowbackLine {
            payer: Payer::clone(payer),
            since: account.since,
            totals: account.totals.clone(),
        };
        lines.map(line).collect()
    }
}

/// Whether the driver lists it, be it out of order: one that was taken out stays in what was seen.
fn is_shown(gpu: &Gpu) -> bool {
    gpu.health != Health::Unavailable(Fault::Missing)
}

fn device_line(open: &OpenGpu, account: &DeviceAccount, worked: &Worked<'_>) -> DeviceLine {
    let mut holdings = Vec::with_capacity(open.recent.len());
    holdings.extend(open.held().zip(&open.recent).map(holding_line));
    DeviceLine {
        gpu: Arc::clone(&open.gpu),
        gpu_model: Arc::clone(&open.model),
        quote: open.quote.clone(),
        since: account.since,
        totals: account.totals.clone(),
        sharing: open.claims.sharing,
        attribution: worked.attribution(),
        overcommitted: open.claims.overcommitted,
        fault: match open.gpu.health {
            Health::Healthy => None,
            Health::Unavailable(fault) => Some(fault),
        },
        holdings,
        unheld: unheld(&open.claims),
        foreign_utilization: worked.foreign(),
        energy_millijoules: account.energy_millijoules,
        electricity: account.electricity,
        bands: account.bands,
        xids: account.xids.values().copied().collect(),
        unobserved: account.unobserved,
        rebooting: account.rebooting,
        recovered: account.recovered,
    }
}

fn holding_line(((_, holding, share), recent): ((&Holder, &Holding, Share), &Recent)) -> HoldingLine {
    HoldingLine {
        namespace: Arc::clone(&holding.pod.namespace),
        pod: Arc::clone(&holding.pod.name),
        mig_device: holding.mig_device.clone(),
        share: (share.numerator(), share.denominator()),
        of_device: (holding.part.numerator(), holding.part.denominator()),
        basis: holding.basis,
        named: Arc::clone(&holding.named),
        last: recent.last.clone(),
    }
}

/// What nobody holds, added up by state.
fn unheld(claims: &GpuClaims) -> Vec<(State, (u64, u64))> {
    let of = |wanted: State| {
        let parts = claims.division.parts().filter(|(claim, _)| **claim == Claim::Nobody(wanted));
        let share = parts.fold(Share::NONE, |sum, (_, share)| sum.plus(share));
        (!share.is_none()).then(|| (wanted, (share.numerator(), share.denominator())))
    };
    State::UNHELD.into_iter().filter_map(of).collect()
}

fn pod_line(id: &PodId, account: &Arc<PodAccount>, now: Option<Now>) -> PodLine {
    let live = now.is_some();
    let now = now.unwrap_or_default();
    PodLine {
        namespace: Arc::clone(&id.namespace),
        pod: Arc::clone(&id.name),
        uid: Arc::clone(&id.uid),
        account: Arc::clone(account),
        gpu_model: account.description.gpu_model(),
        rate: now.rate,
        gpus_nanos: now.gpus_nanos,
        unpriced_gpus: now.unpriced,
        devices: now.devices,
        live,
    }
}

// === impl Now ===

impl Now {
    fn add(&mut self, held: &Held<'_>, worked: &Worked<'_>) {
        let Held { gpu: open, holding, share, .. } = *held;
        let part = |whole: u128| u64::try_from(share.part_of(whole)).unwrap_or(u64::MAX);
        match &open.quote {
            Some(quote) => {
                let nanos = part(quote.effective.nanos_per_hour().into());
                self.rate = self.rate + Rate::from_nanos_per_hour(nanos);
            }
            None => self.unpriced = self.unpriced.saturating_add(1),
        }
        self.gpus_nanos = self.gpus_nanos.saturating_add(part(NANOS));
        if self.devices.is_empty() {
            // A list makes room for four otherwise, and nearly every pod has one device.
            self.devices.reserve_exact(1);
        }
        self.devices.push(PodDevice {
            gpu_uuid: Arc::clone(&open.gpu.uuid),
            mig_uuid: holding.mig_device.clone().unwrap_or_default(),
            utilization: worked.by(holding).map(Work::ppm),
            memory_used_bytes: memory_used(&open.gpu, holding),
        });
    }
}

/// The framebuffer that is used on a holder's device; `None` where it is not alone on it.
fn memory_used(gpu: &Gpu, holding: &Holding) -> Option<u64> {
    let memory = match (&holding.mig_device, &gpu.mig) {
        _ if holding.is_shared() => None,
        (None, _) => gpu.memory,
        (Some(uuid), Mig::Enabled(partition)) => {
            partition.devices.iter().find(|device| device.uuid == *uuid)?.memory
        }
        (Some(_), Mig::Disabled) => None,
    };
    memory.map(|memory| memory.used)
}
