//! What the containers of a pod ask for, as far as it decides which devices the pod has.
//!
//! The kubelet lists the devices of containers and of sidecars, which are init containers that go on beside them. Plain
//! init containers run before, one after the other, and it never lists what was allocated to them; but what they had
//! beyond the others stays allocated until the pod ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::objects::ClaimReference;

/// The resource of NVIDIA's device plugin, unless it was told to rename it.
const NVIDIA_GPU: &str = "nvidia.com/gpu";

/// The resources of which one stands for one whole GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeGpus(BTreeSet<String>);

/// What a pod is to run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    /// The claims that it names itself.
    #[serde(rename = "resourceClaims")]
    pub(super) claims: Option<Vec<ClaimReference>>,
}

/// One container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_policy: Option<String>,
    resources: Option<Resources>,
}

/// What a container asks for, by resource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: Option<BTreeMap<String, Quantity>>,
    requests: Option<BTreeMap<String, Quantity>>,
}

/// A whole number of a resource; what is written in another way is none, because devices come in whole numbers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(from = "Value")]
struct Quantity(u32);

/// When a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Before the others, and then no more.
    First,
    /// With the others.
    Beside,
}

// === impl WholeGpus ===

impl WholeGpus {
    /// NVIDIA's own name and `more`; those among them that stand for parts of GPUs are left out.
    #[must_use]
    pub fn and(more: impl IntoIterator<Item = String>) -> Self {
        let is_whole = |name: &String| !name.ends_with(".shared") && !name.contains("/mig-");
        Self(more.into_iter().filter(is_whole).chain([NVIDIA_GPU.to_owned()]).collect())
    }
}

impl Default for WholeGpus {
    fn default() -> Self {
        Self::and([])
    }
}

// === impl Spec ===

impl Spec {
    /// How many GPUs were allocated to plain init containers beyond what the other containers have.
    pub(super) fn unlisted_gpus(&self, gpus: &WholeGpus) -> u32 {
        let unlisted = gpus.0.iter().map(|resource| self.unlisted(resource));
        unlisted.fold(0, u32::saturating_add)
    }

    /// When the containers run: first the init containers, then the others, each in the order of the pod.
    pub(super) fn roles(&self) -> impl Iterator<Item = Role> {
        let first = |container: &Container| if container.is_sidecar() { Role::Beside } else { Role::First };
        let beside = self.containers.iter().flatten().map(|_| Role::Beside);
        self.init_containers.iter().flatten().map(first).chain(beside)
    }

    /// How much of a resource the containers ask for that run beside each other.
    pub(super) fn beside(&self, resource: &str) -> u32 {
        let sidecars = self.init_containers.iter().flatten().filter(|container| container.is_sidecar());
        let asked = self.containers.iter().flatten().chain(sidecars).map(|it| it.asks_for(resource));
        asked.fold(0, u32::saturating_add)
    }

    /// The largest demand before the containers start, as far as it is beyond theirs. A sidecar runs from its turn on.
    fn unlisted(&self, resource: &str) -> u32 {
        let (mut peak, mut sidecars) = (0_u32, 0_u32);
        for container in self.init_containers.iter().flatten() {
            let asked = sidecars.saturating_add(container.asks_for(resource));
            if container.is_sidecar() {
                sidecars = asked;
            } else {
                peak = peak.max(asked);
            }
        }
        peak.saturating_sub(self.beside(resource))
    }
}

// === impl Container ===

impl Container {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    fn asks_for(&self, resource: &str) -> u32 {
        let Some(Resources { limits, requests }) = &self.resources else { return 0 };
        let asked = |of: &Option<BTreeMap<String, Quantity>>| of.as_ref()?.get(resource).copied();
        asked(limits).or_else(|| asked(requests)).map_or(0, |quantity| quantity.0)
    }
}

// === impl Quantity ===

