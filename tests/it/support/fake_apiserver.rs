//! The far side of the API server: it lists and watches pods, a node and resource slices, shows claims one by one, and
//! misbehaves on demand.
//!
//! Only the API server itself is replaced. TCP, HTTP and the kubeconfig that leads to it are real; each answer is
//! written by hand, so that a watch can end, break or be refused wherever a test wants it to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The group of claims and slices.
const GROUP: &str = "/apis/resource.k8s.io";

/// The name of the only node.
pub(crate) const NODE: &str = "test-node";

/// An API server on a port of its own.
pub(crate) struct FakeApiServer {
    directory: TempDir,
    port: u16,
    cluster: Arc<Cluster>,
    listening: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Cluster {
    state: Mutex<State>,
    changed: Condvar,
}

/// What there is, what has happened, and what was asked.
#[derive(Default)]
struct State {
    /// Pods, slices and claims by path, and the node.
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Events of versions up to this one are forgotten.
    compacted: u64,
    events: Vec<Event>,
    /// Connections of an earlier life are cut.
    life: u64,
    /// Watches of an earlier time are closed as they should be.
    round: u64,
    refusal: Option<(u16, &'static str)>,
    /// What is in the paths that are refused.
    refused: &'static str,
    /// The versions of dynamic resource allocation that there are, each with its kinds.
    versions: Vec<(&'static str, &'static [&'static str])>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Event {
    version: u64,
    /// `pods`, `nodes`, `resourceslices`, or nothing for all.
    collection: &'static str,
    line: String,
}

/// A running pod of the node, as the API server shows it: with much that nobody needs.
pub(crate) fn pod(namespace: &str, name: &str, uid: &str, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": uid, "labels": labels,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:status": {} } }],
        },
        "spec": { "nodeName": NODE, "containers": [{ "name": "main", "env": [{ "name": "TOKEN", "value": "x" }] }] },
        "status": { "phase": "Running", "containerStatuses": [] },
    })
}

// === impl FakeApiServer ===

