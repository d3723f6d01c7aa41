//! Whether the driver is out of reach for as long as this container lives.
//!
//! The library is mounted into a container when it is made. When the driver on the node is replaced, what was mounted is
//! of another version and stays so; when the container's rights to the devices are taken away, they do not come back.
//! Then the program may end to be started in a new container. It does so only where the driver has worked: where it
//! never did, a new container would be no better, and starting again and again would lose the money of the pauses.

use crate::nvml::{Error, Reading};
use crate::observation::{Health, Span, Uptime};

/// How long it has to be out of reach: a driver that is being replaced is so for a moment, too.
const FOR_GOOD: Span = Span::from_secs(60);

/// What was seen of the driver.
#[derive(Debug, Default)]
pub(super) struct ShutOut {
    worked: bool,
    since: Option<Uptime>,
}

// === impl ShutOut ===

impl ShutOut {
    /// Takes in a reading.
    pub(super) fn take_in(&mut self, reading: &Reading, at: Uptime) {
        let works = reading.gpus.iter().flatten().any(|gpu| gpu.health == Health::Healthy);
        self.worked |= works;
        if works || !reading.errors.iter().any(Error::is_of_container) {
            self.since = None;
        } else {
            self.since.get_or_insert(at);
        }
    }

    /// Whether only a new container helps.
    pub(super) fn is_for_good(&self, at: Uptime) -> bool {
        self.worked && self.since.is_some_and(|since| at.since(since) >= FOR_GOOD)
    }
}
