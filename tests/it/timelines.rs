//! What running kubelets were seen to answer that was not the whole truth, replayed before the built binary: no dollar
//! goes where it does not belong.
//!
//! The node is the one that the answers were captured on: eight GPUs, a static pod, and pods of the API server.

use std::collections::BTreeMap;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::kubelet::messages::{
    AllocatableResourcesResponse, ContainerDevices, ListPodResourcesResponse, PodResources,
};
use prost::Message;
use serde_json::json;

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{Answer, Method, pod};
use crate::support::node::{FakeNode, flag};
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";
const UP: &str = "gpu_cost_exporter_source_up";
const LAST_SUCCESS: &str = "gpu_cost_exporter_source_last_success_timestamp_seconds";

/// What every GPU of the node is held by in the calm, and nobody holds the others.
const CALM: &str =
    "team-a/gpu-a-rig-node 1, team-b/api-2gpu 2, team-b/api-cni 1, team-c/api-fail 1, unallocated 3";

/// A node with its kubelet, an API server if there is one, and the exporter.
struct Stage {
    node: FakeNode,
    server: Option<FakeApiServer>,
    /// Whether the API server has the pods.
    is_described: bool,
    daemon: Daemon,
}

/// The UUID of the captured node's GPU `n`.
fn gpu(n: u32) -> String {
    format!("GPU-01000100-0000-0000-0000-{n:012}")
}

/// The pods of a captured answer.
fn captured(bytes: &[u8]) -> Vec<PodResources> {
    ListPodResourcesResponse::decode(bytes).unwrap().pod_resources
}

/// All pods while they run.
fn running() -> Vec<PodResources> {
    captured(include_bytes!("../captures/pod-resources/list-api-running.pb"))
}

/// Those of them that need no API server.
fn static_pods() -> Vec<PodResources> {
    running().into_iter().filter(|pod| pod.name.ends_with("-rig-node")).collect()
}

/// All eight GPUs, as the plugin advertises them while they are well.
fn advertised() -> Vec<ContainerDevices> {
    let bytes = include_bytes!("../captures/pod-resources/alloc-plain.pb");
    AllocatableResourcesResponse::decode(bytes.as_slice()).unwrap().devices
}

/// The same pod without its devices.
fn bare(pod: PodResources) -> PodResources {
    let mut bare = pod;
    bare.containers.iter_mut().for_each(|container| container.devices.clear());
    bare
}

fn listing(pods: Vec<PodResources>) -> Answer {
    Answer::message(&ListPodResourcesResponse { pod_resources: pods })
}

/// The pod as the API server shows it; its UID is its name.
fn described_pod(namespace: &str, name: &str) -> serde_json::Value {
    let mut pod = fake_apiserver::pod(namespace, name, name, &[]);
    if name.ends_with("-rig-node") {
        let hash = format!("{name}-hash");
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": hash });
    }
    pod
}

