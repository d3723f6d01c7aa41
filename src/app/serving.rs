//! Listening, answering, and stopping when it is time to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::{debug, info, warn};

use super::Parts;
use crate::args::{ListenAddress, WebArgs};
use crate::http::{self, Limits, Settings};
use crate::status::{Mode, Published};
use crate::web_config::WebConfig;

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
pub(super) fn settings(web: &WebArgs, config: watch::Receiver<Arc<WebConfig>>) -> Settings {
    let usual = Limits::USUAL;
    // A connection asks for one thing at a time, so as many requests as connections are no limit.
    let requests =
        if web.max_requests == 0 { usual.connections } else { web.max_requests.min(usual.connections) };
    let limits = Limits { requests, ..usual };
    Settings { telemetry_path: web.telemetry_path.as_str().into(), limits, web: config }
}

/// Answers requests until somebody asks the program to stop, or a part ends that should not.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    settings: Settings,
    published: watch::Receiver<Published>,
    parts: Parts,
) -> anyhow::Result<()> {
    let (stop, stopping) = oneshot::channel::<()>();
    let stopping = async { drop(stopping.await) };
    let mut web = tokio::spawn(http::serve(listeners, settings, published, stopping));
    tokio::select! {
        signal = stop_signal() => info!("stopping on {}", signal?),
        part = first_end(parts) => bail!("{part} ended"),
        ended = &mut web => {
            ended.context("serve")?;
            bail!("the server ended")
        }
    }
    // The server waits for the answers that it is giving, and knows for how long.
    drop(stop);
    web.await.context("finish what is being answered")
}

/// Waits until somebody asks the program to stop.
async fn stop_signal() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Waits until a part ends. It should not: that is a defect, and ends the program so that it is started anew.
async fn first_end(mut parts: Parts) -> String {
    match parts.join_next().await {
        Some(Ok(part)) => part.to_owned(),
        Some(Err(error)) => error.to_string(),
        // A replayed trace needs no part that goes on.
        None => std::future::pending().await,
    }
}
