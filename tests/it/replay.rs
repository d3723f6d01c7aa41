//! Recorded nodes through the ledger.
//!
//! Each folder of `tests/traces` has a trace and the summary of the ledger that it gives, for a reviewer to read.
//! `UPDATE_EXPECT=1` rewrites summaries. It makes a trace only where there is none: a trace that was kept is a promise
//! that later programs read it, so it is never rewritten.

mod histories;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gpu_cost_exporter::cost::meter::{Meter, Policy};
use gpu_cost_exporter::cost::money::{Cost, Rate};
use gpu_cost_exporter::cost::pricing::{PriceSheet, PriceTable, Prices};
use gpu_cost_exporter::cost::report::{DeviceLine, PodLine, Report, State, Totals};
use gpu_cost_exporter::observation::{Observation, Span};
use gpu_cost_exporter::trace::{Recorder, Replay};

/// A node's history that is kept as a trace.
struct Kept {
    name: &'static str,
    history: fn() -> Vec<Observation>,
    /// Cents per hour of the GPU model on the node.
    price: (&'static str, u64),
    /// The longest interval that counts as watched.
    longest_interval_seconds: u64,
}

const H100: (&str, u64) = ("nvidia-h100-80gb", 800);
const A100: (&str, u64) = ("nvidia-a100-80gb", 350);

const TRACES: [Kept; 7] = [
    // The worked examples of the design: time-slicing, MIG, a day of work and absence, sources that go away.
    Kept {
        name: "time-slicing",
        history: histories::time_slicing,
        price: H100,
        longest_interval_seconds: 60,
    },
    Kept { name: "mig", history: histories::mig, price: H100, longest_interval_seconds: 60 },
    Kept { name: "a-day", history: histories::a_day, price: A100, longest_interval_seconds: 600 },
    Kept {
        name: "sources-away",
        history: histories::sources_away,
        price: H100,
        longest_interval_seconds: 60,
    },
    // What else happens to a node.
    Kept {
        name: "mig-repartitioned",
        history: histories::mig_repartitioned,
        price: H100,
        longest_interval_seconds: 60,
    },
    Kept { name: "gpu-lost", history: histories::gpu_lost, price: A100, longest_interval_seconds: 60 },
    Kept { name: "short-pods", history: histories::short_pods, price: A100, longest_interval_seconds: 60 },
];

/// The most bytes of a trace: a reviewer should be able to look into it.
const LARGEST: u64 = 200_000;

#[test]
fn recorded_nodes_give_the_ledgers_that_were_reviewed() {
    for kept in &TRACES {
        let trace = folder(kept.name).join("trace.ndjson");
        make_if_missing(kept, &trace);
        assert!(fs::metadata(&trace).unwrap().len() <= LARGEST, "{} is too large", trace.display());
        let summary = summary(&trace, kept);
        expect_test::expect_file![folder(kept.name).join("summary.txt")].assert_eq(&summary);
    }
    assert_no_trace_is_forgotten();
}

fn assert_no_trace_is_forgotten() {
    let folders: BTreeSet<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, TRACES.iter().map(|kept| kept.name.to_owned()).collect());
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name)
}

fn make_if_missing(kept: &Kept, trace: &Path) {
    if trace.exists() {
        return;
    }
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    assert!(update, "no trace at {}; UPDATE_EXPECT=1 makes it", trace.display());
    fs::create_dir_all(folder(kept.name)).unwrap();
    let mut recorder = Recorder::create(trace).unwrap();
    for seen in (kept.history)() {
        recorder.record(&seen).unwrap();
    }
}

fn meter(kept: &Kept) -> Meter {
    let policy = Policy {
        longest_interval: Span::from_secs(kept.longest_interval_seconds),
        max_gap: Span::from_secs(kept.longest_interval_seconds.max(300)),
        retention: Span::from_secs(7 * 86_400),
        ..Policy::default()
    };
    let (model, cents) = kept.price;
    let on_demand = Some(Rate::from_nanos_per_hour(cents * 10_000_000));
    let models = BTreeMap::from([(model.into(), Prices { on_demand, ..Prices::default() })]);
    Meter::new(
        policy,
        Arc::new(PriceSheet {
            file: PriceTable { models, ..PriceTable::default() },
            ..PriceSheet::default()
        }),
    )
}

/// What the ledger says after the last observation, for people.
fn summary(trace: &Path, kept: &Kept) -> String {
    let mut meter = meter(kept);
    let mut replay = Replay::open(trace).unwrap();
    let mut observations = 0;
    let mut last: Option<Arc<Report>> = None;
    for seen in replay.by_ref() {
        let report = meter.observe(&seen.unwrap());
        assert_eq!(report.imbalance, Cost::ZERO);
        observations += 1;
        last = Some(report);
    }
    assert_eq!(replay.cut_off_line(), None);
    let report = last.unwrap();
    let mut text = format!(
        "{observations} observations, {} at {}.{:02} $/h\n",
        kept.price.0,
        kept.price.1 / 100,
        kept.price.1 % 100
    );
    report.devices.iter().for_each(|line| write_device(&mut text, line));
    report.pods.iter().for_each(|line| write_pod(&mut text, line));
    text
}

fn write_device(text: &mut String, line: &DeviceLine) {
    writeln!(text, "\ndevice {}", line.gpu.uuid).unwrap();
    write_totals(text, &line.totals);
    for (name, time) in [("unobserved", line.unobserved), ("recovered", line.recovered)] {
        if time.nanos() > 0 {
            writeln!(text, "  {name:<13} {:>12}   {:>12.3} s", "", time.seconds()).unwrap();
        }
    }
    for xid in &line.xids {
        writeln!(text, "  XID {}: {}", xid.code, xid.count).unwrap();
    }
    if let Some(energy) = line.energy_millijoules {
        writeln!(text, "  {energy} mJ").unwrap();
    }
}

fn write_pod(text: &mut String, line: &PodLine) {
    let uid = if line.uid.is_empty() { String::new() } else { format!(" ({})", line.uid) };
    writeln!(text, "\npod {}/{}{uid}", line.namespace, line.pod).unwrap();
    write_totals(text, &line.account.totals);
    if line.account.burst > Cost::ZERO {
        writeln!(text, "  {:<13} {:>12.6} $", "burst", line.account.burst.dollars()).unwrap();
    }
}

fn write_totals(text: &mut String, totals: &Totals) {
    for state in State::ALL {
        if totals.time(state).nanos() > 0 {
            let dollars =
                totals.cost(state).map_or("unpriced".into(), |cost| format!("{:.6} $", cost.dollars()));
            let seconds = totals.time(state).seconds();
            writeln!(text, "  {:<13} {dollars:>14} {seconds:>12.3} s", state.as_str()).unwrap();
        }
    }
    let (dollars, seconds) = (totals.total_cost().dollars(), totals.total_time().seconds());
    writeln!(text, "  {:<13} {dollars:>12.6} $ {seconds:>12.3} s", "all").unwrap();
}
