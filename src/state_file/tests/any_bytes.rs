//! Fuzz targets: whatever is in the files, a ledger goes on exactly as it was written, or another one begins.
//!
//! `cargo test` runs each so many times, `cargo bolero test <name>` for as long as one likes. What is read is a real state
//! with some of it changed, because noise gets no further than the first line.

use std::sync::atomic::{AtomicUsize, Ordering};

use bolero::check;

use super::*;

/// What is done to bytes, where, and with what.
type Changes = Vec<(u8, u16, u8)>;

/// The bytes with these changes, each of which is something that happens to bytes on their way to a disk or back.
fn changed(bytes: &[u8], changes: &Changes) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (what, place, with) in changes.iter().take(8) {
        let place = usize::from(*place) % (bytes.len() + 1);
        let length = usize::from(*with).min(bytes.len() - place);
        match what % 7 {
            0 => bytes[place..].iter_mut().take(1).for_each(|byte| *byte = *with),
            1 => bytes[place..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << (with % 8)),
            2 => bytes.insert(place, b'0' + with % 10),
            3 => drop(bytes.drain(place..place + length)),
            4 => bytes.truncate(place),
            // A block that was never written, and one that was written twice.
            5 => bytes[place..place + length].fill(0),
            _ => {
                let copy = bytes[place..place + length].to_vec();
                bytes.splice(place..place, copy);
            }
        }
    }
    bytes
}

/// Three states that follow each other, as they are in files and as JSON.
fn three_states(path: &Path) -> [(Vec<u8>, String); 3] {
    let states = states([small(1), small(2), small(3), small(4)]);
    let mut directory = directory(path);
    [&states[1], &states[2], &states[3]].map(|kept| (directory.write(kept).unwrap(), json(kept)))
}

/// What is in the place of a file: nothing, any bytes, or the state of that place with changes.
type Content = (u8, Vec<u8>, Changes);

#[test]
fn any_files() {
    let place = tempfile::tempdir().unwrap();
    let written = three_states(place.path());
    check!().with_iterations(1_000).with_type::<[Content; 3]>().for_each(|contents| {
        let mut newest = None;
        for ((file, content), (bytes, state)) in FILES.iter().zip(contents).zip(&written) {
            let path = place.path().join(file);
            let content = match content {
                (0..32, _, _) => {
                    let _ = fs::remove_file(&path);
                    continue;
                }
                (32..64, any, _) => any.clone(),
                (_, _, changes) => changed(bytes, changes),
            };
            // What comes after a whole state is left over from a longer one.
            newest = if content.starts_with(bytes) { Some(state) } else { newest };
            fs::write(path, content).unwrap();
        }
        let found = found(place.path());
        assert_eq!(found.kept.as_ref().map(json).as_ref(), newest);
        let is_told = found.remarks.iter().any(|remark| remark.starts_with("a new ledger begins"));
        let is_left =
            FILES.iter().any(|file| fs::metadata(place.path().join(file)).is_ok_and(|it| it.len() > 0));
        assert!(newest.is_some() || is_told || !is_left, "{:?}", found.remarks);
        assert!(newest.is_some() || !is_left, "what was not believed is in the way");
    });
}

/// What nobody could write but by hand, for its checksum is right: it is refused, or it is a whole ledger and goes on.
#[test]
fn any_state_that_is_whole() {
    let place = tempfile::tempdir().unwrap();
    let seeds = [json(&states([small(1), small(2)])[1]), json(&states([demo(1), demo(61)])[1])];
    let believed = AtomicUsize::new(0);
    check!().with_iterations(4_000).with_type::<(bool, Changes)>().for_each(|(is_large, changes)| {
        let state = changed(seeds[usize::from(*is_large)].as_bytes(), changes);
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend(&state);
            Ok(())
        };
        fs::write(place.path().join(FILES[0]), envelope::seal(7, 0, write).unwrap()).unwrap();
        let Some(kept) = found(place.path()).kept else { return };
        believed.fetch_add(1, Ordering::Relaxed);
        assert!(kept.ledger.is_sound());
        let again: WireState = serde_json::from_str(&json(&kept)).unwrap();
        assert_eq!(json(&again.kept().unwrap()), json(&kept));
        let report = Meter::resume(policy(), prices(), kept).observe(&demo(120));
        assert_eq!(report.imbalance, Cost::ZERO);
    });
    let believed = believed.into_inner();
    assert!(believed > 10, "{believed} were believed");
}
