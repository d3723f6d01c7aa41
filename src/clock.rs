//! The one place where a clock is read.
//!
//! Costs are integrals over time, so the clock must neither jump nor stop: `CLOCK_BOOTTIME` is monotonic and counts
//! suspend. The wall clock is only shown to people and compared with the driver's timestamps.

use std::sync::Arc;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::observation::{UnixTime, Uptime};

/// Where Linux tells the identity of the running boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The time since boot, suspend included.
#[must_use]
pub fn uptime() -> Uptime {
    let time = clock_gettime(ClockId::Boottime);
    Uptime::from_nanos(seconds(time) * 1_000_000_000 + nanos(time))
}

/// The wall clock.
#[must_use]
pub fn wall() -> UnixTime {
    let time = clock_gettime(ClockId::Realtime);
    UnixTime::from_millis(seconds(time) * 1_000 + nanos(time) / 1_000_000)
}

/// The identity of the running boot, without which times since boot cannot be compared; empty if Linux does not tell.
#[must_use]
pub fn boot() -> Arc<str> {
    std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().into()
}

fn seconds(time: Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0)
}

fn nanos(time: Timespec) -> u64 {
    u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_the_boot_has_a_name() {
        let first = uptime();
        let second = uptime();
        assert!(second >= first && first.as_nanos() > 0);
        assert!(wall().as_millis() > 1_700_000_000_000);
        assert_eq!(boot().len(), 36);
    }
}
