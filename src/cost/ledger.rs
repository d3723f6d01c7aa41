//! The accounts: what has been charged so far, by device, by pod and by payer.
//!
//! A charge is posted to all three views at once ([`Accounts`]), and the bill of a GPU is added up on its own, so that the
//! views can be held against it. Totals never decrease. A device and a payer stay for ever; a pod that holds nothing any more
//! stays for its retention, so that whoever reads the ledger now and then misses none of it. The fields are public for
//! whoever keeps the ledger over a restart; nobody else adds to them but through its methods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{Span, UnixTime, Uptime};

use super::account::{Containers, State, Totals};
use super::money::{Amount, Cost, GpuTime};

pub use super::account::{
    ContainerAccount, Description, DeviceAccount, Payer, PayerAccount, PodAccount, PodId, XidLine,
};

/// How many payers have a line of their own; what more there are share one, so that the number of series is bounded
/// and the sum still holds.
const PAYERS_MAX: usize = 200;

/// How many of those who share a line are counted one by one.
const FOLDED_MAX: usize = 10_000;

/// More than any account can hold, and so little that a million of them can still be added up: a billion dollars an hour
/// for ten thousand years.
const PLAUSIBLE: u128 = u128::MAX >> 20;

/// How many pods that hold nothing any more have a line, so that the number of series is bounded however many come and
/// go: more than one a second over the usual retention.
const ENDED_MAX: usize = 1_000;

/// All accounts of a node.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The time of day, by which accounts are opened.
    pub now: UnixTime,
    /// The GPUs, by UUID.
    pub devices: BTreeMap<Arc<str>, DeviceAccount>,
    /// The pods that hold something or did so within the retention. A report and a copy of the ledger, as it is made to be
    /// written, have them in common with it until something is added to one of them.
    pub pods: BTreeMap<PodId, Arc<PodAccount>>,
    /// Who pays.
    pub payers: BTreeMap<Arc<Payer>, PayerAccount>,
    /// Payers that have no line of their own.
    pub folded: BTreeSet<Arc<Payer>>,
    /// What was ever charged to pods, added up independently of their accounts.
    pub held: Cost,
    /// What was charged to pods whose accounts are closed.
    pub closed: Cost,
    /// How many of those had to go before their retention was over.
    pub dropped_pods: u64,
}

/// The accounts that a charge goes to.
#[derive(Debug)]
pub struct Accounts<'a> {
    /// Of its GPU.
    pub device: &'a mut DeviceAccount,
    /// Of the pod that holds it, if one does.
    pub pod: Option<&'a mut PodAccount>,
    /// Of who pays.
    payer: &'a mut Totals,
    held: &'a mut Cost,
    now: UnixTime,
}

// === impl Ledger ===

impl Ledger {
    /// Says what time of day it is: accounts that are opened from now on are opened then.
    pub fn set_time(&mut self, now: UnixTime) {
        self.now = now;
    }

