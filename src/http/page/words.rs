//! How amounts, times and states are put for people.

use std::iter::Sum;

use maud::{Markup, html};

use crate::cost::money::{Cost, GpuTime, Grams, Rate};
use crate::cost::report::{State, Totals};
use crate::metrics::unit;
use crate::observation::{Fault, Ppm, Span, UnixTime};

/// What is not known.
pub(super) const DASH: &str = "–";

/// One amount by state, in units of money or of time.
#[derive(Clone, Copy, Default)]
pub(super) struct Split([u128; State::ALL.len()]);

// === impl Split ===

impl Split {
    /// Money by state, in the units of [`Cost`].
    pub(super) fn of_cost(totals: &Totals) -> Self {
        Self(State::ALL.map(|state| totals.cost(state).map_or(0, Cost::units)))
    }

    /// Time by state, in nanoseconds of a GPU.
    pub(super) fn of_time(totals: &Totals) -> Self {
        Self(State::ALL.map(|state| totals.time(state).nanos()))
    }

    pub(super) fn get(&self, state: State) -> u128 {
        self.0[state as usize]
    }

    pub(super) fn total(&self) -> u128 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// What a holder wasted.
    pub(super) fn held_waste(&self) -> u128 {
        self.get(State::Idle).saturating_add(self.get(State::Underused))
    }

    /// What a node wasted.
    pub(super) fn node_waste(&self) -> u128 {
        let not_held = [State::Unallocated, State::Stranded, State::Unavailable];
        not_held.into_iter().fold(self.held_waste(), |sum, state| sum.saturating_add(self.get(state)))
    }
}

impl Sum for Split {
    fn sum<I: Iterator<Item = Self>>(splits: I) -> Self {
        let add = |one: Self, other: Self| {
            Self(State::ALL.map(|state| one.get(state).saturating_add(other.get(state))))
        };
        splits.fold(Self::default(), add)
    }
}

// === states ===

/// The state as a heading: the word that its label has.
pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Used => "Used",
        State::Underused => "Underused",
        State::Idle => "Idle",
        State::Unmeasured => "Unmeasured",
        State::Unallocated => "Unallocated",
        State::Stranded => "Stranded",
        State::Unattributed => "Unattributed",
        State::Unavailable => "Unavailable",
    }
}

/// What the state means.
pub(super) fn state_meaning(state: State) -> &'static str {
    match state {
        State::Used => "held and doing work",
        State::Underused => "held, the rest while at work",
        State::Idle => "held and doing nothing",
        State::Unmeasured => "held, work cannot be read",
        State::Unallocated => "no pod holds it",
        State::Stranded => "MIG slices that fit nothing",
        State::Unattributed => "held by nobody we can name",
        State::Unavailable => "lost, in reset or unhealthy",
    }
}

/// Why a GPU cannot be used.
pub(super) fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Lost => "Lost: it has fallen off the bus",
        Fault::ResetRequired => "Needs a reset before it works again",
        Fault::NotResponding => "Does not answer",
        Fault::Missing => "The driver no longer lists it",
        Fault::Xid => "A critical error that only a reset heals",
    }
}

/// A bar of the states that have anything, each as wide as its part.
pub(super) fn bar(split: &Split, amount: impl Fn(u128) -> String) -> Markup {
    let total = split.total();
    let parts =
        || State::ALL.into_iter().map(|state| (state, split.get(state))).filter(|(_, units)| *units > 0);
    let tell =
        |(state, units)| format!("{} {} ({})", state_name(state), amount(units), percent(units, total));
    let told: Vec<String> = parts().map(tell).collect();
    html! {
        div.bar role="img" aria-label=(told.join(", ")) {
            @for ((state, units), told) in parts().zip(&told) {
                span class=(state.as_str()) style=(format!("flex-grow:{:.5}", part_of(units, total))) title=(told) {}
            }
        }
    }
}

// === amounts ===

/// Dollars with as many digits as they need: two, or more where two would show nothing.
pub(super) fn dollars(value: f64) -> String {
    if value <= 0.0 {
        return "$0.00".into();
    }
    if value < 0.000_001 {
        return "<$0.000001".into();
    }
    let text = match value {
        0.1.. => format!("{value:.2}"),
        0.01.. => format!("{value:.3}"),
        0.001.. => format!("{value:.4}"),
        0.000_1.. => format!("{value:.5}"),
        _ => format!("{value:.6}"),
    };
    format!("${}", grouped(trimmed(&text)))
}

