//! Who wants the driver for himself says so by a signal.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use super::Parts;
use crate::clock;
use crate::observation::{Span, Uptime};

/// How long the driver stays released when nobody takes it again, as who forgets it would measure nothing from then on.
/// Loading another driver takes a few minutes.
const RELEASED: Span = Span::from_secs(10 * 60);

/// Listens for SIGUSR1, which releases the driver, and SIGUSR2, which takes it again; says until when it is released.
pub(super) fn listen(parts: &mut Parts) -> anyhow::Result<watch::Receiver<Option<Uptime>>> {
    let mut release = signal(SignalKind::user_defined1()).context("listen for SIGUSR1")?;
    let mut take = signal(SignalKind::user_defined2()).context("listen for SIGUSR2")?;
    let (say, until) = watch::channel(None);
    parts.spawn(async move {
        loop {
            tokio::select! {
                Some(()) = release.recv() => {
                    info!("SIGUSR1: the driver is released for 10 minutes, or until SIGUSR2; its GPUs are charged on");
                    say.send_replace(Some(clock::uptime().after(RELEASED)));
                }
                Some(()) = take.recv() => {
                    info!("SIGUSR2: the driver is taken again");
                    say.send_replace(None);
                }
                else => break,
            }
        }
        "the listener for signals"
    });
    Ok(until)
}
