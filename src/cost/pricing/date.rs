//! Days, by which prices are dated.

use std::fmt;

use crate::observation::UnixTime;

/// A day of the Gregorian calendar in UTC; the first of 1970 unless another is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    days_since_epoch: u32,
}

// === impl Date ===

impl Date {
    /// The day, or `None` when the calendar has no such day or it is before 1970.
    #[must_use]
    pub fn from_calendar(year: u32, month: u32, day: u32) -> Option<Self> {
        let lengths = month_lengths(year);
        let length = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
        if !(1970..=9999).contains(&year) || day == 0 || day > length {
            return None;
        }
        let before_month: u32 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
        Some(Self { days_since_epoch: days_before(year) + before_month + day - 1 })
    }

    /// The day in UTC on which a moment lies.
    #[must_use]
    pub fn of(time: UnixTime) -> Self {
        Self { days_since_epoch: u32::try_from(time.as_millis() / 86_400_000).unwrap_or(u32::MAX) }
    }

    /// Seconds from the epoch to the day's first moment in UTC.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        u64::from(self.days_since_epoch) * 86_400
    }

    /// How many days after `earlier` this day is; 0 if it is not after it.
    #[must_use]
    pub fn days_since(self, earlier: Self) -> u32 {
        self.days_since_epoch.saturating_sub(earlier.days_since_epoch)
    }
}

impl fmt::Display for Date {
    /// `YYYY-MM-DD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.days_since_epoch;
        // 400 years have 146,097 days. The estimate is never too late, and at most a year too early.
        let estimate = 1970 + u32::try_from(u64::from(days) * 400 / 146_097).unwrap_or(0);
        let year = (estimate.saturating_sub(1)..=estimate + 1)
            .rev()
            .find(|year| *year >= 1970 && days_before(*year) <= days)
            .unwrap_or(1970);
        let mut day = days - days_before(year);
        let mut month = 1;
        for length in month_lengths(year) {
            if day < length {
                break;
            }
            day -= length;
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}", day + 1)
    }
}

/// Days from the epoch to the first of January of a year from 1970 on.
fn days_before(year: u32) -> u32 {
    let leap_days = |y: u32| y / 4 - y / 100 + y / 400;
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

fn month_lengths(year: u32) -> [u32; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_the_calendar() {
        let days = |y, m, d| Date::from_calendar(y, m, d).map(|date| date.days_since_epoch);
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 3, 1), Some(11_017));
        assert_eq!(days(2026, 7, 20), Some(20_654));
        assert_eq!(days(2024, 2, 29), Some(19_782));
        assert_eq!(days(2026, 2, 29), None);
        assert_eq!(days(2026, 13, 1), None);
        assert_eq!(days(2026, 0, 1), None);
        assert_eq!(days(1969, 12, 31), None);
    }

    #[test]
    fn a_day_is_shown_as_it_is_written() {
        for days_since_epoch in 0..2_932_897 {
            let date = Date { days_since_epoch };
            let text = date.to_string();
            let numbers: Vec<u32> = text.split('-').map(|part| part.parse().unwrap()).collect();
            assert_eq!(Date::from_calendar(numbers[0], numbers[1], numbers[2]), Some(date), "{text}");
        }
    }
}
