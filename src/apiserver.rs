//! What the API server says: the pods of this node, what their claims have, and the node.
//!
//! The kubelet knows which pod holds which device, but neither the pod's UID nor whose money it is. Those are with the
//! API server, which tells each change over a *watch*: a list of what there is, then an answer that never ends, with
//! one event per line. What there is to know of it:
//!
//! - A list with `resourceVersion=0` comes from the API server's memory, without a question to etcd, so that all nodes
//!   of a cluster may ask at once. What it says may be a little old; the watch that follows brings it up to date.
//! - A watch goes on from the version that was last seen. The API server ends it after some minutes, and sends a
//!   *bookmark* now and then, so that the version stays young while nothing happens.
//! - A version that is too old for it is answered with `410 Gone`: then everything is listed again. That is no error.
//! - A pod that was deleted and made anew under its name has another UID. A static pod is shown as a *mirror pod*,
//!   under the name that the kubelet has for it too; its UID is the mirror's, which is not the kubelet's own.
//! - A pod that has succeeded or failed stays until somebody deletes it, and holds nothing any more. We remember that it
//!   has ended, because an old kubelet may still list what it had.
//! - A cluster may give out devices by claims (`dynamic`). Few do, so this is asked for where there is such an API, and
//!   what goes wrong with it leaves the pods and the node as they are.
//!
//! [`run`] follows for ever and publishes a [`Latest`]. While the API server is away the last state stays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use crate::clock;
use crate::observation::{Dynamic, Node, Pod, PodKey, Span, UnixTime};

mod access;
mod claim_names;
mod claim_questions;
mod claims;
mod dynamic;
mod error;
mod fractions;
mod group;
mod labels;
mod objects;
mod payers;
mod quantity;
mod requests;
mod slices;
mod watching;
mod workload;

pub use error::Error;
pub use labels::{CostLabel, LabelSource};
pub use payers::{LabelPolicy, LabelRule, Pattern, Payers, SetLabels};
pub use requests::WholeGpus;

use claim_names::ClaimNames;
use dynamic::Told;
use objects::Object;
use watching::{Collection, News, Watching};

/// How many events may wait to be taken in.
const EVENTS: usize = 64;

/// How to ask the API server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is and who we are.
    pub access: Access,
    /// The name of this node, as the API server knows it.
    pub node: Arc<str>,
    /// How what a pod says is understood. When that changes, the pods are listed anew: of what a pod says only what was
    /// understood is kept.
    pub reading: watch::Receiver<Reading>,
}

/// How what a pod says is understood.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Whose money pods are.
    pub payers: Payers,
    /// Which resources stand for whole GPUs.
    pub gpus: WholeGpus,
}

/// Where the API server is and who we are.
#[derive(Clone, Debug)]
pub enum Access {
    /// What Kubernetes mounts into every pod that has a service account.
    ServiceAccount,
    /// A file as `kubectl` has it, with its current context.
    Kubeconfig(PathBuf),
}

/// What is known of the node and its pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The pods of this node, also those that have ended, sorted by namespace and name, however long ago they were told.
    pub pods: Arc<[Pod]>,
    /// The node; without labels until they were told.
    pub node: Arc<Node>,
    /// What claims of those pods have, and the devices behind them; empty where the cluster has no such API.
    pub dynamic: Arc<Dynamic>,
    /// Whether the watches of the pods and of the node stand.
    pub up: bool,
    /// When something was last told while both watches stood, or until when they stood; `None` until both the pods and
    /// the node were told. While they stand [`Latest::known_at`] is later.
    pub last_success: Option<UnixTime>,
    /// How many calls failed.
    pub errors: u64,
    /// How long the last list took; `None` until there was one.
    pub duration: Option<Span>,
    /// What is wrong and what to do about it, for people; `None` while nothing is and until it was asked. It may be up
    /// and say something: that it does not tell us of claims and their devices.
    pub message: Option<Arc<str>>,
}

