//! What a GPU is and what it measures.

use std::ffi::c_char;

use crate::abi::{
    ARGUMENT_VERSION_MISMATCH, Code, Device, INSUFFICIENT_SIZE, INVALID_ARGUMENT, MEMORY_V2, MemoryV1,
    MemoryV2, NOT_FOUND, NOT_SUPPORTED, PciInfo, SAMPLES_OF_GPU_UTILIZATION, SUCCESS, Sample,
    Utilization as Rates, VALUE_UNSIGNED_INT, fixed, put, put_text,
};
use crate::description::{Board, Energy, Memory, Utilization, Wave};
use crate::state::{Seen, ask, wall};

const MIB: u64 = 1 << 20;

/// How far back the ring of samples reaches, and how many it holds.
const RING_SECONDS: u64 = 16;
const RING_SAMPLES: u32 = 120;

/// The UUID of a GPU or a MIG device.
///
/// # Safety
///
/// `uuid` must be valid for `len` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetUUID(device: Device, uuid: *mut c_char, len: u32) -> Code {
    let answer = ask("nvmlDeviceGetUUID", device, |seen| {
        Ok(seen.mig_device.map_or(&seen.board.uuid, |mig_device| &mig_device.uuid).clone())
    });
    // SAFETY: the caller's promise.
    unsafe { put_text(uuid, len, answer) }
}

/// The product name, with the profile of a MIG device at its end.
///
/// # Safety
///
/// `name` must be valid for `len` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetName(device: Device, name: *mut c_char, len: u32) -> Code {
    let answer = ask("nvmlDeviceGetName", device, |Seen { board, mig_device }| {
        let profile = mig_device.and_then(|mig_device| mig_device.profile.as_ref());
        Ok(profile.map_or_else(|| board.name.clone(), |profile| format!("{} MIG {profile}", board.name)))
    });
    // SAFETY: the caller's promise.
    unsafe { put_text(name, len, answer) }
}

/// N of `/dev/nvidiaN`.
///
/// # Safety
///
/// `minor` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMinorNumber(device: Device, minor: *mut u32) -> Code {
    let answer = ask("nvmlDeviceGetMinorNumber", device, |seen| Ok(whole(seen)?.minor));
    // SAFETY: the caller's promise.
    unsafe { put(minor, answer) }
}

/// The PCI address.
///
/// # Safety
///
/// `pci` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(device: Device, pci: *mut PciInfo) -> Code {
    let answer = ask("nvmlDeviceGetPciInfo_v3", device, |seen| Ok(pci_info(&seen.board.pci_bus_id)));
    // SAFETY: the caller's promise.
    unsafe { put(pci, answer) }
}

/// The framebuffer as drivers before R510 tell it.
///
/// # Safety
///
/// `memory` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMemoryInfo(device: Device, memory: *mut MemoryV1) -> Code {
    let answer = ask("nvmlDeviceGetMemoryInfo", device, |seen| {
        let Memory { total, used, reserved } = framebuffer(seen)?;
        Ok(MemoryV1 { total, free: total.saturating_sub(used + reserved), used: used + reserved })
    });
    // SAFETY: the caller's promise.
    unsafe { put(memory, answer) }
}

/// The framebuffer, with what the driver keeps for itself apart.
///
/// # Safety
///
/// `memory` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Device, memory: *mut MemoryV2) -> Code {
    // SAFETY: the caller's promise.
    let version = if memory.is_null() { 0 } else { unsafe { (*memory).version } };
    let answer = ask("nvmlDeviceGetMemoryInfo_v2", device, |seen| {
        let Memory { total, used, reserved } = framebuffer(seen)?;
        if version != MEMORY_V2 {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        Ok(MemoryV2 { version, total, reserved, free: total.saturating_sub(used + reserved), used })
    });
    // SAFETY: the caller's promise.
    unsafe { put(memory, answer) }
}

/// Power in milliwatts.
///
/// # Safety
///
/// `milliwatts` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: Device, milliwatts: *mut u32) -> Code {
    let answer =
        ask("nvmlDeviceGetPowerUsage", device, |seen| whole(seen)?.power_milliwatts.ok_or(NOT_SUPPORTED));
    // SAFETY: the caller's promise.
    unsafe { put(milliwatts, answer) }
}

/// The power limit in force, in milliwatts.
///
/// # Safety
///
/// `milliwatts` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(
    device: Device,
    milliwatts: *mut u32,
) -> Code {
    let answer = ask("nvmlDeviceGetEnforcedPowerLimit", device, |seen| {
        whole(seen)?.power_limit_milliwatts.ok_or(NOT_SUPPORTED)
    });
    // SAFETY: the caller's promise.
    unsafe { put(milliwatts, answer) }
}

/// Energy in millijoules since the driver was loaded.
///
/// # Safety
///
/// `millijoules` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
    device: Device,
    millijoules: *mut u64,
) -> Code {
    let answer = ask("nvmlDeviceGetTotalEnergyConsumption", device, |seen| {
        whole(seen)?.energy.map(millijoules_now).ok_or(NOT_SUPPORTED)
    });
    // SAFETY: the caller's promise.
    unsafe { put(millijoules, answer) }
}

