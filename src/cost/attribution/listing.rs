//! Whose listing is believed: what the kubelet says, held against what it said before and what the pod watch says.
//!
//! A good answer of the kubelet can be wrong by omission. After it restarts it lists nothing for a moment, then static
//! pods only, for as long as the API server is away; a pod that has ended can come back for a second; and old kubelets
//! list what has ended as a rule. The pod watch can be late. So neither decides alone:
//!
//! | the kubelet | the pod watch | who holds it |
//! |---|---|---|
//! | lists it | says it has ended | nobody |
//! | listed it | says since that it is deleted, or that another has its name | nobody, until the kubelet lists it again |
//! | lists it | anything else | the pod |
//! | lists it again after a break, though it was gone before | does not show it | nobody, until the grace is over |
//! | no longer lists it | shows it running | the pod |
//! | no longer lists it, after a break | is not told, or is stale | the pod, until the grace is over or the watch says more |
//! | no longer lists it, without a break | is not told, or is stale | nobody: its containers have ended |
//! | does not answer for long | shows it running | the pod |
//! | does not answer for long | is not told, or is stale | nobody that we can name |
//!
//! What the pod watch shows of a static pod is its mirror: when that is deleted, the pod runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use crate::observation::{
    Allocation, Allocations, DeviceId, DeviceTarget, Observation, Pod, PodKey, Span, Uptime,
};

/// How many pods that are gone are remembered: more than end on a node while a kubelet restarts.
const GONE_MAX: usize = 512;

/// What pods hold, and what is remembered of it from one observation to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The pods that hold something, with what the kubelet last listed for each.
    pub held: BTreeMap<PodKey, Held>,
    /// When pods that held something ceased to. After a break the kubelet may list them once more.
    pub gone: BTreeMap<PodKey, Uptime>,
    /// The answer that was last taken in.
    pub answer: Option<Arc<Allocations>>,
    /// How many answers were taken in.
    pub answers: u64,
    /// Since when the kubelet had answered without a break when it was first heard.
    pub first_answering_since: Option<Uptime>,
    /// Whether what nobody is listed for is free: a kubelet that is silent for too long says nothing of it.
    pub fresh: bool,
}

/// What one pod holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who it is, once it was told.
    pub identity: Option<Identity>,
    /// When it was first seen to hold something, which tells the newer of two.
    pub since: Uptime,
    /// The number of the answer that last listed it.
    pub listed_in: u64,
    /// When that answer was given.
    pub listed_at: Uptime,
    /// What it holds.
    pub devices: Vec<Allocation>,
    /// Whether it counts in this observation.
    pub believed: bool,
}

/// Who a pod is, over all that may have its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The UID that the kubelet has for it.
    pub uid: Arc<str>,
    /// Whether the kubelet runs it from a file, so that the API server has a mirror of it.
    pub is_static: bool,
}

/// One observation, as far as it says who is there.
struct Present<'a> {
    at: Uptime,
    answer: &'a Allocations,
    pods: BTreeMap<&'a PodKey, &'a Pod>,
    /// Whether the pod watch is young enough to say who is gone.
    watched: bool,
    /// Whether the kubelet began to answer again so recently that it may not know all its pods yet, or know too many.
    in_grace: bool,
}

// === impl Listing ===

impl Listing {
    /// Whether the kubelet's answer is the one that was taken in last, or there was none yet.
    pub(super) fn has_heard(&self, seen: &Observation) -> bool {
        self.answer == seen.allocations
    }

    /// Takes in what was seen now. What is older than `max_age` is not believed where it says that somebody is gone.
    ///
    /// Says whether somebody holds something else than before, or is somebody else.
    pub(super) fn take_in(&mut self, seen: &Observation, max_age: Span) -> bool {
        let Some(answer) = &seen.allocations else {
            self.fresh = false;
            return self.believe(|_| false);
        };
        let first = *self.first_answering_since.get_or_insert(answer.answering_since);
        let in_grace =
            answer.answering_since > first && answer.read_at.since(answer.answering_since) <= max_age;
        let present = Present::new(seen, answer, max_age, in_grace);
        self.fresh = seen.at.since(answer.read_at) <= max_age;
        let is_answered = !self.has_heard(seen);
        self.answer = Some(Arc::clone(answer));
        let mut has_changed = false;
        if is_answered {
            self.answers += 1;
            has_changed |= self.take_in_answer(&present);
        }
        has_changed |= self.drop_the_gone(&present, is_answered);
        let fresh = self.fresh;
        self.believe(|pod| fresh || present.is_seen_running(pod)) || has_changed
    }

    /// Believes what is held by these; says whether that is anything else than before.
    fn believe(&mut self, believed: impl Fn(&PodKey) -> bool) -> bool {
        let mut has_changed = false;
        for (pod, held) in &mut self.held {
            let before = mem::replace(&mut held.believed, believed(pod));
            has_changed |= held.believed != before;
        }
        has_changed
    }

    /// Whether what nobody is listed for is free.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What pods hold, sorted by pod.
    pub(super) fn held(&self) -> impl Iterator<Item = &Allocation> {
        self.held.values().filter(|held| held.believed).flat_map(|held| &held.devices)
    }

    /// When a pod was first seen to hold something, if it does.
    pub(super) fn since(&self, pod: &PodKey) -> Option<Uptime> {
        self.held.get(pod).map(|held| held.since)
    }

