//! The processes of this host, as its `/proc` shows them: since when each runs, what it calls itself, and which pod it
//! is of.
//!
//! The driver knows processes by their numbers in the host's PID namespace, whatever namespace the caller is in. So the
//! directory must be the host's `/proc`, mounted for us or seen because we are in that namespace. In that one, and
//! nowhere else, process 2 is the kernel's `kthreadd`, by which we know it: a number looked up in a container's own
//! `/proc` would name some other process.
//!
//! Of a process that was sampled on a GPU two files are read, and nothing else of any process: `stat`, once per tick,
//! and `cgroup`, once in its life. Never its command line or environment. The kernel makes both on the spot, and waits
//! for no lock that a stuck process may hold; but the one that guards all control groups can be held for a while, so
//! this does not belong on the runtime's own thread.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::observation::{Span, Uptime};

pub use cgroup::Home;

mod cgroup;

/// How long a process is remembered that nobody asks for: one that worked and has ended since is still asked for once.
const MEMORY: Span = Span::from_secs(60);

/// Nanoseconds of a clock tick, in which the kernel tells times to programs. There are 100 per second on every
/// machine that has an NVIDIA driver.
const TICK_NANOS: u64 = 10_000_000;

/// The `/proc` of this host.
#[derive(Debug)]
pub struct Procfs {
    directory: PathBuf,
    known: BTreeMap<u32, Known>,
}

/// A process of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// When it started (field 22 of `stat`), by which it differs from others that had its number before.
    pub started: Uptime,
    /// What it calls itself (`comm`), of which the kernel keeps 15 bytes.
    pub comm: Arc<str>,
    /// Whether it is a pod's.
    pub home: Home,
}

/// What can be wrong with the directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no process to be seen in it.
    #[error("read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is the `/proc` of a container, or none at all.
    #[error(
        "find the host's processes in {}, which shows those of a container; mount the host's /proc there",
        .directory.display()
    )]
    NotTheHost {
        /// The directory.
        directory: PathBuf,
    },
}

#[derive(Debug)]
struct Known {
    process: Process,
    asked_at: Uptime,
}

/// What is read of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    comm: Arc<str>,
    started: Uptime,
}

// === impl Procfs ===

impl Procfs {
    /// The `/proc` of this host at `directory`; fails if it is not that.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let file = directory.join("2/stat");
        let text = fs::read(&file).map_err(|source| Error::Read { file, source })?;
        if Stat::parse(&text).is_none_or(|stat| *stat.comm != *"kthreadd") {
            return Err(Error::NotTheHost { directory: directory.to_owned() });
        }
        Ok(Self { directory: directory.to_owned(), known: BTreeMap::new() })
    }

    /// The process `pid`, which is asked for at `at`. If it has ended it is as it was last seen; `None` if it was never
    /// seen, or nothing can be learnt of it.
    pub fn process(&mut self, pid: u32, at: Uptime) -> Option<Process> {
        let Some(stat) = self.stat(pid) else {
            let ended = self.known.get_mut(&pid)?;
            ended.asked_at = at;
            return Some(ended.process.clone());
        };
        let known = self.known.get(&pid).filter(|known| known.process.started == stat.started);
        let home = match known {
            Some(known) => known.process.home.clone(),
            None => self.home(pid, &stat)?,
        };
        let process = Process { started: stat.started, comm: stat.comm, home };
        self.known.insert(pid, Known { process: process.clone(), asked_at: at });
        Some(process)
    }

    /// Forgets who has not been asked for in a while.
    pub fn forget(&mut self, at: Uptime) {
        self.known.retain(|_, known| at.since(known.asked_at) < MEMORY);
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read(self.file(pid, "stat")).ok()?)
    }

    /// Where a process is that is new to us. Its number must not have been given to another one while we looked.
    fn home(&mut self, pid: u32, stat: &Stat) -> Option<Home> {
        self.known.remove(&pid);
        let text = fs::read(self.file(pid, "cgroup")).ok()?;
        let same = self.stat(pid).is_some_and(|now| now.started == stat.started);
        same.then(|| Home::read(&String::from_utf8_lossy(&text)))
    }

    fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.directory.join(pid.to_string()).join(name)
    }
}

// === impl Stat ===