/// What was charged from one scrape to a later one, in GPUs of this time: who was charged for how many, sorted.
fn charged(from: &Scrape, to: &Scrape) -> String {
    assert_eq!(to.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    let grown = |metric: &str, labels: &[(&str, &str)]| to.sum(metric, labels) - from.sum(metric, labels);
    let all = grown(DEVICE, &[]);
    assert!(all > 0.0, "nothing was charged");
    let by_payer = grown(SHOWBACK, &[]);
    assert!((all - by_payer).abs() < 1e-9 * all, "{all} on devices, {by_payer} on payers");
    let mut lines: BTreeMap<String, f64> = BTreeMap::new();
    for (namespace, pod) in to.label(POD, "namespace").into_iter().zip(to.label(POD, "pod")) {
        let dollars = grown(POD, &[("namespace", &namespace), ("pod", &pod)]);
        lines.insert(format!("{namespace}/{pod}"), dollars);
    }
    for state in ["unallocated", "stranded", "unattributed", "unavailable"] {
        lines.insert(state.to_owned(), grown(SHOWBACK, &[("namespace", ""), ("state", state)]));
    }
    let sum: f64 = lines.values().sum();
    assert!((all - sum).abs() < 1e-9 * all, "{all} on devices, {sum} on pods and nobody");
    // In thousandths of a GPU: far more than what is lost in the last digit of a counter.
    let gpus = lines.into_iter().map(|(who, dollars)| (who, (8_000.0 * dollars / all).round() / 1_000.0));
    let told: Vec<String> =
        gpus.filter(|(_, gpus)| *gpus != 0.0).map(|(who, gpus)| format!("{who} {gpus}")).collect();
    told.join(", ")
}

/// How long before the last tick the API server was last heard, in seconds.
fn age(scrape: &Scrape) -> f64 {
    let of = |source| scrape.value(LAST_SUCCESS, &[("source", source)]).unwrap();
    of("nvml") - of("apiserver")
}

// === impl Stage ===

impl Stage {
    /// Everything as it is in the calm, described by an API server.
    fn calm() -> Self {
        Self::described(&[])
    }

    fn described(args: &[&str]) -> Self {
        let server = FakeApiServer::start();
        for pod in running() {
            server.apply(&described_pod(&pod.namespace, &pod.name));
        }
        Self { is_described: true, ..Self::with(Some(server), args) }
    }

    /// The same with an API server that never hears of these pods.
    fn undescribed() -> Self {
        Self::with(Some(FakeApiServer::start()), &[])
    }

    /// The same without an API server.
    fn alone() -> Self {
        Self::with(None, &[])
    }

    fn with(server: Option<FakeApiServer>, args: &[&str]) -> Self {
        let board = |n| Board { uuid: gpu(n), ..Board::t4(n) }.busy(50);
        let node = FakeNode::new(&Node::new((0..8).map(board)));
        node.kubelet.list(running());
        node.kubelet.advertise(advertised());
        let kubeconfig = server.as_ref().map(|it| flag("--kubernetes.kubeconfig", &it.kubeconfig()));
        let args: Vec<&str> = args.iter().copied().chain(kubeconfig.as_deref()).collect();
        let daemon = node.start(&args).ready();
        daemon.scrape_until("the holders", |scrape| {
            (scrape.sum("gpu_cost_pod_gpus", &[]).round() >= 5.0).then_some(())
        });
        let stage = Self { node, server, is_described: false, daemon };
        stage.check(CALM);
        stage
    }

    fn server(&self) -> &FakeApiServer {
        self.server.as_ref().expect("there is an API server")
    }

    fn server_mut(&mut self) -> &mut FakeApiServer {
        self.server.as_mut().expect("there is an API server")
    }

    /// Waits until what the kubelet says now is on the ledger.
    fn until_heard(&self) {
        self.until_heard_times(1);
    }

    /// Waits until so many of the answers that the kubelet gives from now on are on the ledger.
    fn until_heard_times(&self, answers: usize) {
        let asked = || self.node.kubelet.calls(Method::List);
        let before = asked();
        // It asks again when it has told what the kubelet answered before.
        eventually("questions to the kubelet", || {
            self.wake();
            (asked() > before + answers).then_some(())
        });
        self.until_ticked(2);
    }

    /// Something happens on the node, so that the kubelet is asked at once.
    fn wake(&self) {
        if let Some(server) = &self.server {
            server.apply(&fake_apiserver::pod("kube-system", "bystander", "bystander", &[]));
        }
    }

    /// Waits for some ticks, of which the last began after now.
    fn until_ticked(&self, ticks: u32) -> Scrape {
        let count = |scrape: &Scrape| scrape.value("gpu_cost_exporter_ticks_total", &[]).unwrap();
        let before = count(&self.daemon.scrape());
        self.daemon.scrape_until("ticks", |scrape| {
            (count(scrape) >= before + f64::from(ticks)).then(|| scrape.clone())
        })
    }

    /// Two scrapes with some ticks between them.
    fn while_time_passes(&self) -> (Scrape, Scrape) {
        (self.daemon.scrape(), self.until_ticked(5))
    }

    /// The kubelet restarts, and answers so, one after the other, before it goes on as it was.
    fn restart_kubelet(&mut self, answers: Vec<Vec<PodResources>>) {
        self.node.kubelet.die();
        for pods in answers {
            self.node.kubelet.answer_next(Method::List, 1, &listing(pods));
        }
        self.node.kubelet.come_back();
    }

    /// What is charged from now on, whatever was before.
    #[track_caller]
    fn check(&self, expected: &str) {
        let (from, to) = self.while_time_passes();
        assert_eq!(charged(&from, &to), expected);
    }

    /// Waits until a source is up or down.
    fn until_source(&self, source: &str, up: bool) {
        self.daemon.scrape_until(source, |scrape| {
            (scrape.value(UP, &[("source", source)]) == Some(f64::from(u8::from(up)))).then_some(())
        });
    }
}

#[test]
fn a_list_that_is_incomplete_after_a_restart_moves_no_dollar() {
    for mut stage in [Stage::calm(), Stage::undescribed(), Stage::alone()] {
        let from = stage.daemon.scrape();
        stage.restart_kubelet(vec![Vec::new(), static_pods()]);
        stage.until_heard_times(3);
        assert_eq!(charged(&from, &stage.daemon.scrape()), CALM);
        stage.check(CALM);
    }
}

#[test]
fn a_list_that_is_incomplete_for_as_long_as_the_api_server_is_away_moves_no_dollar() {
    let mut stage = Stage::described(&["--kubelet.max-age=10s"]);
    // Of this one the API server never heard: when its grace is over, so is that of all others.
    let undescribed = pod("team-d", "ghost", "nvidia.com/gpu", &[&gpu(7)]);
    stage.node.kubelet.list([running(), vec![undescribed]].concat());
    stage.until_heard();
    let all = format!("{}, team-d/ghost 1, unallocated 2", CALM.trim_end_matches(", unallocated 3"));
    stage.check(&all);

    stage.server_mut().die();
    stage.until_source("apiserver", false);
    let from = stage.daemon.scrape();
    stage.node.kubelet.list(static_pods());
    stage.restart_kubelet(Vec::new());
    let grace = stage.daemon.scrape_until("the end of the grace", |scrape| {
        let ghosts = scrape.value("gpu_cost_pod_gpus", &[("pod", "ghost")]).unwrap_or(0.0);
        (ghosts == 0.0 && age(scrape) > 10.0).then(|| scrape.clone())
    });
    let told = charged(&from, &grace);
    let (but_ghost, _) = CALM.split_once(", unallocated").unwrap();
    assert!(told.starts_with(but_ghost), "{told}");
    stage.check(CALM);

    stage.server_mut().come_back();
    stage.until_source("apiserver", true);
    stage.node.kubelet.list(running());
    stage.until_heard();
    stage.check(CALM);
}

#[test]
fn a_pod_that_shows_its_devices_a_moment_late_pays_from_then_on() {
    let stage = Stage::calm();
    let late = pod("team-d", "late", "nvidia.com/gpu", &[&gpu(5)]);
    let bare = [running(), vec![bare(late.clone())]].concat();
    stage.node.kubelet.answer_next(Method::List, 1, &listing(bare));
    stage.node.kubelet.list([running(), vec![late]].concat());
    let from = stage.daemon.scrape();
    // The pod watch tells of it, and then nothing: it is asked again all the same.
    stage.server().apply(&described_pod("team-d", "late"));
    stage
        .daemon
        .scrape_until("money of the pod", |scrape| (scrape.sum(POD, &[("pod", "late")]) > 0.0).then_some(()));
    let told = charged(&from, &stage.daemon.scrape());
    let (others, _) = CALM.split_once(", unallocated").unwrap();
    assert!(told.starts_with(others), "{told}");
    stage.check(&format!("{others}, team-d/late 1, unallocated 2"));
}

#[test]
fn a_running_pod_that_shows_no_devices_for_a_moment_keeps_them() {
    let stage = Stage::calm();
    let from = stage.daemon.scrape();
    stage.node.kubelet.answer_next(Method::List, 1, &listing(running().into_iter().map(bare).collect()));
    stage.until_heard_times(2);
    assert_eq!(charged(&from, &stage.daemon.scrape()), CALM);
}

#[test]
fn a_terminated_static_pod_that_reappears_holds_nothing() {
    let without = || running().into_iter().filter(|pod| pod.namespace != "team-a").collect::<Vec<_>>();
    let others = "team-b/api-2gpu 2, team-b/api-cni 1, team-c/api-fail 1, unallocated 4";
    for mut stage in [Stage::calm(), Stage::undescribed()] {
        if stage.is_described {
            let mut mirror = described_pod("team-a", "gpu-a-rig-node");
            mirror["status"]["phase"] = "Failed".into();
            stage.server().apply(&mirror);
        }
        stage.node.kubelet.list(without());
        stage.until_heard();
        let from = stage.daemon.scrape();
        // With its device, for a second.
        stage.restart_kubelet(vec![running(), running(), without()]);
        stage.until_heard_times(3);
        assert_eq!(charged(&from, &stage.daemon.scrape()), others);
        stage.check(others);
    }
}

#[test]
fn what_an_old_kubelet_lists_of_terminated_pods_is_nobodys() {
    let stage = Stage::calm();
    let job = pod("team-c", "api-job", "nvidia.com/gpu", &[&gpu(5)]);
    stage.server().apply(&described_pod("team-c", "api-job"));
    stage.node.kubelet.list([running(), vec![job]].concat());
    stage.until_heard();
    let (others, _) = CALM.split_once(", team-c").unwrap();
    stage.check(&format!("{others}, team-c/api-fail 1, team-c/api-job 1, unallocated 2"));

    let bytes = include_bytes!("../captures/pod-resources/list-useactivepods-false.pb");
    stage.node.kubelet.list(captured(bytes));
    for (name, phase) in [("api-job", "Succeeded"), ("api-fail", "Failed")] {
        let mut ended = described_pod("team-c", name);
        ended["status"]["phase"] = phase.into();
        stage.server().apply(&ended);
    }
    stage.until_heard();
    stage.check(&format!("{others}, unallocated 4"));
}

#[test]
fn a_pod_that_has_ended_holds_nothing_though_the_kubelet_lists_it_for_two_more_seconds() {
    let stage = Stage::calm();
    let mut ended = described_pod("team-c", "api-fail");
    ended["status"]["phase"] = "Failed".into();
    stage.server().apply(&ended);
    stage.until_heard_times(2);
    stage.check(&CALM.replace(", team-c/api-fail 1, unallocated 3", ", unallocated 4"));
}

#[test]
fn gpus_of_a_plain_init_container_are_its_pods_or_nobodys_we_can_name() {
    let stage = Stage::calm();
    let asks = |gpus: u32| json!({ "resources": { "limits": { "nvidia.com/gpu": gpus.to_string() } } });
    let mut described = described_pod("team-b", "initpod");
    let mut sidecar = asks(1);
    sidecar["restartPolicy"] = "Always".into();
    // One more than the sidecar and the container after it have together.
    described["spec"]["initContainers"] = json!([asks(4), sidecar]);
    described["spec"]["containers"] = json!([asks(2)]);
    stage.server().apply(&described);
    for pod in running().iter().filter(|pod| pod.name.starts_with("api-")) {
        stage.server().delete(&pod.namespace, &pod.name);
    }
    let listed = captured(include_bytes!("../captures/pod-resources/k133-list-after-terminated.pb"));
    stage.node.kubelet.list(listed.clone());
    stage.until_heard();
    let listed_pods = |of_init| format!("team-a/gpu-a-rig-node 1, team-b/initpod {of_init}, team-c/run1 1");
    stage.check(&format!("{}, unallocated 2, unattributed 1", listed_pods(3)));
    // Where one GPU alone can be meant, it is the pod's.
    let rest = pod("team-d", "rest", "nvidia.com/gpu", &[&gpu(4), &gpu(5)]);
    stage.node.kubelet.list([listed, vec![rest]].concat());
    stage.until_heard();
    stage.check(&format!("{}, team-d/rest 2", listed_pods(4)));
}

#[test]
fn an_unhealthy_gpu_is_unavailable_only_while_nobody_holds_it() {
    let stage = Stage::calm();
    let healthy = |ids: &[u32]| {
        let unhealthy: Vec<String> = ids.iter().map(|n| gpu(*n)).collect();
        advertised().into_iter().filter(|it| !unhealthy.contains(&it.device_ids[0])).collect::<Vec<_>>()
    };
    // GPU 4 is held and stays in the list, GPU 5 is free.
    stage.node.kubelet.advertise(healthy(&[4, 5]));
    stage.until_heard();
    let (holders, _) = CALM.split_once(", unallocated").unwrap();
    stage.check(&format!("{holders}, unallocated 2, unavailable 1"));
    let scrape = stage.daemon.scrape();
    assert_eq!(scrape.value(DEVICE, &[("gpu_uuid", &gpu(4)), ("state", "unavailable")]), Some(0.0));
    assert!(scrape.value(DEVICE, &[("gpu_uuid", &gpu(5)), ("state", "unavailable")]) > Some(0.0));
    // Its holder goes: now it is lost too.
    stage.node.kubelet.list(running().into_iter().filter(|pod| pod.name != "api-cni").collect());
    stage.server().delete("team-b", "api-cni");
    stage.until_heard();
    let rest = holders.replace(", team-b/api-cni 1", "");
    stage.check(&format!("{rest}, unallocated 2, unavailable 2"));
    stage.node.kubelet.advertise(advertised());
    stage.until_heard();
    stage.check(&format!("{rest}, unallocated 4"));
}

#[test]
fn a_plugin_that_stops_moves_no_dollar() {
    for stage in [Stage::calm(), Stage::undescribed()] {
        let from = stage.daemon.scrape();
        stage.node.kubelet.advertise(Vec::new());
        stage.until_heard_times(2);
        stage.node.kubelet.advertise(advertised());
        stage.until_heard();
        assert_eq!(charged(&from, &stage.daemon.scrape()), CALM);
    }
}

#[test]
fn a_static_pod_without_its_device_holds_nothing() {
    let stage = Stage::calm();
    let name = "late-rig-node";
    let mut mirror = described_pod("team-a", name);
    mirror["spec"]["containers"][0]["resources"] = json!({ "limits": { "nvidia.com/gpu": "1" } });
    // An ordinary pod would keep the second one, which is never listed, for its life.
    let limits = json!({ "limits": { "nvidia.com/gpu": "2" } });
    mirror["spec"]["initContainers"] = json!([{ "name": "init", "resources": limits }]);
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] =
        json!("0123456789abcdef0123456789abcdef");
    stage.server().apply(&mirror);
    let bare = bare(pod("team-a", name, "nvidia.com/gpu", &[]));
    stage.node.kubelet.list([running(), vec![bare]].concat());
    stage.until_heard();
    stage.check(CALM);
    assert_eq!(stage.daemon.scrape().values(POD, &[("pod", name)]), [0.0; 0]);
}

