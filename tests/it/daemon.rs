//! The built binary on a node made of fakes: what a person would see who scrapes it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::thread;

use fake_nvml::{Board, Energy, MigDevice, Node, Profile};
use flate2::read::GzDecoder;

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::FakeApiServer;
use crate::support::fake_kubelet::{devices, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";

/// What one scrape adds up to by each of its three views; they are the same money.
fn views(scrape: &Scrape) -> [f64; 3] {
    let unheld = scrape.sum(SHOWBACK, &[("namespace", "")]);
    [scrape.sum(DEVICE, &[]), scrape.sum(SHOWBACK, &[]), scrape.sum(POD, &[]) + unheld]
}

fn assert_adds_up(scrape: &Scrape) {
    let [device, showback, pods] = views(scrape);
    assert!(device > 0.0, "nothing was charged");
    assert!((device - showback).abs() < 1e-12 * device, "{device} on devices, {showback} on payers");
    assert!((device - pods).abs() < 1e-12 * device, "{device} on devices, {pods} on pods and nobody");
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

/// An A100 that is 60 % busy, a free one, a time-sliced T4, and two boards with MIG: an H100, whose counters tell what
/// each MIG device does, and an A100, which has none.
fn mixed() -> FakeNode {
    let three = MigDevice::new(Profile::X80GB_3G, 1, 31).counting(50.0, 40.0, 20.0, 10.0);
    let four = MigDevice::new(Profile::X80GB_4G, 2, 32);
    let mig = (three.uuid.clone(), four.uuid.clone());
    let node = FakeNode::new(&Node::new([
        Board::a100_80gb(0).busy(60),
        Board::a100_80gb(1).busy(0),
        Board::t4(2).busy(40),
        Board::h100_80gb(3).cut(7, [Some(three)]),
        Board::a100_80gb(4).cut(7, [Some(four)]),
    ]));
    let slots = [format!("{}::0", uuid(2)), format!("{}::1", uuid(2))];
    node.kubelet.list(vec![
        pod("research", "trainer", "nvidia.com/gpu", &[&uuid(0)]),
        pod("serving", "chat", "nvidia.com/gpu.shared", &[&slots[0]]),
        pod("serving", "search", "nvidia.com/mig-3g.40gb", &[&mig.0]),
        pod("serving", "rerank", "nvidia.com/mig-4g.40gb", &[&mig.1]),
    ]);
    node.kubelet.advertise(devices("nvidia.com/gpu.shared", &[&slots[0], &slots[1]]));
    node
}

/// Waits until the pods of the mixed node are charged for what they do; counters tell nothing before the second tick.
fn charged(daemon: &Daemon) -> Scrape {
    daemon.scrape_until("money of every pod", |scrape| {
        let charged = |(pod, state)| scrape.sum(POD, &[("pod", pod), ("state", state)]) > 0.0;
        let pods = [("trainer", "used"), ("chat", "used"), ("search", "used"), ("rerank", "unmeasured")];
        pods.into_iter().all(charged).then(|| scrape.clone())
    })
}

#[test]
fn every_dollar_is_on_exactly_one_line() {
    let node = mixed();
    let daemon = node.start(&[]).ready();
    let scrape = charged(&daemon);
    assert_adds_up(&scrape);

    let state = |pod: &str, state: &str| scrape.value(POD, &[("pod", pod), ("state", state)]);
    let used = |pod: &str| {
        let of = |name| state(pod, name).unwrap();
        of("used") / (of("used") + of("underused") + of("idle"))
    };
    assert!((used("trainer") - 0.6).abs() < 0.02, "{}", used("trainer"));
    // Alone on half of the slots, whose equal part of 40 % is all of it: 0.4 / 0.5.
    assert!((used("chat") - 0.8).abs() < 0.02, "{}", used("chat"));
    assert!((used("search") - 0.5).abs() < 0.02, "{}", used("search"));
    // A MIG device whose counters cannot be read is not idle.
    assert_eq!(state("rerank", "idle"), Some(0.0));
    assert!(state("rerank", "unmeasured").unwrap() > 0.0);

    // Whose the free GPU is cannot be known before the kubelet's first answer; from then on it is nobody's.
    let of_free = |state| scrape.value(DEVICE, &[("gpu_uuid", &uuid(1)), ("state", state)]).unwrap();
    let (free, unknown) = (of_free("unallocated"), of_free("unattributed"));
    let all = scrape.sum(DEVICE, &[("gpu_uuid", &uuid(1))]);
    assert!(free > 0.0 && (free + unknown - all).abs() < 1e-12 * all, "{free} + {unknown} of {all}");
    let gpus = |pod| scrape.value("gpu_cost_pod_gpus", &[("pod", pod)]).unwrap();
    assert!((gpus("search") - 3.0 / 7.0).abs() < 1e-8 && (gpus("chat") - 0.5).abs() < 1e-8);
    let info = [("gpu_uuid", uuid(3)), ("sharing", "mig".into()), ("gpu_model", "nvidia-h100-80gb".into())];
    let info = info.each_ref().map(|(label, value)| (*label, value.as_str()));
    assert_eq!(scrape.value("gpu_cost_device_info", &info), Some(1.0));
}

#[test]
fn dollars_are_rate_times_time() {
    let node = FakeNode::new(&Node::new([Board::a100_80gb(0).busy(100)]));
    fs::write(node.path("pricing.yaml"), "gpu_pricing:\n  nvidia-a100-80gb: { on_demand: 3600 }\n").unwrap();
    let daemon = node.start(&[&flag("--pricing.file", &node.path("pricing.yaml"))]).ready();
    let scrape = daemon.scrape_until("two seconds on the ledger", |scrape| {
        (scrape.sum("gpu_cost_device_seconds_total", &[]) > 2.0).then(|| scrape.clone())
    });
    let (dollars, seconds) = (scrape.sum(DEVICE, &[]), scrape.sum("gpu_cost_device_seconds_total", &[]));
    assert!((dollars - seconds).abs() < 1e-9, "{dollars} dollars for {seconds} s at a dollar a second");
    let price = scrape.value("gpu_cost_device_price_dollars_per_hour", &[("basis", "effective")]);
    assert_eq!(price, Some(3_600.0));
    assert_eq!(scrape.label("gpu_cost_device_info", "price_rule"), ["file"]);
}

#[test]
fn a_pod_that_came_and_went_keeps_its_line() {
    let node = mixed();
    let daemon = node.start(&[]).ready();
    let before = charged(&daemon).sum(POD, &[("pod", "trainer")]);
    node.kubelet.list(Vec::new());
    let after = daemon.scrape_until("the pod's end", |scrape| {
        (scrape.value("gpu_cost_pod_gpus", &[("pod", "trainer")]).is_none_or(|gpus| gpus == 0.0))
            .then(|| scrape.clone())
    });
    assert!(after.sum(POD, &[("pod", "trainer")]) >= before);
    assert_adds_up(&after);
}

#[test]
fn a_lost_gpu_costs_its_holder_money_and_comes_back() {
    let node = mixed();
    let daemon = node.start(&[]).ready();
    charged(&daemon);
    let unavailable = |scrape: &Scrape| scrape.value(POD, &[("pod", "trainer"), ("state", "unavailable")]);
    let lost = Board::a100_80gb(0).busy(60).returning("*", 15);
    node.set(&Node::new([lost]));
    let scrape = daemon.scrape_until("unavailable money", |scrape| {
        unavailable(scrape).filter(|dollars| *dollars > 0.0).map(|_| scrape.clone())
    });
    assert_adds_up(&scrape);
    assert_eq!(scrape.value("gpu_cost_device_utilization_ratio", &[("gpu_uuid", &uuid(0))]), None);
    node.set(&Node::new([Board::a100_80gb(0).busy(60)]));
    let then = unavailable(&scrape);
    daemon.scrape_until("work again", |scrape| {
        (scrape.value("gpu_cost_device_utilization_ratio", &[("gpu_uuid", &uuid(0))]) == Some(0.6))
            .then_some(())
    });
    assert!(unavailable(&daemon.scrape()) >= then);
}

#[test]
fn without_a_driver_it_stays_up_says_what_to_do_and_tries_again() {
    let node = FakeNode::without_driver(&Node::new([Board::t4(0).busy(10)]));
    let daemon = node.start(&[]);
    let answer = eventually("a reason", || {
        Some(daemon.get("/-/ready")).filter(|a| a.text().contains("--nvml.library"))
    });
    assert_eq!(answer.status, 503);
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.scrape().value("gpu_cost_exporter_source_up", &[("source", "nvml")]), Some(0.0));
    assert!(daemon.get("/").text().contains("--nvml.library"));
    node.install_driver();
    let daemon = daemon.ready();
    let scrape =
        daemon.scrape_until("money", |scrape| (scrape.sum(DEVICE, &[]) > 0.0).then(|| scrape.clone()));
    assert_adds_up(&scrape);
}

#[test]
fn without_a_kubelet_the_money_goes_on_and_then_is_nobodys_we_can_name() {
    let mut node = mixed();
    let daemon = node.start(&["--kubelet.max-age=2s"]).ready();
    charged(&daemon);
    node.kubelet.die();
    let scrape = daemon.scrape_until("unattributed money", |scrape| {
        (scrape.sum(DEVICE, &[("state", "unattributed")]) > 0.0).then(|| scrape.clone())
    });
    assert_adds_up(&scrape);
    daemon.scrape_until("the source's state", |scrape| {
        scrape.value("gpu_cost_exporter_source_up", &[("source", "kubelet")]).filter(|up| *up == 0.0)
    });
    node.kubelet.come_back();
    let held = scrape.sum(POD, &[("pod", "trainer")]);
    daemon.scrape_until("the holder again", |scrape| {
        (scrape.sum(POD, &[("pod", "trainer")]) > held).then_some(())
    });
}

#[test]
fn without_any_kubelet_the_node_is_the_holder() {
    let node = FakeNode::new(&Node::new([Board::t4(0).busy(30)]));
    let daemon = node.start(&["--holders=node"]).ready();
    let scrape = daemon.scrape_until("money", |scrape| (scrape.sum(POD, &[]) > 0.0).then(|| scrape.clone()));
    assert_adds_up(&scrape);
    assert_eq!(scrape.label("gpu_cost_pod_info", "namespace"), ["_host"]);
    assert_eq!(scrape.label("gpu_cost_pod_info", "pod"), ["test-node"]);
    assert!(scrape.value(POD, &[("state", "used")]).unwrap() > 0.0);
}

#[test]
fn a_hung_driver_stops_neither_scrapes_nor_the_exit() {
    let node = mixed();
    let daemon = node.start(&[]).ready();
    let before = charged(&daemon).sum(DEVICE, &[]);
    node.set(&Node::new([Board::a100_80gb(0)]).hanging("*"));
    let scrape = daemon.scrape_until("money while it hangs", |scrape| {
        let down = scrape.value("gpu_cost_exporter_source_up", &[("source", "nvml")]) == Some(0.0);
        (down && scrape.sum(DEVICE, &[("state", "unmeasured")]) > before).then(|| scrape.clone())
    });
    assert_adds_up(&scrape);
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
}

#[test]
fn a_hung_driver_leaves_the_node_its_gpus() {
    let board = || Board::t4(0).busy(30);
    let node = FakeNode::new(&Node::new([board()]));
    let daemon = node.start(&["--holders=node"]).ready();
    let unmeasured = |scrape: &Scrape| scrape.sum(POD, &[("state", "unmeasured")]);
    let before = daemon.scrape_until("work", |scrape| {
        (scrape.sum(POD, &[("state", "used")]) > 0.0).then(|| unmeasured(scrape))
    });
    node.set(&Node::new([board()]).hanging("*"));
    let first = daemon.scrape_until("money while it hangs", |scrape| {
        let down = scrape.value("gpu_cost_exporter_source_up", &[("source", "nvml")]) == Some(0.0);
        Some(unmeasured(scrape)).filter(|dollars| down && *dollars > before)
    });
    let scrape =
        daemon.scrape_until("more of it", |scrape| (unmeasured(scrape) > first).then(|| scrape.clone()));
    assert_eq!(scrape.sum(DEVICE, &[("state", "unallocated")]).to_string(), "0");
    assert_eq!(scrape.value("gpu_cost_pod_gpus", &[]), Some(1.0));
    assert_adds_up(&scrape);
}

#[test]
fn wrong_prices_leave_the_built_in_ones_in_force() {
    let node = FakeNode::new(&Node::new([Board::t4(0).busy(10)]));
    fs::write(node.path("pricing.yaml"), "gpu_pricing:\n  nvidia-t4: { on_demand: cheap }\n").unwrap();
    let daemon = node.start(&[&flag("--pricing.file", &node.path("pricing.yaml"))]).ready();
    let line = daemon.wait_for_log("pricing.yaml:2:");
    assert!(line.contains("gpu_pricing.nvidia-t4.on_demand"), "{line}");
    let scrape = daemon.scrape();
    assert_eq!(scrape.value("gpu_cost_exporter_pricing_last_reload_successful", &[]), Some(0.0));
    let pricing =
        |what: &str| scrape.value(&format!("gpu_cost_exporter_source_{what}"), &[("source", "pricing")]);
    assert_eq!((pricing("up"), pricing("errors_total")), (Some(0.0), Some(1.0)));
    assert_eq!(pricing("last_success_timestamp_seconds"), None);
    assert_eq!(scrape.label("gpu_cost_device_info", "price_rule"), ["built_in"]);
    let price = scrape.value("gpu_cost_device_price_dollars_per_hour", &[("basis", "effective")]);
    assert_eq!(price, Some(0.526));
    let page = daemon.get("/");
    assert!(page.text().contains("nvidia-t4.on_demand") && !page.text().contains("does not answer"));
}

#[test]
fn a_price_that_looks_like_a_mistake_is_told() {
    let node = FakeNode::new(&Node::new([Board::t4(0).busy(10)]));
    fs::write(node.path("pricing.yaml"), "gpu_pricing:\n  nvidia-t4: { on_demand: 0.5, spot: 0.6 }\n")
        .unwrap();
    let daemon = node.start(&[&flag("--pricing.file", &node.path("pricing.yaml"))]).ready();
    let line = daemon.wait_for_log("pricing.yaml:2:");
    assert!(line.contains("gpu_pricing.nvidia-t4.spot"), "{line}");
    let scrape = daemon.scrape();
    assert_eq!(scrape.value("gpu_cost_exporter_pricing_last_reload_successful", &[]), Some(1.0));
    let pricing = [("source", "pricing")];
    assert_eq!(scrape.value("gpu_cost_exporter_source_up", &pricing), Some(1.0));
    assert!(scrape.value("gpu_cost_exporter_source_last_success_timestamp_seconds", &pricing) > Some(0.0));
}

#[test]
fn the_price_model_can_be_chosen() {
    let node = FakeNode::new(&Node::new([Board::t4(0), Board::h100_80gb(1)]));
    let price = |model: &str, gpu: u32| {
        let daemon = node.start(&[&format!("--pricing.model={model}")]).ready();
        let scrape = daemon.scrape();
        let labels = [("basis", "effective"), ("gpu_uuid", &uuid(gpu))];
        scrape.value("gpu_cost_device_price_dollars_per_hour", &labels).unwrap()
    };
    assert_eq!(price("on_demand", 0).to_string(), "0.526");
    assert!(price("spot", 0) < 0.3 && price("reserved_1y", 0) < 0.4);
    assert!(price("spot", 1) < price("on_demand", 1));
}

/// The worked example: eight H100 of a node at 88.49 $/h on demand and 50.61 $/h as spot, which its label says it is.
#[test]
fn a_label_turns_a_node_to_spot() {
    let node = FakeNode::new(&Node::new((0..8).map(Board::h100_80gb)));
    let file = "overrides: [{ match: { instance_type: a3-highgpu-8g }, node_pricing: { on_demand: 88.49, spot: 50.61 } }]";
    fs::write(node.path("pricing.yaml"), file).unwrap();
    let server = FakeApiServer::start();
    let place = [
        ("topology.kubernetes.io/region", "us-central1"),
        ("node.kubernetes.io/instance-type", "a3-highgpu-8g"),
        ("cloud.google.com/gke-nodepool", "gpu"),
    ];
    server.label_node(&place);
    let daemon = node
        .start(&[
            &flag("--pricing.file", &node.path("pricing.yaml")),
            &flag("--kubernetes.kubeconfig", &server.kubeconfig()),
            "--node.name=test-node",
        ])
        .ready();
    let prices =
        |basis| daemon.scrape().values("gpu_cost_device_price_dollars_per_hour", &[("basis", basis)]);
    let is = |expected: f64| (prices("effective") == vec![expected; 8]).then_some(());
    eventually("the price on demand", || is(11.06125));
    server.label_node(&[&place[..], &[("cloud.google.com/gke-spot", "true")]].concat());
    eventually("the price of spot", || is(6.32625));
    assert_eq!(prices("list"), [11.06125; 8]);
    let scrape = daemon.scrape();
    let rule = [("price_rule", "override:1"), ("price_model", "spot")];
    assert_eq!(scrape.values("gpu_cost_device_info", &rule), [1.0; 8]);
    let node = [
        ("provider", "gcp"),
        ("region_name", "us-central1"),
        ("instance_type", "a3-highgpu-8g"),
        ("capacity_type", "spot"),
        ("price_model", "spot"),
    ];
    assert_eq!(scrape.value("gpu_cost_node_info", &node), Some(1.0));
}

#[test]
fn a_gpu_without_a_price_has_seconds_and_no_dollars() {
    let board = Board { name: "NVIDIA Unheard Of 9000".into(), ..Board::t4(0) };
    let node = FakeNode::new(&Node::new([board.busy(10)]));
    node.kubelet.list(vec![pod("a", "b", "nvidia.com/gpu", &[&uuid(0)])]);
    let daemon = node.start(&[]).ready();
    let scrape = daemon.scrape_until("seconds", |scrape| {
        (scrape.sum("gpu_cost_pod_gpu_seconds_total", &[]) > 0.0).then(|| scrape.clone())
    });
    assert_eq!(scrape.values(DEVICE, &[]), [0.0; 0]);
    assert_eq!(scrape.values(POD, &[]), [0.0; 0]);
    assert_eq!(scrape.value("gpu_cost_device_unpriced", &[]), Some(1.0));
    assert_eq!(scrape.label("gpu_cost_device_unpriced", "gpu_model"), ["nvidia-unheard-of-9000"]);
    assert_eq!(scrape.value("gpu_cost_pod_unpriced_gpus", &[]), Some(1.0));
}

#[test]
fn two_scrapers_see_the_same_ledger() {
    let node = mixed();
    // One tick is all that happens while the test runs.
    let daemon = node.start(&["--sample.interval=10s"]).ready();
    let texts: Vec<String> = thread::scope(|scope| {
        let scrapers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| daemon.get("/metrics").text().to_owned())).collect();
        scrapers.into_iter().map(|scraper| scraper.join().unwrap()).collect()
    });
    let ledger =
        |text: &String| text.lines().filter(|line| !line.contains("process_")).collect::<Vec<_>>().join("\n");
    assert!(texts.iter().all(|text| ledger(text) == ledger(&texts[0])));
}

