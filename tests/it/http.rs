//! The HTTP server against clients that are friendly, many, slow or hostile.

mod crowds;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use gpu_cost_exporter::http::Limits;
use gpu_cost_exporter::status::{Mode, Published, Source, SourceStatus, Status};
use gpu_cost_exporter::web_config::{self, PasswordHash, WebConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::daemon::eventually;
use crate::support::rich_report::{self, published};
use crate::support::server::{DEADLINE, Server, read, read_to_end};
use crate::support::tls::{Authority, Client, Unclean};

const SHORT: Duration = Duration::from_millis(100);

fn nothing_yet() -> Published {
    let message = "cannot load libnvidia-ml.so.1; install the NVIDIA driver on this node";
    let sources = vec![rich_report::down(Source::Nvml, message)];
    Published { report: None, status: Arc::new(Status { sources, ..rich_report::status(Mode::Node) }) }
}

/// A report whose text is larger than all buffers between server and client together.
fn huge() -> Published {
    let mut report = rich_report::report();
    let pod = report.pods[0].clone();
    report.pods = (0..4_000)
        .map(|n| {
            let long = format!("{n:0128}").into();
            let mut pod = pod.clone();
            pod.pod = Arc::clone(&long);
            pod.uid = long;
            pod
        })
        .collect();
    Published { report: Some(Arc::new(report)), ..published() }
}

/// The text without what is the process' own and changes from moment to moment.
fn without_process(text: &str) -> String {
    text.lines().filter(|line| !line.contains("process_")).flat_map(|line| [line, "\n"]).collect()
}

/// Asks again until the answer has this status.
fn wait_for(server: &Server, path: &str, status: u16) {
    let clock = gpu_cost_exporter::clock::uptime;
    let start = clock();
    while server.get(path).status != status {
        let waited = Duration::from_nanos(clock().since(start).as_nanos());
        assert!(waited < DEADLINE, "{path} did not become {status}");
        thread::yield_now();
    }
}

#[test]
fn each_path_has_its_answer() {
    let server = Server::start(published(), Limits::USUAL);
    let html = "text/html; charset=utf-8";
    let text = "text/plain; charset=utf-8";
    let cases = [
        (
            "GET",
            "/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            "\ngpu_cost_ledger_imbalance_dollars",
        ),
        (
            "GET",
            "/metrics?collect[]=x",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            "process_cpu_seconds_total",
        ),
        ("GET", "http://other.host/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "gpu_cost_"),
        ("GET", "/", 200, html, "gpu-node-7"),
        ("GET", "/api/v1/ledger", 200, "application/json", "{\"version\":1,"),
        ("GET", "/api/v1/ledger?pretty", 200, "application/json", "gpu-node-7"),
        ("GET", "/api/v1/", 404, html, "href=\"/api/v1/ledger\""),
        ("GET", "/-/healthy", 200, text, "healthy"),
        ("GET", "/-/ready", 200, text, "ready"),
        ("GET", "/metrics/", 404, html, "href=\"/metrics\""),
        ("GET", "/a\"b&c", 404, html, "/a&quot;b&amp;c"),
        ("POST", "/nothing", 404, html, "/-/ready"),
        ("POST", "/metrics", 405, text, "POST is not allowed"),
        ("POST", "/api/v1/ledger", 405, text, "POST is not allowed"),
        ("DELETE", "/", 405, text, "DELETE is not allowed"),
        ("PUT", "/-/ready", 405, text, "can only be read"),
        ("OPTIONS", "/-/healthy", 405, text, "OPTIONS is not allowed"),
        ("BREW", "/", 405, text, "BREW is not allowed"),
    ];
    for (method, path, status, content_type, part) in cases {
        let got = server.ask(method, path, &[]);
        assert_eq!((got.status, got.header("content-type")), (status, Some(content_type)), "{method} {path}");
        assert!(got.text().contains(part), "{method} {path}: {}", got.text());
        assert_eq!(got.promised_bytes(), Some(got.body.len()), "{method} {path}");
        assert_eq!(got.header("allow"), (status == 405).then_some("GET, HEAD"), "{method} {path}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(published(), Limits::USUAL);
    for path in ["/metrics", "/", "/api/v1/ledger", "/-/healthy", "/-/ready", "/nothing"] {
        let (get, head) = (server.get(path), server.ask("HEAD", path, &[]));
        assert_eq!(
            (get.status, get.header("content-type")),
            (head.status, head.header("content-type")),
            "{path}"
        );
        assert!(head.body.is_empty() && head.promised_bytes() > Some(0), "{path}: {}", head.head);
    }
}

#[test]
fn what_is_not_http_gets_no_answer_that_hurts() {
    let server = Server::start(published(), Limits::USUAL);
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(1_000));
    let cases: &[(&[u8], &[u16])] = &[
        (b"\x16\x03\x01\x02\x00\x01\x00", &[400, 0]),
        (b"GET\r\n\r\n", &[400]),
        (b"GET /metrics HTTP/9.9\r\n\r\n", &[400]),
        (long.as_bytes(), &[431, 0]),
        (many.as_bytes(), &[431]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 0]),
    ];
    for (request, expected) in cases {
        let got = read(server.send(request));
        assert!(expected.contains(&got.status), "{:?}: {got:?}", String::from_utf8_lossy(request));
    }
    assert_eq!(server.get("/metrics").status, 200);
}

#[test]
fn gzip_is_the_same_text() {
    let server = Server::start(published(), Limits::USUAL);
    for path in ["/metrics", "/", "/api/v1/ledger"] {
        let plain = server.ask("GET", path, &["Accept-Encoding: gzip;q=0, identity"]);
        let compressed = server.ask("GET", path, &["Accept-Encoding: gzip"]);
        let vary = if path == "/metrics" { "Accept, Accept-Encoding" } else { "Accept-Encoding" };
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some(vary)));
        assert_eq!(compressed.header("content-encoding"), Some("gzip"));
        assert!(compressed.body.len() * 3 < plain.body.len(), "{}", compressed.body.len());
        let mut text = String::new();
        MultiGzDecoder::new(&*compressed.body).read_to_string(&mut text).unwrap();
        // To the last figure of what is the process' own: it was read once.
        assert_eq!(text, plain.text());
    }
}

