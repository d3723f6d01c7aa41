//! The kubelet edge against a kubelet that misbehaves on demand.

use std::sync::Arc;
use std::time::Duration;

use gpu_cost_exporter::clock;
use gpu_cost_exporter::kubelet::messages::{ContainerDevices, ListPodResourcesResponse, PodResources};
use gpu_cost_exporter::kubelet::{self, Latest, ResourceNames, Settings, device_id};
use gpu_cost_exporter::observation::{Allocations, Span};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tonic::Code;

use crate::support::fake_kubelet::{Answer, FakeKubelet, Method, devices, pod};

const GPU: &str = "nvidia.com/gpu";
const GPU_0: &str = "GPU-01000100-0000-0000-0000-000000000000";
const GPU_1: &str = "GPU-01000100-0000-0000-0000-000000000001";

/// How long a test waits for what must come. Only a test that fails takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program's side: it polls whenever the test waits for something.
struct Poller {
    runtime: Runtime,
    wake: Arc<Notify>,
    latest: watch::Receiver<Latest>,
}

// === impl Poller ===

impl Poller {
    /// Asks once, and then only when it is woken or backs off.
    fn start(kubelet: &FakeKubelet) -> Self {
        Self::with(kubelet, Duration::from_secs(3_600), Duration::from_secs(20))
    }

    fn with(kubelet: &FakeKubelet, interval: Duration, deadline: Duration) -> Self {
        let resources = ResourceNames::default();
        let settings = Settings { socket: kubelet.socket(), interval, deadline, resources };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let wake = Arc::new(Notify::new());
        let (publish, latest) = watch::channel(Latest::default());
        runtime.spawn(kubelet::run(settings, Arc::clone(&wake), publish));
        Self { runtime, wake, latest }
    }

    /// Waits for what must come.
    #[track_caller]
    fn until(&mut self, what: impl FnMut(&Latest) -> bool) -> Latest {
        let waiting = async { tokio::time::timeout(PATIENCE, self.latest.wait_for(what)).await };
        let latest = self.runtime.block_on(waiting).expect("it comes in time").unwrap();
        latest.clone()
    }

    /// Waits for a good answer that was given after this one.
    #[track_caller]
    fn until_read_after(&mut self, before: &Allocations) -> Arc<Allocations> {
        let is_later = |it: &Arc<Allocations>| it.read_at > before.read_at;
        self.until(|latest| latest.allocations.as_ref().is_some_and(is_later)).allocations.unwrap()
    }