#[test]
fn no_counter_falls_from_one_scrape_to_the_next() {
    let node = mixed();
    let daemon = node.start(&[]).ready();
    charged(&daemon);
    let mut before: BTreeMap<_, f64> = BTreeMap::new();
    for round in 0..30 {
        if round == 10 {
            node.kubelet.list(Vec::new());
        }
        let scrape = daemon.scrape();
        for (series, value) in scrape.counters() {
            let last = before.insert(series.clone(), value).unwrap_or(0.0);
            assert!(value >= last, "{series:?} fell from {last} to {value}");
        }
    }
}

#[test]
fn a_scrape_is_compressed_for_those_who_ask() {
    let node = mixed();
    let daemon = node.start(&["--sample.interval=10s"]).ready();
    let plain = daemon.get("/metrics");
    let packed = daemon.get_with("/metrics", &["Accept-Encoding: gzip"]);
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
    assert!(packed.body.len() * 4 < plain.body.len());
    let mut text = String::new();
    GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), plain.text().lines().count());
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
}

#[test]
fn energy_goes_on_over_a_driver_reload() {
    let board = |millijoules| Board { energy: Some(Energy::Fixed(millijoules)), ..Board::t4(0) };
    let node = FakeNode::new(&Node::new([board(5_000)]));
    let daemon = node.start(&[]).ready();
    let joules = |expected: f64| {
        daemon.scrape_until("the energy", |scrape| {
            (scrape.value("gpu_cost_device_energy_joules_total", &[]) == Some(expected)).then_some(())
        });
    };
    joules(0.0);
    node.set(&Node::new([board(8_000)]));
    joules(3.0);
    node.set(&Node::new([board(1_000)]));
    joules(4.0);
    let scrape = daemon.scrape();
    let of_electricity = ["device_energy_dollars_total", "device_co2e_grams_total", "host_power_ratio"];
    let found = of_electricity.map(|name| scrape.values(&format!("gpu_cost_{name}"), &[]).len());
    assert_eq!(found, [0, 0, 0], "nobody said what it costs");
}

