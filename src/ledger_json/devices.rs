//! GPUs and who holds them.

use std::collections::BTreeMap;
use std::fmt;

use super::energy::electricity;
use super::money::{fraction, part, seconds, totals};
use super::unit;
use super::wire::{
    Basis, CriticalError, Device, FormerDevice, Holding, LastCharge, MigDevice, NamedDevice, Partition,
    Quote, Unheld, Work,
};
use crate::cost::money::{Cost, GpuTime};
use crate::cost::report::{self, DeviceLine, HoldingLine, State};
use crate::observation::{self, Mig, Ppm};

/// The UIDs of the pods that hold something, by namespace and name.
type Uids<'a> = BTreeMap<(&'a str, &'a str), &'a str>;

pub(super) fn device(line: &DeviceLine, uids: &Uids<'_>) -> Device {
    let gpu = &*line.gpu;
    Device {
        uuid: gpu.uuid.as_ref().into(),
        index: gpu.index,
        minor: gpu.minor,
        pci_bus_id: gpu.pci_bus_id.as_deref().map(Into::into),
        gpu_model: line.gpu_model.as_ref().into(),
        product: gpu.product.as_ref().into(),
        fault: line.fault.map(|fault| fault.as_str().into()),
        sharing: line.sharing.as_str().into(),
        overcommitted: line.overcommitted,
        attribution_method: line.attribution.as_str().into(),
        utilization_source: gpu.utilization_source.as_str().into(),
        utilization: gpu.activity.utilization.map(unit::ratio),
        foreign_utilization: line.foreign_utilization.map(unit::ratio),
        mig: partition(&gpu.mig),
        price: price(line),
        totals: totals(&line.totals, &State::ALL),
        electricity: electricity(line.energy_millijoules, line.electricity),
        unobserved_seconds: (line.unobserved + line.rebooting).to_string(),
        recovered_seconds: line.recovered.to_string(),
        xids: line.xids.iter().map(xid).collect(),
        holdings: line.holdings.iter().map(|it| holding(it, &gpu.mig, uids)).collect(),
        unheld: line.unheld.iter().map(unheld).collect(),
    }
}

pub(super) fn former(line: &report::FormerDevice) -> FormerDevice {
    FormerDevice {
        uuid: line.uuid.as_ref().into(),
        totals: totals(&line.totals, &State::ALL),
        electricity: electricity(line.energy_millijoules, line.electricity),
        unobserved_seconds: (line.unobserved + line.rebooting).to_string(),
        recovered_seconds: line.recovered.to_string(),
        xids: line.xids.iter().map(xid).collect(),
    }
}

fn partition(mig: &Mig) -> Option<Partition> {
    let Mig::Enabled(partition) = mig else { return None };
    Some(Partition {
        compute_slices: partition.compute_slices,
        memory_slices: partition.memory_slices,
        devices: partition.devices.iter().map(mig_device).collect(),
    })
}

fn mig_device(device: &observation::MigDevice) -> MigDevice {
    MigDevice {
        uuid: device.uuid.as_ref().into(),
        profile: device.profile.as_ref().into(),
        gpu_instance: device.gpu_instance,
        compute_instance: device.compute_instance,
        compute_slices: device.compute_slices,
        memory_slices: device.memory_slices,
        utilization: device.activity.utilization.map(unit::ratio),
    }
}

fn price(line: &DeviceLine) -> Option<Quote> {
    let quote = line.quote.as_ref()?;
    Some(Quote {
        dollars_per_hour: quote.effective.to_string(),
        list_dollars_per_hour: quote.list.map(|rate| rate.to_string()),
        rule: quote.rule_in_full(),
        price_model: quote.price_model.as_str().into(),
        fell_back: quote.fell_back,
        as_of: quote.as_of.map(|date| date.to_string()),
    })
}

fn xid(line: &report::XidLine) -> CriticalError {
    CriticalError { xid: line.code, count: line.count, last: line.last.to_string() }
}

