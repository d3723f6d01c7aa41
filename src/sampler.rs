//! The program's heart: at its own pace, read every source, put the samples together, meter them, publish the report.
//!
//! ```text
//!   feed.observe() ──▶ Observation ──▶ recorder ──▶ Meter ──▶ Report ──▶ state file ──▶ watch channel ──▶ scrapes, page, probes
//! ```
//!
//! Prices and rules that were read since the last tick are in force from the beginning of this one on: the interval that
//! it closes ends as it began, so that nothing is ever charged a second time.
//!
//! A source that fails is a hole in the observation and a line about itself; it never ends the loop and never skips a
//! tick. What is published was kept before, where it is kept at all: no reader ever sees more than what outlives the
//! program.

mod feed;
mod news;
mod release;
mod shut_out;
mod workers;

use std::error::Error;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::cost::meter::{Meter, Terms};
use crate::cost::report::Report;
use crate::observation::Observation;
use crate::state_file::StateFile;
use crate::status::{PricingStatus, Published, SourceStatus, Status};
use crate::trace::{self, Recorder, Replay};

pub use self::feed::{Feed, Holding, NodeFeed};

use self::news::News;

/// What people wrote in files, as it was last read.
#[derive(Clone, Debug)]
pub struct Files {
    /// The price file.
    pub prices: watch::Receiver<Priced>,
    /// How the file of labels is doing; `None` as long as there is none.
    pub labels: watch::Receiver<Option<SourceStatus>>,
    /// How the web configuration is doing; `None` if there is none.
    pub web: Option<watch::Receiver<SourceStatus>>,
}

/// The terms in force and how the price file is doing.
#[derive(Clone, Debug)]
pub struct Priced {
    /// What GPUs cost and how they are divided.
    pub terms: Terms,
    /// Which prices these are.
    pub status: PricingStatus,
    /// The price file as a source.
    pub source: SourceStatus,
}

/// Meters what is seen and publishes what the ledger says.
#[derive(Debug)]
pub struct Sampler {
    meter: Meter,
    files: Files,
    status: Status,
    report: Option<Arc<Report>>,
    published: watch::Sender<Published>,
    /// `None` where nothing is kept.
    state: Option<StateFile>,
    /// Whether somebody starts a new container when the program ends.
    in_container: bool,
}

/// Why there is no more to observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody asked for it.
    Asked,
    /// Only a new container can reach the driver again.
    ShutOut,
}

// === impl Files ===

impl Files {
    /// How the files are doing.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources_with(self.prices.borrow().source.clone())
    }

    fn sources_with(&self, prices: SourceStatus) -> Vec<SourceStatus> {
        let web = self.web.iter().map(|web| web.borrow().clone());
        iter::once(prices).chain(self.labels.borrow().clone()).chain(web).collect()
    }
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that has not seen anything yet and publishes what it sees; `status` is what is known of the exporter
    /// before the first tick.
    #[must_use]
    pub fn new(meter: Meter, files: Files, status: Status, published: watch::Sender<Published>) -> Self {
        Self { meter, files, status, report: None, published, state: None, in_container: false }
    }

    /// The same, which keeps its ledger.
    #[must_use]
    pub fn kept_in(self, state: Option<StateFile>) -> Self {
        Self { state, ..self }
    }

    /// The same, which ends when only a new container can reach the driver again.
    #[must_use]
    pub fn in_container(self, in_container: bool) -> Self {
        Self { in_container, ..self }
    }

    /// Observes the feed once in `every` interval, until it is told to stop; then once more, and keeps what it has.
    pub async fn run(
        mut self,
        mut feed: Feed,
        mut recorder: Option<Recorder>,
        every: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> End {
        let mut end = End::Asked;
        let mut news = News::default();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.status.stopping {
            let due = tokio::select! {
                due = ticks.tick() => due,
                // Whoever can no longer tell us to stop has stopped.
                _ = stop.wait_for(|stop| *stop) => {
                    self.status.stopping = true;
                    Instant::now()
                }
            };
            let (seen, mut sources) = feed.observe(every).await;
            let seen = Arc::new(seen);
            recorder = record(recorder, &seen).await;
            let files = self.put_terms_in_force();
            self.take_in(&seen);
            self.status.stopping |= *stop.borrow();
            if self.in_container && !self.status.stopping && feed.is_shut_out() {
                (end, self.status.stopping) = (End::ShutOut, true);
            }
            self.keep().await;
            sources.extend(self.state.as_ref().map(|state| state.source().clone()));
            news.tell(&sources, seen.at);
            self.status.sources = files.into_iter().chain(sources).collect();
            self.status.tick_overruns += u64::from(due.elapsed() > every);
            self.publish();
        }
        end
    }

    /// Keeps the ledger as it is now; for the last time, if the program is about to end.
    async fn keep(&mut self) {
        let Some(state) = &mut self.state else { return };
        let kept = self.meter.kept();
        if self.status.stopping {
            state.close(kept).await;
        } else if let Some(kept) = kept {
            state.keep(kept).await;
        }
        self.status.state = Some(state.status());
    }

    /// Meters a whole trace as fast as it can be read, and publishes what the ledger says at its end.
    pub fn replay(mut self, mut trace: Replay) -> Result<(), trace::Error> {
        for seen in trace.by_ref() {
            self.take_in(&seen?);
        }
        if let Some(line) = trace.cut_off_line() {
            warn!(line, "the trace ends in the middle of a line, which is left out");
        }
        info!(observations = self.status.ticks, "replayed the trace");
        self.publish();
        Ok(())
    }

    /// Puts in force what the price file says, if it says something else, and says how the files are doing. That is of one
    /// look: the file may be read at any moment, and no tick is to see its error beside prices from before it.
    fn put_terms_in_force(&mut self) -> Vec<SourceStatus> {
        let latest = self.files.prices.borrow_and_update();
        let source = latest.source.clone();
        let changed = latest.has_changed().then(|| (latest.terms.clone(), latest.status.clone()));
        drop(latest);
        if let Some((terms, status)) = changed {
            self.meter.set_terms(terms);
            self.status.pricing = status;
        }
        self.files.sources_with(source)
    }

    fn take_in(&mut self, seen: &Observation) {
        let report = self.meter.observe(seen);
        self.status.ticks += 1;
        // Before a driver has ever shown a GPU there is nothing to report on.
        if self.report.is_some() || !report.devices.is_empty() || !report.former_devices.is_empty() {
            self.report = Some(report);
        }
    }

    fn publish(&self) {
        let published = Published { report: self.report.clone(), status: Arc::new(self.status.clone()) };
        self.published.send_replace(published);
    }
}

/// Records an observation, if there is a recorder, and gives the recorder back. A disk that is slow delays the tick but no
/// scrape; one that is full ends the recording, not the program.
async fn record(recorder: Option<Recorder>, seen: &Arc<Observation>) -> Option<Recorder> {
    let mut recorder = recorder?;
    let seen = Arc::clone(seen);
    match spawn_blocking(move || recorder.record(&seen).map(|()| recorder)).await {
        Ok(Ok(recorder)) => return Some(recorder),
        Ok(Err(error)) => warn!(error = &error as &dyn Error, "stopped recording"),
        Err(error) => warn!(error = &error as &dyn Error, "stopped recording"),
    }
    None
}
