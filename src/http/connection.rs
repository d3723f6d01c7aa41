//! Connections: how many, for how long, and how they end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Limits;
use super::gate::Gate;
use super::handshake::{self, Opened};
use super::lobby::{Lobby, Seat};

/// Below how much that is still to be sent another piece is taken, and how long a request head may be.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long answers may take to finish once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// How long accepting rests when the system has no file descriptor left for another connection; each time is a line of
/// the log.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections until `shutdown` is ready, then waits for those that are open, for a time.
pub(super) async fn serve(
    listeners: &[TcpListener],
    limits: Limits,
    gate: &Arc<Gate>,
    shutdown: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let lobby = Arc::new(Lobby::default());
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut turn = 0;
    let mut shutdown = pin!(shutdown);
    loop {
        // Held until the connection ends: the semaphore is never closed, so there is always one to wait for.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, accept(listeners, &mut turn).await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => log_end(ended),
            (slot, accepted) = next => match accepted {
                Ok(stream) => {
                    // There is always room for one more, unless all are being answered.
                    if slots.available_permits() == 0 {
                        lobby.call_longest();
                    }
                    let serving = serve_one(stream, limits, Arc::clone(gate), lobby.enter(), stopped.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(stop);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("closing connections whose answers were not taken in time");
    }
}

fn log_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a connection ended unexpectedly");
    }
}

/// The next connection at any of the listeners, which take turns in being asked first: one that is flooded does not
/// silence the others.
async fn accept(listeners: &[TcpListener], turn: &mut usize) -> io::Result<TcpStream> {
    *turn = (*turn + 1) % listeners.len().max(1);
    let (before, after) = listeners.split_at(*turn);
    poll_fn(|context| {
        let accepted = after.iter().chain(before).map(|listener| listener.poll_accept(context));
        let mut ready = accepted.filter(Poll::is_ready);
        ready.next().unwrap_or(Poll::Pending).map_ok(|(stream, _)| stream)
    })
    .await
}

/// Answers the requests of one connection until it ends; the sender of `stopped` going away asks it to, and so does who
/// needs the seat.
async fn serve_one(
    stream: TcpStream,
    limits: Limits,
    gate: Arc<Gate>,
    seat: Seat,
    mut stopped: watch::Receiver<()>,
) {
    let seat = Arc::new(seat);
    let opened = tokio::select! {
        opened = handshake::open(stream, gate.tls(), limits) => opened,
        () = seat.called() => return,
        _ = stopped.changed() => return,
    };
    let talked = match opened {
        Ok(Opened::Plain(stream)) => {
            talk(stream, limits, Some(gate), &seat, stopped).await.map_err(Into::into)
        }
        Ok(Opened::Encrypted(stream)) => {
            talk(stream, limits, Some(gate), &seat, stopped).await.map_err(Into::into)
        }
        Ok(Opened::Mistaken(stream)) => talk(stream, limits, None, &seat, stopped).await.map_err(Into::into),
        Err(error) => Err(Box::<dyn std::error::Error + Send + Sync>::from(error)),
    };
    if let Err(error) = talked {
        // Whoever hangs up or is too slow is no fault of this node's.
        tracing::debug!(error = &*error as &dyn std::error::Error, "connection ended early");
    }
}

/// Answers requests in plain HTTP; without a gate, that HTTPS was meant.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    limits: Limits,
    gate: Option<Arc<Gate>>,
    seat: &Arc<Seat>,
    mut stopped: watch::Receiver<()>,
) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let (gate, seat) = (gate.clone(), Arc::clone(seat));
        async move {
            seat.stand();
            let answer = match gate {
                Some(gate) => gate.answer(request).await,
                None => handshake::https_was_meant(),
            };
            seat.sit();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_read)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = seat.called() => {
            // Nobody waits for an answer who has never asked.
            if !seat.has_asked() {
                return Ok(());
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