impl Stat {
    /// Reads the line. What a process calls itself stands in parentheses and may contain anything, parentheses and
    /// spaces too, so the last one closes it; `None` for what is no such line.
    fn parse(text: &[u8]) -> Option<Self> {
        /// Field 22 of all, as counted in the fields after the name, which is the second.
        const STARTED: usize = 22 - 3;
        let text = String::from_utf8_lossy(text);
        let (_, rest) = text.split_once('(')?;
        let (comm, fields) = rest.rsplit_once(')')?;
        let ticks: u64 = fields.split_ascii_whitespace().nth(STARTED)?.parse().ok()?;
        Some(Self { comm: comm.into(), started: Uptime::from_nanos(ticks.saturating_mul(TICK_NANOS)) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &str = "0::/kubepods/pod11111111-2222-3333-4444-555555555555/c\n";
    const OTHER: &str = "0::/kubepods/pod99999999-2222-3333-4444-555555555555/c\n";

    fn stat_line(comm: &str, started: u64) -> String {
        format!(
            "7 ({comm}) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {started} 170 9 18446744073709551615\n"
        )
    }

    fn at(seconds: u64) -> Uptime {
        Uptime::from_nanos(0).after(Span::from_secs(seconds))
    }

    /// A `/proc` of a host on which nothing runs.
    fn host() -> (tempfile::TempDir, Procfs) {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path(), 2, "kthreadd", 0, "0::/\n");
        let procfs = Procfs::open(directory.path()).unwrap();
        (directory, procfs)
    }

    fn run(directory: &Path, pid: u32, comm: &str, started: u64, cgroup: &str) {
        let directory = directory.join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("stat"), stat_line(comm, started)).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
    }

    fn end(directory: &Path, pid: u32) {
        fs::remove_dir_all(directory.join(pid.to_string())).unwrap();
    }

    fn uid(process: Option<Process>) -> String {
        match process.map(|process| process.home) {
            Some(Home::Pod(uid)) => uid.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_line_of_stat_is_read_whatever_the_process_calls_itself() {
        for comm in ["python3", "a b", ") S 1 (", "((", "", "tmux: server", "nvidia-cuda-mps"] {
            let stat = Stat::parse(stat_line(comm, 4_250).as_bytes()).unwrap();
            assert_eq!((&*stat.comm, stat.started), (comm, Uptime::from_nanos(42_500_000_000)));
        }
        for garbage in ["", "7", "7 (x", "7 (x) S 1 2 3", "7 )x( S", "\0"] {
            assert_eq!(Stat::parse(garbage.as_bytes()), None, "{garbage:?}");
        }
        let late = stat_line("x", 5).replace(" 5 170", " 99999999999999999999 170");
        assert_eq!(Stat::parse(late.as_bytes()), None);
    }

    #[test]
    fn the_lines_of_this_kernel_are_read() {
        assert!(Stat::parse(&fs::read("/proc/self/stat").unwrap()).is_some());
        let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert!(cgroup.lines().all(|line| line.matches(':').count() >= 2), "{cgroup}");
    }

    #[test]
    fn a_process_is_found_with_its_pod() {
        let (directory, mut procfs) = host();
        run(directory.path(), 7, "python3", 4_250, POD);
        run(directory.path(), 8, "Xorg", 100, "0::/system.slice/gdm.service\n");
        let process = procfs.process(7, at(50)).unwrap();
        assert_eq!((&*process.comm, process.started), ("python3", Uptime::from_nanos(42_500_000_000)));
        assert_eq!(process.home, Home::Pod("11111111-2222-3333-4444-555555555555".into()));
        assert_eq!(procfs.process(8, at(50)).unwrap().home, Home::Host);
        assert_eq!(procfs.process(9, at(50)), None);
    }

    #[test]
    fn who_it_is_of_is_read_once() {
        let (directory, mut procfs) = host();
        run(directory.path(), 7, "python3", 4_250, POD);
        let first = procfs.process(7, at(50));
        fs::write(directory.path().join("7/cgroup"), OTHER).unwrap();
        assert_eq!(procfs.process(7, at(51)), first);
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_read_anew() {
        let (directory, mut procfs) = host();
        run(directory.path(), 7, "python3", 4_250, POD);
        assert!(uid(procfs.process(7, at(50))).starts_with('1'));
        run(directory.path(), 7, "python3", 5_100, OTHER);
        assert!(uid(procfs.process(7, at(51))).starts_with('9'));
        // Though the new one cannot be read.
        run(directory.path(), 7, "python3", 5_200, POD);
        fs::remove_file(directory.path().join("7/cgroup")).unwrap();
        assert_eq!(procfs.process(7, at(52)), None);
        end(directory.path(), 7);
        assert_eq!(procfs.process(7, at(52)), None);
    }

    #[test]
    fn a_process_that_has_ended_is_known_while_somebody_asks_for_it() {
        let (directory, mut procfs) = host();
        run(directory.path(), 7, "python3", 4_250, POD);
        let alive = procfs.process(7, at(50));
        end(directory.path(), 7);
        for seconds in [51, 100, 150] {
            procfs.forget(at(seconds));
            assert_eq!(procfs.process(7, at(seconds)), alive);
        }
        procfs.forget(at(210));
        assert_eq!(procfs.process(7, at(210)), None);
    }

    #[test]
    fn a_directory_that_does_not_show_the_host_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = Procfs::open(directory.path()).unwrap_err();
        assert!(error.to_string().ends_with("2/stat"), "{error}");
        run(directory.path(), 2, "sh", 0, "0::/\n");
        let error = Procfs::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("mount the host's /proc"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(bytes: Vec<u8>, text in r"[0-9]{1,3} \(.{0,9}\)( [0-9-]{1,25}){0,30}") {
            let _ = Stat::parse(&bytes);
            let _ = Stat::parse(text.as_bytes());
        }
    }
}