    /// The accounts of a GPU, of the pod that holds a part of it and of who pays for that, each opened if there is none.
    pub fn accounts(&mut self, gpu: &Arc<str>, pod: Option<&PodId>, payer: &Arc<Payer>) -> Accounts<'_> {
        let Self { now, devices, pods, payers, folded, held, .. } = self;
        Accounts {
            device: device(devices, gpu, *now),
            pod: pod.map(|id| account(pods, id, *now)),
            payer: line(payers, folded, payer, *now),
            held,
            now: *now,
        }
    }

    /// The account of a GPU, opened if there is none.
    pub fn device(&mut self, gpu: &Arc<str>) -> &mut DeviceAccount {
        device(&mut self.devices, gpu, self.now)
    }

    /// The account of a pod, opened if there is none.
    pub fn pod(&mut self, pod: &PodId) -> &mut PodAccount {
        account(&mut self.pods, pod, self.now)
    }

    /// The totals of a payer, opened if there are none: its own, or those of the others where there are too many.
    pub fn payer(&mut self, payer: &Arc<Payer>) -> &mut Totals {
        line(&mut self.payers, &mut self.folded, payer, self.now)
    }

    /// How many payers have no line of their own, as far as they are counted.
    #[must_use]
    pub fn folded_payers(&self) -> usize {
        self.folded.len()
    }

    /// Marks the pods that hold nothing at `now` as ended, and drops those that ended more than `retention` ago, or
    /// longest ago where too many have ended. Asks of each pod once, in their order, whether it holds something.
    pub fn expire(&mut self, now: Uptime, retention: Span, mut holds: impl FnMut(&PodId) -> bool) {
        let wall = self.now;
        for (pod, account) in &mut self.pods {
            let account = Arc::make_mut(account);
            account.ended = if holds(pod) { None } else { Some(account.ended.unwrap_or(now)) };
            let age = wall.as_millis().saturating_sub(account.since.as_millis());
            account.age = account.age.max(Span::from_millis(age));
        }
        self.close(|ended| now.since(ended) > retention);
        self.drop_surplus();
    }

    /// Drops those who ended longest ago where too many have; of those who ended at once, the first by name.
    fn drop_surplus(&mut self) {
        let mut ended: Vec<Uptime> = self.pods.values().filter_map(|account| account.ended).collect();
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        if surplus == 0 {
            return;
        }
        let (before, last, _) = ended.select_nth_unstable(surplus - 1);
        let last = *last;
        let mut with_the_last = surplus - before.iter().filter(|ended| **ended < last).count();
        self.dropped_pods += self.close(|ended| {
            let is_last = ended == last && with_the_last > 0;
            with_the_last -= usize::from(is_last);
            is_last || ended < last
        });
    }

    /// Closes the accounts of the pods that ended at such a time, and says how many they were.
    fn close(&mut self, mut is_over: impl FnMut(Uptime) -> bool) -> u64 {
        let mut closed = 0;
        self.pods.retain(|_, account| {
            let stays = !account.ended.is_some_and(&mut is_over);
            if !stays {
                self.closed += account.totals.total_cost();
                closed += 1;
            }
            stays
        });
        closed
    }

    /// How many pods lost their line before their retention was over.
    #[must_use]
    pub fn dropped_pods(&self) -> u64 {
        self.dropped_pods
    }

    /// Begins to count from another boot at `now`: the driver's counters begin again, and whoever had ended has ended now,
    /// because times of two boots cannot be compared.
    pub fn begin_boot(&mut self, now: Uptime) {
        self.devices.values_mut().for_each(|device| device.energy_reading = None);
        let ended = self.pods.values_mut().filter_map(|pod| Arc::make_mut(pod).ended.as_mut());
        ended.for_each(|ended| *ended = now);
    }

    /// Whether the accounts can be those of a ledger: the lines add up to the bills, in money and in time, and no sum is so
    /// large that additions end at the range of the integers instead of adding.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let devices = || self.devices.values().map(|device| &device.totals);
        let payers = || self.payers.values().map(|payer| &payer.totals);
        let totals = devices().chain(payers()).chain(self.pods.values().map(|pod| &pod.totals));
        let is_plausible = |totals: &Totals| {
            totals.total_cost().units() <= PLAUSIBLE && totals.total_time().nanos() <= PLAUSIBLE
        };
        let time = |sums: &mut dyn Iterator<Item = &Totals>| sums.map(Totals::total_time).sum::<GpuTime>();
        let bills = self.devices.values().map(|device| device.bill).chain([self.held, self.closed]);
        totals.into_iter().all(is_plausible)
            && self.pods.values().all(|pod| pod.has_what_its_containers_have())
            && bills.into_iter().all(|bill| bill.units() <= PLAUSIBLE)
            && self.imbalance() == Cost::ZERO
            && time(&mut devices()) == time(&mut payers())
    }

    /// How far the accounts are from the bills; nothing, unless there is a defect.
    #[must_use]
    pub fn imbalance(&self) -> Cost {
        let billed: Cost = self.devices.values().map(|device| device.bill).sum();
        let paid: Cost = self.payers.values().map(|payer| payer.totals.total_cost()).sum();
        let by_device: Cost =
            self.devices.values().map(|device| device.bill.abs_diff(device.totals.total_cost())).sum();
        let by_pod: Cost = self.pods.values().map(|pod| pod.totals.total_cost()).sum();
        by_device + billed.abs_diff(paid) + self.held.abs_diff(by_pod + self.closed)
    }
}

fn device<'l>(
    devices: &'l mut BTreeMap<Arc<str>, DeviceAccount>,
    gpu: &Arc<str>,
    now: UnixTime,
) -> &'l mut DeviceAccount {
    let opened = || DeviceAccount { since: now, ..DeviceAccount::default() };
    devices.entry(Arc::clone(gpu)).or_insert_with(opened)
}

fn account<'l>(
    pods: &'l mut BTreeMap<PodId, Arc<PodAccount>>,
    pod: &PodId,
    now: UnixTime,
) -> &'l mut PodAccount {
    let opened = || Arc::new(PodAccount { since: now, ..PodAccount::default() });
    Arc::make_mut(pods.entry(pod.clone()).or_insert_with(opened))
}

