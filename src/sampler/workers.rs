//! Whose the processes are that worked on the GPUs.
//!
//! The driver knows a process by its number, the host's `/proc` knows the UID of the pod that it is in, and whoever
//! describes the pods knows the pod by its UID. A process that cannot be followed all the way is [`Worker::Unknown`]: it
//! may be a holder's, so it is neither divided among the others nor called foreign.

use std::collections::{BTreeMap, HashMap};

use tokio::task::spawn_blocking;

use crate::nvml::Reading;
use crate::observation::{Pod, PodKey, Span, UnixTime, Uptime, Worker};
use crate::procfs::{Home, Process, Procfs};

/// What `nvidia-cuda-mps-server` calls itself: the kernel keeps 15 bytes of it.
const MPS_SERVER: &str = "nvidia-cuda-mps";

/// How much later than it was sampled a process may seem to have started: the two times are of two clocks. One that
/// started later has the number of the one that worked, and did not work.
const CLOCKS_APART: Span = Span::from_secs(1);

/// Follows processes to their pods.
#[derive(Debug)]
pub(super) struct Workers {
    /// `None` while another thread has it.
    procfs: Option<Procfs>,
}

// === impl Workers ===

impl Workers {
    pub(super) fn new(procfs: Procfs) -> Self {
        Self { procfs: Some(procfs) }
    }

    /// Says of each process whose it is, and leaves out those that only stand for others; `at` and `wall` are the
    /// same moment, not before the reading.
    pub(super) async fn name(&mut self, reading: &mut Reading, pods: &[Pod], at: Uptime, wall: UnixTime) {
        if reading.sampled.is_empty() {
            return;
        }
        let found = self.find(reading.sampled.keys().copied().collect(), at).await;
        let pods = by_uid(pods);
        for processes in reading.gpus.iter_mut().flatten().filter_map(|gpu| gpu.processes.as_mut()) {
            // Under MPS the server is seen beside its clients or in their place. It is no work of the pod that it runs in,
            // nor of a stranger: it is that of all holders, in parts that nobody knows.
            processes
                .retain(|process| found.get(&process.pid).is_none_or(|found| *found.comm != *MPS_SERVER));
            for process in processes {
                let sampled = reading.sampled.get(&process.pid).copied().unwrap_or(wall);
                let age = Span::from_millis(wall.as_millis().saturating_sub(sampled.as_millis()));
                let was_there = |found: &&Process| found.started.after(age) <= at.after(CLOCKS_APART);
                process.worker = worker(found.get(&process.pid).filter(was_there), &pods);
            }
        }
    }

    /// Looks the processes up, on a thread beside the runtime: the kernel may let us wait while it makes or removes
    /// control groups.
    async fn find(&mut self, pids: Vec<u32>, at: Uptime) -> BTreeMap<u32, Process> {
        let Some(mut procfs) = self.procfs.take() else { return BTreeMap::new() };
        let found = spawn_blocking(move || {
            let found = pids.into_iter().filter_map(|pid| Some((pid, procfs.process(pid, at)?))).collect();
            procfs.forget(at);
            (procfs, found)
        });
        // It has no end but this one.
        let Ok((procfs, found)) = found.await else { return BTreeMap::new() };
        self.procfs = Some(procfs);
        found
    }
}

/// The pods by the UIDs that a kubelet may have for them.
fn by_uid(pods: &[Pod]) -> HashMap<&str, &PodKey> {
    let uids = pods.iter().flat_map(|pod| [Some(&pod.uid), pod.static_uid.as_ref()].map(|uid| (uid, pod)));
    uids.filter_map(|(uid, pod)| Some((uid.map(|uid| &**uid)?, &pod.key))).collect()
}

