//! The driver's edge on a fake driver, read once per second of a time of its own.

use std::time::Duration;

use fake_nvml::Node;
use gpu_cost_exporter::nvml::{Driver, Reading, Settings};
use gpu_cost_exporter::observation::{Gpu, UnixTime};

use super::fake_nvml::FakeDriver;

/// Long enough for a busy machine; no test waits for it unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A driver that is read.
pub(crate) struct ReadDriver {
    pub(crate) fake: FakeDriver,
    driver: Driver,
    millis: u64,
}

// === impl ReadDriver ===

impl ReadDriver {
    pub(crate) fn new(node: &Node) -> Self {
        Self::start(node, false)
    }

    /// A driver that is asked which processes worked, too.
    pub(crate) fn with_processes(node: &Node) -> Self {
        Self::start(node, true)
    }

    fn start(node: &Node, processes: bool) -> Self {
        let fake = FakeDriver::new(node);
        let library = Some(fake.library());
        let driver = Driver::start(Settings { library, stall_after: DEADLINE, processes });
        Self { fake, driver, millis: 1_800_000_000_000 }
    }

    /// Reads the driver a second later.
    pub(crate) fn tick(&mut self) -> Reading {
        self.millis += 1_000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.driver.read(UnixTime::from_millis(self.millis), DEADLINE))
    }

    /// Changes the node and reads it.
    pub(crate) fn after(&mut self, node: &Node) -> Vec<Gpu> {
        self.fake.set(node);
        self.gpus()
    }

    /// The GPUs a second later.
    pub(crate) fn gpus(&mut self) -> Vec<Gpu> {
        let reading = self.tick();
        reading.gpus.unwrap_or_else(|| panic!("no answer: {:#?}", reading.errors))
    }
}
