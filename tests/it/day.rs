//! A day of a node that shares its GPUs in every way there is and has every trouble at least once.
//!
//! Every dollar's holder is known beforehand, because the day is made up: whoever makes it writes the book
//! (`day/book.rs`) while they make it, in whole numbers and without the code that is tested. At the end each line of the
//! ledger must be the book's, not to the cent only but to the last unit.

mod book;
mod gpus;
mod node;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use gpu_cost_exporter::cost::meter::{Meter, Policy};
use gpu_cost_exporter::cost::money::{Cost, GpuTime, Rate};
use gpu_cost_exporter::cost::pricing::{PriceSheet, PriceTable, Prices};
use gpu_cost_exporter::cost::report::{Report, Sharing, State, Totals};
use gpu_cost_exporter::observation::Span;
use gpu_cost_exporter::trace::Recorder;

use crate::support::daemon::Daemon;
use crate::support::scrape::Scrape;

use self::book::{Book, Line, Sum, WHOLE};
use self::node::{Day, GPUS};
use self::story::{AFTERNOON, MORNING};

fn sheet(rate: u64) -> Arc<PriceSheet> {
    let on_demand = Some(Rate::from_nanos_per_hour(rate));
    let models = BTreeMap::from([("nvidia-h100-80gb".into(), Prices { on_demand, ..Prices::default() })]);
    Arc::new(PriceSheet { file: PriceTable { models, ..PriceTable::default() }, ..PriceSheet::default() })
}

fn meter() -> Meter {
    // A tick: who does nothing in an interval is idle in it.
    let policy = Policy { idle_window: Span::from_secs(10), ..Policy::default() };
    Meter::new(policy, sheet(MORNING))
}

/// What the ledger said in the course of a day.
struct Said {
    last: Arc<Report>,
    /// Money and time of each line, and each pod's burst; of pods that are gone, what was said last.
    lines: BTreeMap<Line, (u128, u128)>,
    bursts: BTreeMap<String, u128>,
}

/// How often the lines of pods are read, but for once before the node sleeps: finished pods keep theirs for longer.
const SCRAPE: usize = 60;

fn run(day: &Day) -> Said {
    let mut meter = meter();
    let mut said = None;
    for (n, seen) in day.observations().enumerate() {
        if n == day.events.noon {
            meter.set_prices(sheet(AFTERNOON));
        }
        let report = meter.observe(&seen);
        assert_eq!(report.imbalance, Cost::ZERO, "at observation {n}");
        let said = said.get_or_insert_with(|| Said::new(&report));
        if n % SCRAPE == 0 || n == day.events.sleep || n == day.book.intervals.len() {
            said.read(&report);
        }
    }
    said.unwrap()
}

// === impl Said ===

impl Said {
    fn new(report: &Arc<Report>) -> Self {
        Self { last: Arc::clone(report), lines: BTreeMap::new(), bursts: BTreeMap::new() }
    }

    fn read(&mut self, report: &Arc<Report>) {
        for line in &report.devices {
            self.add(&format!("gpu {}", line.gpu.index), &line.totals);
        }
        for line in &report.pods {
            let name = format!("pod {}/{} {}", line.namespace, line.pod, line.uid);
            self.add(&name, &line.account.totals);
            self.bursts.insert(name, line.account.burst.units());
        }
        for line in &report.showback {
            let labels = &line.payer.labels;
            let name = format!("payer {} {} {}", line.payer.namespace, labels.team, labels.environment);
            self.add(&name, &line.totals);
        }
        self.last = Arc::clone(report);
    }

    fn add(&mut self, line: &str, totals: &Totals) {
        for state in State::ALL {
            let sums = (totals.cost(state).unwrap_or_default().units(), totals.time(state).nanos());
            if sums != (0, 0) {
                self.lines.insert((line.to_owned(), state.as_str()), sums);
            }
        }
    }
}

/// Holds what the ledger says against the book: each unit of money, and each nanosecond but for the rounding of one
/// division and one cut per interval.
fn compare(book: &Book, said: &Said) {
    let (mut said, mut wrong) = (said.lines.clone(), Vec::new());
    let rounding = WHOLE * 2 * whole_number(book.intervals.len());
    for (line, expected) in book.lines.iter().filter(|(_, expected)| **expected != Sum::default()) {
        let (money, time) = said.remove(line).unwrap_or_default();
        let (money, time) = (whole_number(money) * WHOLE, whole_number(time) * WHOLE);
        if money != expected.money || (time - expected.time).abs() > rounding {
            wrong.push(format!("{line:?}: expected {}, found {}", cents(expected.money), cents(money)));
        }
    }
    let more = said.into_iter().map(|(line, (money, _))| {
        format!("{line:?}: expected nothing, found {}", cents(whole_number(money) * WHOLE))
    });
    wrong.extend(more);
    assert!(wrong.is_empty(), "{} lines are not the book's:\n{}", wrong.len(), wrong.join("\n"));
}

fn whole_number<T: TryInto<i128, Error: std::fmt::Debug>>(number: T) -> i128 {
    number.try_into().unwrap()
}