/// The driver's last utilization reading.
///
/// # Safety
///
/// `rates` must be valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetUtilizationRates(device: Device, rates: *mut Rates) -> Code {
    let answer = ask("nvmlDeviceGetUtilizationRates", device, |seen| {
        let gpu = match &uncut(seen)?.utilization {
            Utilization::Unsupported => return Err(NOT_SUPPORTED),
            Utilization::Rate(percent) | Utilization::Percent(percent) => *percent,
            other => ring(other)?.last().map_or(0, |sample| sample.1),
        };
        Ok(Rates { gpu, memory: 0 })
    });
    // SAFETY: the caller's promise.
    unsafe { put(rates, answer) }
}

/// The samples newer than `last_seen`; without a buffer, how many the ring can hold.
///
/// # Safety
///
/// `value_type` and `count` must be valid, `samples` null or valid for `count` samples.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetSamples(
    device: Device,
    kind: u32,
    last_seen: u64,
    value_type: *mut u32,
    count: *mut u32,
    samples: *mut Sample,
) -> Code {
    let answer = ask("nvmlDeviceGetSamples", device, |seen| {
        if kind != SAMPLES_OF_GPU_UTILIZATION {
            return Err(NOT_SUPPORTED);
        }
        let utilization = &uncut(seen)?.utilization;
        let mut ring = ring(utilization)?;
        if !matches!(utilization, Utilization::Stubborn(_)) {
            ring.retain(|sample| sample.0 > last_seen);
        }
        if ring.is_empty() { Err(NOT_FOUND) } else { Ok(ring) }
    });
    let ring = match answer {
        Ok(ring) => ring,
        Err(code) => return code,
    };
    // SAFETY: the caller's promise, and no more samples are written than there is room for.
    unsafe {
        value_type.write(VALUE_UNSIGNED_INT);
        if samples.is_null() {
            count.write(RING_SAMPLES);
            return SUCCESS;
        }
        if ring.len() > count.read() as usize {
            return INSUFFICIENT_SIZE;
        }
        for (position, (micros, percent)) in ring.iter().enumerate() {
            samples.add(position).write(Sample { micros: *micros, value: u64::from(*percent) });
        }
        count.write(u32::try_from(ring.len()).unwrap_or(RING_SAMPLES));
    }
    SUCCESS
}

fn whole(seen: Seen<'_>) -> Result<&Board, Code> {
    if seen.mig_device.is_some() { Err(INVALID_ARGUMENT) } else { Ok(seen.board) }
}

fn uncut(seen: Seen<'_>) -> Result<&Board, Code> {
    if seen.board.mig.is_some() { Err(NOT_SUPPORTED) } else { Ok(seen.board) }
}

fn framebuffer(Seen { board, mig_device }: Seen<'_>) -> Result<Memory, Code> {
    match mig_device {
        Some(of) => Ok(Memory { total: of.mebibytes * MIB, used: of.memory_used, reserved: 0 }),
        None => board.memory.ok_or(NOT_SUPPORTED),
    }
}

fn millijoules_now(energy: Energy) -> u64 {
    match energy {
        Energy::Fixed(millijoules) => millijoules,
        Energy::Growing { since_unix_millis, milliwatts } => {
            let now = u64::try_from(wall().as_millis()).unwrap_or(u64::MAX);
            now.saturating_sub(since_unix_millis).saturating_mul(milliwatts) / 1_000
        }
    }
}

fn ring(utilization: &Utilization) -> Result<Vec<(u64, u32)>, Code> {
    match utilization {
        Utilization::Unsupported | Utilization::Rate(_) => Err(NOT_SUPPORTED),
        Utilization::Percent(percent) => Ok(wave(&Wave { hertz: 6, values: vec![*percent] })),
        Utilization::Wave(pattern) => Ok(wave(pattern)),
        Utilization::Samples(samples) | Utilization::Stubborn(samples) => Ok(samples.clone()),
    }
}

fn wave(Wave { hertz, values }: &Wave) -> Vec<(u64, u32)> {
    let hertz = u64::from(*hertz).max(1);
    let now = u64::try_from(wall().as_micros()).unwrap_or(u64::MAX);
    let newest = now.saturating_mul(hertz) / 1_000_000;
    let oldest = newest.saturating_sub(RING_SECONDS * hertz);
    let value = |k: u64| values.get(usize::try_from(k).unwrap_or(0) % values.len().max(1)).copied();
    (oldest + 1..=newest).map(|k| (k * 1_000_000 / hertz, value(k).unwrap_or(0))).collect()
}

fn pci_info(bus_id: &str) -> PciInfo {
    let part = |n: usize| {
        let text = bus_id.split([':', '.']).nth(n).unwrap_or("");
        u32::from_str_radix(text, 16).unwrap_or(0)
    };
    PciInfo {
        bus_id_legacy: fixed(bus_id.get(4..).unwrap_or("")),
        domain: part(0),
        bus: part(1),
        device: part(2),
        pci_device_id: 0x0000_10de,
        pci_subsystem_id: 0,
        bus_id: fixed(bus_id),
    }
}