#[test]
fn of_two_pods_on_one_exclusive_gpu_the_newest_pays_and_they_are_counted() {
    let conflicts =
        |scrape: &Scrape| scrape.value("gpu_cost_exporter_allocation_conflicts_total", &[]).unwrap();
    for stage in [Stage::calm(), Stage::undescribed()] {
        assert_eq!(conflicts(&stage.daemon.scrape()).to_string(), "0");
        if stage.is_described {
            stage.server().apply(&described_pod("team-a", "aa"));
        }
        // Neither its name nor its place in the list makes it the newer one.
        let newer = pod("team-a", "aa", "nvidia.com/gpu", &[&gpu(4)]);
        stage.node.kubelet.list([vec![newer], running()].concat());
        stage.until_heard();
        stage.check(&format!("team-a/aa 1, {}", CALM.replace("team-b/api-cni 1, ", "")));
        assert_eq!(conflicts(&stage.daemon.scrape()).to_string(), "1");
        // The hand-over ends as it should.
        stage.node.kubelet.list(running());
        if stage.is_described {
            stage.server().delete("team-a", "aa");
        }
        stage.until_heard();
        stage.check(CALM);
        assert_eq!(conflicts(&stage.daemon.scrape()).to_string(), "1", "one hand-over is one conflict");
    }
}