/// An amount of money.
pub(super) fn cost(cost: Cost) -> String {
    dollars(cost.dollars())
}

/// An amount of money in the units of [`Cost`].
pub(super) fn dollars_of(units: u128) -> String {
    cost(Cost::from_units(units))
}

/// An emission in grams, or in kilograms where it has some.
pub(super) fn emission(co2e: Grams) -> String {
    match co2e.grams() {
        grams @ ..0.1 if grams > 0.0 => "<0.1 g".into(),
        grams @ ..1_000.0 => format!("{} g", trimmed_to(&format!("{grams:.1}"), 0)),
        grams => format!("{} kg", grouped(trimmed_to(&format!("{:.1}", grams / 1_000.0), 0))),
    }
}

/// Dollars of an estimate: without cents where nobody would look at them.
pub(super) fn about_dollars(value: f64) -> String {
    if value < 1_000.0 { dollars(value) } else { format!("${}", grouped(&format!("{value:.0}"))) }
}

/// A price: four digits after the point, or all of one below a cent.
pub(super) fn price(rate: Rate) -> String {
    let exact = rate.nanos_per_hour();
    let nanos = if exact < 10_000_000 { exact } else { exact.saturating_add(50_000) / 100_000 * 100_000 };
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("${}/h", grouped(trimmed(&text)))
}

/// A time on GPUs in GPU-hours.
pub(super) fn gpu_hours(time: GpuTime) -> String {
    let hours = time.seconds() / 3_600.0;
    let text = if hours > 0.0 && hours < 0.1 { format!("{hours:.4}") } else { format!("{hours:.1}") };
    format!("{} GPU-h", grouped(&text))
}

/// A part of a whole, or a dash if there is no whole.
pub(super) fn percent(part: u128, whole: u128) -> String {
    if whole == 0 {
        return DASH.into();
    }
    match 100.0 * part_of(part, whole) {
        _ if part == 0 => "0 %".into(),
        _ if part >= whole => "100 %".into(),
        ..0.1 => "<0.1 %".into(),
        99.9.. => ">99.9 %".into(),
        percent => format!("{} %", trimmed_to(&format!("{percent:.1}"), 0)),
    }
}

/// A part in whole percent.
pub(super) fn ppm(part: Ppm) -> String {
    format!("{:.0} %", 100.0 * unit::ratio(part))
}

/// Billionths of a GPU as GPUs.
pub(super) fn gpus(nanos: u64) -> String {
    trimmed_to(&format!("{:.3}", unit::from_nano(nanos)), 0).into()
}

/// Bytes as GiB.
pub(super) fn gib(bytes: u64) -> String {
    let gib = unit::count(bytes) / f64::from(1 << 30);
    trimmed_to(&format!("{gib:.1}"), 0).into()
}

/// Milliwatts as watts.
pub(super) fn watts(milliwatts: u64) -> String {
    format!("{:.0}", unit::from_milli(milliwatts))
}

/// A part of a whole, 0 to 1.
fn part_of(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { (unit::count(part) / unit::count(whole)).clamp(0.0, 1.0) }
}

/// The number without zeros at its end, but with two digits of cents.
fn trimmed(text: &str) -> &str {
    trimmed_to(text, 2)
}

/// The number without zeros at its end, but with `digits` after the point.
fn trimmed_to(text: &str, digits: usize) -> &str {
    let Some(point) = text.find('.') else { return text };
    let end = text.trim_end_matches('0').len().max(point + 1 + digits).min(text.len());
    text.get(..end).map_or(text, |text| text.strip_suffix('.').unwrap_or(text))
}

/// The number with a comma between thousands.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.find('.').map_or((text, ""), |point| text.split_at(point));
    let mut grouped = String::with_capacity(text.len() + whole.len() / 3);
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

// === times ===

/// A span in its two largest units.
pub(super) fn duration(span: Span) -> String {
    let seconds = span.as_nanos() / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..12, _) => format!("{hours} h {} min", minutes % 60),
        (..2, _, _) => format!("{hours} h"),
        _ => format!("{days} days {} h", hours % 24),
    }
}

/// How long a moment was before another one, by clocks that people set.
pub(super) fn age(then: UnixTime, now: UnixTime) -> String {
    duration(Span::from_millis(now.as_millis().saturating_sub(then.as_millis())))
}

