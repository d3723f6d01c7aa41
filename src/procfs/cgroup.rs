//! To which pod a process belongs, by the path of its control group (`/proc/PID/cgroup`).
//!
//! Each line is `number:controllers:path`: one per controller in version 1, a single `0::path` in version 2, both in
//! a hybrid. The kubelet makes a group for each pod and names it after the pod's UID, and the container runtime makes
//! one inside it for each container. How they write it depends on both:
//!
//! | who | path |
//! |---|---|
//! | cgroupfs | `/kubepods/burstable/pod<uid>/<container>`, a Guaranteed pod's without the class |
//! | systemd, containerd | `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<container>.scope`, the UID with `_` for `-` |
//! | systemd, CRI-O | `crio-<container>.scope`, perhaps with `/container` after it; `crio-conmon-<container>.scope` is its monitor, which is the host's |
//! | systemd, cri-dockerd | `docker-<container>.scope` |
//! | systemd, containerd without | `…-pod<uid>.slice:cri-containerd:<container>` |
//! | kind, nested, `--cgroup-root` | the same after a prefix |
//! | a static pod | 32 digits instead of a UID: the hash of its manifest |
//!
//! Seen from a cgroup namespace of our own the path is relative to our own container (`/../..`): the part that all have
//! in common is missing, the pod's own part is not.

use std::sync::Arc;

/// How many hexadecimal digits a container's id has.
const CONTAINER_ID: usize = 64;

/// How many a static pod's hash has, and the parts of a UID.
const HASH: usize = 32;
const UID: [usize; 5] = [8, 4, 4, 4, 12];

/// Where a process belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the pod with this UID, as the kubelet has it: a static pod's is the hash of its manifest.
    Pod(Arc<str>),
    /// In no pod.
    Host,
    /// In a container whose pod cannot be seen from here: one of our own pod.
    Hidden,
}

// === impl Home ===

impl Home {
    /// Reads the file.
    pub(super) fn read(text: &str) -> Self {
        let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        // Of several controllers some may not be used for pods at all.
        let homes = || paths().map(of_path);
        let pod = homes().find(|home| matches!(home, Self::Pod(_)));
        pod.or_else(|| homes().find(|home| *home == Self::Hidden)).unwrap_or(Self::Host)
    }
}

fn of_path(path: &str) -> Home {
    // A containerd that takes systemd for cgroupfs writes one name with colons.
    let mut names = path.split(['/', ':']).filter(|name| !name.is_empty());
    let mut first = None;
    while let Some(name) = names.next() {
        if let Some(uid) = pod_uid(name) {
            let is_monitor = names.next().is_some_and(|container| container.starts_with("crio-conmon-"));
            return if is_monitor { Home::Host } else { Home::Pod(uid) };
        }
        if name != ".." {
            first = first.or(Some(name));
        }
    }
    let is_ours = path.starts_with("/..") && first.is_some_and(is_container);
    if is_ours { Home::Hidden } else { Home::Host }
}

/// The UID in the name of a pod's group: `pod<uid>`, `kubepods-besteffort-pod<uid_>.slice`.
fn pod_uid(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (prefix, uid) = name.rsplit_once("pod")?;
    if !prefix.is_empty() && !prefix.ends_with('-') {
        return None;
    }
    let is_hash = uid.len() == HASH && is_hexadecimal(uid);
    let mut parts = uid.split(['-', '_']);
    let is_uid =
        UID.iter().all(|len| parts.next().is_some_and(|part| part.len() == *len && is_hexadecimal(part)));
    let is_uid = is_uid && parts.next().is_none();
    (is_hash || is_uid).then(|| uid.replace('_', "-").into())
}

