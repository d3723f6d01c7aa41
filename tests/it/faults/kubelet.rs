//! The kubelet breaks. The pod watch still shows who runs, so nothing changes for them.

use tonic::Code;

use super::*;
use crate::support::fake_kubelet::{Answer, Method, listing};

const AGE: &str = "gpu_cost_exporter_allocations_age_seconds";

/// Waits until the kubelet's last good answer is older than it may become.
fn is_old(trial: &Trial) {
    trial.daemon.scrape_until("an old answer", |scrape| scrape.value(AGE, &[]).filter(|age| *age > 2.0));
}

fn trainer() -> Answer {
    listing(vec![pod("ml", "trainer", "nvidia.com/gpu", &[&uuid(0)])])
}

fn mend(trial: &mut Trial) {
    trial.node.kubelet.answer(Method::List, trainer());
}

#[test]
fn it_is_gone() {
    let signs = Signs { down: Some("kubelet"), told: "kubelet", state: "used" };
    let gone = |trial: &mut Trial| {
        trial.node.kubelet.die();
        is_old(trial);
    };
    Trial::start().withstands(&signs, gone, |trial| trial.node.kubelet.come_back());
}

#[test]
fn it_has_no_time_for_us() {
    let signs = Signs { down: Some("kubelet"), told: "too many requests", state: "used" };
    let busy = |trial: &mut Trial| {
        let refusal = Answer::Refuse(Code::ResourceExhausted, "rejected: too many requests");
        trial.node.kubelet.answer(Method::List, refusal);
        is_old(trial);
    };
    Trial::start().withstands(&signs, busy, mend);
}

#[test]
fn it_never_answers() {
    let signs = Signs { down: Some("kubelet"), told: "within 10s", state: "used" };
    let hangs = |trial: &mut Trial| {
        trial.node.kubelet.answer(Method::List, Answer::Hang);
        is_old(trial);
    };
    Trial::start().withstands(&signs, hangs, mend);
}

#[test]
fn it_takes_its_time() {
    // An answer that comes late is a good one.
    let signs = Signs { down: None, told: "answers", state: "used" };
    let slow = |trial: &mut Trial| {
        let late = Answer::Late(Duration::from_secs(5), Box::new(trainer()));
        trial.node.kubelet.answer(Method::List, late);
        trial.daemon.scrape_until("an answer that took 5 s", |scrape| {
            let took = scrape.value("gpu_cost_exporter_source_duration_seconds", &[("source", "kubelet")]);
            took.filter(|seconds| *seconds >= 5.0)
        });
    };
    Trial::start().withstands(&signs, slow, mend);
}

#[test]
fn it_answers_with_20_megabytes() {
    let signs = Signs { down: None, told: "answers", state: "used" };
    let huge = |trial: &mut Trial| {
        let filler = "x".repeat(370);
        let others =
            (0..50_000).map(|n| pod("web", &format!("{filler}-{n}"), "example.com/nic", &["0000:00:01.0"]));
        let trainer = pod("ml", "trainer", "nvidia.com/gpu", &[&uuid(0)]);
        let answer = listing(std::iter::once(trainer).chain(others).collect());
        let Answer::Bytes(bytes) = &answer else { unreachable!("it is a message") };
        assert!(bytes.len() > 20 << 20, "{} bytes", bytes.len());
        let calls = trial.node.kubelet.calls(Method::List);
        trial.node.kubelet.answer(Method::List, answer);
        trial.daemon.scrape_until("answers of this size", |_| {
            (trial.node.kubelet.calls(Method::List) > calls + 1).then_some(())
        });
    };
    Trial::start().withstands(&signs, huge, mend);
}

#[test]
fn it_answers_with_garbage() {
    let signs = Signs { down: Some("kubelet"), told: "decode", state: "used" };
    let garbage = |trial: &mut Trial| {
        trial
            .node
            .kubelet
            .answer(Method::List, Answer::Bytes(b"\xff\xff\xff\xff no message".as_slice().into()));
        is_old(trial);
    };
    Trial::start().withstands(&signs, garbage, mend);
}
