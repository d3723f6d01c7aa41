//! Listening, answering, and stopping when it is time to.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{Parts, span};
use crate::args::{Args, ListenAddress};
use crate::http::{self, Limits, Settings};
use crate::metrics;
use crate::status::{Mode, Published};
use crate::web_config::WebConfig;

/// How long the last observation may take, with a driver that hangs (4 s) and a disk that does (3 s).
const LAST_TICK: Duration = Duration::from_secs(8);

/// Binds every port before anything starts.
pub(super) async fn bind(addresses: &[ListenAddress]) -> anyhow::Result<Vec<TcpListener>> {
    raise_file_limit();
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(bind_one(*address).await.with_context(|| format!("listen on {address}"))?);
    }
    Ok(listeners)
}

/// Lets the process have as many files open as it may. Each connection is one, and service managers begin with 1,024, as
/// many as there may be connections: who opens them all must not keep us from asking the kubelet.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// Without a host it takes both families, or IPv4 where there is no IPv6.
async fn bind_one(address: ListenAddress) -> std::io::Result<TcpListener> {
    let ListenAddress { socket, any } = address;
    match TcpListener::bind(socket).await {
        Err(error) if any && error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, socket.port()))).await
        }
        bound => bound,
    }
}

/// Says where to look, and whether what is seen there is real.
pub(super) fn announce(listeners: &[TcpListener], mode: Mode, settings: &Settings) {
    match mode {
        Mode::Demo => warn!("SIMULATED NODE: every number is made up"),
        Mode::Replay => warn!("REPLAY: the numbers are those of a recorded trace"),
        Mode::Node => {}
    }
    let scheme = if settings.web.borrow().tls.is_some() { "https" } else { "http" };
    for listener in listeners {
        let port = listener.local_addr().map_or(0, |address| address.port());
        let telemetry_path = &settings.telemetry_path;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            "serving {scheme}://localhost:{port}/ and {telemetry_path}"
        );
    }
}

/// How to serve: as was typed, within the usual limits.
pub(super) fn settings(args: &Args, config: watch::Receiver<Arc<WebConfig>>) -> Settings {
    let Args { web, exposition, .. } = args;
    let usual = Limits::USUAL;
    // A connection asks for one thing at a time, so as many requests as connections are no limit.
    let requests =
        if web.max_requests == 0 { usual.connections } else { web.max_requests.min(usual.connections) };
    let limits = Limits { requests, ..usual };
    let metrics = metrics::Settings { level: exposition.level.into(), zero_hold: span(exposition.zero_hold) };
    Settings { telemetry_path: web.telemetry_path.as_str().into(), metrics, limits, web: config }
}

/// How the program is served, and how it is told to stop.
pub(super) struct Serving {
    /// Where and what.
    pub(super) settings: Settings,
    /// How long the last values are served after a request to stop.
    pub(super) grace: Duration,
    /// What is published.
    pub(super) publish: watch::Sender<Published>,
    /// Tells whoever observes to stop.
    pub(super) stop: watch::Sender<bool>,
}

/// Answers requests until somebody asks the program to stop, or a part ends that should not.
///
/// On request the observer makes a last observation and keeps it; the last values are served for the grace, or until
/// somebody insists.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    serving: Serving,
    published: watch::Receiver<Published>,
    observing: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Serving { settings, grace, publish, stop } = serving;
    let (close, closing) = oneshot::channel::<()>();
    let closing = async { drop(closing.await) };
    let mut web = tokio::spawn(http::serve(listeners, settings, published, closing));
    let mut signals = Signals::listen()?;
    let mut observing = pin!(observing);
    let signal = tokio::select! {
        signal = signals.next() => signal,
        observed = &mut observing => {
            observed?;
            bail!("the sampler ended")
        }
        ended = &mut web => {
            ended.context("serve")?;
            bail!("the server ended")
        }
    };
    info!("stopping on {signal}");
    publish.send_modify(|published| Arc::make_mut(&mut published.status).stopping = true);
    stop.send_replace(true);
    let mut insisted = signal == INTERRUPT;
    let over = async {
        sleep(grace).await;
    };
    let mut over = pin!(over);
    let mut last = pin!(timeout(LAST_TICK, observing));
    let mut ended = false;
    // The last state is written before the end, also for whoever insists.
    while !ended || !insisted {
        tokio::select! {
            observed = &mut last, if !ended => {
                ended = true;
                if observed.is_err() {
                    warn!("the last observation did not end in time");
                }
            }
            signal = signals.next(), if !insisted => {
                info!("stopping at once on {signal}");
                insisted = true;
            }
            () = &mut over, if !insisted => insisted = true,
        }
    }
    // The server waits for the answers that it is giving, and knows for how long.
    drop(close);
    web.await.context("finish what is being answered")
}

/// The signal by which people at a terminal stop a program: nobody will scrape it once more.
const INTERRUPT: &str = "SIGINT";

/// By what the program is asked to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Signals ===

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Waits until somebody asks the program to stop.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => INTERRUPT,
        }
    }
}

/// Waits until a part ends. It should not: that is a defect, and ends the program so that it is started anew.
pub(super) async fn first_end(mut parts: Parts) -> String {
    match parts.join_next().await {
        Some(Ok(part)) => part.to_owned(),
        Some(Err(error)) => error.to_string(),
        // A simulated node needs no part that goes on.
        None => std::future::pending().await,
    }
}
