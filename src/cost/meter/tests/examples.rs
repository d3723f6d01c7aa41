//! The worked examples of the design, to the cent and to the last unit.

use super::*;

const HOUR: u64 = 3_600;

fn h100() -> (Arc<PriceSheet>, Gpu) {
    (prices(&[("nvidia-h100-80gb", 800)]), gpu("GPU-h", "NVIDIA H100 80GB HBM3"))
}

#[test]
fn time_slicing_charges_slots_and_shows_burst_beside_the_bill() {
    let (prices, mut h100) = h100();
    h100.activity = busy(30);
    h100.processes = Some(vec![process("a", 30)]);
    let mut rig = Rig::new(prices, vec![h100]);
    rig.advertised = Some((0..4).map(|n| replica("GPU-h", n)).collect());
    rig.hold("a", &[replica("GPU-h", 1)]).hold("b", &[replica("GPU-h", 3)]).observe().run(HOUR, 10);

    assert_eq!(rig.pod("a").account.totals.cost(State::Used), Some(Cost::from_cents(200)));
    assert_eq!(rig.pod("a").account.totals.total_cost(), Cost::from_cents(200));
    assert_eq!(rig.pod("a").account.burst, Cost::from_cents(40));
    assert_eq!(rig.pod("b").account.totals.cost(State::Idle), Some(Cost::from_cents(200)));
    assert_eq!(rig.pod("b").account.totals.total_cost(), Cost::from_cents(200));
    assert_eq!(rig.device(0).totals.cost(State::Unallocated), Some(Cost::from_cents(400)));
    assert_eq!(rig.device(0).totals.total_cost(), Cost::from_cents(800));
    assert_eq!(
        (rig.device(0).sharing, rig.device(0).attribution),
        (Sharing::TimeSlicing, Attribution::Processes)
    );
}

#[test]
fn mig_charges_slices_and_keeps_the_unmeasured_apart_from_the_idle() {
    let (prices, mut h100) = h100();
    let mut four = instance("MIG-a", 1, "4g.40gb", (4, 4));
    four.activity = busy(50);
    let three = instance("MIG-b", 2, "3g.40gb", (3, 4));
    h100.activity = Activity::default();
    h100.mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices: vec![four, three] });
    let mut rig = Rig::new(prices, vec![h100]);
    rig.hold("a", &[mig("MIG-a")]).hold("b", &[mig("MIG-b")]).observe().run(HOUR, 10);

    let a = &rig.pod("a").account.totals;
    let eight = Cost::from_cents(800).units();
    let within_rounding = |cost: Option<Cost>, sevenths: u128| {
        // One division per tick may round by less than one unit: 10⁻²² dollars.
        cost.unwrap().units().abs_diff(eight * sevenths / 7) <= u128::from(HOUR)
    };
    assert!(within_rounding(a.cost(State::Used), 2));
    assert!(within_rounding(a.cost(State::Underused), 2));
    assert!(within_rounding(rig.pod("b").account.totals.cost(State::Unmeasured), 3));
    assert_eq!(rig.pod("b").account.totals.cost(State::Idle), Some(Cost::ZERO));
    assert_eq!(rig.device(0).totals.cost(State::Stranded), Some(Cost::ZERO));
    assert_eq!(rig.device(0).totals.total_cost(), Cost::from_cents(800));
    assert_eq!(a.total_cost() + rig.pod("b").account.totals.total_cost(), Cost::from_cents(800));
}

/// Ten hours at 60 %, two hours at nothing, twelve hours gone.
fn a_day_of_an_a100(tick: u64, window: Span) -> Rig {
    let policy = Policy { idle_window: window, ..policy() };
    let a100 = gpu("GPU-a", "NVIDIA A100-SXM4-80GB");
    let mut rig = Rig::with(policy, prices(&[("nvidia-a100-80gb", 350)]), vec![a100]);
    rig.hold("job", &[whole("GPU-a")]).observe();
    rig.gpu(0).activity = busy(60);
    rig.run(10 * HOUR, tick);
    rig.gpu(0).activity = busy(0);
    rig.run(2 * HOUR - tick, tick).later(Span::from_secs(tick)).free("job").observe();
    rig.run(12 * HOUR, tick);
    rig
}

#[test]
fn a_day_of_work_idleness_and_absence_adds_up() {
    for (tick, window) in [(60, 60), (10, 10), (1, 1)] {
        let rig = a_day_of_an_a100(tick, Span::from_secs(window));
        let totals = &rig.device(0).totals;
        assert_eq!(totals.cost(State::Used), Some(Cost::from_cents(2_100)));
        assert_eq!(totals.cost(State::Underused), Some(Cost::from_cents(1_400)));
        assert_eq!(totals.cost(State::Idle), Some(Cost::from_cents(700)));
        assert_eq!(totals.cost(State::Unallocated), Some(Cost::from_cents(4_200)));
        assert_eq!(totals.total_cost(), Cost::from_cents(8_400));
    }
}

#[test]
fn a_window_longer_than_the_tick_only_moves_the_edge_between_underused_and_idle() {
    // 59 seconds after the work stops the mean over a minute is down at 1 %, so six ticks of ten seconds less one.
    let rig = a_day_of_an_a100(10, Span::from_secs(60));
    let moved = Rate::from_nanos_per_hour(3_500_000_000).over(Span::from_secs(50));
    let totals = &rig.device(0).totals;
    assert_eq!(totals.cost(State::Used), Some(Cost::from_cents(2_100)));
    assert_eq!(totals.cost(State::Underused), Some(Cost::from_cents(1_400) + moved));
    assert_eq!(totals.cost(State::Idle), Some(Cost::from_cents(700) - moved));
    assert_eq!(totals.total_cost(), Cost::from_cents(8_400));
}
