//! What a running exporter is measured with: the node around it, and those who scrape it.
//!
//! `stage node SHARING HOLDERS` puts up a driver of eight H100s, a kubelet and an API server, says in one line of JSON how
//! the exporter is to be started there, and stands until its standard input is closed. `stage scrape PORT CONNECTIONS
//! SCRAPES ENCODING` scrapes over so many connections and says how many microseconds each scrape took, how many bytes
//! the last one had and how many series. `stage serve BYTES` says its port and sends so many bytes to whoever asks, for
//! comparison. `scripts/bench.py` calls all three.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for measurements has nobody to whom it could report an error"
)]

mod scrape;
mod serve;

#[expect(dead_code, reason = "the tests do more with it")]
#[path = "../../tests/it/support/fake_apiserver.rs"]
mod fake_apiserver;
#[expect(dead_code, reason = "the tests do more with it")]
#[path = "../../tests/it/support/fake_kubelet.rs"]
mod fake_kubelet;

use std::fs;
use std::io::Read as _;

use fake_apiserver::FakeApiServer;
use fake_kubelet::{FakeKubelet, devices, pod};
use fake_nvml::{Board, MigDevice, Node, Profile};
use serde_json::json;

/// GPUs of the node, and MIG devices of one that is cut.
const GPUS: u32 = 8;
const PARTS: u32 = 7;

/// How many teams share the node.
const TEAMS: usize = 20;

/// What the plugin calls its slots.
const RESOURCE: &str = "nvidia.com/gpu.shared";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node", sharing, holders] => stand(sharing, holders.parse().expect("a number of holders")),
        ["scrape", port, connections, scrapes, encoding] => {
            let number = |text: &str| text.parse().expect("a number");
            scrape::all(port.parse().expect("a port"), number(connections), number(scrapes), encoding);
        }
        ["serve", bytes] => serve::forever(bytes.parse().expect("a number of bytes")),
        _ => println!("see scripts/bench.py"),
    }
}

/// A GPU, and what can be held of it.
fn board(n: u32, sharing: &str) -> (Board, Vec<String>) {
    let board = Board::h100_80gb(n).busy(50).counting(50.0, 40.0, 20.0, 10.0);
    if sharing != "mig" {
        let uuid = board.uuid.clone();
        return (board, vec![uuid]);
    }
    let parts = (0..PARTS).map(|part| {
        MigDevice::new(Profile::X80GB_1G, part + 7, n * PARTS + part).counting(50.0, 40.0, 20.0, 10.0)
    });
    let parts: Vec<MigDevice> = parts.collect();
    let uuids = parts.iter().map(|part| part.uuid.clone()).collect();
    (board.cut(PARTS, parts.into_iter().map(Some)), uuids)
}

/// Puts the node up and stands until nobody needs it.
fn stand(sharing: &str, holders: usize) {
    let directory = tempfile::tempdir().expect("make a directory");
    let path = |name: &str| directory.path().join(name);
    let (boards, ids): (Vec<_>, Vec<_>) = (0..GPUS).map(|n| board(n, sharing)).unzip();
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    let node = Node { is_fixed: true, ..Node::new(boards) };
    fs::write(path("node.json"), node.to_json()).expect("write the description");

    let slot = |n: usize| format!("{}::{}", ids[n % ids.len()], n / ids.len());
    let name = |n: usize| (format!("team-{}", n % TEAMS), format!("inference-server-7d4b9c6f5-{n:05}"));
    let kubelet = FakeKubelet::start();
    let holding = (0..holders).map(|n| (name(n), slot(n)));
    kubelet.list(
        holding.map(|((namespace, name), id)| pod(&namespace, &name, RESOURCE, &[id.as_str()])).collect(),
    );
    let slots: Vec<String> = (0..holders.next_multiple_of(ids.len())).map(slot).collect();
    kubelet.advertise(devices(RESOURCE, &slots.iter().map(String::as_str).collect::<Vec<_>>()));
    let server = FakeApiServer::start();
    for n in 0..holders {
        let (namespace, name) = name(n);
        let uid = format!("{n:08x}-1111-2222-3333-444455556666");
        server.apply(&fake_apiserver::pod(
            &namespace,
            &name,
            &uid,
            &[("team", &namespace), ("project", "chat")],
        ));
    }
    let said = json!({
        "directory": directory.path(),
        "description": path("node.json"),
        "socket": kubelet.socket(),
        "kubeconfig": server.kubeconfig(),
        "node": fake_apiserver::NODE,
    });
    println!("{said}");
    // Whoever started it goes, and with it the other end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
