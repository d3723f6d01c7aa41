//! The far side of `/proc`: the processes of a host, as files.

use std::fs;
use std::path::{Path, PathBuf};

/// The host's `/proc`, with the two files per process that the exporter may read and no others.
pub(crate) struct FakeProcfs {
    directory: PathBuf,
}

// === impl FakeProcfs ===

impl FakeProcfs {
    /// The `/proc` of a host on which nothing runs but its kernel.
    pub(crate) fn at(directory: &Path) -> Self {
        let procfs = Self { directory: directory.to_owned() };
        procfs.run(2, "kthreadd", 0, "0::/");
        procfs
    }

    /// Lets a process run that started so many seconds after boot; one that has its number is no more.
    pub(crate) fn run(&self, pid: u32, comm: &str, started: u64, cgroup: &str) {
        // Put in place at once: nobody must see one process' start and another one's group.
        let new = self.directory.join("new");
        fs::create_dir_all(&new).expect("make a directory");
        let started = started * 100;
        let stat =
            format!("{pid} ({comm}) S 1 {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0 0\n");
        fs::write(new.join("stat"), stat).expect("write a file");
        fs::write(new.join("cgroup"), format!("{cgroup}\n")).expect("write a file");
        self.end(pid);
        fs::rename(new, self.directory.join(pid.to_string())).expect("put the process in place");
    }

    /// Ends a process, if it runs.
    pub(crate) fn end(&self, pid: u32) {
        let ended = self.directory.join("ended");
        if fs::rename(self.directory.join(pid.to_string()), &ended).is_ok() {
            fs::remove_dir_all(ended).expect("remove a directory");
        }
    }
}
