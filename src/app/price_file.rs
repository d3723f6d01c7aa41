//! Which prices are in force: those of the operator's file, as it stands or as it last could be read.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::files::WrittenFile;
use crate::args::{Args, LevelArg, MOUNTED_PRICES};
use crate::clock;
use crate::cost::attribution::{MigShare, Rules, SharingPolicy};
use crate::cost::meter::Terms;
use crate::cost::pricing::{Catalogue, Date, EnergyTerms, PriceSheet};
use crate::demo;
use crate::observation::{Span, UnixTime};
use crate::pricing_file::{self, LastGood, PricingFile};
use crate::sampler::Priced;
use crate::status::{InForce, Mode, PricingStatus, Source};
use crate::yaml::problem::Problem;

/// The operator's price file, and the prices that are in force.
pub(super) struct PriceFile {
    file: WrittenFile,
    catalogue: Option<Arc<Catalogue>>,
    typed: Typed,
    /// What energy costs on a node that is made up, unless the operator wrote it; no real node ever has it.
    made_up: Option<EnergyTerms>,
    /// Where the last good file outlives us; `None` if nothing is kept.
    last_good: Option<LastGood>,
    /// The text of the file that is in force; `None` while that is not what stands in the file.
    text: Option<String>,
    /// What in it looks like a mistake, as far as that was told.
    warnings: Vec<Problem>,
    /// The day on which it was last asked how old the prices are.
    today: Date,
    /// What is in force; published when all of it is as it is to be.
    now: Priced,
    publish: watch::Sender<Priced>,
}

/// What was typed about how GPUs are divided; it comes before what is written.
#[derive(Clone, Copy, Debug)]
struct Typed {
    mig_share: Option<MigShare>,
    sharing_policy: Option<SharingPolicy>,
    max_age: Span,
    containers: bool,
}

// === impl PriceFile ===

impl PriceFile {
    /// Reads the price file as it stands now, and says what is in force and from then on will be.
    pub(super) fn open(args: &Args, mode: Mode) -> (Self, watch::Receiver<Priced>) {
        let typed = Typed {
            mig_share: args.mig_share.map(Into::into),
            sharing_policy: args.sharing_policy.map(Into::into),
            max_age: super::span(args.kubelet_max_age),
            containers: args.exposition.level == LevelArg::Container,
        };
        let catalogue = super::prices::catalogue(args.pricing_catalogue);
        let file = WrittenFile::new(Source::Pricing, args.pricing_file.clone(), MOUNTED_PRICES);
        let made_up = || pricing_file::parse(demo::PRICING, None).ok()?.energy;
        let made_up = if mode == Mode::Demo { made_up() } else { None };
        let (mut opened, latest) = Self::new(file, catalogue, typed, made_up, args.state_dir.clone());
        opened.begin(clock::wall());
        (opened, latest)
    }

    fn new(
        file: WrittenFile,
        catalogue: Option<Arc<Catalogue>>,
        typed: Typed,
        made_up: Option<EnergyTerms>,
        state_dir: Option<PathBuf>,
    ) -> (Self, watch::Receiver<Priced>) {
        let prices = sheet(None, catalogue.clone(), made_up.as_ref());
        let now = Priced {
            terms: Terms { prices, rules: typed.rules(None) },
            status: PricingStatus {
                hash: pricing_file::built_in_hash(),
                last_reload_successful: true,
                ..PricingStatus::default()
            },
            source: file.source().clone(),
        };
        let (publish, latest) = watch::channel(now.clone());
        let opened = Self {
            file,
            catalogue,
            typed,
            made_up,
            last_good: state_dir.map(LastGood::new),
            text: None,
            warnings: Vec::new(),
            today: Date::of(UnixTime::default()),
            now,
            publish,
        };
        (opened, latest)
    }

    /// Looks for news; `is_told` if somebody wants the file to be read whether it has changed or not.
    pub(super) fn look(&mut self, is_told: bool) {
        self.look_at(clock::wall(), is_told);
    }

    /// Reads the file for the first time, if there is one.
    fn begin(&mut self, now: UnixTime) {
        if self.file.is_there() {
            self.look_at(now, true);
        }
    }

    fn look_at(&mut self, now: UnixTime, is_told: bool) {
        let today = Date::of(now);
        match self.file.look(is_told) {
            Some(read) => self.take_in(read, now, is_told),
            // Prices grow old while nobody touches them.
            None if today != self.today => self.tell_of_age(today),
            None => {}
        }
        self.today = today;
    }

