//! What people and programs may ask this exporter.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page: where the money goes, for people |
//! | `/metrics` (configurable) | the last report in the format that the reader likes, compressed if it likes |
//! | `/api/v1/ledger` | the last report and the exporter's state as JSON, for programs and for `explain` |
//! | `/-/healthy` | 200 as long as the process lives |
//! | `/-/ready` | 200 once there is a report; 503 with the reason in words until then |
//!
//! A request reads what the sampler last published and changes nothing; what it is answered is rendered once and shared,
//! on a thread of its own, so that a large node's scrape does not delay a tick. Nobody can hold the server: connections, requests, the time to
//! send a request and the time to take an answer all have limits, and probes are answered whatever the scrapers do.
//!
//! With a web configuration connections are encrypted and who asks needs a password; probes never need one.
//!
//! The modules in reading order: `connection` (who may connect, for how long), `lobby` (who makes room), `handshake` (TLS), `impatient` (who does
//! not take its answer), `gate` (who may ask), `answer` (which request gets what), `encoding` (formats and
//! compression), `rendering` (made once, shared by all), `page` (what people see).

mod answer;
mod connection;
mod encoding;
mod gate;
mod handshake;
mod impatient;
mod lobby;
mod page;
mod rendering;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use self::answer::Site;
use self::gate::Gate;
use crate::metrics;
use crate::status::Published;
use crate::web_config::WebConfig;

/// The paths by which Kubernetes learns how the exporter is: always answered, and to everybody.
const PROBES: [&str; 2] = ["/-/healthy", "/-/ready"];

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of the metrics, such as `/metrics`; no other answer's.
    pub telemetry_path: Arc<str>,
    /// What a scrape shows.
    pub metrics: metrics::Settings,
    /// What clients may take.
    pub limits: Limits,
    /// Who may ask, and over what, now.
    pub web: watch::Receiver<Arc<WebConfig>>,
}

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Scrapes, pages and ledgers that are being answered at one time; a further one gets 503. Probes do not count.
    pub requests: usize,
    /// Connections at one time. With the last of them the one that has been silent for longest is closed; while all are being
    /// answered, a further one waits.
    pub connections: usize,
    /// Time for a client to open an encrypted connection, to send a request, and to send the next one on the same
    /// connection.
    pub request_read: Duration,
    /// Time for a client to take 64 KiB of what it has asked for, or the rest of it.
    pub response_write: Duration,
}

/// Answers requests at all `listeners` until `shutdown` is ready, then lets those that are being answered finish.
pub async fn serve(
    listeners: Vec<TcpListener>,
    settings: Settings,
    published: watch::Receiver<Published>,
    shutdown: impl Future<Output = ()>,
) {
    let site = Arc::new(Site::new(&settings, published));
    let gate = Arc::new(Gate::new(settings.web, Arc::clone(&site)));
    tokio::select! {
        () = connection::serve(&listeners, settings.limits, &gate, shutdown) => {}
        () = site.forget_what_is_old() => {}
    }
}

// === impl Limits ===

impl Limits {
    /// Generous for scrapers, tight for those who hold on. A connection that rests is closed before the shortest usual
    /// scrape interval (15 s) is over, so that no scrape meets a connection which is just being closed.
    pub const USUAL: Self = Self {
        requests: 64,
        connections: 1_024,
        request_read: Duration::from_secs(10),
        response_write: Duration::from_secs(15),
    };
}