fn worker(process: Option<&Process>, pods: &HashMap<&str, &PodKey>) -> Worker {
    match process.map(|process| &process.home) {
        Some(Home::Pod(uid)) => pods.get(&**uid).map_or(Worker::Unknown, |pod| Worker::Pod((*pod).clone())),
        Some(Home::Host) => Worker::Host,
        Some(Home::Hidden) | None => Worker::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::observation::{Gpu, Ppm};

    const POD: &str = "11111111-2222-3333-4444-555555555555";
    const HASH: &str = "d9b7e3c05f1a4e6b8c2d0f3a5b7c9e11";
    const CONTAINER: &str =
        "cri-containerd-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.scope";

    /// The wall clock at the thousandth second after boot, which is now.
    const WALL: u64 = 1_800_000_000_000;

    fn gpu(pids: &[u32]) -> Gpu {
        let process = |pid: &u32| crate::observation::Process {
            pid: *pid,
            worker: Worker::Unknown,
            utilization: Ppm::from_percent(10),
            mig_device: None,
        };
        Gpu {
            processes: Some(pids.iter().map(process).collect()),
            ..Gpu::known_by("GPU-0".into(), 0, "NVIDIA L4".into())
        }
    }

    fn run(host: &Path, pid: u32, comm: &str, started_seconds: u64, cgroup: &str) {
        let directory = host.join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let started = started_seconds * 100;
        let stat = format!("{pid} ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0 0\n");
        fs::write(directory.join("stat"), stat).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
    }

    /// Of whom the processes are that were sampled two seconds ago, by number.
    fn named(host: &Path, pids: &[u32]) -> Vec<(u32, Worker)> {
        run(host, 2, "kthreadd", 0, "0::/\n");
        let sampled = pids.iter().map(|pid| (*pid, UnixTime::from_millis(WALL - 2_000))).collect();
        let mut reading = Reading { gpus: Some(vec![gpu(pids)]), sampled, ..Reading::default() };
        let key = |name: &str| PodKey::new("ml", name);
        let described = [
            Pod { key: key("chat"), uid: POD.into(), ..Pod::default() },
            Pod { key: key("proxy"), uid: "mirror".into(), static_uid: Some(HASH.into()), ..Pod::default() },
        ];
        let mut workers = Workers::new(Procfs::open(host).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let at = Uptime::from_nanos(0).after(Span::from_secs(1_000));
        runtime.block_on(workers.name(&mut reading, &described, at, UnixTime::from_millis(WALL)));
        let processes = reading.gpus.unwrap().remove(0).processes.unwrap();
        processes.into_iter().map(|process| (process.pid, process.worker)).collect()
    }

    #[test]
    fn a_process_is_followed_to_its_pod() {
        let host = tempfile::tempdir().unwrap();
        let host = host.path();
        let of = |name: &str| Worker::Pod(PodKey::new("ml", name));
        run(host, 7, "python3", 900, &format!("0::/kubepods/burstable/pod{POD}/{CONTAINER}\n"));
        run(host, 8, "haproxy", 1, &format!("0::/kubepods/pod{HASH}/{CONTAINER}\n"));
        run(host, 9, "Xorg", 1, "0::/system.slice/gdm.service\n");
        // A pod that nobody has described, another container of our own pod, and one that is gone.
        run(host, 10, "python3", 1, &format!("0::/kubepods/pod{}/{CONTAINER}\n", POD.replace('1', "9")));
        run(host, 11, "sidecar", 1, &format!("0::/../{CONTAINER}\n"));
        let expected = [
            (7, of("chat")),
            (8, of("proxy")),
            (9, Worker::Host),
            (10, Worker::Unknown),
            (11, Worker::Unknown),
            (12, Worker::Unknown),
        ];
        assert_eq!(named(host, &[7, 8, 9, 10, 11, 12]), expected);
    }

    #[test]
    fn a_process_that_started_after_the_work_did_not_do_it() {
        let host = tempfile::tempdir().unwrap();
        let cgroup = format!("0::/kubepods/burstable/pod{POD}/{CONTAINER}\n");
        // Sampled at 998 s after boot.
        for (started, known) in [(997, true), (998, true), (999, true), (1_000, false), (2_000, false)] {
            run(host.path(), 7, "python3", started, &cgroup);
            let is_known = |workers: Vec<(u32, Worker)>| workers[0].1 != Worker::Unknown;
            assert_eq!(is_known(named(host.path(), &[7])), known, "started at {started} s");
        }
    }

    #[test]
    fn the_server_of_mps_is_nobody() {
        let host = tempfile::tempdir().unwrap();
        let cgroup = format!("0::/kubepods/burstable/pod{POD}/{CONTAINER}\n");
        run(host.path(), 7, "nvidia-cuda-mps", 1, &cgroup);
        run(host.path(), 8, "nvidia-cuda", 1, &cgroup);
        assert_eq!(named(host.path(), &[7, 8]), [(8, Worker::Pod(PodKey::new("ml", "chat")))]);
    }
}
