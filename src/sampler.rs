//! The program's heart: at its own pace, read every source, put the samples together, meter them, publish the report.
//!
//! ```text
//!   feed.observe() ──▶ Observation ──▶ recorder ──▶ Meter ──▶ Report ──▶ watch channel ──▶ scrapes, page, probes
//! ```
//!
//! Prices and rules that were read since the last tick are in force from the beginning of this one on: the interval that
//! it closes ends as it began, so that nothing is ever charged a second time.
//!
//! A source that fails is a hole in the observation and a line about itself; it never ends the loop and never skips a
//! tick.

mod feed;
mod news;
mod workers;

use std::error::Error;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::cost::meter::{Meter, Terms};
use crate::cost::report::Report;
use crate::observation::Observation;
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
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that has not seen anything yet, and what it will publish; `status` is what is known of the exporter
    /// beside its files.
    #[must_use]
    pub fn new(meter: Meter, files: Files, status: Status) -> (Self, watch::Receiver<Published>) {
        let (published, reader) = watch::channel(Published::default());
        let mut sampler = Self { meter, files, status, report: None, published };
        sampler.read_files(Vec::new());
        sampler.publish();
        (sampler, reader)
    }

    /// Observes the feed for ever, once in `every` interval.
    pub async fn run(mut self, mut feed: Feed, mut recorder: Option<Recorder>, every: Duration) {
        let mut news = News::default();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let due = ticks.tick().await;
            let (seen, sources) = feed.observe(every).await;
            let seen = Arc::new(seen);
            recorder = record(recorder, &seen).await;
            news.tell(&sources, seen.at);
            self.read_files(sources);
            self.take_in(&seen);
            self.status.tick_overruns += u64::from(due.elapsed() > every);
            self.publish();
        }
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

    /// Puts in force what the files say, and says how they and the other `sources` are doing.
    fn read_files(&mut self, sources: Vec<SourceStatus>) {
        let Priced { terms, status, source } = self.files.prices.borrow_and_update().clone();
        self.meter.set_terms(terms);
        self.status.pricing = status;
        let labels = self.files.labels.borrow_and_update().clone();
        self.status.sources = iter::once(source).chain(labels).chain(sources).collect();
    }

    fn take_in(&mut self, seen: &Observation) {
        let report = self.meter.observe(seen);
        self.status.ticks += 1;
        // Before the driver has shown a GPU there is nothing to report on.
        if self.report.is_some() || !report.devices.is_empty() {
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
