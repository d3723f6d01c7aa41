//! What energy costs and emits, and whose it is. It never touches the bill.

use proptest::prelude::*;

use super::properties::{Tick, meter, observations, ticks};
use super::*;
use crate::cost::money::Grams;
use crate::cost::pricing::{Electricity, EnergyTerms, Intensity, Tariff};

const ONE: u64 = 1_000_000_000;

/// Millijoules of a kWh of the board.
const KWH: u64 = 3_600_000_000;

/// So many cents per kWh at the meter, two thirds of that from 22:00 to 06:00; 400 g. The meter counts twice what the
/// board does: a PUE of 1.25 on a host factor of 1.6.
pub(super) fn terms(cents: u64) -> EnergyTerms {
    let dollars = cents * ONE / 100;
    EnergyTerms {
        dollars_per_kwh: Some(dollars),
        tariffs: vec![Tariff { from_minute: 1_320, to_minute: 360, dollars_per_kwh: dollars * 2 / 3 }],
        utc_offset_minutes: 0,
        intensity: Intensity::Told(400 * ONE),
        pue: ONE * 5 / 4,
        host_factor: ONE * 8 / 5,
    }
}

fn sheet(terms: Option<EnergyTerms>) -> Arc<PriceSheet> {
    let prices = prices(&[("nvidia-a100-80gb", 360)]);
    Arc::new(PriceSheet { energy: terms, ..PriceSheet::clone(&prices) })
}

/// An A100 at noon whose energy counter stands at nothing, where a kWh of the board costs 0.60 $ and emits 800 g.
fn rig() -> Rig {
    let board = Gpu { energy_millijoules: Some(0), ..gpu("GPU-0", A100) };
    let mut rig = Rig::new(sheet(Some(terms(30))), vec![board]);
    rig.seen.wall = clock(12, 0, 0);
    rig
}

/// A time of the day, on the second of January 1970.
fn clock(hours: u64, minutes: u64, seconds: u64) -> UnixTime {
    UnixTime::from_millis((86_400 + (hours * 60 + minutes) * 60 + seconds) * 1_000)
}

impl Rig {
    /// Lets time pass in which the board draws so much.
    fn draw(&mut self, seconds: u64, millijoules: u64) -> &mut Self {
        let energy = &mut self.gpu(0).energy_millijoules;
        *energy = energy.map(|before| before + millijoules);
        self.later(Span::from_secs(seconds)).observe()
    }
}

/// Dollars and grams as they are written; a dash for what is not known.
fn spent(electricity: Electricity) -> String {
    let dollars = electricity.cost.map_or("-".into(), |cost| cost.to_string());
    let grams = electricity.co2e.map_or("-".into(), |co2e| co2e.to_string());
    format!("{dollars} $, {grams} g")
}

