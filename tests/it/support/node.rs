//! A node made of a fake driver and a fake kubelet, with the exporter on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fake_nvml::{Board, Node};
use tempfile::TempDir;

use super::daemon::{self, Daemon};
use super::fake_kubelet::FakeKubelet;
use super::fake_nvml::FakeDriver;

/// A node for the built binary: its driver obeys a file, because it lives in another process.
pub(crate) struct FakeNode {
    directory: TempDir,
    pub(crate) kubelet: FakeKubelet,
}

/// The UUID of the fake driver's board `n`.
pub(crate) fn uuid(n: u32) -> String {
    Board::t4(n).uuid
}

// === impl FakeNode ===

impl FakeNode {
    /// A node with a driver that shows `node` and a kubelet that knows no pod.
    pub(crate) fn new(node: &Node) -> Self {
        let fresh = Self::without_driver(node);
        fresh.install_driver();
        fresh
    }

    /// A node on which nobody has installed a driver yet.
    pub(crate) fn without_driver(node: &Node) -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let kubelet = FakeKubelet::start();
        kubelet.list(Vec::new());
        kubelet.advertise(Vec::new());
        let fresh = Self { directory, kubelet };
        fresh.set(node);
        fresh
    }

    /// Puts the driver's library in its place.
    pub(crate) fn install_driver(&self) {
        FakeDriver::install(&self.library(), &[]);
    }

    /// Changes what the driver shows.
    pub(crate) fn set(&self, node: &Node) {
        let new = self.path("node.new");
        fs::write(&new, node.to_json()).expect("write the description");
        fs::rename(new, self.path("node.json")).expect("put the description in place");
    }

    /// A file of this node.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the exporter here, ten ticks a second.
    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        self.start_with(args, &[])
    }

    /// Starts the exporter here with some of its environment set.
    pub(crate) fn start_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Daemon {
        self.start_by(daemon::binary(), args, environment)
    }

    /// Starts a command here that becomes the exporter.
    pub(crate) fn start_as(&self, command: Command, args: &[&str]) -> Daemon {
        self.start_by(command, args, &[])
    }

    fn start_by(&self, command: Command, args: &[&str], environment: &[(&str, &str)]) -> Daemon {
        let library = flag("--nvml.library", &self.library());
        let socket = flag("--kubelet.socket", &self.kubelet.socket());
        // Not this machine's: it is there only if a test makes it.
        let procfs = flag("--path.procfs", &self.path("proc"));
        let ours = [&library, &socket, &procfs, "--sample.interval=100ms", "--holders=kubelet"];
        let description = self.path("node.json");
        let also = environment.iter().map(|(name, value)| (*name, Path::new(*value)));
        let environment: Vec<_> =
            std::iter::once(("FAKE_NVML_NODE", description.as_path())).chain(also).collect();
        Daemon::start_as(command, &[&ours, args].concat(), &environment)
    }

    /// The driver's library.
    pub(crate) fn library(&self) -> PathBuf {
        FakeDriver::path_in(self.directory.path())
    }
}

/// A flag whose value is a path.
pub(crate) fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
