//! `explain`, the built binary, against exporters that answer, and against what else may answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use expect_test::expect_file;
use gpu_cost_exporter::http::Limits;
use gpu_cost_exporter::status::{Mode, Published, Source, SourceStatus, Status};
use serde_json::Value;

use crate::support::daemon::{Daemon, binary, eventually};
use crate::support::rich_report::{self, HOSTILE, published};
use crate::support::server::Server;

fn explain(url: &str, args: &[&str]) -> Output {
    let mut command = binary();
    command.arg("explain").args(args).env("GPU_COST_URL", url);
    command.output().expect("the binary is built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn said(url: &str, args: &[&str]) -> String {
    let output = explain(url, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(url: &str, args: &[&str]) -> String {
    let output = explain(url, args);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}");
    text(&output.stderr)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn rich() -> (Server, String) {
    let server = Server::start(published(), Limits::USUAL);
    let url = url(server.address);
    (server, url)
}

/// Answers one request with these bytes, and gives what was asked.
fn answering(answer: &str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answer = answer.to_owned();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = vec![0; 16 * 1024];
        let length = stream.read(&mut head).unwrap_or(0);
        // Whoever asked may have seen enough.
        let _ = stream.write_all(answer.as_bytes());
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    (address, asked)
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn every_question_has_its_answer() {
    let (_server, url) = rich();
    let questions: &[&[&str]] = &[
        &[],
        &["inference/chat-7f9c4-x2x8z"],
        &["embed-66b7d-l0p9k"],
        &["research/b300-benchmark"],
        &["research/resnet-0"],
        &["GPU-1"],
        &["3"],
        &["gpu-20000000-AAAA-bbbb-cccc-000000000000"],
        &["MIG-4g"],
        &["research/llama-finetune-0"],
    ];
    let answers =
        questions.iter().map(|args| format!("$ explain {}\n{}\n", args.join(" "), said(&url, args)));
    expect_file!["golden/explain.txt"].assert_eq(&answers.collect::<String>());
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let (_server, url) = rich();
    let cases = [
        ("inference/chat", "did you mean inference/chat-7f9c4-x2x8z?"),
        ("reserch/resnet-0", "did you mean research/resnet-0?"),
        ("research/llama-finetine-0", "did you mean research/llama-finetune-0?"),
        ("nowhere/nothing", "pods: inference/chat-7f9c4-x2x8z, inference/embed-66b7d-l0p9k"),
        ("GPU-9", "GPUs: GPU-00000000-aaaa-bbbb-cccc-000000000000, GPU-10000000"),
        ("GPU-", "GPU- can be any of GPU-00000000-aaaa-bbbb-cccc-000000000000, GPU-10000000"),
        ("", "knows no pod and no GPU"),
        ("17", "knows no pod and no GPU 17"),
    ];
    for (what, expected) in cases {
        let error = refused(&url, &[what]);
        assert!(error.starts_with("error: ") && error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn machines_get_the_part_of_the_json_as_it_came() {
    let (server, url) = rich();
    let whole: Value = serde_json::from_str(server.get("/api/v1/ledger").text()).expect("JSON");
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&said(&url, &[args, &["--output=json"]].concat())).expect("JSON")
    };
    assert_eq!(json(&[]), whole);
    let pod = json(&["inference/embed-66b7d-l0p9k"]);
    assert_eq!(pod["version"], 1);
    let (devices, pods) = (&pod["report"]["devices"], &pod["report"]["pods"]);
    assert_eq!((devices.as_array().unwrap().len(), pods.as_array().unwrap().len()), (1, 1));
    assert_eq!(devices[0]["holdings"].as_array().unwrap().len(), 1);
    assert_eq!(devices[0]["holdings"][0], whole["report"]["devices"][0]["holdings"][1]);
    assert_eq!(pods[0], whole["report"]["pods"][1]);
    assert_eq!(devices[0]["totals"], whole["report"]["devices"][0]["totals"]);
    let gpu = json(&["GPU-0"]);
    assert_eq!(gpu["report"]["devices"][0], whole["report"]["devices"][0]);
    assert_eq!(gpu["report"]["pods"].as_array().unwrap().len(), 2);
}

#[test]
fn a_name_can_do_nothing_to_a_terminal() {
    let (_server, url) = rich();
    let answer = said(&url, &["GPU-1"]);
    assert!(answer.contains(&HOSTILE.replace(['\n', '\u{1}'], "\u{fffd}")), "{answer}");
    assert!(!answer.contains(|c: char| c.is_control() && c != '\n'), "{answer}");
}

#[test]
fn an_exporter_that_has_counted_nothing_says_why() {
    let sources = vec![rich_report::down(Source::Nvml, "no libnvidia-ml.so.1: install the driver")];
    let status = Arc::new(Status { sources, ..rich_report::status(Mode::Node) });
    let server = Server::start(Published { report: None, status }, Limits::USUAL);
    let error = refused(&url(server.address), &["ml/chat"]);
    assert!(error.contains("gpu-node-7 has counted nothing yet"), "{error}");
    assert!(error.contains("nvml: no libnvidia-ml.so.1: install the driver"), "{error}");
}

#[test]
fn what_is_not_known_is_said_before_the_numbers() {
    let mut status = rich_report::status(Mode::Demo);
    let pricing = SourceStatus { message: None, ..rich_report::down(Source::Pricing, "") };
    let half = SourceStatus { up: true, ..rich_report::down(Source::ApiServer, "it tells no claims") };
    let silent = SourceStatus { message: None, ..rich_report::down(Source::Kubelet, "") };
    status.sources = vec![half, silent, pricing];
    status.pricing.problems = vec!["line 3: one".into(), "line 5: two".into()];
    let server = Server::start(Published { status: Arc::new(status), ..published() }, Limits::USUAL);
    let answer = said(&url(server.address), &["0"]);
    let (before, _) = answer.split_once("\n\n").expect("a head");
    assert!(before.starts_with("SIMULATED NODE: every number is made up\n"), "{before}");
    let said = "\napiserver: it tells no claims\nkubelet: no answer yet\npricing: line 3: one and 1 more";
    assert!(before.ends_with(said), "{before}");
}

#[test]
fn what_else_may_answer_is_told_apart() {
    let not_found = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\ntoo\u{1b}many\n";
    let moved = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    let future = http("{\"version\":2,\"exporter\":{\"version\":\"9.1\"}}");
    let torn = http("{\"version\":1,\"exporter\":{\"version\":\"0.9\"}}");
    let cases = [
        (not_found, "is not this exporter, or an older one: it has no /api/v1/ledger"),
        (moved, "it answers with 302 Found"),
        (busy, "is busy, try again: too many"),
        (&*http("<html>"), "answers with something else than JSON"),
        (&*http("{\"version\":1}"), "answers with JSON of another form"),
        (&*future, "is version 9.1 and writes version 2 of its ledger"),
        (&*torn, "cannot read the ledger"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", "breaks off its answer"),
        ("", "does not speak HTTP"),
    ];
    for (answer, expected) in cases {
        let (address, asked) = answering(answer);
        let error = refused(&url(address), &[]);
        assert!(error.contains(expected) && error.contains(&address.to_string()), "{answer:?}: {error}");
        asked.join().expect("it was asked");
    }
}

#[test]
fn nobody_and_somebody_silent_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address");
    // It accepts the connection and says nothing.
    let error = refused(&url(address), &[]);
    assert!(error.contains("does not answer within 5 s"), "{error}");
    drop(free);
    let error = refused(&url(address), &[]);
    assert!(error.contains("nothing answers at") && error.contains("--url"), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn it_asks_below_the_path_of_a_proxy() {
    let (server, _) = rich();
    let ledger = http(server.get("/api/v1/ledger").text());
    let (address, asked) = answering(&ledger);
    let answer = said("http://unused", &["--url", &format!("http://{address}/gpu/cost/"), "GPU-4"]);
    assert!(answer.contains("nvidia-b300"), "{answer}");
    let asked = asked.join().expect("it was asked");
    assert!(asked.starts_with("GET /gpu/cost/api/v1/ledger HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains(&format!("host: {address}\r\n")), "{asked}");
}

#[test]
fn a_daemon_explains_itself() {
    let daemon = Daemon::start(&["--demo", "--sample.interval=100ms"]).ready();
    let url = format!("http://127.0.0.1:{}", daemon.port());
    let overview = said(&url, &[]);
    assert!(
        overview.starts_with("SIMULATED NODE: every number is made up\nnode test-node at "),
        "{overview}"
    );
    let reranker = overview.split_whitespace().find(|word| word.starts_with("search/reranker"));
    let reranker = reranker.expect("the pod of the script").to_owned();
    // The first interval is charged with the second look.
    let answer = eventually("a charge", || {
        let answer = said(&url, &[&reranker]);
        answer.contains("last interval: 6.88 $/h × ").then_some(answer)
    });
    for part in [
        "container main asked for nvidia.com/gpu",
        "→ GPU 5 (GPU-",
        "nvidia-h100-80gb, shared by ",
        "share 1/4 of the GPU: 1 of 4 slots",
        "of the GPU (simulated), its own ",
        " by its processes = ",
        "price 6.88 $/h: list price of aws/us-east-1/p5.48xlarge, on_demand, as of ",
        "since it was first seen: 0.00",
    ] {
        assert!(answer.contains(part), "{part:?} is not in\n{answer}");
    }
    assert!(answer.contains(&format!("\n{reranker} (uid ")), "{answer}");
}