#[test]
fn many_scrapers_see_the_same_until_there_is_something_new() {
    let server = Server::start(published(), Limits::USUAL);
    let scrape_all = || {
        let texts: Vec<String> = thread::scope(|scope| {
            let scrapers: Vec<_> = (0..16).map(|_| scope.spawn(|| server.get("/metrics"))).collect();
            scrapers.into_iter().map(|scraper| scraper.join().unwrap().text().to_owned()).collect()
        });
        assert!(texts.iter().all(|text| *text == texts[0]));
        texts.into_iter().next().unwrap()
    };
    let before = scrape_all();
    let status = Status { ticks: 86_401, ..rich_report::status(Mode::Node) };
    server.publish.send_modify(|published| published.status = Arc::new(status));
    let after = scrape_all();
    let before = without_process(&before).replace("ticks_total 86400", "ticks_total 86401");
    assert_eq!(before, without_process(&after));
}

#[test]
fn it_is_ready_with_the_first_report_and_healthy_before() {
    let server = Server::start(nothing_yet(), Limits::USUAL);
    let ready = server.get("/-/ready");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("nvml: cannot load libnvidia-ml.so.1; install the NVIDIA driver"),
        "{ready:?}"
    );
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.get("/").status, 200);
    assert!(server.get("/metrics").text().contains("gpu_cost_exporter_source_up{source=\"nvml\"} 0"));
    server.publish.send(published()).unwrap();
    assert_eq!((server.get("/-/ready").status, server.get("/-/ready").text()), (200, "ready\n"));
    // Once there was a good observation, money is counted even while a source is away.
    let away = |last_success| {
        let source = SourceStatus { last_success, ..rich_report::down(Source::Nvml, "away") };
        let status = Status { sources: vec![source], ..rich_report::status(Mode::Node) };
        server.publish.send_modify(|published| published.status = Arc::new(status));
        server.get("/-/ready").status
    };
    assert_eq!(away(Some(rich_report::NOON)), 200);
    // A source that never answered leaves the first observation incomplete.
    assert_eq!(away(None), 503);
}

