//! Errors as people read them.

use std::error::Error;
use std::iter;

/// Writes an error and all that caused it in one line. Some libraries repeat their cause in their own words.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string);
    causes.fold(
        error.to_string(),
        |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") },
    )
}
