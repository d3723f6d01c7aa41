//! The accounts of a ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::text::{Text, WirePriceModel, WireTotals};
use crate::cost::ledger::{ContainerAccount, Description, DeviceAccount, PayerAccount, PodAccount, PodId};
use crate::cost::money::{Cost, GpuTime, Grams};
use crate::cost::pricing::Electricity;
use crate::cost::report::{Payer, XidLine};
use crate::observation::{CostLabels, Span, UnixTime, Uptime, Workload};

/// What some energy cost and emitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct WireElectricity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<u128>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    co2e: Option<u128>,
}

/// The account of a GPU.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireDevice {
    uuid: Text,
    since: u64,
    totals: WireTotals,
    bill: u128,
    energy_millijoules: Option<u128>,
    energy_reading: Option<u64>,
    #[serde(default, skip_serializing_if = "WireElectricity::is_none")]
    electricity: WireElectricity,
    bands: [u128; 3],
    xids: Vec<WireXid>,
    unobserved: u128,
    rebooting: u128,
    recovered: u128,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireXid {
    code: u64,
    count: u64,
    last: u64,
}

/// The account of a pod.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WirePod {
    namespace: Text,
    name: Text,
    uid: Text,
    since: u64,
    totals: WireTotals,
    burst: u128,
    energy_millijoules: Option<u128>,
    last_active: Option<u64>,
    ended: Option<u64>,
    #[serde(default)]
    age: u64,
    #[serde(default, skip_serializing_if = "WireElectricity::is_none")]
    electricity: WireElectricity,
    #[serde(default)]
    labels: WireLabels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workload: Option<(Text, Text)>,
    #[serde(default)]
    gpu_models: Vec<Text>,
    /// Left out where none is told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    containers: Vec<WireContainer>,
}

/// The account of a pod's container: a part of the pod's.
#[derive(Debug, Serialize, Deserialize)]
struct WireContainer {
    name: Text,
    since: u64,
    totals: WireTotals,
}

/// The business labels; left out where nobody said.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct WireLabels {
    #[serde(skip_serializing_if = "is_nothing")]
    team: Text,
    #[serde(skip_serializing_if = "is_nothing")]
    project: Text,
    #[serde(skip_serializing_if = "is_nothing")]
    model: Text,
    #[serde(skip_serializing_if = "is_nothing")]
    environment: Text,
    #[serde(skip_serializing_if = "is_nothing")]
    cost_center: Text,
    #[serde(skip_serializing_if = "is_nothing")]
    department: Text,
    #[serde(skip_serializing_if = "is_nothing")]
    task_type: Text,
}

/// The account of a payer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WirePayer {
    payer: WirePayerKey,
    since: u64,
    totals: WireTotals,
}

/// Who pays for what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WirePayerKey {
    namespace: Text,
    #[serde(default)]
    labels: WireLabels,
    gpu_model: Text,
    /// Left out for a GPU without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price_model: Option<WirePriceModel>,
}

fn is_nothing(text: &Text) -> bool {
    text.0.is_empty()
}

// === impl WireDevice ===

impl WireDevice {
    pub(super) fn of((uuid, account): (&Arc<str>, &DeviceAccount)) -> Self {
        let DeviceAccount {
            since, totals, bill, energy_millijoules, energy_reading, electricity, bands, ..
        } = account;
        let DeviceAccount {
            since: _,
            totals: _,
            bill: _,
            energy_millijoules: _,
            energy_reading: _,
            electricity: _,
            bands: _,
            xids,
            unobserved,
            rebooting,
            recovered,
        } = account;
        let xid = |xid: &XidLine| {
            let XidLine { code, count, last } = xid;
            WireXid { code: *code, count: *count, last: last.as_millis() }
        };
        Self {
            uuid: uuid.into(),
            since: since.as_millis(),
            totals: WireTotals::of(totals),
            bill: bill.units(),
            energy_millijoules: *energy_millijoules,
            energy_reading: *energy_reading,
            electricity: WireElectricity::of(*electricity),
            bands: bands.map(GpuTime::nanos),
            xids: xids.values().map(xid).collect(),
            unobserved: unobserved.nanos(),
            rebooting: rebooting.nanos(),
            recovered: recovered.nanos(),
        }
    }

    pub(super) fn account(self) -> Result<(Arc<str>, DeviceAccount), String> {
        let xid = |wire: WireXid| {
            let last = UnixTime::from_millis(wire.last);
            (wire.code, XidLine { code: wire.code, count: wire.count, last })
        };
        let account = DeviceAccount {
            since: UnixTime::from_millis(self.since),
            totals: self.totals.totals(),
            bill: Cost::from_units(self.bill),
            energy_millijoules: self.energy_millijoules,
            energy_reading: self.energy_reading,
            electricity: self.electricity.electricity(),
            bands: self.bands.map(GpuTime::from_nanos),
            xids: self.xids.into_iter().map(xid).collect(),
            unobserved: GpuTime::from_nanos(self.unobserved),
            rebooting: GpuTime::from_nanos(self.rebooting),
            recovered: GpuTime::from_nanos(self.recovered),
        };
        if self.uuid.0.is_empty() {
            Err("a GPU has no UUID".to_owned())
        } else {
            Ok((self.uuid.into(), account))
        }
    }
}

