//! The program's heart: at its own pace, read every source, put the samples together, meter them, publish the report.
//!
//! ```text
//!   feed.observe() ──▶ Observation ──▶ recorder ──▶ Meter ──▶ Report ──▶ watch channel ──▶ scrapes, page, probes
//! ```
//!
//! A source that fails is a hole in the observation and a line about itself; it never ends the loop and never skips a
//! tick.

mod feed;
mod news;
mod workers;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::cost::meter::Meter;
use crate::cost::report::Report;
use crate::observation::Observation;
use crate::status::{Published, SourceStatus, Status};
use crate::trace::{self, Recorder, Replay};

pub use self::feed::{Feed, Holding, NodeFeed};

use self::news::News;

/// Meters what is seen and publishes what the ledger says.
#[derive(Debug)]
pub struct Sampler {
    meter: Meter,
    status: Status,
    report: Option<Arc<Report>>,
    published: watch::Sender<Published>,
    files: Vec<watch::Receiver<SourceStatus>>,
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that has not seen anything yet, and what it will publish; `status` is what is known of the exporter
    /// before the first tick.
    #[must_use]
    pub fn new(meter: Meter, status: Status) -> (Self, watch::Receiver<Published>) {
        let first = Published { report: None, status: Arc::new(status.clone()) };
        let (published, reader) = watch::channel(first);
        (Self { meter, status, report: None, published, files: Vec::new() }, reader)
    }

    /// Publishes also how a file is that others read again and again.
    #[must_use]
    pub fn following(mut self, file: Option<watch::Receiver<SourceStatus>>) -> Self {
        self.files.extend(file);
        self
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
            self.take_in(&seen);
            news.tell(&sources, seen.at);
            self.look_at_files();
            self.status.sources.extend(sources);
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

    fn take_in(&mut self, seen: &Observation) {
        let report = self.meter.observe(seen);
        self.status.ticks += 1;
        // Before the driver has shown a GPU there is nothing to report on.
        if self.report.is_some() || !report.devices.is_empty() {
            self.report = Some(report);
        }
    }

    /// Keeps of the sources only the files, each as it is now.
    fn look_at_files(&mut self) {
        let followed: Vec<SourceStatus> = self.files.iter().map(|file| file.borrow().clone()).collect();
        let is_followed = |status: &SourceStatus| followed.iter().any(|file| file.source == status.source);
        self.status.sources.retain(|status| status.source.is_file() && !is_followed(status));
        self.status.sources.extend(followed);
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
