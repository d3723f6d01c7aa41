//! The ledger as JSON: golden, and added up again from its strings.

use std::sync::Arc;

use expect_test::expect_file;
use gpu_cost_exporter::http::Limits;
use gpu_cost_exporter::status::{Mode, Published, Source, Status};
use serde_json::Value;

use crate::support::rich_report::{self, published};
use crate::support::server::Server;

fn ledger(published: Published) -> Value {
    let got = Server::start(published, Limits::USUAL).get("/api/v1/ledger");
    assert_eq!(got.header("cache-control"), Some("no-store"));
    serde_json::from_str(got.text()).expect("JSON")
}

/// The units of a decimal number of dollars, of which a dollar has 3.6 × 10²¹, as `docs/api.md` tells its readers.
fn units(dollars: &Value) -> u128 {
    let text = dollars.as_str().expect("money is a string");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: u128 = format!("{whole}{fraction:0<22}").parse().expect("a decimal number");
    (digits * 36 + 50) / 100
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().expect("a list")
}

#[test]
fn a_day_with_a_bit_of_everything() {
    let text = serde_json::to_string_pretty(&ledger(published())).expect("JSON");
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    expect_file!["golden/ledger.json"].assert_eq(&(text + "\n"));
}

#[test]
fn the_strings_add_up_to_the_bill_to_the_last_unit() {
    let report = &ledger(published())["report"];
    let bill = |lines: &str, totals: fn(&Value) -> &Value| -> u128 {
        let priced = list(report, lines).iter().map(totals).filter(|totals| !totals["dollars"].is_null());
        let sums = priced.map(|totals| {
            let states: u128 = list(totals, "states").iter().map(|state| units(&state["dollars"])).sum();
            assert_eq!(states, units(&totals["dollars"]));
            states
        });
        sums.sum()
    };
    let whole = published().report.expect("a report");
    let whole: u128 = whole.devices.iter().map(|line| line.totals.total_cost().units()).sum();
    assert_eq!(bill("devices", |line| &line["totals"]), whole);
    assert_eq!(bill("showback", |line| &line["totals"]), whole);
    for device in list(report, "devices") {
        for holding in list(device, "holdings").iter().filter(|it| !it["last"]["dollars"].is_null()) {
            let last = &holding["last"];
            let parts: u128 = list(last, "states").iter().map(|state| units(&state["dollars"])).sum();
            assert_eq!(parts, units(&last["dollars"]), "{holding}");
        }
    }
}

#[test]
fn what_is_not_known_is_null_and_never_zero() {
    let report = &ledger(published())["report"];
    let device = |index: usize| &list(report, "devices")[index];
    assert!(device(1)["utilization"].is_null());
    assert!(device(4)["price"].is_null() && device(4)["totals"]["dollars"].is_null());
    assert!(list(&device(4)["totals"], "states").iter().all(|state| state["dollars"].is_null()));
    assert_eq!(list(&device(4)["totals"], "states").len(), 8);
    assert!(list(device(1), "holdings")[1]["last"]["work"].is_null());
    assert_eq!(list(device(2), "unheld").len(), 0);
}

#[test]
fn before_the_first_report_there_is_only_the_exporter() {
    let sources = vec![rich_report::down(Source::Nvml, "install the driver")];
    let status = Status { sources, ..rich_report::status(Mode::Demo) };
    let ledger = ledger(Published { report: None, status: Arc::new(status) });
    assert!(ledger["report"].is_null());
    assert_eq!(ledger["exporter"]["simulated"], true);
    assert_eq!(ledger["sources"][0]["message"], "install the driver");
}
