//! The system's allocator, and how much each thread asked of it.
#![expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one passes on what it is asked")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the present thread allocates.
pub(crate) struct Counting;

/// What a piece of work asked of the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How many pieces of memory, those included that were enlarged.
    pub(crate) allocations: u64,
    /// How many bytes, each time as many as were asked for.
    pub(crate) bytes: u64,
    /// How many bytes more are in use than before.
    pub(crate) kept: i64,
}

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { allocations: 0, bytes: 0, kept: 0 }) };
}

/// Does something and says what it asked of the allocator.
pub(crate) fn asked_by<T>(work: impl FnOnce() -> T) -> (T, Asked) {
    let before = ASKED.get();
    let done = work();
    let after = ASKED.get();
    let asked = Asked {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
        kept: after.kept - before.kept,
    };
    (done, asked)
}

/// Notes that memory grew from one size to another.
fn note(from: usize, to: usize) {
    let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    // A thread that ends frees what was its own when there is nothing to note it in any more.
    let _ = ASKED.try_with(|asked| {
        let mut now = asked.get();
        now.allocations += u64::from(to > 0);
        now.bytes += u64::try_from(to).unwrap_or(u64::MAX);
        now.kept += signed(to) - signed(from);
        asked.set(now);
    });
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        note(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(old, layout) }
    }
}