impl From<Value> for Quantity {
    fn from(value: Value) -> Self {
        let number = match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        Self(number.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads a pod from its init containers and its containers, with how many GPUs each asks for; `s` is a sidecar.
    fn spec(inits: &str, containers: &str) -> Spec {
        let read = |text: &str| {
            let containers = text.split_whitespace().map(|word| {
                let (gpus, policy) =
                    word.strip_prefix('s').map_or((word, json!(null)), |n| (n, json!("Always")));
                json!({ "restartPolicy": policy, "resources": { "limits": { "nvidia.com/gpu": gpus } } })
            });
            containers.collect::<Vec<_>>()
        };
        serde_json::from_value(json!({ "initContainers": read(inits), "containers": read(containers) }))
            .unwrap()
    }

    #[track_caller]
    fn check(inits: &str, containers: &str, unlisted: u32) {
        let found = spec(inits, containers).unlisted_gpus(&WholeGpus::default());
        assert_eq!(found, unlisted, "init containers {inits:?}, containers {containers:?}");
    }

    #[test]
    fn what_init_containers_had_beyond_the_others_is_listed_nowhere() {
        check("", "1", 0);
        check("1", "1", 0);
        check("3", "2", 1);
        check("3", "2 1", 0);
        check("3", "0", 3);
        check("1 4 2", "1", 3);
        check("0", "0", 0);
        // A sidecar that started before takes its own; one that starts later does not count yet, but has them after.
        check("s1 2", "1", 1);
        check("2 s1", "1", 0);
        check("s1 s1 3", "1", 2);
        check("s2", "1", 0);
        check("4294967295 s4294967295 4294967295", "1", 0);
    }

    #[test]
    fn quantities_are_whole_numbers_of_limits_or_else_of_requests() {
        let asked = |resources: Value| {
            let spec: Spec =
                serde_json::from_value(json!({ "containers": [{ "resources": resources }] })).unwrap();
            spec.beside("nvidia.com/gpu")
        };
        assert_eq!(asked(json!({ "limits": { "nvidia.com/gpu": "2" } })), 2);
        assert_eq!(asked(json!({ "limits": { "nvidia.com/gpu": 2 } })), 2);
        assert_eq!(asked(json!({ "requests": { "nvidia.com/gpu": "2" } })), 2);
        assert_eq!(asked(json!({ "limits": { "cpu": "1" }, "requests": { "nvidia.com/gpu": "2" } })), 2);
        assert_eq!(
            asked(json!({ "limits": { "nvidia.com/gpu": "1" }, "requests": { "nvidia.com/gpu": "2" } })),
            1
        );
        for odd in [json!("1k"), json!("500m"), json!("-1"), json!(""), json!(1.5), json!(-1), json!(null)] {
            assert_eq!(asked(json!({ "limits": { "nvidia.com/gpu": odd } })), 0, "{odd}");
        }
        for nothing in [json!({}), json!(null), json!({ "limits": null, "requests": null })] {
            assert_eq!(asked(nothing), 0);
        }
        let empty: Spec =
            serde_json::from_value(json!({ "containers": null, "initContainers": null })).unwrap();
        assert_eq!(empty.roles().count(), 0);
    }

    #[test]
    fn only_whole_gpus_count() {
        let gpus = WholeGpus::and(
            ["acme.io/h100", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.5gb"].map(str::to_owned),
        );
        let spec: Spec = serde_json::from_value(json!({ "initContainers": [{ "resources": { "limits": {
            "nvidia.com/gpu": "1", "acme.io/h100": "2", "nvidia.com/gpu.shared": "4", "nvidia.com/mig-1g.5gb": "8",
        } } }] }))
        .unwrap();
        assert_eq!(spec.unlisted_gpus(&gpus), 3);
        assert_eq!(spec.unlisted_gpus(&WholeGpus::default()), 1);
    }

    #[test]
    fn init_containers_come_first_and_sidecars_stay() {
        let roles: Vec<Role> = spec("1 s1", "1 1").roles().collect();
        assert_eq!(roles, [Role::First, Role::Beside, Role::Beside, Role::Beside]);
    }
}