fn line<'l>(
    payers: &'l mut BTreeMap<Arc<Payer>, PayerAccount>,
    folded: &mut BTreeSet<Arc<Payer>>,
    payer: &Arc<Payer>,
    now: UnixTime,
) -> &'l mut Totals {
    let is_full = payers.len() >= PAYERS_MAX && !payer.is_nobody();
    let has_line = !is_full || payers.contains_key(payer);
    if !has_line && folded.len() < FOLDED_MAX && !folded.contains(payer) {
        folded.insert(Arc::clone(payer));
    }
    let key = if has_line { Arc::clone(payer) } else { Arc::new(payer.among_others()) };
    let opened = || PayerAccount { since: now, totals: Totals::default() };
    &mut payers.entry(key).or_insert_with(opened).totals
}

// === impl Accounts ===

impl Accounts<'_> {
    /// Posts money and time of one state; to the pod's `containers`, too, as far as they are known.
    pub fn post(&mut self, containers: Option<&Containers>, state: State, amount: Amount) {
        if amount.is_nothing() {
            return;
        }
        self.device.totals.post(state, amount);
        self.payer.post(state, amount);
        if let Some(pod) = &mut self.pod {
            *self.held += amount.cost.unwrap_or_default();
            pod.post(containers, state, amount, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::pricing::PriceModel;
    use crate::observation::CostLabels;

    const RETENTION: Span = Span::from_secs(900);

    fn pod(n: usize) -> PodId {
        PodId { namespace: "ns".into(), name: format!("{n:04}").into(), uid: "".into() }
    }

    fn at(seconds: usize) -> Uptime {
        Uptime::from_nanos(seconds as u64 * 1_000_000_000)
    }

    /// A ledger of so many pods, each of which was charged a cent.
    fn ledger(pods: usize) -> Ledger {
        let mut ledger = Ledger::default();
        let payer = Arc::new(Payer {
            namespace: "ns".into(),
            labels: CostLabels::default(),
            gpu_model: "m".into(),
            price_model: Some(PriceModel::OnDemand),
        });
        let amount = Amount { cost: Some(Cost::from_cents(1)), time: GpuTime::from_nanos(1) };
        for n in 0..pods {
            let gpu = &"GPU-0".into();
            ledger.accounts(gpu, Some(&pod(n)), &payer).post(None, State::Used, amount);
            ledger.device(gpu).bill += Cost::from_cents(1);
        }
        ledger
    }

    #[test]
    fn of_too_many_that_ended_those_who_ended_first_go() {
        let mut ledger = ledger(ENDED_MAX + 5);
        // One that ended long after the others begins the alphabet, and one goes on.
        let names = |ledger: &Ledger| ledger.pods.keys().map(|pod| pod.name.to_string()).collect::<Vec<_>>();
        ledger.expire(at(1), RETENTION, |it| *it == pod(0) || *it == pod(9));
        assert_eq!((ledger.pods.len(), ledger.dropped_pods()), (ENDED_MAX + 2, 3));
        assert_eq!(names(&ledger)[..2], ["0000", "0004"], "of those who ended at once the first by name");
        ledger.expire(at(2), RETENTION, |it| *it == pod(9));
        assert_eq!((ledger.pods.len(), ledger.dropped_pods()), (ENDED_MAX + 1, 4));
        assert_eq!(names(&ledger)[..2], ["0000", "0005"]);
        assert_eq!(ledger.imbalance(), Cost::ZERO, "their money is not lost");
        // Those who go when their time is over are not dropped.
        ledger.expire(at(1_000), RETENTION, |it| *it == pod(9));
        assert_eq!((names(&ledger), ledger.dropped_pods()), (vec!["0009".to_owned()], 4));
        assert_eq!(ledger.imbalance(), Cost::ZERO);
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_pod_younger() {
        let mut ledger = Ledger::default();
        ledger.set_time(UnixTime::from_millis(100_000));
        ledger.pod(&pod(0));
        for (now, age) in [(100_000, 0), (160_000, 60_000), (90_000, 60_000), (170_000, 70_000)] {
            ledger.set_time(UnixTime::from_millis(now));
            ledger.expire(at(1), RETENTION, |_| true);
            assert_eq!(ledger.pods[&pod(0)].age, Span::from_millis(age), "{now}");
        }
    }
}
