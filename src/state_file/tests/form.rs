//! The form of a kept state, to the byte: what one program has written another one writes again just so.

use super::*;

/// A state with something in every list, as it was first written; the ends of its lines are for people only.
const WRITTEN_BEFORE: &str = include_str!("written_before.json");

#[test]
fn a_state_has_the_form_that_it_always_had() {
    assert!(!WRITTEN_BEFORE.contains("[]"), "nothing is said of the elements of a list that is empty");
    let text = WRITTEN_BEFORE.replace('\n', "").replace("VERSION", env!("CARGO_PKG_VERSION"));
    let read: WireState<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(json(&read.kept().unwrap()), text);
}

#[test]
fn elements_that_are_made_in_turn_are_those_of_whole_lists() {
    for kept in [small(1), demo(0), demo(61), demo(7_000)].map(|seen| states([seen]).remove(0)) {
        let text = json(&kept);
        let whole: WireState<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&whole).unwrap(), text);
    }
}

#[test]
fn a_kubelet_that_never_answered_has_said_nothing() {
    let text = json(&states([small(1)])[0]);
    assert!(
        text.contains(r#""allocations":{},"pods":[],"#) && !text.contains("allocations_read_at"),
        "{text}"
    );
}
