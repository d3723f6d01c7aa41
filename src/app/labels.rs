//! Who pays for pods that do not say so.

use tokio::sync::watch;
use tracing::{info, warn};

use super::files::WrittenFile;
use crate::apiserver::{LabelPolicy, LabelSource, Payers, Reading, WholeGpus};
use crate::args::{Args, MOUNTED_LABELS};
use crate::clock;
use crate::labels_file;
use crate::status::{Source, SourceStatus};
use crate::yaml::problem::Problem;

/// The file of labels, and how pods are read by what it says.
pub(super) struct LabelsFile {
    file: WrittenFile,
    typed: Vec<LabelSource>,
    gpus: WholeGpus,
    reading: watch::Sender<Reading>,
    source: watch::Sender<Option<SourceStatus>>,
}

// === impl LabelsFile ===

impl LabelsFile {
    /// Reads the file of labels as it stands now, and says how pods are read now and from then on.
    pub(super) fn open(args: &Args) -> Self {
        let file = WrittenFile::new(Source::Labels, args.labels_file.clone(), MOUNTED_LABELS);
        let (typed, gpus) = (args.label_sources.clone(), super::whole_gpus(&args.kubelet_resources));
        let payers = Payers::new(typed.clone(), LabelPolicy::default());
        let reading = watch::Sender::new(Reading { payers, gpus: gpus.clone() });
        let mut opened = Self { file, typed, gpus, reading, source: watch::Sender::new(None) };
        if opened.file.is_there() {
            opened.look(true);
        }
        opened
    }

    /// How pods are read.
    pub(super) fn reading(&self) -> watch::Receiver<Reading> {
        self.reading.subscribe()
    }

    /// How the file is doing; `None` as long as there is none.
    pub(super) fn source(&self) -> watch::Receiver<Option<SourceStatus>> {
        self.source.subscribe()
    }

    /// Looks for news; `is_told` if somebody wants the file to be read whether it has changed or not.
    pub(super) fn look(&mut self, is_told: bool) {
        let Some(read) = self.file.look(is_told) else { return };
        match read.map_err(|problem| vec![problem]).and_then(|text| labels_file::parse(&text)) {
            Ok(policy) => {
                self.file.accept(clock::wall());
                let payers = Payers::new(self.typed.clone(), policy);
                self.reading.send_replace(Reading { payers, gpus: self.gpus.clone() });
                info!(file = %self.file.name, "the labels of pods that have none are read");
                self.source.send_replace(Some(self.file.source().clone()));
            }
            Err(problems) => self.refuse(&problems, is_told),
        }
    }

    fn refuse(&mut self, problems: &[Problem], is_told: bool) {
        if !self.file.refuse(problems, is_told) {
            return;
        }
        let source = self.file.source().clone();
        let meanwhile = match source.last_success {
            Some(at) => format!("the labels that were read at {at} stay in force"),
            None => "pods pay by their own labels alone".to_owned(),
        };
        warn!(file = %self.file.name, "{meanwhile}: correct the file");
        self.source.send_replace(Some(source));
    }
}
