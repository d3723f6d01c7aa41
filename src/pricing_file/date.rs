//! Dates as `YYYY-MM-DD`.

use crate::cost::pricing::Date;

/// Why a text is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoDay {
    /// It has another form.
    Form,
    /// It has the form, but the calendar has no such day, or it is before 1970.
    Calendar,
}

/// The day that `text` names.
pub(super) fn parse(text: &str) -> Result<Date, NoDay> {
    let well_formed = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, byte)| if i == 4 || i == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    if !well_formed {
        return Err(NoDay::Form);
    }
    let mut numbers = text.split('-').map(|digits| digits.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Date::from_calendar(next(), next(), next()).ok_or(NoDay::Calendar)
}
