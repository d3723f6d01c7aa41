//! The accounts of a pod's containers: parts of the pod's own account.
//!
//! What is not known to be a container's stays with the pod, on a line without a container. So whenever containers begin to
//! be told apart or cease to be, whatever was counted stays where it was counted, and the lines add up to the pod.

use std::sync::Arc;

use crate::observation::UnixTime;

use super::{PodAccount, State, Totals};
use crate::cost::money::{Amount, Cost, GpuTime};
use crate::cost::share::Division;

/// What one pod has of a device, divided among its containers by their names. What is listed for a container without a name
/// is on a part of that name.
pub type Containers = Division<Arc<str>>;

/// How many containers of a pod have an account, so that the number of series is bounded whatever a pod is made of: two for
/// each GPU of the largest node. What more there are is on the pod's line without a container.
const CONTAINERS_MAX: usize = 32;

/// The account of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerAccount {
    /// When it was opened.
    pub since: UnixTime,
    /// Money and time by state.
    pub totals: Totals,
}

// === impl PodAccount ===

impl PodAccount {
    /// Opens the accounts of its containers, in dollars too if there is a price, so that their lines are there from their
    /// first moment.
    pub fn open_containers(&mut self, containers: &Containers, priced: bool, now: UnixTime) {
        for name in containers.claimants() {
            if let Some(account) = self.container(name, now) {
                account.totals.open(priced);
            }
        }
    }

    /// Adds a charge, and to each container its part of it.
    pub(in crate::cost) fn post(
        &mut self,
        containers: Option<&Containers>,
        state: State,
        amount: Amount,
        now: UnixTime,
    ) {
        self.totals.post(state, amount);
        let Some(containers) = containers else { return };
        let costs = containers.split(amount.cost.unwrap_or_default().units());
        let times = containers.split(amount.time.nanos());
        for ((name, cost), (_, time)) in costs.zip(times) {
            let cost = amount.cost.map(|_| Cost::from_units(cost));
            if let Some(account) = self.container(name, now) {
                account.totals.post(state, Amount { cost, time: GpuTime::from_nanos(time) });
            }
        }
    }

    /// The account of one of its containers, opened if there is none; `None` for one without a name, and where too many
    /// have one already.
    fn container(&mut self, name: &Arc<str>, now: UnixTime) -> Option<&mut ContainerAccount> {
        let is_full = self.containers.len() >= CONTAINERS_MAX && !self.containers.contains_key(name);
        if name.is_empty() || is_full {
            return None;
        }
        let opened = || ContainerAccount { since: now, totals: Totals::default() };
        Some(self.containers.entry(Arc::clone(name)).or_insert_with(opened))
    }

    /// What is not known to be any container's.
    #[must_use]
    pub fn of_no_container(&self) -> Totals {
        self.containers.values().fold(self.totals.clone(), |rest, account| rest.minus(&account.totals))
    }

    /// Whether its containers have no more than it has, in each state.
    pub(in crate::cost) fn has_what_its_containers_have(&self) -> bool {
        State::ALL.into_iter().all(|state| {
            let accounts = || self.containers.values().map(|account| &account.totals);
            let cost: Cost = accounts().filter_map(|totals| totals.cost(state)).sum();
            let time: GpuTime = accounts().map(|totals| totals.time(state)).sum();
            cost <= self.totals.cost(state).unwrap_or_default() && time <= self.totals.time(state)
        })
    }
}