    fn take_in(&mut self, read: Result<String, Problem>, now: UnixTime, is_told: bool) {
        let parse = |text: String| Ok((pricing_file::parse(&text, Some(Date::of(now)))?, text));
        match read.map_err(|problem| vec![problem]).and_then(parse) {
            Ok((file, text)) => self.accept(file, text, now, is_told),
            Err(problems) => self.refuse(&problems, is_told),
        }
    }

    fn accept(&mut self, file: PricingFile, text: String, now: UnixTime, is_told: bool) {
        if is_told {
            self.warnings.clear();
        }
        self.tell_warnings(&file.warnings);
        self.file.accept(now);
        self.put_in_force(file, &text, InForce::File, now);
        self.now.status.last_reload_successful = true;
        self.publish();
        info!(file = %self.file.name, hash = %pricing_file::hash(&text), "prices are read");
        self.keep(&text);
        self.text = Some(text);
    }

    fn refuse(&mut self, problems: &[Problem], is_told: bool) {
        if !self.file.refuse(problems, is_told) {
            return;
        }
        self.text = None;
        if self.now.status.in_force == InForce::BuiltIn {
            self.put_last_good_in_force();
        }
        let status = &mut self.now.status;
        status.file = Some(Arc::clone(&self.file.name));
        status.last_reload_successful = false;
        if status.in_force == InForce::File {
            status.in_force = InForce::LastGood;
        }
        self.publish();
        let status = &self.now.status;
        warn!(file = %self.file.name, hash = %status.hash, "{} Correct the file.", status.meanwhile());
    }

    /// Puts in force what the operator wrote and what was read at some time, as soon as it is published.
    fn put_in_force(&mut self, file: PricingFile, text: &str, in_force: InForce, read_at: UnixTime) {
        let rules = self.typed.rules(Some(&file));
        let prices = sheet(Some(file), self.catalogue.clone(), self.made_up.as_ref());
        self.now.terms = Terms { prices, rules };
        let status = &mut self.now.status;
        status.file = Some(Arc::clone(&self.file.name));
        status.in_force = in_force;
        status.hash = pricing_file::hash(text);
        status.last_success = Some(read_at);
    }

    /// Publishes what is in force and how the file is doing, at once: no tick sees the half of it.
    fn publish(&mut self) {
        self.now.status.problems = self.file.problems().to_vec();
        self.now.source = self.file.source().clone();
        self.publish.send_replace(self.now.clone());
    }

    // === the last good file ===

    /// Puts in force what was last read before we were started.
    fn put_last_good_in_force(&mut self) {
        let Some(last_good) = &self.last_good else { return };
        let parse = |kept: Option<(String, UnixTime)>| -> Result<_, Vec<Problem>> {
            kept.map(|(text, at)| Ok((pricing_file::parse(&text, None)?, text, at))).transpose()
        };
        match last_good.read().map_err(|problem| vec![problem]).and_then(parse) {
            Ok(Some((file, text, kept_at))) => self.put_in_force(file, &text, InForce::LastGood, kept_at),
            Ok(None) => {}
            Err(problems) => {
                let name = last_good.path().display().to_string();
                for problem in &problems {
                    warn!("{}", problem.in_file(&name));
                }
            }
        }
    }

    /// Keeps what was read for the time after a restart.
    fn keep(&self, text: &str) {
        let Some(last_good) = &self.last_good else { return };
        if let Err(error) = last_good.keep(text) {
            let file = last_good.path();
            warn!(file = %file.display(), "failed to keep the prices over a restart: {error}");
        }
    }

    // === what only looks like a mistake ===

    fn tell_of_age(&mut self, today: Date) {
        let file = self.text.as_ref().and_then(|text| pricing_file::parse(text, Some(today)).ok());
        if let Some(file) = file {
            self.tell_warnings(&file.warnings);
        }
    }

    /// Tells what was not told before.
    fn tell_warnings(&mut self, warnings: &[Problem]) {
        for warning in warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            warn!("{}", warning.as_warning_in_file(&self.file.name));
        }
        self.warnings = warnings.to_vec();
    }
}

/// All prices that are in force.
fn sheet(
    file: Option<PricingFile>,
    catalogue: Option<Arc<Catalogue>>,
    made_up: Option<&EnergyTerms>,
) -> Arc<PriceSheet> {
    let sheet = pricing_file::sheet(file, catalogue);
    let energy = sheet.energy.or_else(|| made_up.cloned());
    Arc::new(PriceSheet { energy, ..sheet })
}