/// Money in parts of a unit as people read it.
fn cents(money: i128) -> String {
    let cents = money / WHOLE / whole_number(Cost::from_cents(1).units());
    format!("{}.{:02} $ ({money})", cents / 100, cents % 100)
}

/// The book is right in itself: its three views have the same sum, which is the bill of eight GPUs.
fn audit(book: &Book) {
    let bill = book.bill();
    for gpu in 0..GPUS {
        assert_eq!(book.sum(&format!("gpu {gpu}")), bill, "the story of GPU {gpu} has a hole");
    }
    assert_eq!(book.sum("payer"), book.sum("gpu"));
    let nobodys = book.sum("payer   ");
    assert_eq!(book.sum("pod").money + nobodys.money, book.sum("gpu").money);
}

#[test]
fn every_dollar_of_a_day_is_where_it_was_known_to_be() {
    thread::scope(|scope| {
        for seed in [1, 2] {
            scope.spawn(move || check(&story::day(seed, true)));
        }
    });
}

fn check(day: &Day) {
    audit(&day.book);
    let said = run(day);
    compare(&day.book, &said);
    for (pod, burst) in &said.bursts {
        let expected = day.book.bursts.get(pod).copied().unwrap_or(0);
        assert_eq!(whole_number(*burst) * WHOLE, expected, "burst of {pod}");
    }
    let report = &said.last;
    for line in &report.devices {
        let seconds = |time: GpuTime| time.nanos() / 1_000_000_000;
        assert_eq!((seconds(line.unobserved), seconds(line.recovered)), (3_600, 120));
    }
    assert_eq!(report.allocation_conflicts, 1);
    let sharing: Vec<Sharing> = report.devices.iter().map(|line| line.sharing).collect();
    let (alone, parts) = (Sharing::Exclusive, Sharing::Fractional);
    assert_eq!(sharing, [alone, Sharing::Mps, Sharing::Mps, Sharing::Mig, parts, alone, parts, alone]);
    let states = |state: &State| day.book.sum_of(state.as_str()).money > 0;
    assert!(State::ALL.iter().all(states), "the day lacks a state");
}

/// The node's price, for the binary.
const PRICES: &str = "gpu_pricing:\n  nvidia-h100-80gb: { on_demand: 8.4 }\n";

#[test]
fn a_replay_of_the_day_prints_the_same_cents() {
    let day = story::day(3, false);
    audit(&day.book);
    let directory = tempfile::tempdir().unwrap();
    let (trace, prices) = (directory.path().join("day.ndjson"), directory.path().join("pricing.yaml"));
    let mut recorder = Recorder::create(&trace).unwrap();
    day.observations().for_each(|seen| recorder.record(&seen).unwrap());
    fs::write(&prices, PRICES).unwrap();
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let flags =
        [flag("replay", &trace), flag("pricing.file", &prices), "--ledger.idle-window=10s".to_owned()];
    let scrape = Daemon::start(&flags.each_ref().map(String::as_str)).ready().scrape();
    let mut pods = 0;
    for ((line, state), expected) in &day.book.lines {
        let dollars = printed(&scrape, line, state);
        // The series of pods that ended long ago are gone.
        let Some(dollars) = dollars.or_else(|| (!line.starts_with("pod")).then_some(0.0)) else { continue };
        pods += usize::from(line.starts_with("pod"));
        let cents = expected.money / (WHOLE * whole_number(Cost::from_cents(1).units()) / 100);
        let expected = f64::from(i32::try_from(cents).unwrap()) / 10_000.0;
        assert!(
            (dollars - expected).abs() < 0.000_2,
            "{line} {state}: expected {expected}, printed {dollars}"
        );
    }
    assert!(pods > 30, "{pods} series of pods");
    assert!(scrape.sum("gpu_cost_ledger_imbalance_dollars", &[]).abs() < f64::EPSILON);
    let bill = scrape.sum("gpu_cost_device_dollars_total", &[]);
    assert!((bill - 8.0 * 8.4 * 23.0).abs() < 0.000_1, "23 observed hours of eight GPUs cost {bill}");
}

/// What the metrics say of a line of the book; `None` where there is no such series.
fn printed(scrape: &Scrape, line: &str, state: &str) -> Option<f64> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["gpu", index] => {
            let uuid = format!("GPU-{index}");
            scrape.value("gpu_cost_device_dollars_total", &[("gpu_uuid", &uuid), ("state", state)])
        }
        ["pod", name, uid] => {
            let (namespace, pod) = name.split_once('/')?;
            let labels = [("namespace", namespace), ("pod", pod), ("pod_uid", uid), ("state", state)];
            scrape.value("gpu_cost_pod_dollars_total", &labels)
        }
        ["payer", namespace, team, environment] => {
            let labels =
                [("namespace", namespace), ("team", team), ("environment", environment), ("state", state)];
            scrape.value("gpu_cost_showback_dollars_total", &labels)
        }
        _ => panic!("no line of the book: {line}"),
    }
}
