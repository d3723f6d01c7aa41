//! More connections than there is room for.

use gpu_cost_exporter::clock;
use gpu_cost_exporter::observation::Span;

use super::*;

/// Half of the time for which somebody may say nothing: who waits for that, waits as long as a scrape may take.
const PROMPT: Span = Span::from_secs(5);

/// As many connections as this, over which nothing more comes than these bytes.
fn crowd(server: &Server, size: usize, beginning: &[u8]) -> Vec<TcpStream> {
    // Each connection is a file at either end, and both ends are in this process.
    assert!(raise_file_limit(4 * size).expect("as many open files") >= 4 * size);
    (0..size).map(|_| server.send(beginning)).collect()
}

/// Lets this process have that many files open.
fn raise_file_limit(files: usize) -> Result<usize, rustix::io::Errno> {
    let limit = getrlimit(Resource::Nofile);
    let soft = u64::try_from(files).unwrap().max(limit.current.unwrap_or(u64::MAX));
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum })?;
    Ok(usize::try_from(soft).unwrap())
}

#[test]
fn eleven_hundred_connections_at_once_are_all_answered() {
    let server = Server::start(published(), Limits::USUAL);
    let request = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let asking = crowd(&server, 1_100, request);
    assert!(asking.into_iter().all(|stream| read(stream).status == 200));
}

#[test]
fn two_thousand_who_say_nothing_keep_nobody_waiting() {
    let server = Server::start(published(), Limits::USUAL);
    let one_probe = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    for beginning in [&b""[..], b"GET /metrics HTTP/1.1\r\nHost: ", one_probe] {
        let silent = crowd(&server, 2_000, beginning);
        for path in ["/metrics", "/-/ready", "/metrics"] {
            let asked = clock::uptime();
            assert_eq!(server.get(path).status, 200);
            let waited = clock::uptime().since(asked);
            assert!(waited < PROMPT, "{waited:?} behind {:?}", String::from_utf8_lossy(beginning));
        }
        drop(silent);
    }
}

#[test]
fn two_thousand_handshakes_that_never_end_keep_nobody_waiting() {
    let (server, client) = encrypted(published(), Limits::USUAL);
    let silent = crowd(&server, 2_000, b"\x16\x03\x01");
    let asked = clock::uptime();
    assert_eq!(client.get(server.address.port(), "/metrics").unwrap().status, 200);
    let waited = clock::uptime().since(asked);
    assert!(waited < PROMPT, "{waited:?}");
    drop(silent);
}

#[test]
fn who_takes_an_answer_is_not_closed_for_others() {
    let limits = Limits { connections: 8, response_write: DEADLINE, ..Limits::USUAL };
    let server = Server::start(huge(), limits);
    let scrape = begin(&server);
    let silent = crowd(&server, 40, b"");
    assert_eq!(server.get("/-/healthy").status, 200);
    let got = read(scrape);
    assert_eq!((got.status, got.promised_bytes()), (200, Some(got.body.len())));
    drop(silent);
}
