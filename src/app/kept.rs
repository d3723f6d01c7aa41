//! The ledger that was kept, and the directory that it is kept in.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use crate::args::Args;
use crate::cost::meter::Kept;
use crate::state_file::{Identity, Settings, StateFile, Taken};
use crate::status::{Published, Status};

/// How often the directory is asked for while another program has it.
const ANOTHERS_PAUSE: Duration = Duration::from_secs(1);

/// What keeps the ledger, and the ledger to go on with, as far as there are such.
type Taking = (Option<StateFile>, Option<Box<Kept>>);

/// Takes the directory of the ledger, if there is to be one, and what was kept in it. While another program has it, waits
/// and says so; `None` if the program is to stop meanwhile.
pub(super) async fn take(
    args: &Args,
    status: &mut Status,
    publish: &watch::Sender<Published>,
    stopping: &mut watch::Receiver<bool>,
) -> Option<Taking> {
    let Some(directory) = args.state_dir.clone() else { return Some((None, None)) };
    let identity = Identity { node: Arc::clone(&status.node), mode: status.mode.as_str().into() };
    let mut state = match StateFile::start(Settings { directory, identity }) {
        Ok(state) => state,
        Err(error) => {
            warn!("nothing is kept: failed to start the thread that keeps it: {error}");
            return Some((None, None));
        }
    };
    let mut told = false;
    loop {
        let taken = tokio::select! {
            taken = state.take() => taken,
            () = stop(stopping) => return None,
        };
        let message = state.source().message.clone().unwrap_or_default();
        match taken {
            Taken::Ours(kept) => return Some((Some(state), kept)),
            Taken::Without => {
                warn!("{message}; a new ledger begins");
                return Some((Some(state), None));
            }
            Taken::Anothers => {
                if !told {
                    warn!("{message}");
                    told = true;
                }
                tell(status, &state, publish);
            }
        }
        tokio::select! {
            () = sleep(ANOTHERS_PAUSE) => {}
            () = stop(stopping) => return None,
        }
    }
}

/// Publishes that it waits for the directory.
fn tell(status: &Status, state: &StateFile, publish: &watch::Sender<Published>) {
    let mut status = status.clone();
    status.sources.push(state.source().clone());
    status.state = Some(state.status());
    publish.send_replace(Published { report: None, status: Arc::new(status) });
}

/// Waits until the program is to stop.
async fn stop(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        future::pending::<()>().await;
    }
}
