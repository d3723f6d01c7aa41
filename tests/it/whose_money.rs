//! Whose money it is: the built binary with an API server that says so.

use std::fs;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::kubelet::messages::{ClaimResource, DynamicResource};
use gpu_cost_exporter::observation::{DeviceTarget, Observation};
use gpu_cost_exporter::trace::Replay;
use serde_json::json;

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{Method, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;

const POD: &str = "gpu_cost_pod_dollars_total";
const INFO: &str = "gpu_cost_pod_info";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";
const UP: &str = "gpu_cost_exporter_source_up";

/// A node with one busy GPU, which the pod `ml/chat` holds.
fn node() -> FakeNode {
    let node = FakeNode::new(&Node::new([Board::t4(0).busy(50)]));
    node.kubelet.list(vec![pod("ml", "chat", "nvidia.com/gpu", &[&uuid(0)])]);
    node
}

/// The pod as its owner describes it.
fn chat(uid: &str, labels: &[(&str, &str)]) -> serde_json::Value {
    let mut pod = fake_apiserver::pod("ml", "chat", uid, labels);
    pod["metadata"]["ownerReferences"] =
        json!([{ "kind": "ReplicaSet", "name": "chat-7d4b9c6f5", "controller": true }]);
    pod["metadata"]["labels"]["pod-template-hash"] = "7d4b9c6f5".into();
    pod
}

fn start(node: &FakeNode, server: &FakeApiServer, args: &[&str]) -> Daemon {
    let kubeconfig = flag("--kubernetes.kubeconfig", &server.kubeconfig());
    node.start(&[&[kubeconfig.as_str()], args].concat()).ready()
}

fn paid_by(daemon: &Daemon, team: &str) -> Scrape {
    let before = daemon.scrape().sum(SHOWBACK, &[("team", team)]);
    daemon.scrape_until("money of the team", |scrape| {
        (scrape.sum(SHOWBACK, &[("team", team)]) > before).then(|| scrape.clone())
    })
}

#[test]
fn a_line_says_which_pod_it_is_and_who_pays() {
    let (node, server) = (node(), FakeApiServer::start());
    server.apply(&chat("uid-1", &[("team", "nlp"), ("stage", "prod")]));
    let daemon = start(&node, &server, &["--labels.source=environment=stage"]);
    let scrape = paid_by(&daemon, "nlp");
    let is = [
        ("pod", "chat"),
        ("pod_uid", "uid-1"),
        ("team", "nlp"),
        ("environment", "prod"),
        ("workload_kind", "Deployment"),
        ("workload", "chat"),
    ];
    assert_eq!(scrape.value(INFO, &is), Some(1.0));
    assert!(scrape.sum(POD, &[("pod_uid", "uid-1")]) > 0.0);
    // The first sample waited for the API server: there is no line without a UID.
    assert_eq!(scrape.values(POD, &[("pod_uid", "")]), [0.0; 0]);
    assert_eq!(scrape.value(UP, &[("source", "apiserver")]), Some(1.0));
}

#[test]
fn a_pod_that_does_not_say_it_pays_by_rules_and_namespaces() {
    let (node, server) = (node(), FakeApiServer::start());
    let file = node.path("labels.yaml");
    let written = "
sources: { environment: stage, project: work }
rules:
  - match: { namespace: m*, workload_kind: Deployment }
    set: { task_type: inference, team: by-rule }
namespaces:
  ml: { team: by-namespace, cost_center: cc-7, department: by-namespace }
";
    fs::write(&file, written).unwrap();
    server.apply(&chat("uid-1", &[("stage", "prod"), ("crew", "own"), ("work", "w"), ("department", "own")]));
    let args = [flag("--labels.file", &file), "--labels.source=project=crew".to_owned()];
    let daemon = start(&node, &server, &args.each_ref().map(String::as_str));
    let scrape = paid_by(&daemon, "by-rule");
    let is = [
        ("pod_uid", "uid-1"),
        ("environment", "prod"),
        ("project", "own"),
        ("task_type", "inference"),
        ("cost_center", "cc-7"),
        ("department", "own"),
    ];
    assert_eq!(scrape.value(INFO, &is), Some(1.0));
    assert_eq!(scrape.value(UP, &[("source", "labels")]), Some(1.0));
}

#[test]
fn a_wrong_file_of_labels_is_told_and_pods_pay_by_their_own() {
    let (node, server) = (node(), FakeApiServer::start());
    let file = node.path("labels.yaml");
    fs::write(&file, "namespaces:\n  ml: { teem: x, project: y }\n  web: 5\n").unwrap();
    server.apply(&chat("uid-1", &[("team", "nlp")]));
    let daemon = start(&node, &server, &[&flag("--labels.file", &file)]);
    let scrape = paid_by(&daemon, "nlp");
    assert_eq!(scrape.value(INFO, &[("pod_uid", "uid-1"), ("project", "")]), Some(1.0));
    assert_eq!(scrape.value(UP, &[("source", "labels")]), Some(0.0));
    let log = daemon.log();
    let said = "labels.yaml:2: namespaces.ml.teem: expected one of team, project, model, environment, cost_center, \
                department, task_type, found an unknown key; did you mean `team`?";
    assert!(log.contains(said) && log.contains("labels.yaml:3: namespaces.web: expected a map"), "{log}");
    assert!(daemon.get("/").text().contains("The file of labels cannot be used."));
    assert_eq!(daemon.get("/-/ready").status, 200);
}

#[test]
fn another_file_of_labels_moves_only_the_money_from_then_on() {
    let (node, server) = (node(), FakeApiServer::start());
    let file = node.path("labels.yaml");
    let write = |text: &str| {
        fs::write(node.path("labels.new"), text).unwrap();
        fs::rename(node.path("labels.new"), &file).unwrap();
    };
    write("namespaces: { ml: { team: first } }\n");
    server.apply(&chat("uid-1", &[]));
    let daemon = start(&node, &server, &[&flag("--labels.file", &file)]);
    let first = paid_by(&daemon, "first").sum(SHOWBACK, &[("team", "first")]);
    let lists =
        |server: &FakeApiServer| server.asked("pods").iter().filter(|it| !it.contains("watch=")).count();
    let listed = lists(&server);

    write("namespaces: { ml: { team: second } }\n");
    let scrape = paid_by(&daemon, "second");
    assert!(scrape.sum(SHOWBACK, &[("team", "first")]) >= first);
    assert_eq!(scrape.value(INFO, &[("pod_uid", "uid-1"), ("team", "second")]), Some(1.0));
    assert_eq!((lists(&server), scrape.value(UP, &[("source", "apiserver")])), (listed + 1, Some(1.0)));

    // A wrong one changes nothing, and what the API server tells meanwhile is read by the last good one.
    write("namespaces: { ml: { teem: third } }\n");
    daemon.scrape_until("the mistake", |scrape| {
        (scrape.value(UP, &[("source", "labels")]) == Some(0.0)).then_some(())
    });
    server.apply(&chat("uid-1", &[("project", "new")]));
    daemon.scrape_until("another project", |scrape| {
        let is = [("team", "second"), ("project", "new")];
        scrape.value(INFO, &is)
    });
    daemon.wait_for_log("namespaces.ml.teem");
    assert!(daemon.get("/").text().contains("stay in force"));

    write("namespaces: { ml: { team: fourth } }\n");
    daemon.hang_up();
    let scrape = paid_by(&daemon, "fourth");
    assert_eq!(scrape.value(UP, &[("source", "labels")]), Some(1.0));
    assert_eq!(scrape.value("gpu_cost_exporter_source_errors_total", &[("source", "labels")]), Some(1.0));
}

#[test]
fn relabelling_a_running_pod_moves_only_the_money_from_then_on() {
    let (node, server) = (node(), FakeApiServer::start());
    server.apply(&chat("uid-1", &[("team", "nlp")]));
    let daemon = start(&node, &server, &[]);
    paid_by(&daemon, "nlp");
    server.apply(&chat("uid-1", &[("team", "vision")]));
    let scrape = paid_by(&daemon, "vision");
    let then = scrape.sum(SHOWBACK, &[("team", "nlp")]);
    assert!(then > 0.0);
    let later = paid_by(&daemon, "vision");
    assert!((later.sum(SHOWBACK, &[("team", "nlp")]) - then).abs() < f64::EPSILON);
    // What was spent before the kubelet's first answer is nobody's that can be named.
    let (held, pods) = (later.sum(SHOWBACK, &[("namespace", "ml")]), later.sum(POD, &[("pod_uid", "uid-1")]));
    assert!((held - pods).abs() < 1e-12, "{pods} of {held} is on the pod's one line");
}

#[test]
fn a_new_pod_under_an_old_name_is_a_new_holder() {
    let (node, server) = (node(), FakeApiServer::start());
    server.apply(&chat("uid-1", &[("team", "nlp")]));
    let daemon = start(&node, &server, &[]);
    paid_by(&daemon, "nlp");
    server.delete("ml", "chat");
    server.apply(&chat("uid-2", &[("team", "vision")]));
    let scrape = paid_by(&daemon, "vision");
    let first = scrape.sum(POD, &[("pod_uid", "uid-1")]);
    assert!(first > 0.0);
    let later = paid_by(&daemon, "vision");
    assert!((later.sum(POD, &[("pod_uid", "uid-1")]) - first).abs() < f64::EPSILON);
    assert!(later.sum(POD, &[("pod_uid", "uid-2")]) > 0.0);
}

#[test]
fn while_the_api_server_is_away_the_same_team_pays() {
    let (node, mut server) = (node(), FakeApiServer::start());
    server.apply(&chat("uid-1", &[("team", "nlp")]));
    let daemon = start(&node, &server, &[]);
    paid_by(&daemon, "nlp");
    server.die();
    daemon.scrape_until("the source's state", |scrape| {
        scrape.value(UP, &[("source", "apiserver")]).filter(|up| *up == 0.0)
    });
    let scrape = paid_by(&daemon, "nlp");
    assert_eq!(scrape.values(POD, &[("pod_uid", "")]), [0.0; 0]);
    assert_eq!(daemon.get("/-/ready").status, 200);
    server.come_back();
    daemon.scrape_until("the source again", |scrape| {
        scrape.value(UP, &[("source", "apiserver")]).filter(|up| *up > 0.0)
    });
}

#[test]
fn without_an_api_server_money_goes_on_without_labels() {
    let (node, mut server) = (node(), FakeApiServer::start());
    server.apply(&chat("uid-1", &[("team", "nlp")]));
    server.die();
    // Ready though nobody ever described the pods.
    let daemon = start(&node, &server, &[]);
    daemon.scrape_until("money", |scrape| (scrape.sum(POD, &[("pod_uid", "")]) > 0.0).then_some(()));
    server.come_back();
    paid_by(&daemon, "nlp");
}

#[test]
fn a_change_makes_it_ask_the_kubelet_at_once() {
    let (node, server) = (node(), FakeApiServer::start());
    let daemon = start(&node, &server, &[]);
    let ticks = || daemon.scrape().value("gpu_cost_exporter_ticks_total", &[]).unwrap();
    let before = ticks();
    for n in 0..5 {
        let asked = node.kubelet.calls(Method::List);
        server.apply(&chat("uid-1", &[("team", &format!("team-{n}"))]));
        eventually("a question to the kubelet", || (node.kubelet.calls(Method::List) > asked).then_some(()));
    }
    // By itself it asks once in five seconds, which would take it 200 ticks.
    assert!(ticks() - before < 150.0, "{} ticks for five questions", ticks() - before);
}

#[test]
fn what_a_claim_has_reaches_the_observation() {
    let (node, server) = (node(), FakeApiServer::start());
    let device = json!({ "name": "gpu-0", "attributes": { "uuid": { "string": uuid(0) } } });
    server.serve_claims(&["v1beta1", "v1"]);
    server.apply_slice(&json!({
        "metadata": { "name": "slice" },
        "spec": {
            "driver": "gpu.nvidia.com", "nodeName": fake_apiserver::NODE, "devices": [device],
            "pool": { "name": fake_apiserver::NODE, "generation": 1 },
        },
    }));
    server.apply_claim(&json!({
        "metadata": { "namespace": "ml", "name": "chat-gpu" },
        "status": { "allocation": { "devices": { "results": [{
            "driver": "gpu.nvidia.com", "pool": fake_apiserver::NODE, "device": "gpu-0", "adminAccess": true,
        }] } } },
    }));
    let mut claiming = chat("uid-1", &[]);
    claiming["status"]["resourceClaimStatuses"] = json!([{ "name": "gpu", "resourceClaimName": "chat-gpu" }]);
    server.apply(&claiming);
    let mut held = pod("ml", "chat", "", &[]);
    held.containers[0].dynamic_resources = vec![DynamicResource {
        claim_name: "chat-gpu".to_owned(),
        claim_namespace: "ml".to_owned(),
        claim_resources: vec![ClaimResource {
            driver_name: "gpu.nvidia.com".to_owned(),
            pool_name: fake_apiserver::NODE.to_owned(),
            device_name: "gpu-0".to_owned(),
            ..ClaimResource::default()
        }],
        ..DynamicResource::default()
    }];
    node.kubelet.list(vec![held]);

    let trace = node.path("trace.ndjson");
    let daemon = start(&node, &server, &[&flag("--record", &trace)]);
    let seen = eventually(&format!("all of it is seen; log so far:\n{}", daemon.log()), || {
        // The last line may be half written.
        let copy = node.path("copy.ndjson");
        fs::copy(&trace, &copy).ok()?;
        let seen = Replay::open(&copy).ok()?.map_while(Result::ok).last()?;
        let is_all = !seen.dynamic.claims.is_empty() && !seen.dynamic.devices.is_empty();
        (is_all && holds_what_is_published(&seen)).then_some(seen)
    });
    assert_eq!(seen.dynamic.devices[0].uuid.as_deref(), Some(uuid(0).as_str()));
    assert_eq!(seen.dynamic.claims[0].key.to_string(), "ml/chat-gpu");
    assert!(seen.dynamic.claims[0].devices[0].admin);
}

/// Whether the kubelet's holder has a device under the name under which one is published and claimed.
fn holds_what_is_published(seen: &Observation) -> bool {
    let (published, claim) = (&seen.dynamic.devices[0], &seen.dynamic.claims[0]);
    let held = seen.allocations.iter().flat_map(|allocations| &*allocations.containers);
    held.flat_map(|allocation| &allocation.devices).any(|id| {
        matches!(&id.target, DeviceTarget::Claimed { claim: key, device, .. }
            if *key == claim.key && *device == published.name && *device == claim.devices[0].name)
    })
}