#[test]
fn a_pod_made_anew_under_its_name_has_its_own_gpu_and_not_the_old_one() {
    let by_uid = |from: &Scrape, to: &Scrape, uid: &str| {
        to.sum(POD, &[("pod", "api-cni"), ("pod_uid", uid)])
            - from.sum(POD, &[("pod", "api-cni"), ("pod_uid", uid)])
    };
    let anew = || {
        let others = running().into_iter().filter(|pod| pod.name != "api-cni");
        others.chain([pod("team-b", "api-cni", "nvidia.com/gpu", &[&gpu(5)])]).collect::<Vec<_>>()
    };
    for stage in [Stage::calm(), Stage::undescribed()] {
        let (old, new) = if stage.is_described { ("api-cni", "uid-2") } else { ("", "") };
        if stage.is_described {
            stage.server().delete("team-b", "api-cni");
            stage.server().apply(&fake_apiserver::pod("team-b", "api-cni", "uid-2", &[]));
        }
        stage.node.kubelet.list(anew());
        stage.until_heard();
        let (from, to) = stage.while_time_passes();
        assert_eq!(charged(&from, &to), CALM);
        assert!(by_uid(&from, &to, new) > 0.0);
        if old != new {
            assert_eq!(by_uid(&from, &to, old).to_string(), "0");
        }
        let of_gpu = |n| {
            let labels = [("gpu_uuid", gpu(n)), ("state", "unallocated".to_owned())];
            let labels = labels.each_ref().map(|(label, value)| (*label, value.as_str()));
            to.sum(DEVICE, &labels) - from.sum(DEVICE, &labels)
        };
        assert!(of_gpu(4) > 0.0 && of_gpu(5).to_string() == "0", "{} {}", of_gpu(4), of_gpu(5));
    }
}

#[test]
fn what_the_api_server_told_ages_only_while_it_is_away() {
    let mut stage = Stage::calm();
    // Nothing happens for a while, and what is known is as young as ever.
    let quiet = stage.until_ticked(15);
    assert!(age(&quiet) < 1.0, "{} s old", age(&quiet));
    stage.server_mut().die();
    stage.until_source("apiserver", false);
    let aged = stage.daemon.scrape_until("its age", |scrape| (age(scrape) >= 3.0).then(|| scrape.clone()));
    let (then, when) = (LAST_SUCCESS, [("source", "apiserver")]);
    assert!(aged.value(then, &when) >= quiet.value(then, &when), "it was true until it was lost");
    let page = stage.daemon.get("/");
    assert!(page.text().contains("The API server does not answer."), "{}", page.text());
    assert!(page.text().contains("It last answered"), "{}", page.text());
    stage.server_mut().come_back();
    stage.until_source("apiserver", true);
    let back = stage.until_ticked(1);
    assert!(age(&back) < 1.0, "{} s old", age(&back));
}