#[track_caller]
fn check_spent(rig: &Rig, device: &str, pods: &[(&str, &str)]) {
    assert_eq!(spent(rig.device(0).electricity), device);
    let found: Vec<_> =
        rig.report().pods.iter().map(|pod| (pod.pod.to_string(), spent(pod.account.electricity))).collect();
    let expected: Vec<_> = pods.iter().map(|(pod, it)| ((*pod).to_owned(), (*it).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_an_idle_gpu_draws_is_its_holders() {
    let mut rig = rig();
    rig.hold("job", &[whole("GPU-0")]).observe();
    check_spent(&rig, "0 $, 0 g", &[("job", "- $, - g")]);
    rig.draw(10, KWH);
    check_spent(&rig, "0.6 $, 800 g", &[("job", "0.6 $, 800 g")]);
    // The bill is what it is without it: ten seconds at 3.60 $/h.
    check(&rig, 0, &[("idle", 1)]);
    assert_eq!(rig.report().energy.as_ref().and_then(|rates| rates.dollars_per_kwh), Some(ONE * 3 / 10));
}

#[test]
fn holders_share_it_as_they_share_the_gpu_and_nobody_has_the_rest() {
    let mut rig = rig();
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("one", &[replica("GPU-0", 0)])
        .hold("two", &[replica("GPU-0", 1), replica("GPU-0", 2)])
        .observe();
    rig.draw(10, 4 * KWH);
    check_spent(&rig, "2.4 $, 3200 g", &[("one", "0.6 $, 800 g"), ("two", "1.2 $, 1600 g")]);
    rig.free("one").free("two").observe().draw(10, KWH);
    check_spent(&rig, "3 $, 4000 g", &[("one", "0.6 $, 800 g"), ("two", "1.2 $, 1600 g")]);
}

#[test]
fn the_time_at_which_an_interval_begins_decides_its_tariff() {
    let mut rig = rig();
    rig.seen.wall = clock(21, 59, 55);
    rig.hold("job", &[whole("GPU-0")]).observe().draw(10, KWH);
    check_spent(&rig, "0.6 $, 800 g", &[("job", "0.6 $, 800 g")]);
    rig.draw(10, KWH);
    check_spent(&rig, "1 $, 1600 g", &[("job", "1 $, 1600 g")]);
    // A gap of almost five minutes that begins a second before the day does is still of the night.
    rig.seen.wall = clock(29, 59, 59);
    rig.observe().draw(290, KWH);
    check_spent(&rig, "1.4 $, 2400 g", &[("job", "1.4 $, 2400 g")]);
    rig.draw(1, KWH);
    check_spent(&rig, "2 $, 3200 g", &[("job", "2 $, 3200 g")]);
}

#[test]
fn what_was_counted_keeps_its_price() {
    let mut rig = rig();
    rig.meter.set_prices(sheet(None));
    rig.hold("job", &[whole("GPU-0")]).observe().draw(10, KWH);
    check_spent(&rig, "- $, - g", &[("job", "- $, - g")]);
    assert_eq!(rig.report().energy, None);
    // The open interval has no price, those after it do.
    rig.meter.set_prices(sheet(Some(terms(30))));
    rig.draw(10, KWH);
    check_spent(&rig, "0 $, 0 g", &[("job", "- $, - g")]);
    rig.draw(10, KWH);
    check_spent(&rig, "0.6 $, 800 g", &[("job", "0.6 $, 800 g")]);
    let dearer = EnergyTerms { intensity: Intensity::Told(0), ..terms(60) };
    rig.meter.set_prices(sheet(Some(dearer)));
    rig.draw(10, KWH).draw(10, KWH);
    check_spent(&rig, "2.4 $, 1600 g", &[("job", "2.4 $, 1600 g")]);
    rig.meter.set_prices(sheet(None));
    rig.draw(10, KWH).draw(10, KWH);
    check_spent(&rig, "3.6 $, 1600 g", &[("job", "3.6 $, 1600 g")]);
}

#[test]
fn energy_that_is_not_measured_costs_nothing_that_is_known() {
    let mut rig = rig();
    rig.gpu(0).energy_millijoules = None;
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10);
    check_spent(&rig, "- $, - g", &[("job", "- $, - g")]);
    // What the driver tells late costs what it does then: of the first reading nobody knows when it was drawn.
    rig.gpu(0).energy_millijoules = Some(7 * KWH);
    rig.run(10, 10);
    check_spent(&rig, "0 $, 0 g", &[("job", "0 $, 0 g")]);
    rig.gpu(0).energy_millijoules = None;
    rig.run(10, 10).gpu(0).energy_millijoules = Some(9 * KWH);
    rig.run(10, 10);
    check_spent(&rig, "1.2 $, 1600 g", &[("job", "1.2 $, 1600 g")]);
    // A driver that was loaded anew counts from zero.
    rig.gpu(0).energy_millijoules = Some(KWH);
    rig.run(10, 10);
    check_spent(&rig, "1.8 $, 2400 g", &[("job", "1.8 $, 2400 g")]);
}

#[test]
fn the_energy_of_a_gap_is_of_those_who_pay_for_the_gap() {
    let mut rig = rig();
    rig.hold("job", &[whole("GPU-0")]).observe().free("job").draw(100, KWH);
    check(&rig, 0, &[("unattributed", 10)]);
    check_spent(&rig, "0.6 $, 800 g", &[("job", "- $, - g")]);
    rig.hold("job", &[whole("GPU-0")]).observe().draw(100, KWH);
    check_spent(&rig, "1.2 $, 1600 g", &[("job", "0.6 $, 800 g")]);
    // Of a longer one nobody knows whose it was, but the GPU drew it.
    rig.draw(301, KWH);
    check_spent(&rig, "1.8 $, 2400 g", &[("job", "0.6 $, 800 g")]);
}

#[test]
fn a_restart_changes_nothing_about_it() {
    let mut rig = rig();
    rig.hold("job", &[whole("GPU-0")]).observe().draw(10, KWH);
    let kept = rig.meter.kept().unwrap();
    // The file was changed meanwhile; the interval that is open keeps its rates.
    rig.meter = Meter::resume(policy(), sheet(Some(terms(60))), kept);
    rig.draw(10, KWH);
    check_spent(&rig, "1.2 $, 1600 g", &[("job", "1.2 $, 1600 g")]);
    rig.draw(10, KWH);
    check_spent(&rig, "2.4 $, 2400 g", &[("job", "2.4 $, 2400 g")]);
}

/// Energy, money and emission of the devices, or of the pods, of a report.
pub(super) type Sums = (u128, u128, u128);

fn sums(lines: impl Iterator<Item = (Option<u128>, Electricity)>) -> Sums {
    lines.fold((0, 0, 0), |(energy, cost, co2e), (millijoules, it)| {
        let (money, grams) = (it.cost.unwrap_or_default().units(), it.co2e.map_or(0, Grams::units));
        (energy + millijoules.unwrap_or(0), cost + money, co2e + grams)
    })
}

pub(super) fn of_devices(report: &Report) -> Sums {
    let former = report.former_devices.iter().map(|line| (line.energy_millijoules, line.electricity));
    sums(report.devices.iter().map(|line| (line.energy_millijoules, line.electricity)).chain(former))
}

pub(super) fn of_pods(report: &Report) -> Sums {
    sums(report.pods.iter().map(|line| (line.account.energy_millijoules, line.account.electricity)))
}

fn minus(one: Sums, other: Sums) -> Sums {
    (one.0 - other.0, one.1 - other.1, one.2 - other.2)
}

/// What the meter says of a history in which the terms change with the prices; every third price has none.
fn reports(ticks: &[Tick]) -> Vec<Arc<Report>> {
    let mut meter = meter();
    let step = |(cents, seen): (u64, Observation)| {
        meter.set_prices(sheet((cents % 3 > 0).then(|| terms(cents))));
        meter.observe(&seen)
    };
    observations(ticks).into_iter().map(step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Between any two reports devices and pods come to their energy at the rates that held: so what the pods do not
    /// have is exactly what nobody's energy comes to.
    #[test]
    fn electricity_is_energy_times_the_rates_of_the_interval(ticks in ticks()) {
        let reports = reports(&ticks);
        for pair in reports.windows(2) {
            let grown = [of_devices as fn(&Report) -> Sums, of_pods].map(|of| minus(of(&pair[1]), of(&pair[0])));
            let [devices, pods] = grown;
            for (energy, cost, co2e) in grown {
                let rates = pair[0].energy.as_ref();
                let expected = rates.map(|rates| rates.over(energy)).unwrap_or_default();
                prop_assert_eq!(cost, expected.cost.unwrap_or_default().units());
                prop_assert_eq!(co2e, expected.co2e.map_or(0, Grams::units));
            }
            prop_assert!(pods.0 <= devices.0 && pods.1 <= devices.1 && pods.2 <= devices.2);
        }
    }

    /// Slots that are all held leave nothing; free ones leave their part to within a millijoule.
    #[test]
    fn no_unit_of_it_is_lost_among_holders(
        holders in prop::collection::vec(prop::option::of(0u8..4), 1..9),
        drawn in 0u64..1 << 50,
        cents in 1u64..500,
    ) {
        let mut rig = rig();
        rig.meter.set_prices(sheet(Some(terms(cents))));
        let slots = || (0u32..).zip(&holders);
        rig.advertised = Some(slots().map(|(n, _)| replica("GPU-0", n)).collect());
        for (n, holder) in slots() {
            if let Some(holder) = holder {
                rig.hold(&format!("pod-{holder}"), &[replica("GPU-0", n)]);
            }
        }
        rig.observe().draw(10, drawn);
        let (device, pods) = (of_devices(rig.report()), of_pods(rig.report()));
        let rest = minus(device, pods);
        let rates = rig.report().energy.clone().unwrap();
        prop_assert_eq!(Some(Cost::from_units(rest.1)), rates.over(rest.0).cost);
        let free = holders.iter().filter(|holder| holder.is_none()).count() as u128;
        prop_assert!(rest.0.abs_diff(u128::from(drawn) * free / holders.len() as u128) <= 1, "{:?}", rest);
        prop_assert!(free > 0 || rest == (0, 0, 0), "{:?}", rest);
    }
}
