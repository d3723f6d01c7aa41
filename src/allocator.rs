//! How the C library's allocator is set: what is not used goes back to the system.
//!
//! As it comes, it makes a heap for each thread, and once something large was let go of it keeps as much for the next one.
//! Our threads sleep nearly always, and what is large is let go of with every tick: of what a node of ten thousand holders
//! had resident, two fifths were reports that were gone (2026-11-22).
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "the allocator's settings are no variables"))]

/// How many heaps there are. Threads that are busy at the same time wait for each other there, which is seldom and short.
#[cfg(target_env = "gnu")]
const HEAPS: std::ffi::c_int = 1;

/// From how many bytes on something has its own pages, and how many bytes the heap keeps at its end: what the C library
/// begins with. That they are set keeps them from growing (mallopt(3), `M_MMAP_THRESHOLD`).
#[cfg(target_env = "gnu")]
const KEPT_BYTES: std::ffi::c_int = 128 * 1024;

/// Sets it; before there are other threads.
#[cfg(target_env = "gnu")]
pub fn settle() {
    use libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
    for (setting, value) in
        [(M_ARENA_MAX, HEAPS), (M_MMAP_THRESHOLD, KEPT_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES)]
    {
        // SAFETY: a call with two numbers, for which nothing has to hold. It says no to what it does not know, and then all
        // is as it was.
        let _ = unsafe { mallopt(setting, value) };
    }
}

/// Another C library is left as it is.
#[cfg(not(target_env = "gnu"))]
pub fn settle() {}
