//! Receive buffers that the kernel chooses from: a ring of provided buffers.
//!
//! A buffer is either the kernel's, when this module holds it as a raw pointer, or the caller's, as a box: so
//! no reference to memory exists while the kernel may write to it. There are few at first; a shortage brings more.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Size of a buffer.
pub const SIZE: usize = 64 * 1024;

/// Most buffers; a power of two.
const MOST: u16 = 256;

/// How many there are at first, and how many come when they run short.
const STEP: u16 = 32;

/// The group's number: a worker has one.
pub(super) const GROUP: u16 = 0;

const PAGE: usize = 4096;

pub(super) struct Buffers {
    /// The ring that the kernel reads, page-aligned, `MOST` entries.
    entries: NonNull<BufRingEntry>,
    tail: u16,
    /// By number: the memory while the kernel has it, nothing while a caller has it.
    kernel: Vec<Option<NonNull<u8>>>,
    lent: usize,
}

fn layout() -> Layout {
    Layout::array::<BufRingEntry>(usize::from(MOST))
        .and_then(|l| l.align_to(PAGE))
        .unwrap_or(Layout::new::<u8>())
}

impl Buffers {
    pub(super) fn new(submitter: &Submitter<'_>) -> io::Result<Buffers> {
        // SAFETY: the layout is of 256 entries, so not empty.
        let memory = unsafe { alloc_zeroed(layout()) };
        let entries = NonNull::new(memory.cast::<BufRingEntry>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffers = Buffers { entries, tail: 0, kernel: Vec::new(), lent: 0 };
        // SAFETY: the memory is page-aligned, holds MOST entries, and lives until `release`, which the owner
        // calls when the kernel uses it no more.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, MOST, GROUP, 0) };
        if let Err(error) = registered {
            // SAFETY: the kernel did not take it; no buffer was added, nothing else points there.
            unsafe { dealloc(memory, layout()) };
            return Err(error);
        }
        buffers.grow();
        Ok(buffers)
    }

    /// Adds buffers, up to the most.
    pub(super) fn grow(&mut self) {
        for _ in 0..STEP {
            let Some(number) = u16::try_from(self.kernel.len()).ok().filter(|number| *number < MOST) else {
                return;
            };
            self.kernel.push(None);
            self.put(number, vec![0; SIZE].into_boxed_slice());
        }
    }

    /// A buffer that the kernel has filled. The number must be from a completion.
    pub(super) fn take(&mut self, number: u16) -> Option<Box<[u8]>> {
        let memory = self.kernel.get_mut(usize::from(number))?.take()?;
        self.lent += 1;
        // SAFETY: it came from a box of SIZE bytes in `put`, and the kernel gave it up with the completion.
        Some(unsafe { boxed(memory) })
    }

    /// Gives a buffer to the kernel again.
    pub(super) fn give_back(&mut self, number: u16, data: Box<[u8]>) {
        let lent = matches!(self.kernel.get(usize::from(number)), Some(None));
        if lent && data.len() == SIZE {
            self.lent -= 1;
            self.put(number, data);
        }
    }

    /// Whoever had a buffer has lost it (a panic): others take its place.
    pub(super) fn replace_lost(&mut self) {
        if self.lent > 0 {
            for number in 0..self.kernel.len() as u16 {
                self.give_back(number, vec![0; SIZE].into_boxed_slice());
            }
        }
    }

    fn put(&mut self, number: u16, data: Box<[u8]>) {
        let Some(memory) = NonNull::new(Box::into_raw(data).cast::<u8>()) else { return };
        if let Some(place) = self.kernel.get_mut(usize::from(number)) {
            *place = Some(memory);
        }
        let at = usize::from(self.tail & (MOST - 1));
        // SAFETY: `at` is below MOST. The kernel reads only entries before the tail, and there are never more
        // than MOST buffers, so it is done with this one; the fields are written one by one, because the
        // first entry's last field is the tail.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(memory.as_ptr() as u64);
            entry.set_len(SIZE as u32);
            entry.set_bid(number);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a u16 in the first entry, aligned, written by this process alone and read by the
        // kernel; the release makes the entry visible before it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// Frees all memory: the kernel must have no receive under way.
    pub(super) fn release(&mut self, submitter: &Submitter<'_>) {
        if submitter.unregister_buf_ring(GROUP).is_err() {
            return;
        }
        for memory in self.kernel.drain(..).flatten() {
            // SAFETY: as in `take`; the kernel knows the ring no more.
            drop(unsafe { boxed(memory) });
        }
        // SAFETY: allocated with this layout in `new`; `release` is called once, by the owner's drop.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout()) };
    }
}

/// # Safety
/// `memory` must come from `Box::into_raw` of SIZE bytes, and nobody else may use it.
unsafe fn boxed(memory: NonNull<u8>) -> Box<[u8]> {
    // SAFETY: the caller's promise.
    unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(memory.as_ptr(), SIZE)) }
}