impl FakeApiServer {
    /// Starts an API server that knows the node and no pod.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = Self { directory, port, cluster: Arc::default(), listening: None };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": format!("http://127.0.0.1:{port}") } }],
            "users": [{ "name": "it", "user": {} }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
        });
        fs::write(server.kubeconfig(), kubeconfig.to_string()).unwrap();
        server.label_node(&[]);
        server.listen(listener);
        server
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The file that leads to it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Makes or changes a pod.
    pub(crate) fn apply(&self, pod: &Value) {
        self.change(|state| state.put("pods", pod.clone()));
    }

    /// Deletes a pod.
    pub(crate) fn delete(&self, namespace: &str, name: &str) {
        self.change(|state| {
            let pod = state.objects.remove(&path("pods", namespace, name)).expect("there is such a pod");
            state.happen("pods", "DELETED", pod);
        });
    }

    /// Has dynamic resource allocation in these versions; those who watch it are cut off.
    pub(crate) fn serve_claims(&self, versions: &[&'static str]) {
        self.serve(versions, &["resourceclaims", "resourceslices", "resourceclaims/status"]);
    }

    /// Has the API group in these versions, with these kinds.
    pub(crate) fn serve(&self, versions: &[&'static str], kinds: &'static [&'static str]) {
        self.change(|state| {
            state.versions = versions.iter().map(|version| (*version, kinds)).collect();
            state.round += 1;
        });
    }

    /// Makes or changes a slice.
    pub(crate) fn apply_slice(&self, slice: &Value) {
        self.change(|state| state.put("resourceslices", slice.clone()));
    }

    /// Deletes a slice.
    pub(crate) fn delete_slice(&self, name: &str) {
        self.change(|state| {
            let slice =
                state.objects.remove(&path("resourceslices", "", name)).expect("there is such a slice");
            state.happen("resourceslices", "DELETED", slice);
        });
    }

    /// Makes or changes a claim.
    pub(crate) fn apply_claim(&self, claim: &Value) {
        self.change(|state| state.put("resourceclaims", claim.clone()));
    }

    /// Deletes a claim.
    pub(crate) fn delete_claim(&self, namespace: &str, name: &str) {
        self.change(|state| drop(state.objects.remove(&path("resourceclaims", namespace, name))));
    }

    /// Gives the node these labels.
    pub(crate) fn label_node(&self, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.change(|state| state.put("nodes", json!({ "metadata": { "name": NODE, "labels": labels } })));
    }

    /// Removes the node's object.
    pub(crate) fn forget_node(&self) {
        self.change(|state| drop(state.objects.remove(&path("nodes", "", NODE))));
    }

    /// Tells those who watch how far they have come.
    pub(crate) fn bookmark(&self) {
        let bookmark = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": {} });
        self.change(|state| state.happen("", "BOOKMARK", bookmark));
    }

    /// Ends every watch, when all is told, as the API server does after some minutes.
    pub(crate) fn close_watches(&self) {
        self.change(|state| state.round += 1);
    }

    /// Ends every watch, and forgets what has happened so far: who wants to go on must list again.
    pub(crate) fn compact(&self) {
        self.change(|state| {
            state.version += 1;
            state.compacted = state.version;
            state.events.clear();
        });
    }

    /// Tells those who watch that they have fallen too far behind.
    pub(crate) fn expire_watches(&self) {
        self.change(|state| {
            let gone = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
            state.happen("", "ERROR", gone);
        });
    }

    /// Refuses everything from now on, and cuts every watch.
    pub(crate) fn refuse(&self, code: u16, text: &'static str) {
        self.refuse_only("", code, text);
    }

    /// Refuses from now on what is asked of paths that contain this, and cuts every watch.
    pub(crate) fn refuse_only(&self, paths: &'static str, code: u16, text: &'static str) {
        self.change(|state| {
            state.refusal = Some((code, text));
            state.refused = paths;
            state.round += 1;
        });
    }

    /// Answers again.
    pub(crate) fn allow(&self) {
        self.change(|state| state.refusal = None);
    }

    /// Dies like a killed process: every connection is cut, and nobody listens.
    pub(crate) fn die(&mut self) {
        if let Some(listening) = self.listening.take() {
            self.change(|state| state.life += 1);
            // Wakes the listener up, which then sees that its life is over.
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
            listening.join().unwrap();
        }
    }

    /// Starts again, at the same address and with the same objects.
    pub(crate) fn come_back(&mut self) {
        self.die();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        self.listen(listener);
    }

    /// What was asked so far about `pods` or `nodes`: the queries, in order.
    pub(crate) fn asked(&self, collection: &str) -> Vec<String> {
        let path = format!("/api/v1/{collection}?");
        let state = self.cluster.state();
        state.asked.iter().filter_map(|target| target.strip_prefix(&path)).map(str::to_owned).collect()
    }

    /// What was asked so far of dynamic resource allocation: the paths without queries, in order.
    pub(crate) fn asked_of_claims(&self) -> Vec<String> {
        let state = self.cluster.state();
        let paths = state.asked.iter().filter_map(|target| target.split('?').next()?.strip_prefix(GROUP));
        paths.map(str::to_owned).collect()
    }

    /// All that was asked so far: paths and queries, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.cluster.state().asked.clone()
    }

    fn listen(&mut self, listener: TcpListener) {
        let cluster = Arc::clone(&self.cluster);
        let life = cluster.state().life;
        self.listening = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if cluster.state().life != life {
                    return;
                }
                let cluster = Arc::clone(&cluster);
                // Whoever hangs up in the middle of an answer is not missed.
                thread::spawn(move || drop(cluster.answer(stream.unwrap(), life)));
            }
        }));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.cluster.state());
        self.cluster.changed.notify_all();
    }
}

impl Drop for FakeApiServer {
    fn drop(&mut self) {
        self.die();
    }
}

// === impl Cluster ===

impl Cluster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(&self, mut stream: TcpStream, life: u64) -> io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        for header in lines {
            if header?.is_empty() {
                break;
            }
        }
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        if target.is_empty() {
            // Somebody connected and thought better of it.
            return Ok(());
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let (answer, round) = {
            let mut state = self.state();
            state.asked.push(target.clone());
            (state.answer(path), state.round)
        };
        let collection = match answer {
            Ok(collection) => collection,
            Err((code, body)) => return respond(&mut stream, code, &body),
        };
        let selector = parameter("fieldSelector").unwrap_or_default();
        assert!(selector.ends_with(&format!("%3D{NODE}")), "{selector} is not about this node");
        if parameter("watch").is_none() {
            let body = self.state().list(collection);
            return respond(&mut stream, 200, &body);
        }
        let version = parameter("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        self.watch(&mut stream, collection, version, (life, round))
    }

    /// Tells what has happened since a version, for as long as the server lives and the watch may last.
    fn watch(
        &self,
        stream: &mut TcpStream,
        collection: &str,
        from: u64,
        (life, round): (u64, u64),
    ) -> io::Result<()> {
        let mut seen = from;
        let mut state = self.state();
        if from < state.compacted {
            drop(state);
            let (code, body) = status(410, "too old resource version");
            return respond(stream, code, &body);
        }
        // No other request comes over this connection: it might come just when the connection ends.
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        while state.life == life {
            if seen < state.compacted {
                return write!(stream, "0\r\n\r\n");
            }
            let fresh = |event: &&Event| {
                event.version > seen && (event.collection.is_empty() || event.collection == collection)
            };
            let lines: String = state.events.iter().filter(fresh).map(|event| event.line.as_str()).collect();
            seen = state.version;
            if !lines.is_empty() {
                write!(stream, "{:x}\r\n{lines}\r\n", lines.len())?;
            }
            if state.round != round {
                return write!(stream, "0\r\n\r\n");
            }
            state = self.changed.wait(state).unwrap();
        }
        Ok(())
    }
}

