//! The HTTP server in this process, on a port of its own, until it is dropped.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gpu_cost_exporter::http::{self, Limits, Settings};
use gpu_cost_exporter::metrics;
use gpu_cost_exporter::status::Published;
use gpu_cost_exporter::web_config::WebConfig;
use tokio::sync::{oneshot, watch};

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) publish: watch::Sender<Published>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a client got: everything until the server closed the connection.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Server {
    pub(crate) fn start(published: Published, limits: Limits) -> Self {
        Self::start_with(published, limits, WebConfig::default())
    }

    pub(crate) fn start_with(published: Published, limits: Limits, web: WebConfig) -> Self {
        let (_, web) = watch::channel(Arc::new(web));
        let (publish, receiver) = watch::channel(published);
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let metrics = metrics::Settings::default();
        let settings = Settings { telemetry_path: "/metrics".into(), metrics, limits, web };
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let shutdown = async { drop(stopped.await) };
                http::serve(vec![listener], settings, receiver, shutdown).await;
            });
        });
        Self { address, publish, stop: Some(stop), thread: Some(thread) }
    }

    /// Tells the server to stop, without waiting for it.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Sends a request and leaves the answer unread.
    pub(crate) fn send(&self, request: &[u8]) -> TcpStream {
        send(self.address, request)
    }

    /// Sends one request with these header lines and reads the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Got {
        ask(self.address, method, path, headers)
    }

    pub(crate) fn get(&self, path: &str) -> Got {
        self.ask("GET", path, &[])
    }
}

/// Sends a request and leaves the answer unread.
fn send(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    // The server may refuse a request before it has read all of it.
    let _ = stream.write_all(request);
    stream
}

/// Sends one request with these header lines and reads the answer.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Got {
    let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    read(send(address, request.as_bytes()))
}

/// Reads an answer to the end of the connection, however it ends.
pub(crate) fn read(stream: TcpStream) -> Got {
    read_to_end(stream).unwrap_or_else(|error| panic!("no answer: {error}"))
}

/// Reads an answer to the end of a connection. That the other side cuts it off is an end too.
pub(crate) fn read_to_end(mut stream: impl Read) -> io::Result<Got> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Got { status, head, body: bytes.split_off(end) })
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text is UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(of).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }

    pub(crate) fn promised_bytes(&self) -> Option<usize> {
        self.header("content-length").and_then(|length| length.parse().ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server panicked");
    }
}
