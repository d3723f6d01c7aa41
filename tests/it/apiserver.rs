//! The API server's edge against an API server that misbehaves on demand.

mod dynamic;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gpu_cost_exporter::apiserver::{self, Access, Latest, Reading, Settings};
use gpu_cost_exporter::observation::{Fraction, FractionOf, Ppm, UnixTime};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

use crate::support::fake_apiserver::{FakeApiServer, NODE, pod};

/// How long a test waits for what must come. Only a test that fails takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at of which nobody tells.
const GLANCE: Duration = Duration::from_millis(10);

/// The program's side: it follows whenever the test waits for something.
struct Follower {
    runtime: Runtime,
    changed: Arc<Notify>,
    latest: watch::Receiver<Latest>,
}

// === impl Follower ===

impl Follower {
    fn start(server: &FakeApiServer) -> Self {
        Self::with(server.kubeconfig())
    }

    fn with(kubeconfig: PathBuf) -> Self {
        let access = Access::Kubeconfig(kubeconfig);
        let reading = watch::Sender::new(Reading::default());
        let settings = Settings { access, node: NODE.into(), reading: reading.subscribe() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let changed = Arc::new(Notify::new());
        let (publish, latest) = watch::channel(Latest::unasked(NODE.into()));
        runtime.spawn(apiserver::run(settings, Arc::clone(&changed), publish));
        Self { runtime, changed, latest }
    }

    /// Waits for what must come.
    #[track_caller]
    fn until(&mut self, what: impl FnMut(&Latest) -> bool) -> Latest {
        let waiting = async {
            let latest = tokio::time::timeout(PATIENCE, self.latest.wait_for(what)).await;
            latest.ok().map(|latest| latest.unwrap().clone())
        };
        let found = self.runtime.block_on(waiting);
        found.unwrap_or_else(|| panic!("it never came; at last {:?}", self.latest.borrow()))
    }

    /// Waits for what must come at the far side, of which nothing is published.
    #[track_caller]
    fn until_asked(&self, what: impl Fn() -> bool) {
        let waiting = async {
            while !what() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        let waiting = async { tokio::time::timeout(PATIENCE, waiting).await };
        self.runtime.block_on(waiting).expect("it is asked");
    }

    /// Waits until these are the pods, each with its UID and its team.
    #[track_caller]
    fn until_pods(&mut self, expected: &str) -> Latest {
        self.until(|latest| latest.up && pods(latest) == expected)
    }
}

fn pods(latest: &Latest) -> String {
    let pods = latest.pods.iter();
    let pods =
        pods.map(|pod| format!("{}/{}={}:{}", pod.key.namespace, pod.key.name, pod.uid, pod.labels.team));
    pods.collect::<Vec<_>>().join(" ")
}

/// How many lists and watches there were of the pods.
fn calls(server: &FakeApiServer) -> (usize, usize) {
    let asked = server.asked("pods");
    let watches = asked.iter().filter(|query| query.contains("watch=true")).count();
    (asked.len() - watches, watches)
}

#[test]
fn pods_and_the_node_are_told_as_they_are_and_as_they_become() {
    let server = FakeApiServer::start();
    server.label_node(&[("zone", "b"), ("instance", "a")]);
    let mut trainer = pod("ml", "trainer", "u1", &[("team", "vision")]);
    trainer["metadata"]["ownerReferences"] = json!([{ "kind": "Job", "name": "train", "controller": true }]);
    server.apply(&trainer);
    let mut follower = Follower::start(&server);
    let latest = follower.until_pods("ml/trainer=u1:vision");
    let labels: Vec<String> =
        latest.node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!((&*latest.node.name, labels.join(" ")), (NODE, "instance=a zone=b".to_owned()));
    assert_eq!(latest.pods[0].created, UnixTime::from_millis(1_767_323_045_000));
    let workload = latest.pods[0].workload.as_ref().unwrap();
    assert_eq!((&*workload.kind, &*workload.name), ("Job", "train"));
    assert!(latest.last_success.is_some() && latest.duration.is_some());
    assert_eq!((latest.errors, latest.message), (0, None));

    server.apply(&pod("ml", "chat", "u2", &[]));
    follower.until_pods("ml/chat=u2: ml/trainer=u1:vision");
    server.apply(&pod("ml", "chat", "u2", &[("team", "nlp")]));
    follower.until_pods("ml/chat=u2:nlp ml/trainer=u1:vision");
    server.delete("ml", "trainer");
    follower.until_pods("ml/chat=u2:nlp");
    server.label_node(&[("zone", "c")]);
    follower.until(|latest| latest.node.labels == [("zone".into(), "c".into())]);
    assert_eq!(calls(&server), (1, 1), "one list and one watch tell it all");
    let first = server.asked("pods").remove(0);
    assert!(first.contains("resourceVersion=0") && first.contains("NotOlderThan"), "{first}");
}

#[test]
fn a_pod_that_has_ended_is_known_as_such_until_it_is_deleted_and_a_new_one_of_its_name_is_another() {
    let server = FakeApiServer::start();
    let with = |uid: &str, phase: &str| {
        let mut pod = pod("ml", "job", uid, &[("team", "vision")]);
        pod["status"]["phase"] = phase.into();
        pod["metadata"]["ownerReferences"] = json!([{ "kind": "Job", "name": "x", "controller": true }]);
        pod
    };
    let mut done = pod("ml", "done", "u0", &[("team", "vision")]);
    done["status"]["phase"] = "Succeeded".into();
    server.apply(&done);
    server.apply(&with("u1", "Running"));
    let mut follower = Follower::start(&server);
    let ended = |latest: &Latest| latest.pods.iter().map(|pod| pod.ended).collect::<Vec<_>>();
    // It needs no labels any more.
    let latest = follower.until_pods("ml/done=u0: ml/job=u1:vision");
    assert_eq!(ended(&latest), [true, false]);
    // While it is being deleted it runs.
    let mut deleting = with("u1", "Running");
    deleting["metadata"]["deletionTimestamp"] = "2026-01-02T04:04:05Z".into();
    deleting["metadata"]["labels"]["team"] = "nlp".into();
    server.apply(&deleting);
    assert_eq!(ended(&follower.until_pods("ml/done=u0: ml/job=u1:nlp")), [true, false]);
    server.apply(&with("u1", "Failed"));
    let latest = follower.until_pods("ml/done=u0: ml/job=u1:");
    assert_eq!((ended(&latest), &latest.pods[1].workload), (vec![true, true], &None));
    server.apply(&with("u2", "Pending"));
    assert_eq!(ended(&follower.until_pods("ml/done=u0: ml/job=u2:vision")), [true, false]);
    server.delete("ml", "done");
    follower.until_pods("ml/job=u2:vision");
}

#[test]
fn a_static_pod_has_the_kubelets_uid_and_may_run_without_its_devices() {
    let server = FakeApiServer::start();
    let with = |name: &str, annotations: Value| {
        let mut pod = pod("ml", name, "u1", &[]);
        pod["metadata"]["annotations"] = annotations;
        pod["spec"]["initContainers"] = json!([{ "resources": { "limits": { "nvidia.com/gpu": "2" } } }]);
        pod["spec"]["containers"][0]["resources"] = json!({ "limits": { "nvidia.com/gpu": "1" } });
        pod
    };
    server.apply(&with("plain", json!({})));
    let hash = "0123456789abcdef0123456789abcdef";
    server.apply(&with("static-test-node", json!({ "kubernetes.io/config.mirror": hash })));
    let mut follower = Follower::start(&server);
    let latest = follower.until_pods("ml/plain=u1: ml/static-test-node=u1:");
    let known = |n: usize| (latest.pods[n].static_uid.as_deref(), latest.pods[n].unlisted_gpus);
    assert_eq!((known(0), known(1)), ((None, 1), (Some(hash), 0)));
}

#[test]
fn parts_of_gpus_are_told_as_their_scheduler_wrote_them() {
    let server = FakeApiServer::start();
    let mut sharer = pod("ml", "sharer", "u1", &[("runai-gpu-group", "g1")]);
    sharer["metadata"]["annotations"] = json!({ "gpu-fraction": "0.5" });
    server.apply(&sharer);
    let group = [("runai-gpu-group", "g1")];
    server.apply(&pod("kai-resource-reservation", "gpu-reservation-test-node-x7k2p", "u2", &group));
    let mut sliced = pod("ml", "sliced", "u3", &[]);
    sliced["metadata"]["annotations"] = json!({ "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,1024,30:;" });
    server.apply(&sliced);
    let mut follower = Follower::start(&server);
    let latest = follower.until(|latest| latest.up && latest.pods.len() == 3);
    let [reservation, sharer, sliced] = &*latest.pods else { panic!("three pods") };
    assert_eq!((reservation.reserves.as_deref(), &*reservation.fractions), (Some("g1"), [].as_slice()));
    let half =
        Fraction { of: FractionOf::Group("g1".into()), compute: Some(Ppm::new(500_000)), memory: None };
    assert_eq!((sharer.reserves.as_deref(), &*sharer.fractions), (None, [half].as_slice()));
    let part = Fraction {
        of: FractionOf::Gpu("GPU-a".into()),
        compute: Some(Ppm::from_percent(30)),
        memory: Some(1024 << 20),
    };
    assert_eq!(sliced.fractions, [part]);
}

#[test]
fn a_change_wakes_whoever_wants_to_know() {
    let server = FakeApiServer::start();
    let mut follower = Follower::start(&server);
    follower.until_pods("");
    let woken = |follower: &Follower| {
        let waiting = async { tokio::time::timeout(PATIENCE, follower.changed.notified()).await };
        follower.runtime.block_on(waiting).expect("it is notified");
    };
    woken(&follower);
    server.apply(&pod("ml", "job", "u1", &[]));
    woken(&follower);
    server.delete("ml", "job");
    woken(&follower);
}

#[test]
fn a_watch_that_ends_goes_on_where_it_was() {
    let server = FakeApiServer::start();
    let mut follower = Follower::start(&server);
    follower.until_pods("");
    server.apply(&pod("other", "first", "u1", &[]));
    follower.until_pods("other/first=u1:");
    server.close_watches();
    server.apply(&pod("ml", "late", "u2", &[]));
    let latest = follower.until_pods("ml/late=u2: other/first=u1:");
    follower.until(|_| calls(&server).1 == 2);
    assert_eq!((calls(&server).0, latest.errors), (1, 0), "nothing is listed again, and nothing went wrong");
}

#[test]
fn a_bookmark_keeps_the_version_young() {
    let server = FakeApiServer::start();
    let mut follower = Follower::start(&server);
    follower.until_pods("");
    follower.until(|_| calls(&server).1 == 1);
    server.bookmark();
    server.close_watches();
    follower.until(|_| calls(&server).1 == 2);
    // Only who has read the bookmark goes on from it.
    let versions: Vec<String> = server
        .asked("pods")
        .iter()
        .filter(|query| query.contains("watch=true"))
        .filter_map(|query| query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")))
        .map(str::to_owned)
        .collect();
    assert_eq!(versions, ["1", "2"]);
}

#[test]
fn a_version_that_is_gone_is_no_error_and_everything_is_listed_again() {
    let server = FakeApiServer::start();
    server.apply(&pod("ml", "old", "u1", &[]));
    let mut follower = Follower::start(&server);
    follower.until_pods("ml/old=u1:");
    // Told when the next watch begins, and what happened in between is told by no event.
    server.delete("ml", "old");
    server.compact();
    server.apply(&pod("ml", "new", "u2", &[]));
    follower.until_pods("ml/new=u2:");
    // Told in the middle of a watch.
    let lists = calls(&server).0;
    server.expire_watches();
    server.apply(&pod("ml", "newer", "u3", &[]));
    let latest = follower.until_pods("ml/new=u2: ml/newer=u3:");
    assert_eq!((latest.errors, latest.message), (0, None));
    assert!(calls(&server).0 > lists && lists >= 2, "{:?}", server.asked("pods"));
}

#[test]
fn who_has_no_rights_is_told_what_to_grant() {
    let server = FakeApiServer::start();
    server.apply(&pod("ml", "job", "u1", &[]));
    server.refuse(403, "pods is forbidden");
    let mut follower = Follower::start(&server);
    let latest = follower.until(|latest| latest.errors >= 2);
    let message = latest.message.as_deref().unwrap();
    assert!(
        message.contains("403: pods is forbidden") && message.contains("deploy/kustomize/base/rbac.yaml"),
        "{message}"
    );
    assert_eq!((latest.up, latest.last_success, pods(&latest)), (false, None, String::new()));
    server.allow();
    follower.until_pods("ml/job=u1:");
}

#[test]
fn while_the_api_server_is_away_the_last_state_stays() {
    let mut server = FakeApiServer::start();
    server.apply(&pod("ml", "job", "u1", &[("team", "vision")]));
    server.label_node(&[("zone", "a")]);
    let mut follower = Follower::start(&server);
    let before = follower.until_pods("ml/job=u1:vision");
    server.die();
    let away = follower.until(|latest| !latest.up);
    assert_eq!((&away.pods, &away.node), (&before.pods, &before.node));
    assert!(away.message.is_some() && away.errors > 0 && away.last_success.is_some());
    // Its age can be told.
    let later = follower.until(|latest| latest.errors > away.errors);
    assert_eq!((later.last_success, &later.pods), (away.last_success, &before.pods));
    server.apply(&pod("ml", "job", "u2", &[("team", "nlp")]));
    server.come_back();
    let back = follower.until_pods("ml/job=u2:nlp");
    assert_eq!(back.message, None);
}

#[test]
fn a_node_that_is_not_known_is_most_likely_misspelt() {
    let server = FakeApiServer::start();
    server.forget_node();
    let mut follower = Follower::start(&server);
    let latest = follower.until(|latest| latest.message.is_some());
    assert!(latest.message.as_deref().unwrap().contains("--node.name"), "{latest:?}");
    server.label_node(&[("zone", "a")]);
    follower.until(|latest| latest.up && latest.node.labels.len() == 1);
}

#[test]
fn a_kubeconfig_that_is_missing_is_read_when_it_comes() {
    let server = FakeApiServer::start();
    let file = server.kubeconfig().with_file_name("later");
    let mut follower = Follower::with(file.clone());
    let latest = follower.until(|latest| latest.errors > 0);
    assert!(latest.message.as_deref().unwrap().contains("/later"), "{latest:?}");
    std::fs::copy(server.kubeconfig(), file).unwrap();
    follower.until_pods("");
}