/// A moment to the minute.
pub(super) fn moment(time: UnixTime) -> Markup {
    let (date, clock) = (date(time), clock(time));
    let minute = clock.get(..5).unwrap_or(&clock);
    html! { time datetime=(format!("{date}T{clock}Z")) { (date) " " (minute) " UTC" } }
}

/// A moment of today to the second.
pub(super) fn clock_time(time: UnixTime) -> String {
    format!("{} UTC", clock(time))
}

fn clock(time: UnixTime) -> String {
    let text = time.to_string();
    let clock = text.split_once('T').and_then(|(_, clock)| clock.get(..8));
    clock.unwrap_or_default().to_owned()
}

fn date(time: UnixTime) -> String {
    time.to_string().split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_the_digits_it_needs() {
        let cases = [
            (0.0, "$0.00"),
            (0.000_000_01, "<$0.000001"),
            (0.000_001, "$0.000001"),
            (0.000_4, "$0.0004"),
            (0.000_416, "$0.00042"),
            (0.005, "$0.005"),
            (0.052_3, "$0.052"),
            (0.099_96, "$0.10"),
            (0.123, "$0.12"),
            (2.0, "$2.00"),
            (999.999, "$1,000.00"),
            (1_234_567.891, "$1,234,567.89"),
        ];
        for (value, expected) in cases {
            assert_eq!(dollars(value), expected);
        }
        assert_eq!(price(Rate::from_nanos_per_hour(6_326_250_000)), "$6.3263/h");
        assert_eq!(price(Rate::from_nanos_per_hour(8_000_000_000)), "$8.00/h");
        assert_eq!(price(Rate::from_nanos_per_hour(3_430_875_000)), "$3.4309/h");
        assert_eq!(price(Rate::from_nanos_per_hour(99_999)), "$0.000099999/h");
        assert_eq!(price(Rate::from_nanos_per_hour(400_000)), "$0.0004/h");
        assert_eq!(price(Rate::from_nanos_per_hour(u64::MAX)), "$18,446,744,073.7095/h");
        assert_eq!((about_dollars(652.8), about_dollars(19_584.4)), ("$652.80".into(), "$19,584".into()));
        assert!(dollars_of(u128::MAX).starts_with('$'));
    }

    #[test]
    fn parts_are_never_rounded_to_nothing_or_all() {
        let cases = [
            (0, 0, DASH),
            (0, 7, "0 %"),
            (7, 7, "100 %"),
            (1, 2, "50 %"),
            (1, 3, "33.3 %"),
            (1, 100_000, "<0.1 %"),
            (99_999, 100_000, ">99.9 %"),
            (u128::MAX, u128::MAX, "100 %"),
        ];
        for (part, whole, expected) in cases {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn quantities_read_well() {
        assert_eq!(gpus(250_000_000), "0.25");
        assert_eq!(gpus(571_428_571), "0.571");
        assert_eq!(gpus(8_000_000_000), "8");
        assert_eq!(gpus(0), "0");
        assert_eq!(gib(80 << 30), "80");
        assert_eq!(gib(3 << 29), "1.5");
        assert_eq!(watts(431_250), "431");
        assert_eq!(ppm(Ppm::from_percent(38)), "38 %");
        assert_eq!(gpu_hours(GpuTime::from_nanos(5_400_000_000_000)), "1.5 GPU-h");
        assert_eq!(gpu_hours(GpuTime::from_nanos(3_600_000_000)), "0.0010 GPU-h");
    }

    #[test]
    fn times_are_what_a_calendar_says() {
        let cases = [
            (0, "1970-01-01", "00:00:00"),
            (951_782_399_000, "2000-02-28", "23:59:59"),
            (951_782_400_000, "2000-02-29", "00:00:00"),
            (1_784_548_800_000, "2026-07-20", "12:00:00"),
            (1_798_761_599_999, "2026-12-31", "23:59:59"),
        ];
        for (millis, expected_date, expected_clock) in cases {
            let time = UnixTime::from_millis(millis);
            assert_eq!((date(time).as_str(), clock(time).as_str()), (expected_date, expected_clock));
        }
        assert_eq!(date(UnixTime::from_millis(u64::MAX)).len(), 15, "a wrong clock is no reason to fail");
        let spans =
            [(5, "5 s"), (65, "1 min"), (3_700, "1 h 1 min"), (90_000, "25 h"), (200_000, "2 days 7 h")];
        for (seconds, expected) in spans {
            assert_eq!(duration(Span::from_secs(seconds)), expected);
        }
    }
}