/// Whether the name is that of a container's group: `<id>`, `cri-containerd-<id>.scope`.
fn is_container(name: &str) -> bool {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next().unwrap_or(name);
    id.len() == CONTAINER_ID && is_hexadecimal(id)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pod's UID in the dashed form, in systemd's, the hash of a static pod, and a container's id.
    const DASHED: &str = "0e5c8a3b-7d52-4c1f-9f0a-6b1d2e3f4a5b";
    const SYSTEMD: &str = "0e5c8a3b_7d52_4c1f_9f0a_6b1d2e3f4a5b";
    const STATIC: &str = "d9b7e3c05f1a4e6b8c2d0f3a5b7c9e11";
    const ID: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    /// Reads a file in which `UID`, `U_I_D`, `HASH` and `ID` stand for those.
    fn read(text: &str) -> Home {
        let text = text.replace("U_I_D", SYSTEMD).replace("UID", DASHED).replace("HASH", STATIC);
        Home::read(&text.replace("ID", ID))
    }

    #[test]
    fn every_form_of_a_pods_path_names_its_pod() {
        let table = [
            // cgroupfs: Guaranteed, Burstable, BestEffort.
            "0::/kubepods/podUID/ID",
            "0::/kubepods/burstable/podUID/ID",
            "0::/kubepods/besteffort/podUID/ID",
            // systemd with containerd, in each class.
            "0::/kubepods.slice/kubepods-podU_I_D.slice/cri-containerd-ID.scope",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/cri-containerd-ID.scope",
            // systemd with CRI-O, which may put the processes one level lower.
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/crio-ID.scope",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/crio-ID.scope/container",
            // systemd with cri-dockerd.
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/docker-ID.scope",
            // The kubelet with systemd, containerd without.
            "0::/system.slice/containerd.service/kubepods-burstable-podU_I_D.slice:cri-containerd:ID",
            "0::/kubepods-burstable-podU_I_D.slice:cri-containerd:ID",
            // kind and others in which a kubelet has a root of its own.
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope",
            "0::/kubelet/kubepods/burstable/podUID/ID",
            "0::/docker/ID/kubepods/besteffort/podUID/ID",
            "0::/docker/ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_I_D.slice/cri-containerd-ID.scope",
            // --cgroup-root.
            "0::/prod/nodes/kubepods/burstable/podUID/ID",
            "0::/prod.slice/prod-kubepods.slice/prod-kubepods-burstable.slice/prod-kubepods-burstable-podU_I_D.slice/crio-ID.scope",
            // Processes that made groups of their own, and a group that is being removed.
            "0::/kubepods/burstable/podUID/ID/init.scope",
            "0::/kubepods/burstable/podUID/ID/system.slice/slurmd.service",
            "0::/kubepods/burstable/podUID/ID (deleted)",
            // A kubelet in a pod: the node's own pod is the outer one.
            "0::/kubepods/podUID/ID/kubelet/kubepods/pod11111111-2222-3333-4444-555555555555/ID",
            // From a cgroup namespace of our own: same class, another one, Guaranteed, and with systemd.
            "0::/../../podUID/ID",
            "0::/../../../besteffort/podUID/ID",
            "0::/../../../podUID/ID",
            "0::/../../kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope",
            "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/cri-containerd-ID.scope",
            "0::/../../../../kubepods-podU_I_D.slice/crio-ID.scope/container",
            // Version 1, where not every controller has the pod, and a hybrid.
            "12:cpuset:/\n11:devices:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID",
            "4:memory:/kubepods.slice/kubepods-podU_I_D.slice/docker-ID.scope\n3:rdma:/\n0::/system.slice/docker.service",
            "1:name=systemd:/kubepods.slice/kubepods-podU_I_D.slice/cri-containerd-ID.scope\n0::/system.slice/containerd.service\n",
            "8:cpu,cpuacct:/docker/ID/kubelet/kubepods/besteffort/podUID/ID\n7:freezer:/docker/ID",
        ];
        for text in table {
            assert_eq!(read(text), Home::Pod(DASHED.into()), "{text}");
        }
    }

    #[test]
    fn a_static_pod_is_named_by_its_hash() {
        for text in [
            "0::/kubepods/burstable/podHASH/ID",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podHASH.slice/cri-containerd-ID.scope",
            "0::/kubepods.slice/kubepods-podHASH.slice/crio-ID.scope/container",
            "0::/../../podHASH/ID",
        ] {
            assert_eq!(read(text), Home::Pod(STATIC.into()), "{text}");
        }
    }

    #[test]
    fn whatever_is_in_no_pod_is_the_hosts() {
        for text in [
            "",
            "\n",
            "0::/",
            "0::/init.scope",
            "0::/user.slice/user-1000.slice/session-2.scope",
            "0::/system.slice/gdm.service",
            "0::/../../../../system.slice/nvidia-persistenced.service",
            // Containers that no kubelet runs.
            "0::/docker/ID",
            "0::/system.slice/docker-ID.scope",
            "0::/../../../../system.slice/docker-ID.scope",
            "0::/machine.slice/libpod-ID.scope",
            "0::/machine.slice/machine-libpod_pod_ID.slice/libpod-ID.scope",
            // CRI-O's monitor of a container is a process of the host.
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/crio-conmon-ID.scope",
            // Names that only look like a pod's.
            "0::/kubepods/podID/x",
            "0::/kubepods/tripodUID/x",
            "0::/kubepods/pod0e5c8a3b-7d52-4c1f-9f0a-6b1d2e3f4a5b-1/x",
            "0::/kubepods/pod0e5c8a3b-7d52-4c1f-9f0a/x",
            "0::/kubepods/podzzzzzzzz-7d52-4c1f-9f0a-6b1d2e3f4a5b/x",
            "0::/kubepods.slice/kubepods-burstable.slice",
            // No such file.
            "/kubepods/podUID/ID",
            "0:/kubepods",
        ] {
            assert_eq!(read(text), Home::Host, "{text}");
        }
    }

    #[test]
    fn the_other_containers_of_our_own_pod_have_no_pod_that_we_can_see() {
        for text in ["0::/../cri-containerd-ID.scope", "0::/../../crio-ID.scope/container", "0::/../ID"] {
            assert_eq!(read(text), Home::Hidden, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text: String, path in "[0-9a-f:/._podslice-]{0,200}") {
            let _ = Home::read(&text);
            let _ = Home::read(&format!("0::/{path}"));
        }
    }

    /// What paths are made of.
    const PIECES: [&str; 18] = [
        "0::",
        "4:memory:",
        "/",
        "/",
        "..",
        ":",
        "kubepods",
        "burstable",
        "-pod",
        "pod",
        ".slice",
        ".scope",
        "cri-containerd-",
        "crio-conmon-",
        DASHED,
        SYSTEMD,
        STATIC,
        ID,
    ];

    /// A fuzz target: what is written is chosen piece by piece.
    #[test]
    fn any_path() {
        bolero::check!().with_iterations(10_000).with_type::<Vec<u8>>().for_each(|pieces| {
            let piece = |piece: &u8| PIECES.get(usize::from(*piece) % (PIECES.len() + 1)).unwrap_or(&"\n");
            let text: String = pieces.iter().map(piece).copied().collect();
            if let Home::Pod(uid) = Home::read(&text) {
                assert!(text.replace('_', "-").contains(&*uid), "{uid} of {text:?}");
                assert!([HASH, HASH + 4].contains(&uid.len()), "{uid}");
            }
        });
    }
}