// === impl State ===

impl State {
    /// The collection that is asked for, or the whole answer to what is asked.
    fn answer(&self, path: &str) -> Result<&'static str, (u16, String)> {
        if let Some((code, text)) = self.refusal.filter(|_| path.contains(self.refused)) {
            return Err(status(code, text));
        }
        match path {
            "/api/v1/pods" => Ok("pods"),
            "/api/v1/nodes" => Ok("nodes"),
            _ => match path.strip_prefix(GROUP).and_then(|rest| self.claims_answer(rest)) {
                Some(answer) => answer,
                None => Err((404, "404 page not found".to_owned())),
            },
        }
    }

    /// What the group of claims says; `None` where there is no such path.
    fn claims_answer(&self, rest: &str) -> Option<Result<&'static str, (u16, String)>> {
        let mut words = rest.split('/').skip(1);
        let Some(version) = words.next() else {
            let versions = self.versions.iter().map(|(version, _)| json!({ "version": version }));
            let group = json!({ "kind": "APIGroup", "versions": versions.collect::<Vec<_>>() }).to_string();
            return (!self.versions.is_empty()).then_some(Err((200, group)));
        };
        let (_, kinds) = self.versions.iter().find(|(served, _)| *served == version)?;
        let is_served = |kind| kinds.contains(&kind).then_some(());
        match words.collect::<Vec<_>>()[..] {
            [] => {
                let kinds = kinds.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
                Some(Err((200, json!({ "kind": "APIResourceList", "resources": kinds }).to_string())))
            }
            ["resourceslices"] => is_served("resourceslices").map(|()| Ok("resourceslices")),
            ["namespaces", namespace, "resourceclaims", name] => is_served("resourceclaims").map(|()| {
                let claim = self.objects.get(&self::path("resourceclaims", namespace, name));
                Err(claim.map_or_else(|| status(404, "no such claim"), |claim| (200, claim.to_string())))
            }),
            _ => panic!("{rest} is no question of ours"),
        }
    }

    fn put(&mut self, collection: &'static str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let before = self.objects.insert(path(collection, &text("namespace"), &text("name")), object.clone());
        self.version -= 1;
        self.happen(collection, if before.is_some() { "MODIFIED" } else { "ADDED" }, object);
    }

    fn happen(&mut self, collection: &'static str, kind: &str, mut object: Value) {
        self.version += 1;
        if kind != "ERROR" {
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
        }
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.events.push(Event { version: self.version, collection, line });
    }

    fn list(&self, collection: &str) -> String {
        let of = self.objects.iter().filter(|(path, _)| path.starts_with(collection));
        let items: Vec<&Value> = of.map(|(_, object)| object).collect();
        // As Go writes a list without items.
        let items = if items.is_empty() { Value::Null } else { json!(items) };
        json!({ "kind": "List", "metadata": { "resourceVersion": self.version.to_string() }, "items": items })
            .to_string()
    }
}

fn path(collection: &str, namespace: &str, name: &str) -> String {
    format!("{collection}/{namespace}/{name}")
}

fn status(code: u16, text: &str) -> (u16, String) {
    let status =
        json!({ "kind": "Status", "status": "Failure", "code": code, "message": text, "reason": "" });
    (code, status.to_string())
}

fn respond(stream: &mut TcpStream, code: u16, body: &str) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 {code} So\r\ncontent-type: application/json\r\nconnection: close\r\n");
    write!(answer, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.write_all(answer.as_bytes())
}