#[test]
fn electricity_has_a_price_beside_the_bill() {
    let board = |millijoules| Board { energy: Some(Energy::Fixed(millijoules)), ..Board::t4(0) };
    let node = FakeNode::new(&Node::new([board(5_000)]));
    node.kubelet.list(vec![pod("research", "trainer", "nvidia.com/gpu", &[&uuid(0)])]);
    let file = "energy: { usd_per_kwh: 0.36, gco2e_per_kwh: 500, pue: 1.25, host_factor: 2 }";
    fs::write(node.path("pricing.yaml"), file).unwrap();
    let daemon = node.start(&[&flag("--pricing.file", &node.path("pricing.yaml"))]).ready();
    let held = |scrape: &Scrape| scrape.sum("gpu_cost_pod_gpu_seconds_total", &[("pod", "trainer")]) > 0.0;
    daemon.scrape_until("the pod", |scrape| held(scrape).then_some(()));
    // 72,000 J of the board are 0.05 kWh at the meter: 0.018 $ and 25 g.
    node.set(&Node::new([board(72_005_000)]));
    let scrape = daemon.scrape_until("the energy", |scrape| {
        let joules = scrape.value("gpu_cost_device_energy_joules_total", &[]);
        (joules == Some(72_000.0)).then(|| scrape.clone())
    });
    for line in ["device", "pod"] {
        let value = |what: &str| scrape.value(&format!("gpu_cost_{line}_{what}_total"), &[]);
        let spent = (value("energy_joules"), value("energy_dollars"), value("co2e_grams"));
        assert_eq!(spent, (Some(72_000.0), Some(0.018), Some(25.0)), "{line}");
    }
    for (name, expected) in [
        ("gpu_cost_energy_price_dollars_per_kilowatt_hour", 0.36),
        ("gpu_cost_power_usage_effectiveness_ratio", 1.25),
        ("gpu_cost_host_power_ratio", 2.0),
    ] {
        assert_eq!(scrape.value(name, &[]), Some(expected), "{name}");
    }
    let intensity = scrape.value("gpu_cost_grid_intensity_grams_per_kilowatt_hour", &[("source", "file")]);
    assert_eq!(intensity, Some(500.0));
    assert_adds_up(&scrape);
    let ledger = daemon.get("/api/v1/ledger");
    let ledger: serde_json::Value = serde_json::from_str(ledger.text()).unwrap();
    let electricity = &ledger["report"]["pods"][0]["electricity"];
    assert_eq!(
        *electricity,
        serde_json::json!({ "joules": "72000", "dollars": "0.018", "co2e_grams": "25" })
    );
    assert!(daemon.get("/").text().contains("on no bill, their electricity: $0.018 and 25 g of CO₂e"));
}

