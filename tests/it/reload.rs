//! The price file changes while the built binary runs: what is in force, what was charged, and what is said of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fake_nvml::{Board, Node};
use serde_json::Value;

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_kubelet::{devices, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const PRICE: &str = "gpu_cost_device_price_dollars_per_hour";
const SUCCESSFUL: &str = "gpu_cost_exporter_pricing_last_reload_successful";
const SUCCESS: &str = "gpu_cost_exporter_pricing_last_reload_success_timestamp_seconds";
const INFO: &str = "gpu_cost_exporter_pricing_info";
const ERRORS: &str = "gpu_cost_exporter_source_errors_total";

const ONE: &str = "gpu_pricing: { nvidia-t4: { on_demand: 1 } }\n";
const TWO: &str = "gpu_pricing: { nvidia-t4: { on_demand: 2 } }\n";
const WRONG: &str = "gpu_pricing:\n  nvidia-t4: { on_demand: cheap, sport: 1 }\n";

/// What `sha256sum` says of them.
const HASH_OF_ONE: &str = "cdc6850141f49c42";
const HASH_OF_TWO: &str = "68be5208ddf5fc2f";

/// Billionths of a dollar.
const DOLLAR: u128 = 1_000_000_000;

/// A node with one GPU.
fn node() -> FakeNode {
    FakeNode::new(&Node::new([Board::t4(0).busy(50)]))
}

fn price_file(node: &FakeNode) -> PathBuf {
    node.path("pricing.yaml")
}

/// Starts the exporter with a price file.
fn start(node: &FakeNode, text: &str, args: &[&str]) -> Daemon {
    fs::write(price_file(node), text).unwrap();
    node.start(&[&[flag("--pricing.file", &price_file(node)).as_str()], args].concat()).ready()
}

/// Puts another text in the place of a file, as editors do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Waits until a GPU costs so much.
fn costing(daemon: &Daemon, dollars: f64) -> Scrape {
    daemon.scrape_until(&format!("a price of {dollars}"), |scrape| {
        (scrape.value(PRICE, &[("basis", "effective")]) == Some(dollars)).then(|| scrape.clone())
    })
}

/// Waits until the file can be used, or cannot.
fn with_success(daemon: &Daemon, is_successful: bool) -> Scrape {
    let wanted = Some(f64::from(u8::from(is_successful)));
    let has = |scrape: &Scrape| scrape.value(SUCCESSFUL, &[]) == wanted;
    daemon.scrape_until("the file to be read", |scrape| has(scrape).then(|| scrape.clone()))
}

fn is_in_force(scrape: &Scrape, source: &str, hash: &str) -> bool {
    scrape.value(INFO, &[("source", source), ("hash", hash)]) == Some(1.0)
}

fn errors(scrape: &Scrape) -> Option<f64> {
    scrape.value(ERRORS, &[("source", "pricing")])
}

/// What the one GPU has cost and for how long, exactly: billionths of a dollar per hour times nanoseconds, and
/// nanoseconds.
fn bill(daemon: &Daemon) -> (u128, u128) {
    let ledger: Value = serde_json::from_str(daemon.get("/api/v1/ledger").text()).unwrap();
    let totals = &ledger["report"]["devices"][0]["totals"];
    let decimal = |name: &str, digits: usize| -> u128 {
        let text = totals[name].as_str().expect("a string");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}{fraction:0<digits$}").parse().expect("a decimal number")
    };
    // As docs/api.md tells its readers: a dollar has 3.6 × 10²¹ units.
    ((decimal("dollars", 22) * 36 + 50) / 100, decimal("gpu_seconds", 9))
}

/// What a `ConfigMap` looks like: links over a link, which the kubelet swaps.
struct ConfigMap {
    directory: PathBuf,
    versions: u32,
}

impl ConfigMap {
    fn new(directory: PathBuf, text: &str) -> Self {
        fs::create_dir(&directory).unwrap();
        let mut config_map = Self { directory, versions: 0 };
        config_map.update(text);
        symlink("..data/pricing.yaml", config_map.file()).unwrap();
        config_map
    }

    fn file(&self) -> PathBuf {
        self.directory.join("pricing.yaml")
    }