// === impl Typed ===

impl Typed {
    /// How GPUs are divided: as was typed, or else as is written.
    fn rules(self, file: Option<&PricingFile>) -> Rules {
        let sharing_policy = self.sharing_policy.or(file.and_then(|file| file.sharing_policy));
        Rules {
            mig_share: self.mig_share.or(file.and_then(|file| file.mig_share)).unwrap_or_default(),
            sharing_policy: sharing_policy.unwrap_or_default(),
            max_age: self.max_age,
            containers: self.containers,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cost::money::Rate;

    /// The day on which the prices of these tests are of.
    const DAY: &str = "gpu_pricing: { nvidia-t4: { on_demand: 1, as_of: 2026-05-01 } }\n";

    /// A price file that nobody has named, at a place where one may be mounted.
    fn mounted(path: &Path) -> (PriceFile, watch::Receiver<Priced>) {
        let file = WrittenFile::new(Source::Pricing, None, path.to_str().unwrap());
        let typed =
            Typed { mig_share: None, sharing_policy: None, max_age: Span::from_secs(60), containers: false };
        PriceFile::new(file, None, typed, None, None)
    }

    /// Midnight of a day of 2026.
    fn day(month: u32, day: u32) -> UnixTime {
        let date = Date::from_calendar(2026, month, day).unwrap();
        UnixTime::from_millis(date.unix_seconds() * 1_000)
    }

    #[test]
    fn a_file_may_come_later_and_is_missed_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pricing.yaml");
        let (mut prices, latest) = mounted(&path);
        prices.begin(day(5, 2));
        let look = |prices: &mut PriceFile| {
            // It is read at the second look.
            prices.look_at(day(5, 2), false);
            prices.look_at(day(5, 2), false);
            let Priced { terms, status, source } = latest.borrow().clone();
            let t4 = terms.prices.file.models.get("nvidia-t4").and_then(|prices| prices.on_demand);
            (t4.map(Rate::dollars_per_hour), status.in_force, status.last_reload_successful, source.errors)
        };
        assert_eq!(look(&mut prices), (None, InForce::BuiltIn, true, 0));
        prices.look_at(day(5, 2), true);
        assert_eq!(look(&mut prices), (None, InForce::BuiltIn, true, 0));
        assert_eq!(latest.borrow().status.file, None);
        fs::write(&path, DAY).unwrap();
        assert_eq!(look(&mut prices), (Some(1.0), InForce::File, true, 0));
        fs::remove_file(&path).unwrap();
        assert_eq!(look(&mut prices), (Some(1.0), InForce::LastGood, false, 1));
        assert_eq!(look(&mut prices), (Some(1.0), InForce::LastGood, false, 1));
        fs::write(&path, "gpu_pricing: { nvidia-t4: { on_demand: 2 } }\n").unwrap();
        assert_eq!(look(&mut prices), (Some(2.0), InForce::File, true, 1));
    }

    #[test]
    fn a_file_that_is_wrong_from_the_beginning_is_told_though_nobody_has_named_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pricing.yaml");
        fs::write(&path, "gpu_pricing: 5\n").unwrap();
        let (mut prices, latest) = mounted(&path);
        prices.begin(day(5, 2));
        let status = latest.borrow().status.clone();
        assert_eq!((status.in_force, status.problems.len()), (InForce::BuiltIn, 1));
        assert_eq!(&*status.hash, &*pricing_file::built_in_hash());
    }

    #[test]
    fn prices_grow_old_while_nobody_touches_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pricing.yaml");
        fs::write(&path, DAY).unwrap();
        let (mut prices, _latest) = mounted(&path);
        prices.begin(day(5, 2));
        let told = |prices: &mut PriceFile, at: UnixTime| {
            prices.look_at(at, false);
            prices.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told(&mut prices, day(10, 28)), "");
        let old =
            "line 1, gpu_pricing.nvidia-t4.as_of: the prices are 181 days old; look whether they still hold";
        assert_eq!(told(&mut prices, day(10, 29)), old);
        assert_eq!(told(&mut prices, day(10, 29)), old);
        // What is not in force does not grow old.
        fs::write(&path, "gpu_pricing: 5\n").unwrap();
        prices.look_at(day(10, 29), true);
        assert_eq!(told(&mut prices, day(10, 30)), old);
    }
}