#[test]
fn too_many_requests_are_told_so_and_probes_go_on() {
    let server = Server::start(huge(), Limits { requests: 1, response_write: DEADLINE, ..Limits::USUAL });
    let first = begin(&server);
    let second = server.get("/metrics");
    assert_eq!((second.status, second.header("retry-after")), (503, Some("1")));
    assert!(second.text().contains("too many requests"), "{second:?}");
    assert_eq!((server.get("/").status, server.get("/api/v1/ledger").status), (503, 503));
    assert_eq!((server.get("/-/healthy").status, server.get("/-/ready").status), (200, 200));
    let first = read(first);
    assert_eq!(first.promised_bytes(), Some(first.body.len()));
    wait_for(&server, "/metrics", 200);
}

#[test]
fn who_asks_for_the_head_alone_or_goes_away_takes_nobodys_turn() {
    let server = Server::start(huge(), Limits { requests: 1, ..Limits::USUAL });
    for _ in 0..2 {
        assert_eq!(server.ask("HEAD", "/metrics", &[]).status, 200);
        drop(begin(&server));
        wait_for(&server, "/metrics", 200);
    }
}

#[test]
fn an_old_report_is_let_go_though_nobody_asks_again() {
    let server = Server::start(published(), Limits::USUAL);
    assert_eq!(server.get("/metrics").status, 200);
    let old = server.publish.borrow().report.as_ref().map(Arc::downgrade).unwrap();
    server.publish.send(published()).unwrap();
    eventually("nobody has the old report", || old.upgrade().is_none().then_some(()));
}

#[test]
fn who_does_not_take_its_answer_is_cut_off() {
    let server = Server::start(huge(), Limits { requests: 1, response_write: SHORT, ..Limits::USUAL });
    let idle = begin(&server);
    wait_for(&server, "/-/healthy", 200);
    wait_for(&server, "/metrics", 200);
    let idle = read(idle);
    assert!(idle.promised_bytes() > Some(idle.body.len()), "{}", idle.head);
}

#[test]
fn who_does_not_finish_its_request_is_cut_off() {
    let server = Server::start(published(), Limits { connections: 2, request_read: SHORT, ..Limits::USUAL });
    let slow: Vec<TcpStream> = (0..8).map(|_| server.send(b"GET /metrics HTTP/1.1\r\nHost: ")).collect();
    assert_eq!(server.get("/metrics").status, 200, "the others come to their turn");
    for stream in slow {
        assert_ne!(read(stream).status, 200);
    }
}

/// Sends a byte as often as nothing comes back for `pace`, until the connection is closed, and says after how many.
fn drip(mut stream: impl Read + Write, bytes: &[u8]) -> usize {
    for (sent, byte) in bytes.iter().enumerate() {
        match stream.read(&mut [0; 1024]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // Closed, or told why it will be.
            _ => return sent,
        }
        if stream.write_all(&[*byte]).is_err() {
            return sent;
        }
    }
    panic!("{} bytes were taken, one by one", bytes.len());
}

#[test]
fn who_sends_a_byte_now_and_then_is_cut_off_while_scrapes_go_on() {
    let server = Server::start(published(), Limits { request_read: SHORT, ..Limits::USUAL });
    let request = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    let dripping = |stream: TcpStream| {
        stream.set_read_timeout(Some(SHORT / 4)).unwrap();
        drip(stream, request.as_bytes())
    };
    thread::scope(|scope| {
        let slow: Vec<_> = (0..8).map(|_| scope.spawn(|| dripping(server.send(b"")))).collect();
        for _ in 0..8 {
            assert_eq!(server.get("/metrics").status, 200);
        }
        for slow in slow {
            // Each byte takes a quarter of the time that there is for all of them, or more where the machine is busy.
            assert!(slow.join().unwrap() <= 8);
        }
    });
}