fn unheld((state, share): &(State, (u64, u64))) -> Unheld {
    Unheld { state: state.as_str().into(), share: fraction(*share) }
}

fn holding(line: &HoldingLine, mig: &Mig, uids: &Uids<'_>) -> Holding {
    let partition = if let Mig::Enabled(partition) = mig { Some(partition) } else { None };
    let mut devices = partition.into_iter().flat_map(|partition| &partition.devices);
    let device = devices.find(|device| Some(&device.uuid) == line.mig_device.as_ref());
    Holding {
        namespace: line.namespace.as_ref().into(),
        pod: line.pod.as_ref().into(),
        pod_uid: uids.get(&(&*line.namespace, &*line.pod)).copied().unwrap_or_default().into(),
        mig_uuid: line.mig_device.as_deref().map(Into::into),
        mig_profile: device.map(|device| device.profile.as_ref().into()),
        share: fraction(line.share),
        of_device: fraction(line.of_device),
        basis: basis(line.basis),
        named: line.named.iter().map(named).collect(),
        last: line.last.as_deref().map(last_charge),
    }
}

fn named(device: &report::NamedDevice) -> NamedDevice {
    NamedDevice {
        container: device.container.as_ref().into(),
        resource: device.resource.as_ref().into(),
        id: device.id.to_string(),
    }
}

fn basis(basis: report::Basis) -> Basis {
    let (kind, held, of, words) = match basis {
        report::Basis::Whole => ("whole", 1, 1, "it has the device alone".to_owned()),
        report::Basis::Slots { held, of } => (
            "slots",
            held.into(),
            of.into(),
            format!("{held} of {of} {}", if of == 1 { "slot" } else { "slots" }),
        ),
        report::Basis::Compute(part) => {
            let words = format!("{} % of the compute", Percent(part));
            ("compute", part.get().into(), Ppm::ALL.get().into(), words)
        }
        report::Basis::Memory { bytes, of } => {
            let words = format!("{} of {} MiB of memory", bytes >> 20, of >> 20);
            ("memory", bytes, of, words)
        }
        report::Basis::Claim { pods } => {
            ("claim", 1, pods.into(), format!("an equal part of a claim that {pods} pods use"))
        }
    };
    Basis { kind: kind.into(), held, of, words }
}

/// Millionths in percent, with the digits that they need.
struct Percent(Ppm);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0.get() / 10_000, self.0.get() % 10_000);
        let text = format!("{whole}.{fraction:04}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn last_charge(charge: &report::LastCharge) -> LastCharge {
    let costs: Cost = charge.parts.iter().filter_map(|(_, amount)| amount.cost).sum();
    let times: GpuTime = charge.parts.iter().map(|(_, amount)| amount.time).sum();
    LastCharge {
        elapsed_seconds: seconds(charge.elapsed),
        dollars_per_hour: charge.rate.map(|rate| rate.to_string()),
        share: fraction(charge.share),
        of_device: fraction(charge.of_device),
        work: charge.work.map(|work| self::work(work, charge.of_device)),
        dollars: charge.rate.map(|_| costs.to_string()),
        gpu_seconds: times.to_string(),
        states: charge.parts.iter().map(|(state, amount)| part(*state, *amount)).collect(),
        burst_dollars: charge.burst.to_string(),
    }
}

fn work((numerator, denominator): (u128, u128), (part, whole): (u64, u64)) -> Work {
    let divisor = greatest_common_divisor(numerator, denominator).max(1);
    let (numerator, denominator) = (numerator / divisor, denominator / divisor);
    let of_share = if denominator == 0 { 0.0 } else { unit::count(numerator) / unit::count(denominator) };
    let of_device = if denominator == 0 || whole == 0 {
        0.0
    } else {
        unit::count(numerator) * unit::count(part) / (unit::count(denominator) * unit::count(whole))
    };
    Work { of_share: format!("{numerator}/{denominator}"), share_ratio: of_share, device_ratio: of_device }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