    /// Does what the kubelet does.
    fn update(&mut self, text: &str) {
        self.versions += 1;
        let version = format!("..2026_11_22_{}", self.versions);
        let at = |name: &str| self.directory.join(name);
        fs::create_dir(at(&version)).unwrap();
        fs::write(at(&version).join("pricing.yaml"), text).unwrap();
        symlink(&version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        if self.versions > 1 {
            fs::remove_dir_all(at(&format!("..2026_11_22_{}", self.versions - 1))).unwrap();
        }
    }
}

#[test]
fn another_config_map_changes_the_price_from_a_tick_on_and_nothing_before() {
    let node = node();
    let mut config_map = ConfigMap::new(node.path("config"), ONE);
    let daemon = node.start(&[&flag("--pricing.file", &config_map.file())]).ready();
    assert!(is_in_force(&costing(&daemon, 1.0), "file", HASH_OF_ONE));
    let (cost, time) = eventually("a charge", || Some(bill(&daemon)).filter(|(cost, _)| *cost > 0));
    assert_eq!(cost, time * DOLLAR);
    config_map.update(TWO);
    assert!(is_in_force(&costing(&daemon, 2.0), "file", HASH_OF_TWO));
    // The time at the first price follows from both numbers, and is the same for ever.
    let at_first_price = |(cost, time): (u128, u128)| 2 * time - cost / DOLLAR;
    let (changed_cost, changed) = eventually("a charge at the new price", || {
        Some(bill(&daemon)).filter(|(cost, time)| *cost > time * DOLLAR)
    });
    let first = at_first_price((changed_cost, changed));
    assert!((time..changed).contains(&first), "{time} {first} {changed}");
    let later =
        eventually("more of them", || Some(bill(&daemon)).filter(|(_, time)| *time > changed + 500_000_000));
    assert_eq!((at_first_price(later), later.0 % DOLLAR), (first, 0));
}

#[test]
fn a_wrong_file_leaves_the_last_good_one_in_force_and_is_told_once() {
    let node = node();
    let daemon = start(&node, ONE, &[]);
    let before = costing(&daemon, 1.0);
    assert_eq!(errors(&before), Some(0.0));
    replace(&price_file(&node), WRONG);
    let wrong = with_success(&daemon, false);
    assert!(is_in_force(&wrong, "last_good", HASH_OF_ONE));
    assert_eq!(wrong.value(PRICE, &[("basis", "effective")]), Some(1.0));
    assert_eq!((wrong.value(SUCCESS, &[]), errors(&wrong)), (before.value(SUCCESS, &[]), Some(1.0)));
    let page = daemon.get("/").text().to_owned();
    for said in
        ["cannot be used", "nvidia-t4.on_demand: expected", "nvidia-t4.sport", "stay in force", "as it was"]
    {
        assert!(page.contains(said), "{said} is not in {page}");
    }
    let ledger: Value = serde_json::from_str(daemon.get("/api/v1/ledger").text()).unwrap();
    assert_eq!(ledger["pricing"]["in_force"], "last_good");
    assert_eq!(ledger["pricing"]["hash"], HASH_OF_ONE);
    assert_eq!(ledger["pricing"]["problems"].as_array().map(Vec::len), Some(2));

    replace(&price_file(&node), TWO);
    let corrected = costing(&daemon, 2.0);
    assert!(is_in_force(&corrected, "file", HASH_OF_TWO));
    assert_eq!((corrected.value(SUCCESSFUL, &[]), errors(&corrected)), (Some(1.0), Some(1.0)));
    assert!(corrected.value(SUCCESS, &[]) > before.value(SUCCESS, &[]));
    assert!(!daemon.get("/").text().contains("cannot be used"));
    let log = daemon.log();
    let told = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        (told("nvidia-t4.on_demand"), told("nvidia-t4.sport"), told("stay in force")),
        (1, 1, 1),
        "{log}"
    );
}

#[test]
fn a_file_that_is_empty_or_huge_or_gone_changes_no_price() {
    let node = node();
    let daemon = start(&node, ONE, &[]);
    let file = price_file(&node);
    for (count, damage) in [
        (1, &(|| fs::write(&file, "").unwrap()) as &dyn Fn()),
        (2, &|| replace(&file, &"#".repeat(3 << 20))),
        (3, &|| fs::write(&file, &ONE[..30]).unwrap()),
        (4, &|| fs::write(&file, b"gpu_pricing: \xff").unwrap()),
        (5, &|| fs::remove_file(&file).unwrap()),
        (6, &|| fs::create_dir(&file).unwrap()),
    ] {
        damage();
        let scrape = daemon.scrape_until("an error", |scrape| {
            (errors(scrape) == Some(f64::from(count))).then(|| scrape.clone())
        });
        assert!(is_in_force(&scrape, "last_good", HASH_OF_ONE), "{count}");
        assert_eq!(scrape.value(PRICE, &[("basis", "effective")]), Some(1.0), "{count}");
    }
    fs::remove_dir(&file).unwrap();
    fs::write(&file, TWO).unwrap();
    assert_eq!(errors(&costing(&daemon, 2.0)), Some(6.0));
}

#[test]
fn after_a_restart_the_last_good_prices_are_in_force() {
    let node = node();
    let state = flag("--state.dir", &node.path("state"));
    let daemon = start(&node, ONE, &[&state]);
    let success = costing(&daemon, 1.0).value(SUCCESS, &[]);
    daemon.terminate();
    assert_eq!(fs::read_to_string(node.path("state/pricing.last-good.yaml")).unwrap(), ONE);

    let daemon = start(&node, WRONG, &[&state]);
    let scrape = costing(&daemon, 1.0);
    assert!(is_in_force(&scrape, "last_good", HASH_OF_ONE));
    assert_eq!(scrape.value(SUCCESSFUL, &[]), Some(0.0));
    let second = |time: Option<f64>| time.map(f64::floor);
    assert!(second(scrape.value(SUCCESS, &[])) >= second(success) && scrape.value(SUCCESS, &[]).is_some());
    daemon.wait_for_log("stay in force");
    replace(&price_file(&node), TWO);
    assert!(is_in_force(&costing(&daemon, 2.0), "file", HASH_OF_TWO));
    daemon.terminate();
    assert_eq!(fs::read_to_string(node.path("state/pricing.last-good.yaml")).unwrap(), TWO);

    fs::write(node.path("state/pricing.last-good.yaml"), "gpu_pricing: {").unwrap();
    let daemon = start(&node, WRONG, &[&state]);
    assert_eq!(with_success(&daemon, false).label(INFO, "source"), ["built_in"]);
    daemon.wait_for_log("pricing.last-good.yaml:2: expected YAML");
    daemon.wait_for_log("The built-in prices are in force.");
}