#[test]
fn a_recorded_trace_gives_the_same_ledger() {
    let node = mixed();
    let trace = node.path("trace.ndjson");
    let daemon = node.start(&[&flag("--record", &trace)]).ready();
    charged(&daemon);
    node.kubelet.list(Vec::new());
    daemon.scrape_until("free GPUs", |scrape| (scrape.sum("gpu_cost_pod_gpus", &[]) == 0.0).then_some(()));
    let ticks = |scrape: &Scrape| scrape.value("gpu_cost_exporter_ticks_total", &[]).unwrap().to_string();
    let live = daemon.scrape();
    drop(daemon);
    // The trace goes on after the last scrape: only what both have can be compared. Its first line is a header.
    let recorded = fs::read_to_string(&trace).unwrap();
    let kept: Vec<&str> = recorded.lines().take(1 + ticks(&live).parse::<usize>().unwrap()).collect();
    fs::write(&trace, kept.join("\n") + "\n").unwrap();

    let replayed = Daemon::start(&[&flag("--replay", &trace)]).ready().scrape();
    assert_eq!(ticks(&replayed), ticks(&live));
    let money = |scrape: &Scrape| -> Vec<_> {
        let of = |name: &str| name.contains("dollars") || name.contains("seconds_total");
        scrape
            .counters()
            .filter(|((name, _), _)| of(name))
            .map(|(series, value)| (series.clone(), value))
            .collect()
    };
    assert_eq!(money(&replayed), money(&live));
}