    /// Waits for what must come, and wakes the poller all the time.
    #[track_caller]
    fn until_while_waking(&mut self, what: impl FnMut(&Latest) -> bool) -> Latest {
        let wake = Arc::clone(&self.wake);
        let waking = self.runtime.spawn(async move {
            loop {
                wake.notify_one();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let latest = self.until(what);
        waking.abort();
        latest
    }

    /// Makes it ask again.
    fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Who has what, as `namespace/pod/container: ids`.
fn holders(allocations: &Allocations) -> Vec<String> {
    let line = |it: &gpu_cost_exporter::observation::Allocation| {
        let ids: Vec<_> = it.devices.iter().map(ToString::to_string).collect();
        format!("{}/{}: {}", it.pod, it.container, ids.join(" "))
    };
    allocations.containers.iter().map(line).collect()
}

fn has_failed(latest: &Latest) -> bool {
    latest.message.is_some()
}

fn held_by_a() -> Vec<PodResources> {
    vec![pod("team", "a", GPU, &[GPU_0])]
}

fn held_by_b() -> Vec<PodResources> {
    vec![pod("team", "b", GPU, &[GPU_0])]
}

#[test]
fn a_good_answer() {
    let kubelet = FakeKubelet::start();
    kubelet.list(vec![pod("team", "b", GPU, &[GPU_1, GPU_0]), pod("team", "cpu", "example.com/nic", &["x"])]);
    kubelet.advertise(devices(GPU, &[GPU_1, GPU_0]));
    let before = clock::uptime();
    let latest = Poller::start(&kubelet).until(|latest| latest.up);
    let after = clock::uptime();

    let allocations = latest.allocations.unwrap();
    assert_eq!(holders(&allocations), [format!("team/b/main: {GPU_0} {GPU_1}")]);
    assert_eq!(allocations.advertised.as_deref(), Some([GPU_0, GPU_1].map(device_id::parse).as_slice()));
    assert!(before <= allocations.read_at && allocations.read_at <= after);
    assert!(latest.duration.unwrap() <= after.since(before));
    assert!(latest.last_success.is_some());
    assert_eq!((latest.errors, latest.message), (0, None));
}

#[test]
fn it_asks_again_after_the_interval() {
    let kubelet = FakeKubelet::start();
    let mut poller = Poller::with(&kubelet, Duration::from_secs(1), Duration::from_secs(20));
    let first = poller.until(|latest| latest.up).allocations.unwrap();
    kubelet.list(held_by_a());
    let second = poller.until(|latest| latest.allocations.as_ref() != Some(&first)).allocations.unwrap();
    assert_eq!(holders(&second), [format!("team/a/main: {GPU_0}")]);
    assert!(second.read_at.since(first.read_at) >= Span::from_secs(1));
}

#[test]
fn a_wake_up_is_answered_at_once_but_not_with_a_storm() {
    let kubelet = FakeKubelet::start();
    let mut poller = Poller::start(&kubelet);
    let first = poller.until(|latest| latest.up).allocations.unwrap();
    let last = poller.until_while_waking(|_| kubelet.calls(Method::List) > 3);
    let elapsed = last.allocations.unwrap().read_at.since(first.read_at);
    assert!(elapsed >= Span::from_millis(1_500), "three gaps took {elapsed:?}");
}

#[test]
fn what_is_answered_too_early_is_asked_again_soon() {
    let kubelet = FakeKubelet::start();
    let mut poller = Poller::with(&kubelet, Duration::from_secs(3), Duration::from_secs(20));
    let first = poller.until(|latest| latest.up).allocations.unwrap();
    // The API server told of a pod. The kubelet has not heard of it, then it has not given it its device.
    let early = |pods| Answer::message(&ListPodResourcesResponse { pod_resources: pods });
    kubelet.answer_next(Method::List, 1, &early(Vec::new()));
    kubelet.answer_next(Method::List, 1, &early(vec![pod("team", "a", GPU, &[])]));
    kubelet.list(held_by_a());
    poller.wake();
    let woken = poller.until_read_after(&first);
    let second = poller.until_read_after(&woken);
    let third = poller.until_read_after(&second);
    let found = [&woken, &second, &third].map(|it| holders(it).len());
    assert_eq!((found, kubelet.calls(Method::List)), ([0, 0, 1], 4));
    let elapsed = third.read_at.since(woken.read_at);
    assert!(elapsed >= Span::from_secs(1) && elapsed < Span::from_secs(3), "two gaps took {elapsed:?}");
    // Then it is calm again.
    let calm = poller.until_read_after(&third).read_at.since(third.read_at);
    assert!(calm >= Span::from_secs(3), "{calm:?}");
}

#[test]
fn a_kubelet_that_was_restarted_is_asked_again_soon() {
    let mut kubelet = FakeKubelet::start();
    kubelet.list(held_by_a());
    let mut poller = Poller::with(&kubelet, Duration::from_secs(5), Duration::from_secs(20));
    let first = poller.until(|latest| latest.up).allocations.unwrap();
    kubelet.answer_next(Method::List, 2, &Answer::message(&ListPodResourcesResponse::default()));
    kubelet.come_back();
    let is_new = |it: &Arc<Allocations>| it.answering_since > first.answering_since;
    let incomplete =
        poller.until(|latest| latest.allocations.as_ref().is_some_and(is_new)).allocations.unwrap();
    let complete = poller.until(|latest| {
        latest.allocations.as_ref().is_some_and(|it| is_new(it) && !it.containers.is_empty())
    });
    let elapsed = complete.allocations.unwrap().read_at.since(incomplete.read_at);
    assert!(elapsed < Span::from_secs(5), "{elapsed:?} is no sooner than ever");
}

#[test]
fn a_kubelet_that_restarts_is_found_again() {
    let mut kubelet = FakeKubelet::start();
    kubelet.list(held_by_a());
    let mut poller = Poller::start(&kubelet);
    let first = poller.until(|latest| latest.up).allocations.unwrap();

    kubelet.die();
    poller.wake();
    let down = poller.until(|latest| latest.message.as_ref().is_some_and(|it| it.contains("refused")));
    assert!(!down.up && down.errors >= 1);
    assert_eq!(down.allocations.as_ref(), Some(&first), "the last good answer stays, as old as it is");
    assert!(down.message.unwrap().contains("the kubelet is not running"));

    kubelet.list(held_by_b());
    kubelet.come_back();
    let up = poller.until(|latest| latest.up);
    assert_eq!(holders(&up.allocations.unwrap()), [format!("team/b/main: {GPU_0}")]);
    assert_eq!(up.message, None);
}

#[test]
fn a_kubelet_that_restarts_between_two_questions_is_found_again() {
    let mut kubelet = FakeKubelet::start();
    let mut poller = Poller::start(&kubelet);
    poller.until(|latest| latest.up);
    kubelet.list(held_by_b());
    kubelet.come_back();
    poller.wake();
    poller.until(|latest| latest.allocations.as_ref().is_some_and(|it| !it.containers.is_empty()));
}

#[test]
fn each_connection_is_a_new_beginning_though_nothing_ever_failed() {
    let mut kubelet = FakeKubelet::start();
    kubelet.list(held_by_a());
    let mut poller = Poller::start(&kubelet);
    let first = poller.until(|latest| latest.up).allocations.unwrap();
    assert_eq!(first.answering_since, first.read_at);
    poller.wake();
    let second = poller.until_read_after(&first);
    assert_eq!(second.answering_since, first.read_at, "one connection, one beginning");

    kubelet.come_back();
    // Whoever is idle sees that the other side has hung up, and nobody is told.
    poller.runtime.block_on(tokio::task::yield_now());
    poller.wake();
    let third = poller.until_read_after(&second);
    assert_eq!(poller.latest.borrow().errors, 0);
    assert_eq!(third.answering_since, third.read_at);
    poller.wake();
    assert_eq!(poller.until_read_after(&third).answering_since, third.read_at);
}

#[test]
fn a_refusal_is_no_break() {
    let kubelet = FakeKubelet::start();
    // As a kubelet says it in which the method is turned off.
    let disabled = "Pod Resources API GetAllocatableResources disabled";
    kubelet.answer(Method::GetAllocatableResources, Answer::Refuse(Code::Unknown, disabled));
    let mut poller = Poller::start(&kubelet);
    let first = poller.until(|latest| latest.up).allocations.unwrap();
    let refuse = Answer::Refuse(Code::ResourceExhausted, "rejected by rate limit");
    kubelet.answer_next(Method::List, 1, &refuse);
    poller.wake();
    poller.until(has_failed);
    let second = poller.until_read_after(&first);
    assert_eq!(second.answering_since, first.read_at);
}

#[test]
fn a_socket_that_is_missing_is_waited_for() {
    let mut kubelet = FakeKubelet::absent();
    let mut poller = Poller::start(&kubelet);
    let missing = poller.until(has_failed);
    assert_eq!((missing.up, &missing.allocations, missing.errors), (false, &None, 1));
    let message = missing.message.unwrap();
    assert!(message.contains("mount the directory"), "{message}");
    assert!(message.contains(kubelet.socket().to_str().unwrap()), "{message}");

    kubelet.list(held_by_a());
    kubelet.come_back();
    let up = poller.until(|latest| latest.up);
    assert_eq!(holders(&up.allocations.unwrap()).len(), 1);
}

#[test]
fn a_kubelet_that_cannot_be_reached_is_tried_ever_less() {
    let kubelet = FakeKubelet::absent();
    let before = clock::uptime();
    let mut poller = Poller::with(&kubelet, Duration::from_millis(500), Duration::from_secs(20));
    poller.until(|latest| latest.errors == 3);
    // Half a second at least after the first failure, a second at least after the second.
    let elapsed = clock::uptime().since(before);
    assert!(elapsed >= Span::from_millis(1_500), "{elapsed:?}");
}

#[test]
fn a_call_that_hangs_ends_at_its_deadline() {
    let kubelet = FakeKubelet::start();
    kubelet.list(held_by_a());
    let mut poller = Poller::with(&kubelet, Duration::from_secs(3_600), Duration::from_secs(2));
    let first = poller.until(|latest| latest.up);

    kubelet.answer_next(Method::List, 1, &Answer::Hang);
    poller.wake();
    let hung = poller.until(has_failed);
    assert!(!hung.up);
    assert_eq!(hung.allocations, first.allocations);
    assert_eq!((hung.last_success, hung.duration), (first.last_success, first.duration));
    assert!(hung.message.unwrap().contains("within 2s"));

    let up = poller.until(|latest| latest.up);
    assert!(up.allocations.unwrap().read_at > first.allocations.unwrap().read_at);
}

#[test]
fn a_late_answer_is_waited_for() {
    let kubelet = FakeKubelet::start();
    let answer = ListPodResourcesResponse { pod_resources: held_by_a() };
    let late = Answer::Late(Duration::from_millis(200), Box::new(Answer::message(&answer)));
    kubelet.answer(Method::List, late);
    let latest = Poller::start(&kubelet).until(|latest| latest.up);
    assert_eq!(holders(&latest.allocations.unwrap()).len(), 1);
    assert!(latest.duration.unwrap() >= Span::from_millis(200));
}

#[test]
fn a_kubelet_that_is_asked_too_much_is_asked_less() {
    let kubelet = FakeKubelet::start();
    let refuse = Answer::Refuse(Code::ResourceExhausted, "rejected by rate limit");
    kubelet.answer_next(Method::List, 2, &refuse);
    let mut poller = Poller::start(&kubelet);
    let before = clock::uptime();
    let refused = poller.until(has_failed);
    assert!(refused.message.unwrap().contains("ResourceExhausted: rejected by rate limit"));

    let up = poller.until_while_waking(|latest| latest.up);
    // Half a second at least after the first, a second at least after the second: wake-ups do not count.
    let elapsed = up.allocations.unwrap().read_at.since(before);
    assert!(elapsed >= Span::from_millis(1_500), "{elapsed:?}");
    assert_eq!((up.errors, kubelet.calls(Method::List)), (2, 3));
    assert_eq!(kubelet.calls(Method::GetAllocatableResources), 1, "what is refused once is not asked on");
}

#[test]
fn a_huge_answer_is_read() {
    let kubelet = FakeKubelet::start();
    let units: Vec<_> = (0..20_000).map(|unit| format!("{unit:01024}")).collect();
    let units: Vec<_> = units.iter().map(String::as_str).collect();
    kubelet.list(vec![pod("team", "huge", "example.com/memory", &units), pod("team", "a", GPU, &[GPU_0])]);
    let latest = Poller::start(&kubelet).until(|latest| latest.up || has_failed(latest));
    assert_eq!(latest.message, None);
    assert_eq!(holders(&latest.allocations.unwrap()), [format!("team/a/main: {GPU_0}")]);
}

#[test]
fn an_answer_beyond_all_measure_is_refused() {
    let kubelet = FakeKubelet::start();
    kubelet.answer(Method::List, Answer::Bytes(vec![0; 65 * 1024 * 1024].into()));
    let latest = Poller::start(&kubelet).until(has_failed);
    let message = latest.message.unwrap();
    assert!(message.contains("OutOfRange") && message.contains("67108864"), "{message}");
}

#[test]
fn garbage_changes_nothing() {
    let kubelet = FakeKubelet::start();
    kubelet.list(held_by_a());
    let mut poller = Poller::start(&kubelet);
    let first = poller.until(|latest| latest.up);

    kubelet.answer_next(Method::List, 1, &Answer::Bytes(vec![0xff; 1_000].into()));
    poller.wake();
    let garbled = poller.until(has_failed);
    assert_eq!((garbled.up, garbled.allocations), (false, first.allocations));
    assert!(garbled.message.unwrap().contains("failed to decode"));
    poller.until(|latest| latest.up);
}

#[test]
fn a_kubelet_that_cannot_say_what_it_advertises() {
    let kubelet = FakeKubelet::start();
    kubelet.list(held_by_a());
    kubelet.answer(Method::GetAllocatableResources, Answer::Refuse(Code::Unimplemented, "unknown method"));
    let latest = Poller::start(&kubelet).until(|latest| latest.up);
    assert_eq!((latest.errors, latest.message), (0, None));
    let allocations = latest.allocations.unwrap();
    assert_eq!(allocations.advertised, None);
    assert_eq!(holders(&allocations).len(), 1);
}

#[test]
fn what_an_answer_says_again_is_the_same_object() {
    let kubelet = FakeKubelet::start();
    kubelet.advertise(devices(GPU, &[GPU_0]));
    kubelet.list(held_by_a());
    let mut poller = Poller::start(&kubelet);
    let mut next = |is_it: &dyn Fn(&Allocations) -> bool| {
        poller.wake();
        poller.until(|latest| latest.allocations.as_ref().is_some_and(|it| is_it(it))).allocations.unwrap()
    };
    let first = next(&|_| true);
    let same = next(&|it| it.read_at > first.read_at);
    let is_same = |one: &Allocations, other: &Allocations| {
        let advertised = one.advertised.as_ref().zip(other.advertised.as_ref());
        let advertised = advertised.is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        (Arc::ptr_eq(&one.containers, &other.containers), advertised)
    };
    assert_eq!(is_same(&first, &same), (true, true));
    kubelet.list(Vec::new());
    let freed = next(&|it| it.containers.is_empty());
    assert_eq!(is_same(&same, &freed), (false, true));
}

#[test]
fn a_kubelet_that_will_not_say_what_it_advertises_now() {
    let kubelet = FakeKubelet::start();
    kubelet.advertise(devices(GPU, &[GPU_0]));
    let mut poller = Poller::start(&kubelet);
    let first = poller.until(|latest| latest.up).allocations.unwrap();

    kubelet.list(held_by_a());
    kubelet.answer(Method::GetAllocatableResources, Answer::Refuse(Code::Unknown, "no"));
    poller.wake();
    let second = poller.until(|latest| latest.errors == 1);
    assert!(second.up && second.message.is_none());
    let second = second.allocations.unwrap();
    assert_eq!(holders(&second).len(), 1);
    assert_eq!(second.advertised, first.advertised);

    kubelet.advertise(Vec::<ContainerDevices>::new());
    poller.wake();
    let third =
        poller.until(|latest| latest.allocations.as_ref().is_some_and(|it| it.read_at > second.read_at));
    assert_eq!(third.allocations.unwrap().advertised, Some([].into()), "an empty list is passed on");
}

#[test]
fn a_socket_that_serves_something_else() {
    let kubelet = FakeKubelet::start();
    kubelet
        .answer(Method::List, Answer::Refuse(Code::Unimplemented, "unknown service v1.PodResourcesLister"));
    let latest = Poller::start(&kubelet).until(has_failed);
    assert!(!latest.up);
    assert!(latest.message.unwrap().contains("is this socket the kubelet's?"));
}

#[test]
fn a_captured_answer_goes_over_the_wire() {
    let kubelet = FakeKubelet::start();
    let bytes = include_bytes!("../captures/pod-resources/list-plain.pb");
    kubelet.answer(Method::List, Answer::Bytes(bytes.as_slice().into()));
    let latest = Poller::start(&kubelet).until(|latest| latest.up);
    let expected = [
        "team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001",
        "team-b/gpu-b-rig-node/c1: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003",
        "team-b/gpu-b-rig-node/sidecar: GPU-01000100-0000-0000-0000-000000000000",
    ];
    assert_eq!(holders(&latest.allocations.unwrap()), expected);
}
