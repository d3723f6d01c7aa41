//! Critical errors, delivered to those who registered for them.

use std::ptr::without_provenance_mut;

use crate::abi::{
    Code, Device, EVENT_XID, EventData, EventSet, INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, TIMEOUT, put,
};
use crate::state::{About, State, ask, enter};

/// Which events a GPU can report.
///
/// # Safety
///
/// `kinds` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetSupportedEventTypes(device: Device, kinds: *mut u64) -> Code {
    let answer = ask("nvmlDeviceGetSupportedEventTypes", device, |_| Ok(EVENT_XID));
    // SAFETY: the caller's promise.
    unsafe { put(kinds, answer) }
}

/// Makes an empty event set.
///
/// # Safety
///
/// `set` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetCreate(set: *mut EventSet) -> Code {
    let answer = enter("nvmlEventSetCreate", &About::Driver).map(|mut state| {
        let number = state.number();
        state.event_sets.insert(number, Vec::new());
        without_provenance_mut(number)
    });
    // SAFETY: the caller's promise.
    unsafe { put(set, answer) }
}

/// Adds a GPU's events to a set.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlDeviceRegisterEvents(device: Device, kinds: u64, set: EventSet) -> Code {
    let registered =
        enter("nvmlDeviceRegisterEvents", &About::Handle(device.addr())).and_then(|mut state| {
            if kinds & !EVENT_XID != 0 {
                return Err(NOT_SUPPORTED);
            }
            let uuid = state.seen(device)?.board.uuid.clone();
            state.event_sets.get_mut(&set.addr()).ok_or(INVALID_ARGUMENT)?.push(uuid);
            Ok(())
        });
    registered.map_or_else(|code| code, |()| SUCCESS)
}

/// The next event of a set. There is no waiting: a test says what happens before it looks.
///
/// # Safety
///
/// `event` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetWait_v2(
    set: EventSet,
    event: *mut EventData,
    _millis: u32,
) -> Code {
    const FUNCTION: &str = "nvmlEventSetWait_v2";
    let boards = crate::state::boards_of_set(set.addr());
    let answer = enter(FUNCTION, &About::Boards(boards.clone())).and_then(|mut state| {
        if !state.event_sets.contains_key(&set.addr()) {
            return Err(INVALID_ARGUMENT);
        }
        boards.iter().find_map(|uuid| next(&mut state, uuid)).ok_or(TIMEOUT)
    });
    // SAFETY: the caller's promise.
    unsafe { put(event, answer) }
}

/// Frees a set.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlEventSetFree(set: EventSet) -> Code {
    let removed = enter("nvmlEventSetFree", &About::Driver)
        .and_then(|mut state| state.event_sets.remove(&set.addr()).ok_or(INVALID_ARGUMENT));
    removed.map_or_else(|code| code, |_| SUCCESS)
}

fn next(state: &mut State, uuid: &str) -> Option<EventData> {
    const NO_INSTANCE: u32 = u32::MAX;
    let index = state.node.gpus.iter().position(|board| board.uuid == uuid)?;
    let delivered = state.delivered.get(uuid).copied().unwrap_or(0);
    let xid = *state.node.gpus.get(index)?.xids.get(delivered)?;
    state.delivered.insert(uuid.into(), delivered + 1);
    let device = state.handle(u32::try_from(index).ok()?)?;
    Some(EventData {
        device,
        kind: EVENT_XID,
        data: xid,
        gpu_instance: NO_INSTANCE,
        compute_instance: NO_INSTANCE,
    })
}