// === impl WireElectricity ===

impl WireElectricity {
    fn of(Electricity { cost, co2e }: Electricity) -> Self {
        Self { cost: cost.map(Cost::units), co2e: co2e.map(Grams::units) }
    }

    fn electricity(self) -> Electricity {
        Electricity { cost: self.cost.map(Cost::from_units), co2e: self.co2e.map(Grams::from_units) }
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

// === impl WirePod ===

impl WirePod {
    pub(super) fn of((id, account): (&PodId, &Arc<PodAccount>)) -> Self {
        let PodId { namespace, name, uid } = id;
        let PodAccount {
            since,
            description,
            totals,
            containers,
            burst,
            energy_millijoules,
            last_active,
            ended,
            age,
            electricity,
        } = &**account;
        let Description { labels, workload, gpu_models } = &**description;
        let parts = |Workload { kind, name }: &Workload| (kind.into(), name.into());
        Self {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
            since: since.as_millis(),
            totals: WireTotals::of(totals),
            burst: burst.units(),
            energy_millijoules: *energy_millijoules,
            last_active: last_active.map(UnixTime::as_millis),
            ended: ended.map(Uptime::as_nanos),
            age: age.as_nanos(),
            electricity: WireElectricity::of(*electricity),
            labels: WireLabels::of(labels),
            workload: workload.as_ref().map(parts),
            gpu_models: gpu_models.iter().map(Text::from).collect(),
            containers: containers.iter().map(WireContainer::of).collect(),
        }
    }

    pub(super) fn account(self) -> Result<(PodId, Arc<PodAccount>), String> {
        let id = PodId { namespace: self.namespace.into(), name: self.name.into(), uid: self.uid.into() };
        let workload = |(kind, name): (Text, Text)| Workload { kind: kind.into(), name: name.into() };
        let description = Description {
            labels: self.labels.labels(),
            workload: self.workload.map(workload),
            gpu_models: self.gpu_models.into_iter().map(Into::into).collect(),
        };
        let account = PodAccount {
            since: UnixTime::from_millis(self.since),
            description: Arc::new(description),
            totals: self.totals.totals(),
            containers: self.containers.into_iter().map(WireContainer::account).collect::<Result<_, _>>()?,
            burst: Cost::from_units(self.burst),
            energy_millijoules: self.energy_millijoules,
            last_active: self.last_active.map(UnixTime::from_millis),
            ended: self.ended.map(Uptime::from_nanos),
            age: Span::from_nanos(self.age),
            electricity: self.electricity.electricity(),
        };
        if id.name.is_empty() { Err("a pod has no name".to_owned()) } else { Ok((id, Arc::new(account))) }
    }
}

// === impl WireContainer ===

impl WireContainer {
    fn of((name, account): (&Arc<str>, &ContainerAccount)) -> Self {
        let ContainerAccount { since, totals } = account;
        Self { name: name.into(), since: since.as_millis(), totals: WireTotals::of(totals) }
    }

    fn account(self) -> Result<(Arc<str>, ContainerAccount), String> {
        if self.name.0.is_empty() {
            return Err("a container has no name".to_owned());
        }
        let since = UnixTime::from_millis(self.since);
        Ok((self.name.into(), ContainerAccount { since, totals: self.totals.totals() }))
    }
}

// === impl WireLabels ===

impl WireLabels {
    fn of(labels: &CostLabels) -> Self {
        let CostLabels { team, project, model, environment, cost_center, department, task_type } = labels;
        Self {
            team: team.into(),
            project: project.into(),
            model: model.into(),
            environment: environment.into(),
            cost_center: cost_center.into(),
            department: department.into(),
            task_type: task_type.into(),
        }
    }

    fn labels(self) -> CostLabels {
        CostLabels {
            team: self.team.into(),
            project: self.project.into(),
            model: self.model.into(),
            environment: self.environment.into(),
            cost_center: self.cost_center.into(),
            department: self.department.into(),
            task_type: self.task_type.into(),
        }
    }
}

// === impl WirePayer ===

impl WirePayer {
    pub(super) fn of((payer, account): (&Arc<Payer>, &PayerAccount)) -> Self {
        let PayerAccount { since, totals } = account;
        Self { payer: WirePayerKey::of(payer), since: since.as_millis(), totals: WireTotals::of(totals) }
    }

    pub(super) fn account(self) -> (Arc<Payer>, PayerAccount) {
        let account = PayerAccount { since: UnixTime::from_millis(self.since), totals: self.totals.totals() };
        (self.payer.payer(), account)
    }
}

// === impl WirePayerKey ===

impl WirePayerKey {
    pub(super) fn of(payer: &Arc<Payer>) -> Self {
        let Payer { namespace, labels, gpu_model, price_model } = &**payer;
        Self {
            namespace: namespace.into(),
            labels: WireLabels::of(labels),
            gpu_model: gpu_model.into(),
            price_model: price_model.map(WirePriceModel),
        }
    }

    pub(super) fn payer(self) -> Arc<Payer> {
        Arc::new(Payer {
            namespace: self.namespace.into(),
            labels: self.labels.labels(),
            gpu_model: self.gpu_model.into(),
            price_model: self.price_model.map(|WirePriceModel(model)| model),
        })
    }
}