#[test]
fn where_nothing_can_be_kept_prices_are_read_all_the_same() {
    let node = node();
    fs::write(node.path("state"), "no directory").unwrap();
    let daemon = start(&node, ONE, &[&flag("--state.dir", &node.path("state"))]);
    daemon.wait_for_log("failed to keep the prices over a restart");
    assert!(is_in_force(&costing(&daemon, 1.0), "file", HASH_OF_ONE));
}

#[test]
fn who_sends_sighup_is_answered_whether_anything_changed_or_not() {
    let node = node();
    let daemon = start(&node, ONE, &[]);
    let before = costing(&daemon, 1.0).value(SUCCESS, &[]);
    daemon.hang_up();
    daemon.wait_for_logs("prices are read", 2);
    daemon.scrape_until("a later success", |scrape| (scrape.value(SUCCESS, &[]) > before).then_some(()));
    replace(&price_file(&node), WRONG);
    daemon.hang_up();
    daemon.wait_for_log("nvidia-t4.sport");
    daemon.hang_up();
    daemon.wait_for_logs("nvidia-t4.sport", 2);
    replace(&price_file(&node), TWO);
    daemon.hang_up();
    assert!(is_in_force(&costing(&daemon, 2.0), "file", HASH_OF_TWO));
    let (status, _) = daemon.terminate();
    assert!(status.success());
}

#[test]
fn sighup_ends_neither_a_demo_nor_a_recording_nor_one_without_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let record = flag("--record", &directory.path().join("trace.ndjson"));
    let daemon = Daemon::start(&["--demo", &record]).ready();
    daemon.hang_up();
    daemon.wait_for_log("/config/pricing.yaml");
    daemon.scrape_until("money", |scrape| (scrape.sum(DEVICE, &[]) > 0.0).then_some(()));
    assert_eq!(daemon.scrape().label(INFO, "source"), ["built_in"]);
    assert_eq!(
        (daemon.scrape().value(SUCCESSFUL, &[]), daemon.scrape().value(SUCCESS, &[])),
        (Some(1.0), None)
    );
    let (status, _) = daemon.terminate();
    assert!(status.success());

    let daemon = Daemon::start(&[&record.replace("--record", "--replay")]).ready();
    daemon.hang_up();
    daemon.wait_for_log("a recording keeps the prices");
    assert_eq!(daemon.get("/-/ready").status, 200);
}

#[test]
fn a_demo_follows_its_price_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pricing.yaml");
    let prices = |dollars: u32| format!("gpu_pricing: {{ nvidia-h100-80gb: {{ on_demand: {dollars} }} }}\n");
    fs::write(&file, prices(3)).unwrap();
    let daemon =
        Daemon::start(&["--demo", "--sample.interval=100ms", &flag("--pricing.file", &file)]).ready();
    let all_cost = |dollars: f64| {
        daemon.scrape_until("a price", |scrape| {
            let prices = scrape.values(PRICE, &[("basis", "effective")]);
            (prices == [dollars; 8]).then_some(())
        });
    };
    all_cost(3.0);
    replace(&file, &prices(5));
    all_cost(5.0);
}

#[test]
fn the_rules_of_the_file_change_too_where_none_were_typed() {
    let node = node();
    let slots = [0, 1, 2, 3].map(|slot| format!("{}::{slot}", uuid(0)));
    let slots = slots.each_ref().map(String::as_str);
    node.kubelet.list(vec![pod("ml", "chat", "nvidia.com/gpu.shared", &slots[..1])]);
    node.kubelet.advertise(devices("nvidia.com/gpu.shared", &slots));
    let active = format!("schema_version: 2\nsharing_policy: active\n{ONE}");
    let daemon = start(&node, ONE, &[]);
    let holds = |daemon: &Daemon, gpus: f64| {
        daemon.scrape_until("its part", |scrape| {
            (scrape.value("gpu_cost_pod_gpus", &[]) == Some(gpus)).then_some(())
        });
    };
    holds(&daemon, 0.25);
    replace(&price_file(&node), &active);
    holds(&daemon, 1.0);
    daemon.terminate();

    let daemon = start(&node, ONE, &["--ledger.sharing-policy=slots"]);
    holds(&daemon, 0.25);
    replace(&price_file(&node), &format!("{active}# and 2\n").replace("on_demand: 1", "on_demand: 2"));
    costing(&daemon, 2.0);
    holds(&daemon, 0.25);
}
