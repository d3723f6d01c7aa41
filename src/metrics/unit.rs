//! The units in which values are exported: the edge where integers become floats.

use crate::observation::{Ppm, Span, UnixTime};

/// A count; exact up to 2⁵³, beyond which the text format has no integers either.
#[expect(clippy::cast_precision_loss, reason = "the edge where a count is shown")]
pub(crate) fn count(value: impl Into<u128>) -> f64 {
    value.into() as f64
}

/// A part of a whole, 0 to 1.
pub(crate) fn ratio(part: Ppm) -> f64 {
    f64::from(part.get()) / 1e6
}

/// Thousandths as a whole: millijoules as joules, milliwatts as watts.
pub(crate) fn from_milli(value: impl Into<u128>) -> f64 {
    count(value) / 1e3
}

/// Billionths as a whole.
pub(crate) fn from_nano(value: impl Into<u128>) -> f64 {
    count(value) / 1e9
}

/// Seconds of a span.
pub(crate) fn seconds(span: Span) -> f64 {
    from_nano(span.as_nanos())
}

/// Seconds since the epoch.
pub(crate) fn timestamp(time: UnixTime) -> f64 {
    from_milli(time.as_millis())
}

/// One for what is so, zero for what is not.
pub(crate) fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