#[test]
fn the_demo_is_marked_as_such_everywhere() {
    let daemon = Daemon::start(&["--demo"]).ready();
    assert!(daemon.log().contains("SIMULATED NODE"));
    let scrape =
        daemon.scrape_until("money", |scrape| (scrape.sum(DEVICE, &[]) > 0.0).then(|| scrape.clone()));
    assert_adds_up(&scrape);
    assert_eq!(scrape.value("gpu_cost_exporter_simulated", &[]), Some(1.0));
    assert!(daemon.get("/").text().to_lowercase().contains("simulated node"));
    assert!(scrape.sum("gpu_cost_device_energy_dollars_total", &[]) > 0.0, "it has a tariff of its own");
    let intensity = "gpu_cost_grid_intensity_grams_per_kilowatt_hour";
    assert_eq!(scrape.label(intensity, "source"), ["built_in:aws/us-east-1@2021"]);
}

#[test]
fn a_recorded_demo_is_marked_as_such_too() {
    let directory = tempfile::tempdir().unwrap();
    let record = flag("--record", &directory.path().join("trace.ndjson"));
    let daemon = Daemon::start(&["--demo", "--sample.interval=100ms", &record]).ready();
    daemon.scrape_until("money", |scrape| (scrape.sum(DEVICE, &[]) > 0.0).then_some(()));
    daemon.terminate();
    let daemon = Daemon::start(&[&record.replace("--record", "--replay")]).ready();
    assert_eq!(daemon.scrape().value("gpu_cost_exporter_simulated", &[]), Some(1.0));
    let page = daemon.get("/");
    assert!(page.text().contains("Simulated node") && page.text().contains("Replay of a recording"));
}
