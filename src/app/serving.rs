//! Listening, answering, and stopping when it is time to.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::Parts;
use crate::args::ListenAddress;
use crate::http;
use crate::status::{Mode, Published};

/// Binds the port before anything starts. Without a host it takes both families, or IPv4 where there is no IPv6.
pub(super) async fn bind(address: ListenAddress) -> std::io::Result<TcpListener> {
    let ListenAddress { socket, any } = address;
    match TcpListener::bind(socket).await {
        Err(error) if any && error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, socket.port()))).await
        }
        bound => bound,
    }
}

/// Says where to look, and whether what is seen there is real.
pub(super) fn announce(listener: &TcpListener, mode: Mode, telemetry_path: &str) {
    match mode {
        Mode::Demo => warn!("SIMULATED NODE: every number is made up"),
        Mode::Replay => warn!("REPLAY: the numbers are those of a recorded trace"),
        Mode::Node => {}
    }
    let port = listener.local_addr().map_or(0, |address| address.port());
    info!(version = env!("CARGO_PKG_VERSION"), "serving http://localhost:{port}/ and {telemetry_path}");
}

/// Answers requests until somebody asks the program to stop, or a part ends that should not.
pub(super) async fn serve(
    listener: TcpListener,
    settings: http::Settings,
    published: watch::Receiver<Published>,
    parts: Parts,
) -> anyhow::Result<()> {
    let (stop, stopping) = oneshot::channel::<()>();
    let stopping = async { drop(stopping.await) };
    let mut web = tokio::spawn(http::serve(listener, settings, published, stopping));
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
