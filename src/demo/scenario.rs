//! What the script of the simulated node can say.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU64};

use serde::Deserialize;

/// The script, compiled in.
const SCRIPT: &str = include_str!("node.yaml");

/// A node and what happens on it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// NVML's name of every GPU.
    pub(super) product: String,
    pub(super) driver_version: String,
    /// Framebuffer of every GPU.
    pub(super) memory_mib: u64,
    pub(super) power_watts: PowerWatts,
    /// The node's labels.
    pub(super) labels: BTreeMap<String, String>,
    /// When the kubelet does not answer.
    pub(super) kubelet_away: Option<Episode>,
    /// When the device plugin lets replicas run side by side (MPS) instead of taking turns.
    pub(super) mps: Option<Episode>,
    pub(super) gpus: Vec<GpuScript>,
    pub(super) pods: Vec<PodScript>,
    /// Programs that run on the host, in no pod.
    #[serde(default)]
    pub(super) host: Vec<HostScript>,
}

/// What a GPU draws when it does nothing, when it does all it can, and what it is limited to.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PowerWatts {
    pub(super) idle: u64,
    pub(super) busy: u64,
    pub(super) limit: u64,
}

/// Something that happens again and again, at the same place of each period.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Episode {
    #[serde(rename = "every_seconds")]
    every: NonZeroU64,
    #[serde(rename = "from_seconds")]
    from: u64,
    #[serde(rename = "for_seconds")]
    length: u64,
}

/// A GPU: whole, unless it is given out in another way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GpuScript {
    pub(super) pci_bus_id: String,
    /// How many replicas of it are advertised.
    pub(super) replicas: Option<u32>,
    /// How many slots of it are advertised, of which a scheduler says in annotations how large they are.
    pub(super) slots: Option<u32>,
    /// The MIG devices it is cut into.
    pub(super) mig: Option<Vec<MigScript>>,
    /// The claim that has it.
    pub(super) claim: Option<ClaimScript>,
    /// When it cannot be used.
    #[serde(default)]
    pub(super) faults: Vec<FaultScript>,
}

/// A claim of dynamic resource allocation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimScript {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What breaks a GPU again and again.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultScript {
    pub(super) fault: FaultKind,
    /// NVIDIA's number of the critical error.
    pub(super) xid: u64,
    pub(super) when: Episode,
}

/// Why a GPU cannot be used.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultKind {
    /// It has fallen off the bus.
    Lost,
    /// It reported a critical error that only a reset heals.
    Xid,
}

/// A MIG device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MigScript {
    pub(super) profile: String,
    pub(super) compute_slices: u32,
    pub(super) memory_slices: u32,
    /// Whether the driver does not say what it does.
    #[serde(default)]
    pub(super) unreadable: bool,
}

/// A pod, or a series of pods that come and go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PodScript {
    pub(super) namespace: String,
    /// Its name; in a series, the number of the run is appended.
    pub(super) name: String,
    /// The controller above it; a pod may have none.
    pub(super) workload: Option<WorkloadScript>,
    #[serde(default)]
    pub(super) labels: LabelScript,
    /// When it has other labels for a while.
    pub(super) relabelled: Option<RelabelScript>,
    pub(super) holds: Vec<Hold>,
    /// How much of its device's framebuffer it uses.
    pub(super) memory_percent: u64,
    pub(super) load: Load,
    /// When its runs are; a pod without is always there.
    pub(super) runs: Option<Runs>,
}

/// The controller above a pod.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadScript {
    pub(super) kind: String,
    pub(super) name: String,
}

/// The business labels; empty where nobody says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LabelScript {
    pub(super) team: String,
    pub(super) project: String,
    pub(super) model: String,
    pub(super) environment: String,
    pub(super) cost_center: String,
    pub(super) department: String,
    pub(super) task_type: String,
}

/// Labels that take the place of a pod's own for a while.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelabelScript {
    pub(super) when: Episode,
    pub(super) labels: LabelScript,
}

/// A program that runs on the host and uses a GPU without holding it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostScript {
    /// Position in the list of GPUs, counted from 0.
    pub(super) gpu: usize,
    pub(super) memory_percent: u64,
    pub(super) load: Load,
    pub(super) runs: Option<Runs>,
}

/// A device that a pod holds: a GPU, a replica or a slot of it, or its MIG device of a profile.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    /// Position in the list of GPUs, counted from 0.
    pub(super) gpu: usize,
    pub(super) replica: Option<u32>,
    pub(super) mig: Option<String>,
    pub(super) slot: Option<u32>,
    /// How large a slot is: its part of the cores. Of the memory it has what the pod uses.
    pub(super) cores_percent: Option<u32>,
}

/// What a pod does on its device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    /// Its utilization in the middle.
    pub(super) percent: u32,
    #[serde(default)]
    pub(super) waves: Vec<WaveScript>,
    pub(super) pause: Option<PauseScript>,
    pub(super) active: Active,
}

/// A rise and a fall around the middle, over and over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaveScript {
    pub(super) percent: u32,
    pub(super) seconds: NonZeroU16,
}

/// A drop for some seconds of each period.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseScript {
    pub(super) every_seconds: NonZeroU16,
    pub(super) for_seconds: u16,
    pub(super) percent: u32,
}

/// How much of the hardware is busy while the pod works.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Active {
    #[serde(rename = "sm_percent")]
    pub(super) sm: u32,
    #[serde(rename = "tensor_percent")]
    pub(super) tensor: u32,
    #[serde(rename = "dram_percent")]
    pub(super) dram: u32,
}

/// Runs that begin at a steady pace and last differently long, in turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runs {
    pub(super) every_seconds: NonZeroU64,
    /// How long each run lasts, at most until the next one begins.
    pub(super) seconds: Vec<u64>,
}

// === impl Scenario ===

impl Scenario {
    /// Reads the script that is compiled in.
    pub(super) fn read() -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(SCRIPT)
    }
}

// === impl Episode ===

impl Episode {
    /// When the episode began that is going on at `millis`; `None` while there is none.
    pub(super) fn began(self, millis: u64) -> Option<u64> {
        let period = millis / 1_000 / self.every;
        let began = period.checked_mul(self.every.get())?.checked_add(self.from)?;
        let began = began.checked_mul(1_000)?;
        let length = self.length.checked_mul(1_000)?;
        (millis >= began && millis - began < length).then_some(began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_begins_at_its_second_and_ends_before_the_next_one() {
        let episode: Episode =
            serde_yaml::from_str("{ every_seconds: 60, from_seconds: 20, for_seconds: 5 }").unwrap();
        for (millis, began) in [
            (0, None),
            (19_999, None),
            (20_000, Some(20_000)),
            (24_999, Some(20_000)),
            (25_000, None),
            (80_000, Some(80_000)),
            (u64::MAX, None),
        ] {
            assert_eq!(episode.began(millis), began, "{millis}");
        }
    }
}
