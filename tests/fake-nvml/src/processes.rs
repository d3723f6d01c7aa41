//! Which processes work on a GPU.

use crate::abi::{
    Code, Device, INSUFFICIENT_SIZE, NOT_FOUND, NOT_SUPPORTED, ProcessUtilizationSample, SUCCESS,
};
use crate::description::{Board, ProcessSample, Processes};
use crate::state::{Seen, ask, calls, wall};

const FUNCTION: &str = "nvmlDeviceGetProcessUtilization";

/// How often a second the driver samples what works by the wall clock.
const HERTZ: u64 = 6;

/// The samples of processes newer than `last_seen`; without a buffer, how many there are.
///
/// # Safety
///
/// `count` must be valid, `samples` null or valid for `count` samples.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetProcessUtilization(
    device: Device,
    samples: *mut ProcessUtilizationSample,
    count: *mut u32,
    last_seen: u64,
) -> Code {
    let answer = ask(FUNCTION, device, |Seen { board, mig_device }| {
        if board.mig.is_some() || mig_device.is_some() {
            return Err(NOT_SUPPORTED);
        }
        let found = newer(board, last_seen)?;
        if found.is_empty() { Err(NOT_FOUND) } else { Ok((found, board.process_growth)) }
    });
    let (found, growth) = match answer {
        Ok(found) => found,
        Err(code) => return code,
    };
    let len = u32::try_from(found.len()).unwrap_or(u32::MAX);
    // SAFETY: the caller's promise, and no more samples are written than there is room for.
    unsafe {
        if samples.is_null() {
            let grows = calls(FUNCTION) <= growth;
            count.write(if grows { len - 1 } else { len });
            return INSUFFICIENT_SIZE;
        }
        if len > count.read() {
            return INSUFFICIENT_SIZE;
        }
        for (position, ProcessSample { pid, micros, percent }) in found.into_iter().enumerate() {
            let sample =
                ProcessUtilizationSample { pid, micros, sm: percent, memory: 0, encoder: 0, decoder: 0 };
            samples.add(position).write(sample);
        }
        count.write(len);
    }
    SUCCESS
}

fn newer(board: &Board, last_seen: u64) -> Result<Vec<ProcessSample>, Code> {
    match &board.processes {
        Processes::Unsupported => Err(NOT_SUPPORTED),
        Processes::Working(processes) => {
            let now = u64::try_from(wall().as_micros()).unwrap_or(u64::MAX);
            let micros = now.saturating_mul(HERTZ) / 1_000_000 * 1_000_000 / HERTZ;
            let working = processes.iter().filter(|(_, percent)| *percent > 0 && micros > last_seen);
            Ok(working.map(|&(pid, percent)| ProcessSample { pid, micros, percent }).collect())
        }
        Processes::Samples(samples) => {
            Ok(samples.iter().filter(|sample| sample.micros > last_seen).copied().collect())
        }
        Processes::Stubborn(samples) => Ok(samples.clone()),
    }
}
