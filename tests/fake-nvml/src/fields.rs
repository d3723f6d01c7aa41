//! Field values: numbers that have no function of their own.

use crate::abi::{Code, Device, FieldValue, INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, VALUE_UNSIGNED_INT};
use crate::description::Board;
use crate::state::ask;

/// `NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`.
const RECOVERY_ACTION: u32 = 230;

/// The values of the fields that the caller has written into `values`, each with a code of its own.
///
/// # Safety
///
/// `values` must be valid for `count` values.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: Device,
    count: i32,
    values: *mut FieldValue,
) -> Code {
    let board = match ask("nvmlDeviceGetFieldValues", device, |seen| Ok(seen.board.clone())) {
        Ok(board) => board,
        Err(code) => return code,
    };
    let Some(count) = usize::try_from(count).ok().filter(|_| !values.is_null()) else {
        return INVALID_ARGUMENT;
    };
    // SAFETY: the caller promises so many values, and they are somewhere.
    let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
    for value in values {
        let answer = field(&board, value.field);
        value.code = answer.err().unwrap_or(SUCCESS);
        value.kind = VALUE_UNSIGNED_INT;
        value.value = answer.map_or(0, u64::from);
    }
    SUCCESS
}

/// A driver that is older than a field does not know its number.
fn field(board: &Board, field: u32) -> Result<u32, Code> {
    match field {
        RECOVERY_ACTION => board.recovery_action.ok_or(INVALID_ARGUMENT),
        _ => Err(NOT_SUPPORTED),
    }
}
