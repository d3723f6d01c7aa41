//! Amounts and fractions.

use super::wire::{Part, Share, Totals};
use crate::cost::money::{Amount, GpuTime};
use crate::cost::report::{self, State};
use crate::observation::Span;

/// A span in seconds.
pub(super) fn seconds(span: Span) -> String {
    GpuTime::from(span).to_string()
}

pub(super) fn fraction((numerator, denominator): (u64, u64)) -> Share {
    Share { fraction: format!("{numerator}/{denominator}"), numerator, denominator }
}

/// Money and time in these states, and in any other that has some all the same.
pub(super) fn totals(totals: &report::Totals, usual: &[State]) -> Totals {
    let holds =
        |state| totals.time(state) > GpuTime::ZERO || totals.cost(state).unwrap_or_default().units() > 0;
    let states = State::ALL.into_iter().filter(|state| usual.contains(state) || holds(*state));
    let amount = |state| Amount { cost: totals.cost(state), time: totals.time(state) };
    Totals {
        dollars: totals.cost(State::Used).map(|_| totals.total_cost().to_string()),
        gpu_seconds: totals.total_time().to_string(),
        states: states.map(|state| part(state, amount(state))).collect(),
    }
}

pub(super) fn part(state: State, amount: Amount) -> Part {
    Part {
        state: state.as_str().into(),
        dollars: amount.cost.map(|cost| cost.to_string()),
        gpu_seconds: amount.time.to_string(),
    }
}

/// A whole number as a decimal one with so many digits behind the point, exactly and without the zeros at its end.
pub(super) fn decimal(value: u128, digits: u32) -> String {
    let one = 10u128.pow(digits);
    let (whole, fraction, width) = (value / one, value % one, digits as usize);
    let text = format!("{whole}.{fraction:0width$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_number_has_the_digits_that_it_needs() {
        assert_eq!(
            [0, 5, 1_000, 1_230, 100_000].map(|value| decimal(value, 3)),
            ["0", "0.005", "1", "1.23", "100"]
        );
    }
}
