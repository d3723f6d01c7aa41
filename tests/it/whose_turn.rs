//! Whose GPU it is when containers take turns, pods end, and there are more payers than lines: the built binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::kubelet::messages::ContainerResources;
use serde_json::{Value, json};

use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{Answer, Method, devices, pod};
use crate::support::fake_procfs::FakeProcfs;
use crate::support::node::{FakeNode, uuid};
use crate::support::spending::{Spending, assert_close, start};

const GPU: &str = "nvidia.com/gpu";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";

/// So many busy H100s.
fn node(gpus: u32) -> FakeNode {
    FakeNode::new(&Node::new((0..gpus).map(|n| Board::h100_80gb(n).counting(50.0, 50.0, 0.0, 0.0))))
}

/// A container that asks for so many GPUs.
fn asking(name: &str, gpus: u32) -> Value {
    json!({ "name": name, "resources": { "limits": { GPU: gpus.to_string() } } })
}

/// The pod `ml/NAME` with these init containers and one container that asks for a GPU.
fn beginning(name: &str, inits: &[Value]) -> Value {
    let mut pod = fake_apiserver::pod("ml", name, &format!("uid-{name}"), &[]);
    pod["spec"]["initContainers"] = inits.into();
    pod["spec"]["containers"] = json!([asking("main", 1)]);
    pod
}

#[test]
fn what_an_init_container_had_is_its_pods_until_it_ends() {
    let (node, server) = (node(3), FakeApiServer::start());
    let mut fetch = beginning("fetch", &[asking("prepare", 3)]);
    server.apply(&fetch);
    node.kubelet.list(vec![pod("ml", "fetch", GPU, &[&uuid(1)])]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("fetch", 3.0)]);
    spending.assert_clear();
    assert_close("free", spending.in_state("unallocated"), 0.0);
    // It ends while an old kubelet still lists it.
    fetch["status"]["phase"] = "Succeeded".into();
    server.apply(&fetch);
    let spending = Spending::when(&daemon, &[]);
    spending.assert_clear();
    assert_close("free", spending.in_state("unallocated"), 3.0);
}

#[test]
fn which_gpus_an_init_container_had_is_not_guessed() {
    let (node, server) = (node(4), FakeApiServer::start());
    server.apply(&beginning("fetch", &[asking("prepare", 3)]));
    node.kubelet.list(vec![pod("ml", "fetch", GPU, &[&uuid(1)])]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("fetch", 1.0)]);
    spending.assert_sums();
    assert_close("its own, whichever they are", spending.in_state("unattributed"), 2.0);
    assert_close("free", spending.in_state("unallocated"), 1.0);
}

#[test]
fn a_sidecar_is_listed_and_counts_once() {
    let (node, server) = (node(3), FakeApiServer::start());
    let mut sidecar = asking("proxy", 1);
    sidecar["restartPolicy"] = "Always".into();
    // Before the container runs, the sidecar and the init container have as many as it and the sidecar later.
    server.apply(&beginning("chat", &[sidecar, asking("prepare", 1)]));
    let mut listed = pod("ml", "chat", GPU, &[&uuid(0)]);
    listed.containers.push(ContainerResources {
        name: "proxy".to_owned(),
        devices: devices(GPU, &[&uuid(2)]),
        ..ContainerResources::default()
    });
    node.kubelet.list(vec![listed]);
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("chat", 2.0)]);
    spending.assert_clear();
    assert_close("free", spending.of_device(&uuid(1), "unallocated"), 1.0);
}

/// An answer of a kubelet that lists pods that have ended (`KubeletPodResourcesListUseActivePods` is off).
#[test]
fn a_pod_that_has_ended_pays_no_more_though_its_kubelet_lists_it() {
    let captured = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures/pod-resources/list-useactivepods-false.pb");
    let board = |n: u32| Board {
        uuid: format!("GPU-01000100-0000-0000-0000-{n:012}"),
        ..Board::h100_80gb(n).counting(50.0, 50.0, 0.0, 0.0)
    };
    let (node, server) = (FakeNode::new(&Node::new((0..6).map(board))), FakeApiServer::start());
    for (namespace, name) in [("team-a", "gpu-a-rig-node"), ("team-b", "api-cni"), ("team-b", "api-2gpu")] {
        server.apply(&fake_apiserver::pod(namespace, name, &format!("uid-{name}"), &[]));
    }
    for name in ["api-fail", "api-job"] {
        let mut ended = fake_apiserver::pod("team-c", name, &format!("uid-{name}"), &[]);
        ended["status"]["phase"] = "Failed".into();
        server.apply(&ended);
    }
    node.kubelet.answer(Method::List, Answer::Bytes(fs::read(captured).unwrap().into()));
    let daemon = start(&node, &server, &[]);
    let spending = Spending::when(&daemon, &[("gpu-a-rig-node", 1.0), ("api-cni", 1.0), ("api-2gpu", 2.0)]);
    spending.assert_clear();
    assert_close("free", spending.in_state("unallocated"), 2.0);
    // It ends, and the kubelet goes on to list it with its devices, as the oldest do.
    let mut ended = fake_apiserver::pod("team-b", "api-2gpu", "uid-api-2gpu", &[]);
    ended["status"]["phase"] = "Succeeded".into();
    server.apply(&ended);
    let spending = Spending::when(&daemon, &[("gpu-a-rig-node", 1.0), ("api-cni", 1.0), ("api-2gpu", 0.0)]);
    spending.assert_clear();
    assert_close("free", spending.in_state("unallocated"), 4.0);
}