    fn take_in_answer(&mut self, present: &Present<'_>) -> bool {
        let mut listed: BTreeMap<&PodKey, Vec<Allocation>> = BTreeMap::new();
        for allocation in &*present.answer.containers {
            // A list makes room for four otherwise, and nearly every pod has one entry.
            let devices = listed.entry(&allocation.pod).or_insert_with(|| Vec::with_capacity(1));
            devices.push(allocation.clone());
        }
        let mut has_changed = self.give_up_what_others_have(&listed);
        for (pod, devices) in listed {
            let comes_back = self.gone.contains_key(pod) && present.in_grace;
            if present.has_ended(pod) || comes_back && !present.is_seen_running(pod) {
                continue;
            }
            self.gone.remove(pod);
            let since = present.at;
            let held = self.held.entry(pod.clone()).or_insert_with(|| Held::nothing(since));
            (held.listed_in, held.listed_at) = (self.answers, present.answer.read_at);
            if held.devices != devices {
                held.devices = devices;
                has_changed = true;
            }
        }
        has_changed
    }

    /// Whoever is not listed any more has lost what is listed for another.
    fn give_up_what_others_have(&mut self, listed: &BTreeMap<&PodKey, Vec<Allocation>>) -> bool {
        let taken: BTreeSet<&DeviceId> =
            listed.values().flatten().flat_map(|devices| &devices.devices).collect();
        let is_taken = |id: &DeviceId| taken.iter().any(|other| is_same(id, other));
        let mut has_changed = false;
        for (_, held) in self.held.iter_mut().filter(|(pod, _)| !listed.contains_key(pod)) {
            for devices in held.devices.iter_mut().map(|allocation| &mut allocation.devices) {
                let before = devices.len();
                devices.retain(|id| !is_taken(id));
                has_changed |= devices.len() != before;
            }
        }
        has_changed
    }

    fn drop_the_gone(&mut self, present: &Present<'_>, is_answered: bool) -> bool {
        let answers = self.answers;
        let mut has_changed = false;
        let left = self.held.iter_mut().filter_map(|(pod, held)| {
            let is_another = held.is_described(present.pods.get(pod).copied(), present.at);
            has_changed |= is_another;
            // What is listed at the same time as another is described is that one's.
            let is_listed_now = is_answered && held.listed_in == answers;
            let stays = present.stays(pod, held, answers) && (!is_another || is_listed_now);
            (!stays).then(|| pod.clone())
        });
        let left: Vec<PodKey> = left.collect();
        has_changed |= !left.is_empty();
        for pod in left {
            self.leave(pod, present.at);
        }
        has_changed
    }

    fn leave(&mut self, pod: PodKey, at: Uptime) {
        self.held.remove(&pod);
        self.gone.insert(pod, at);
        if self.gone.len() > GONE_MAX
            && let Some(oldest) = self.gone.iter().min_by_key(|(_, at)| **at).map(|(pod, _)| pod.clone())
        {
            self.gone.remove(&oldest);
        }
    }
}

/// Whether two ids cannot be held by two pods. Those of one claim can: its pods share what it has.
fn is_same(one: &DeviceId, other: &DeviceId) -> bool {
    let is_claimed = matches!(one.target, DeviceTarget::Claimed { .. } | DeviceTarget::Claim(_));
    one.target == other.target
        && !is_claimed
        && (one.replica == other.replica || one.replica.is_none() || other.replica.is_none())
}

// === impl Held ===

impl Held {
    /// Of a pod that is listed for the first time.
    fn nothing(since: Uptime) -> Self {
        let (listed_in, listed_at) = (0, Uptime::default());
        Self { identity: None, since, listed_in, listed_at, devices: Vec::new(), believed: true }
    }

    /// Takes in who it is. Says whether that is another pod than before, and then a newer one.
    fn is_described(&mut self, pod: Option<&Pod>, at: Uptime) -> bool {
        let Some(identity) = pod.map(Identity::of) else { return false };
        let is_another = self.identity.as_ref().is_some_and(|before| *before != identity);
        self.identity = Some(identity);
        if is_another {
            self.since = at;
        }
        is_another
    }
}

// === impl Identity ===

impl Identity {
    fn of(pod: &Pod) -> Self {
        let uid = pod.static_uid.as_ref().unwrap_or(&pod.uid);
        Self { uid: Arc::clone(uid), is_static: pod.static_uid.is_some() }
    }
}

// === impl Present ===

impl<'a> Present<'a> {
    fn new(seen: &'a Observation, answer: &'a Allocations, max_age: Span, in_grace: bool) -> Self {
        Self {
            at: seen.at,
            answer,
            pods: seen.pods.iter().map(|pod| (&pod.key, pod)).collect(),
            watched: seen.is_watched(max_age),
            in_grace,
        }
    }

    /// Whether `held` still counts: it is listed, or there is reason to believe that it should be.
    fn stays(&self, pod: &PodKey, held: &Held, answers: u64) -> bool {
        let is_listed = held.listed_in == answers;
        let broke = self.answer.answering_since > held.listed_at;
        match self.pods.get(pod) {
            Some(pod) if pod.ended => false,
            Some(_) => is_listed || self.watched || broke,
            None if self.watched && held.identity.as_ref().is_some_and(|it| !it.is_static) => false,
            None => is_listed || broke && self.in_grace,
        }
    }

    fn has_ended(&self, pod: &PodKey) -> bool {
        self.pods.get(pod).is_some_and(|pod| pod.ended)
    }

    fn is_seen_running(&self, pod: &PodKey) -> bool {
        self.watched && self.pods.get(pod).is_some_and(|pod| !pod.ended)
    }
}