#[test]
fn a_body_that_never_comes_holds_nobody_up() {
    let server = Server::start(published(), Limits { connections: 1, request_read: SHORT, ..Limits::USUAL });
    let holding = server.send(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc");
    assert_eq!(server.get("/metrics").status, 200, "the next one comes to its turn");
    assert_eq!(read(holding).status, 200);
}

#[test]
fn who_guesses_passwords_is_put_off_and_who_knows_one_is_not() {
    // Some 50 ms each.
    let hash = PasswordHash::parse("$2y$10$wHoMayAskAndOverWhat..RaJ/N/PvbU91fJw0Xdfk38mUTHd/ijy").unwrap();
    let web = WebConfig { users: [("ann".to_owned(), hash)].into(), ..WebConfig::default() };
    let server = Server::start_with(published(), Limits::USUAL, web);
    let ask = |encoded: &str| server.ask("GET", "/metrics", &[&format!("Authorization: Basic {encoded}")]);
    // ann:guessme, and ann:guess
    assert_eq!(ask("YW5uOmd1ZXNzbWU=").status, 200);
    let (refused, put_off) = thread::scope(|scope| {
        let guessing: Vec<_> = (0..64).map(|_| scope.spawn(|| ask("YW5uOmd1ZXNz"))).collect();
        for _ in 0..8 {
            assert_eq!(ask("YW5uOmd1ZXNzbWU=").status, 200);
            assert_eq!(server.get("/-/ready").status, 200);
        }
        let got: Vec<_> = guessing.into_iter().map(|guess| guess.join().unwrap()).collect();
        let with = |status| got.iter().filter(|got| got.status == status).count();
        (with(401), with(503))
    });
    assert_eq!(refused + put_off, 64);
    assert!(refused > 0 && put_off > 0, "{refused} were looked at, {put_off} put off");
}

/// A server with TLS, and a client that trusts it.
fn encrypted(published: Published, limits: Limits) -> (Server, Client) {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.vouch_for_us().write_to(directory.path());
    let file = directory.path().join("web.yml");
    fs::write(&file, "tls_server_config: { cert_file: tls.crt, key_file: tls.key }\n").unwrap();
    let (web, _) = web_config::read(&file).result.unwrap();
    (Server::start_with(published, limits, web), Client::trusting(&authority))
}

#[test]
fn who_does_not_finish_its_handshake_is_cut_off() {
    let limits = Limits { connections: 2, request_read: SHORT, ..Limits::USUAL };
    let (server, _) = encrypted(published(), limits);
    // Silence, the beginning of a handshake, what is neither TLS nor HTTP.
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00", b"\x00\x00"] {
        let slow: Vec<TcpStream> = (0..4).map(|_| server.send(beginning)).collect();
        let plain = server.get("/metrics");
        let got = (plain.status, plain.header("connection"));
        assert_eq!(got, (400, Some("close")), "the others come to their turn");
        for stream in slow {
            assert_eq!(read(stream).status, 0);
        }
    }
}

#[test]
fn who_does_not_take_its_answer_over_tls_is_cut_off() {
    let limits = Limits { requests: 1, response_write: 10 * SHORT, ..Limits::USUAL };
    let (server, client) = encrypted(huge(), limits);
    let mut idle = client.connect(server.address).unwrap();
    idle.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    for (what, status) in [("its slot is taken", 503), ("it is free again", 200)] {
        eventually(what, || {
            let got = client.get(server.address.port(), "/api/v1/ledger").unwrap();
            (got.status == status).then_some(())
        });
    }
    let idle = read_to_end(Unclean(idle)).unwrap();
    assert!(idle.promised_bytes() > Some(idle.body.len()), "{}", idle.head);
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start(published(), Limits { connections: 1, ..Limits::USUAL });
    let asked = "GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3)
        + "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let got = read(server.send(asked.as_bytes()));
    let rest = String::from_utf8(got.body).unwrap();
    assert_eq!((got.status, rest.matches("200 OK").count()), (200, 3), "{rest}");
}

#[test]
fn a_scrape_that_has_begun_is_finished_before_the_end() {
    let mut server = Server::start(huge(), Limits::USUAL);
    let scrape = begin(&server);
    let resting = server.send(b"");
    server.stop();
    let got = read(scrape);
    assert_eq!((got.status, got.promised_bytes()), (200, Some(got.body.len())));
    assert_eq!(read(resting).status, 0, "a connection that asks nothing is closed");
}

/// Asks for a scrape and waits until it is being answered, without taking the answer.
fn begin(server: &Server) -> TcpStream {
    let stream = server.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(stream.peek(&mut [0]).is_ok_and(|bytes| bytes == 1), "an answer has begun");
    stream
}