/// Follows the node and its pods for ever and publishes what is known after each change.
///
/// `changed` is notified when anything about a pod of this node has changed, because its devices may have.
pub async fn run(settings: Settings, changed: Arc<Notify>, publish: watch::Sender<Latest>) {
    let Settings { access, node, reading } = settings;
    let read_anew = Arc::new(Notify::new());
    let mut board = Board::new(Arc::clone(&node), (reading, Arc::clone(&read_anew)), changed, publish);
    let client = loop {
        match access::connect(&access).await {
            Ok(client) => break client,
            Err(error) => sleep(board.cannot_connect(&error)).await,
        }
    };
    let (sender, news) = mpsc::channel(EVENTS);
    let pods = Watching::new(client.clone(), Collection::Pods, &node).listing_anew_on(read_anew);
    let nodes = Watching::new(client.clone(), Collection::Nodes, &node);
    let (told, dynamic) = watch::channel(Told::default());
    let devices = dynamic::follow(client, node, board.claim_names.named(), told);
    tokio::join!(pods.follow(sender.clone()), nodes.follow(sender), devices, board.keep(news, dynamic));
}

/// What is kept from one event to the next.
struct Board {
    reading: watch::Receiver<Reading>,
    /// Notified when the pods are to be listed anew.
    read_anew: Arc<Notify>,
    changed: Arc<Notify>,
    publish: watch::Sender<Latest>,
    claim_names: ClaimNames,
    pods_watch: Standing,
    node_watch: Standing,
    dynamic: Told,
    failed_connects: u32,
    latest: Latest,
}

/// How one of the two watches stands.
#[derive(Default)]
struct Standing {
    /// Whether everything was listed at least once.
    listed: bool,
    /// What is wrong; `None` while the watch stands.
    message: Option<Arc<str>>,
}

// === impl Latest ===

impl Latest {
    /// What is known of a node before anybody was asked: its name.
    #[must_use]
    pub fn unasked(node: Arc<str>) -> Self {
        Self {
            pods: Arc::default(),
            node: Arc::new(Node { name: node, labels: Vec::new() }),
            dynamic: Arc::default(),
            up: false,
            last_success: None,
            errors: 0,
            duration: None,
            message: None,
        }
    }

    /// When what is known was last known to be so. While both watches stand that is now: that nothing is told means that
    /// nothing has changed. `None` until both the pods and the node were told.
    #[must_use]
    pub fn known_at(&self, now: UnixTime) -> Option<UnixTime> {
        if self.up { Some(now) } else { self.last_success }
    }
}

// === impl Board ===

impl Board {
    fn new(
        node: Arc<str>,
        (reading, read_anew): (watch::Receiver<Reading>, Arc<Notify>),
        changed: Arc<Notify>,
        publish: watch::Sender<Latest>,
    ) -> Self {
        Self {
            reading,
            read_anew,
            changed,
            publish,
            claim_names: ClaimNames::default(),
            pods_watch: Standing::default(),
            node_watch: Standing::default(),
            dynamic: Told::default(),
            failed_connects: 0,
            latest: Latest::unasked(node),
        }
    }

    /// Says so, and how long to wait.
    fn cannot_connect(&mut self, error: &Error) -> Duration {
        self.fail(Collection::Pods, error);
        self.publish.send_replace(self.latest.clone());
        self.failed_connects = self.failed_connects.saturating_add(1);
        watching::backoff(self.failed_connects)
    }

    async fn keep(
        &mut self,
        mut news: mpsc::Receiver<(Collection, News<Object>)>,
        mut dynamic: watch::Receiver<Told>,
    ) {
        loop {
            tokio::select! {
                Some((collection, news)) = news.recv() => self.take_in(collection, news),
                Ok(()) = dynamic.changed() => self.take_in_dynamic(dynamic.borrow_and_update().clone()),
                // What comes from now on is understood in the new way, what was told before needs to be told again.
                Ok(()) = self.reading.changed() => {
                    self.read_anew.notify_one();
                    continue;
                }
                else => return,
            }
            self.publish.send_replace(self.latest.clone());
        }
    }

    fn take_in(&mut self, collection: Collection, news: News<Object>) {
        match (collection, news) {
            (of, News::Failed(error)) => return self.fail(of, &error),
            (of, News::Stands) => self.standing(of).message = None,
            (of, News::Everything(objects, took)) => {
                self.latest.duration = Some(took);
                *self.standing(of) = Standing { listed: true, message: None };
                match of {
                    Collection::Pods => self.set_pods(&objects),
                    Collection::Nodes => objects.iter().for_each(|node| self.set_node(node)),
                }
            }
            (Collection::Pods, News::Changed(pod)) => self.change_pod(&pod),
            (Collection::Pods, News::Gone(pod)) => self.remove_pod(&pod),
            (Collection::Nodes, News::Changed(node)) => self.set_node(&node),
            // While we run there is a node, whoever deleted its object; what it was it still is.
            (Collection::Nodes, News::Gone(_)) => {}
        }
        self.succeed();
    }

