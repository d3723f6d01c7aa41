//! The lines of pods and of who pays.

use super::energy::electricity;
use super::money::totals;
use super::wire::{Labels, PodDevice, Showback, Workload};
use super::{unit, wire};
use crate::cost::report::{self, PodLine, ShowbackLine, State};
use crate::observation::CostLabels;

pub(super) fn pod(line: &PodLine) -> wire::PodLine {
    let account = &*line.account;
    let description = &*account.description;
    let workload = description.workload.as_ref();
    wire::PodLine {
        namespace: line.namespace.as_ref().into(),
        pod: line.pod.as_ref().into(),
        pod_uid: line.uid.as_ref().into(),
        live: line.live,
        labels: labels(&description.labels),
        workload: workload
            .map(|it| Workload { kind: it.kind.as_ref().into(), name: it.name.as_ref().into() }),
        gpu_model: line.gpu_model.as_ref().into(),
        dollars_per_hour: line.rate.to_string(),
        gpus: unit::from_nano(line.gpus_nanos),
        unpriced_gpus: line.unpriced_gpus,
        last_active: account.last_active.map(|at| at.to_string()),
        totals: totals(&account.totals, &State::HELD),
        burst_dollars: account.burst.to_string(),
        electricity: electricity(account.energy_millijoules, account.electricity),
        devices: line.devices.iter().map(device).collect(),
    }
}

fn device(device: &report::PodDevice) -> PodDevice {
    PodDevice {
        gpu_uuid: device.gpu_uuid.as_ref().into(),
        mig_uuid: Some(device.mig_uuid.as_ref().to_owned()).filter(|uuid| !uuid.is_empty()),
        utilization: device.utilization.map(unit::ratio),
        memory_used_bytes: device.memory_used_bytes,
    }
}

pub(super) fn showback(line: &ShowbackLine) -> Showback {
    let payer = &line.payer;
    let usual: &[State] = if payer.is_nobody() { &State::UNHELD } else { &State::HELD };
    Showback {
        namespace: payer.namespace.as_ref().into(),
        labels: labels(&payer.labels),
        gpu_model: payer.gpu_model.as_ref().into(),
        price_model: payer.price_model.map(|model| model.as_str().into()),
        totals: totals(&line.totals, usual),
    }
}

fn labels(labels: &CostLabels) -> Labels {
    let CostLabels { team, project, model, environment, cost_center, department, task_type } = labels;
    Labels {
        team: team.as_ref().into(),
        project: project.as_ref().into(),
        model: model.as_ref().into(),
        environment: environment.as_ref().into(),
        cost_center: cost_center.as_ref().into(),
        department: department.as_ref().into(),
        task_type: task_type.as_ref().into(),
    }
}
