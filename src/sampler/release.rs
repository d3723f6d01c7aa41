//! When the driver is let go, so that others may do what they cannot while somebody holds it open: partition a GPU,
//! reset it, load another driver.

use std::sync::Arc;

use crate::observation::{Node, Uptime};

/// How the labels begin by which the GPU operator says what runs on a node.
const DEPLOYED: &str = "nvidia.com/gpu.deploy.";

/// How their values begin while it has stopped what uses the GPUs: `paused-for-mig-change`,
/// `paused-for-driver-upgrade`, `paused-for-vm-passthrough`.
const PAUSED: &str = "paused-for-";

/// Why the driver is not to be held now, in words for people; `None` when it may be.
///
/// `wanted` is until when somebody asked for it.
pub(super) fn reason(wanted: Option<Uptime>, now: Uptime, node: Option<&Node>) -> Option<Arc<str>> {
    if let Some(until) = wanted.filter(|until| now < *until) {
        let seconds = until.since(now).as_nanos().div_ceil(1_000_000_000);
        return Some(
            format!("the driver is released on SIGUSR1 for another {seconds} s; SIGUSR2 takes it again")
                .into(),
        );
    }
    let mut labels = node.into_iter().flat_map(|node| &node.labels);
    let (key, value) = labels.find(|(key, value)| key.starts_with(DEPLOYED) && value.starts_with(PAUSED))?;
    Some(format!("the driver is released while the node's label says {key}={value}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_released_on_request_and_while_a_label_says_so() {
        let at = |seconds: u64| Uptime::from_nanos(seconds * 1_000_000_000);
        let node = |labels: &[(&str, &str)]| Node {
            name: "n".into(),
            labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        };
        let paused = node(&[("nvidia.com/gpu.deploy.device-plugin", "paused-for-mig-change")]);
        let told = |wanted, node| reason(wanted, at(100), node).unwrap_or_default();
        assert_eq!(&*told(None, None), "");
        assert_eq!(
            &*told(Some(at(130)), None),
            "the driver is released on SIGUSR1 for another 30 s; SIGUSR2 takes it again"
        );
        assert_eq!(&*told(Some(at(100)), None), "", "the time is over");
        assert_eq!(
            &*told(None, Some(&paused)),
            "the driver is released while the node's label says \
             nvidia.com/gpu.deploy.device-plugin=paused-for-mig-change"
        );
        let calm = node(&[
            ("nvidia.com/gpu.deploy.device-plugin", "true"),
            ("nvidia.com/gpu.deploy.driver", "pre-installed"),
            ("example.com/state", "paused-for-lunch"),
        ]);
        assert_eq!(&*told(None, Some(&calm)), "");
    }
}