    fn set_pods(&mut self, objects: &[Object]) {
        self.claim_names.set(objects);
        let reading = self.reading.borrow().clone();
        let pods = objects.iter().map(|object| object.pod(&reading));
        let pods: BTreeMap<PodKey, Pod> = pods.map(|pod| (pod.key.clone(), pod)).collect();
        if !pods.values().eq(&*self.latest.pods) {
            self.latest.pods = pods.into_values().collect();
        }
        self.changed.notify_one();
    }

    fn change_pod(&mut self, object: &Object) {
        self.claim_names.change(object);
        let pod = object.pod(&self.reading.borrow());
        match self.place(&pod.key) {
            Ok(at) if self.latest.pods[at] == pod => {}
            Ok(at) => self.edit_pods(|pods| pods[at] = pod),
            Err(at) => self.edit_pods(|pods| pods.insert(at, pod)),
        }
        self.changed.notify_one();
    }

    /// Removes a pod, but not another one that has its name by now.
    fn remove_pod(&mut self, object: &Object) {
        self.claim_names.remove(object);
        if let Ok(at) = self.place(&object.key())
            && *self.latest.pods[at].uid == *object.metadata.uid
        {
            self.edit_pods(|pods| _ = pods.remove(at));
        }
        self.changed.notify_one();
    }

    fn set_node(&mut self, object: &Object) {
        let labels = object.labels();
        if labels != self.latest.node.labels {
            self.latest.node = Arc::new(Node { name: Arc::clone(&self.latest.node.name), labels });
        }
    }

    fn edit_pods(&mut self, edit: impl FnOnce(&mut Vec<Pod>)) {
        let mut pods = self.latest.pods.to_vec();
        edit(&mut pods);
        self.latest.pods = pods.into();
    }

    /// Where a pod is, or where it belongs.
    fn place(&self, pod: &PodKey) -> Result<usize, usize> {
        self.latest.pods.binary_search_by(|known| known.key.cmp(pod))
    }

    fn standing(&mut self, of: Collection) -> &mut Standing {
        match of {
            Collection::Pods => &mut self.pods_watch,
            Collection::Nodes => &mut self.node_watch,
        }
    }

    fn take_in_dynamic(&mut self, told: Told) {
        let failed = told.errors.saturating_sub(self.dynamic.errors);
        self.latest.errors = self.latest.errors.saturating_add(failed);
        self.latest.dynamic = Arc::clone(&told.dynamic);
        self.dynamic = told;
        self.show_state();
    }

    fn succeed(&mut self) {
        self.show_state();
        if self.latest.up {
            self.latest.last_success = Some(clock::wall());
        }
    }

    fn fail(&mut self, of: Collection, error: &Error) {
        let message: Arc<str> = error.message().into();
        if self.standing(of).message.as_ref() != Some(&message) {
            tracing::warn!("{message}");
        }
        self.standing(of).message = Some(message);
        // A watch that fell silent may have been dead for long, any other has told all until now.
        if self.latest.up && !error.is_silence() {
            self.latest.last_success = Some(clock::wall());
        }
        self.latest.errors = self.latest.errors.saturating_add(1);
        self.show_state();
    }

    /// Shows whether it is up and what is wrong. Without claims and their devices it is up all the same: the pods and
    /// the node are told, and few clusters have claims.
    fn show_state(&mut self) {
        let message = self.pods_watch.message.as_ref().or(self.node_watch.message.as_ref());
        let up = self.all_listed() && message.is_none();
        let message = message.or(self.dynamic.message.as_ref()).cloned();
        let latest = &mut self.latest;
        if up && !latest.up {
            tracing::info!(
                pods = latest.pods.len(),
                labels = latest.node.labels.len(),
                "the API server answers"
            );
        }
        latest.up = up;
        latest.message = message;
    }

    fn all_listed(&self) -> bool {
        self.pods_watch.listed && self.node_watch.listed
    }
}