#[test]
fn the_processes_of_a_static_pod_are_found_by_the_hash_of_its_manifest() {
    const HASH: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "aaaaaaaa-1111-4222-8333-444444444444";
    let board = Board::h100_80gb(0).busy(40).worked_by([(101, 10), (102, 30)]);
    let (node, server) = (FakeNode::new(&Node::new([board])), FakeApiServer::start());
    let slots = [0, 1].map(|n| format!("{}::{n}", uuid(0)));
    let mut mirror = fake_apiserver::pod("kube-system", "infer-test-node", "uid-of-the-mirror", &[]);
    mirror["metadata"]["annotations"] =
        json!({ "kubernetes.io/config.mirror": HASH, "kubernetes.io/config.hash": HASH });
    server.apply(&mirror);
    server.apply(&fake_apiserver::pod("ml", "chat", OTHER, &[]));
    node.kubelet.list(vec![
        pod("kube-system", "infer-test-node", GPU, &[&slots[0]]),
        pod("ml", "chat", GPU, &[&slots[1]]),
    ]);
    node.kubelet.advertise(devices(GPU, &[&slots[0], &slots[1]]));
    let procfs = FakeProcfs::at(&node.path("proc"));
    procfs.run(101, "python3", 1, &format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{HASH}.slice/cri-containerd-{HASH}{HASH}.scope"));
    procfs.run(102, "python3", 1, &format!("0::/kubepods/burstable/pod{OTHER}/{HASH}{HASH}"));
    let daemon = start(&node, &server, &[]);
    let utilization = |scrape: &crate::support::scrape::Scrape, pod| {
        scrape.value("gpu_cost_pod_utilization_ratio", &[("pod", pod)])
    };
    let scrape = daemon.scrape_until("work by processes", |scrape| {
        let works = [utilization(scrape, "infer-test-node"), utilization(scrape, "chat")];
        (works == [Some(0.2), Some(0.6)]).then(|| scrape.clone())
    });
    assert_eq!(scrape.label("gpu_cost_device_info", "attribution_method"), ["processes"]);
    assert_eq!(scrape.value("gpu_cost_device_foreign_utilization_ratio", &[]), Some(0.0));
    Spending::when(&daemon, &[("infer-test-node", 0.5), ("chat", 0.5)]).assert_clear();
}

#[test]
fn more_payers_than_lines_share_one_and_the_sum_holds() {
    const TEAMS: u32 = 205;
    let (node, server) = (node(1), FakeApiServer::start());
    let slots: Vec<String> = (0..TEAMS).map(|n| format!("{}::{n}", uuid(0))).collect();
    let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
    let names: Vec<String> = (0..TEAMS).map(|n| format!("p-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        server.apply(&fake_apiserver::pod("ml", name, &format!("uid-{n}"), &[("team", &format!("t-{n}"))]));
    }
    let listed = names.iter().zip(&slots).map(|(name, slot)| pod("ml", name, GPU, &[slot]));
    node.kubelet.list(listed.collect());
    node.kubelet.advertise(devices(GPU, &slots));
    let daemon = start(&node, &server, &[]);
    let expected: Vec<(&str, f64)> =
        names.iter().map(|name| (name.as_str(), 1.0 / f64::from(TEAMS))).collect();
    let spending = Spending::when(&daemon, &expected);
    spending.assert_clear();
    let scrape = spending.scrape();
    let teams: BTreeSet<String> = scrape.label(SHOWBACK, "team").into_iter().collect();
    let own_lines = teams.iter().filter(|team| !["", "__other__"].contains(&team.as_str())).count();
    assert!(teams.contains("__other__") && (190..=201).contains(&own_lines), "{own_lines} of {teams:?}");
    let dropped =
        scrape.value("gpu_cost_exporter_series_dropped_total", &[("reason", "payers")]).unwrap_or(0.0);
    assert_close("those without a line", dropped, f64::from(TEAMS - u32::try_from(own_lines).unwrap()));
    // Every team has paid the same, so the others have paid for as many as they are.
    let others = scrape.sum(SHOWBACK, &[("team", "__other__")]);
    assert!(others > 0.0);
    let one = scrape.sum(SHOWBACK, &[("team", "t-0")]);
    assert!((others - dropped * one).abs() <= 1e-8, "{others} is not {dropped} times {one}");
}
