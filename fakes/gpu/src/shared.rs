//! The one place that touches shared memory: a header and two copies of the state, of which one is valid.
//!
//! A writer fills the copy that is not in use and then flips the header's `active`. A writer that dies
//! half-way has changed nothing that anybody reads. The header's `generation` counts changes; waiters
//! sleep on it with a futex. Who may read and write when is [`crate::NodeFile`]'s matter: it holds the
//! file's lock around every call here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::record::Node;

/// First bytes of a state file.
const MAGIC: u64 = u64::from_le_bytes(*b"FAKEGPU\0");
/// Raised whenever a record changes; the size is checked as well.
const LAYOUT: u32 = 5;
/// Where the first copy begins, and what copies are aligned to.
const PAGE: usize = 4096;
/// Bytes of one copy.
const COPY: usize = size_of::<Node>().next_multiple_of(PAGE);
/// Bytes of the file.
const LENGTH: usize = PAGE + 2 * COPY;

#[repr(C)]
struct Header {
    magic: u64,
    layout: u32,
    node_size: u32,
    active: AtomicU32,
    generation: AtomicU32,
}

/// A state file in this process's memory.
pub(crate) struct Mapping {
    base: NonNull<u8>,
}

// SAFETY: the mapping is plain memory that stays valid until drop; access to the copies is
// serialised by the caller's lock, and the header's changing fields are atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Gives an empty file its size and first state.
    pub(crate) fn create(file: &File, node: &Node) -> io::Result<()> {
        file.set_len(LENGTH as u64)?;
        let mapping = Self::map(file)?;
        // SAFETY: the mapping is LENGTH bytes, page aligned and not yet known to any other process;
        // `Node` has no pointers or drop glue.
        unsafe {
            std::ptr::copy_nonoverlapping(node, mapping.copy(0), 1);
            mapping.base.cast::<Header>().as_ptr().write(Header {
                magic: MAGIC,
                layout: LAYOUT,
                node_size: size_of::<Node>() as u32,
                active: AtomicU32::new(0),
                generation: AtomicU32::new(0),
            });
        }
        Ok(())
    }

    /// Maps a state file; None if it is something else or of another layout.
    pub(crate) fn open(file: &File) -> io::Result<Option<Self>> {
        if file.metadata()?.len() != LENGTH as u64 {
            return Ok(None);
        }
        let mapping = Self::map(file)?;
        let header = mapping.header();
        let known = header.magic == MAGIC
            && header.layout == LAYOUT
            && header.node_size as usize == size_of::<Node>();
        Ok(known.then_some(mapping))
    }

    fn map(file: &File) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the file is LENGTH bytes long.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), LENGTH, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(base.cast()).map(|base| Self { base }).ok_or_else(io::Error::last_os_error)
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a page-aligned header; any bytes are a valid header; only
        // its atomics change after `create`.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    fn copy(&self, index: u32) -> *mut Node {
        let offset = PAGE + COPY * (index as usize & 1);
        // SAFETY: both offsets lie inside the mapping and are page aligned.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// The valid copy. The caller holds the file's lock, shared or exclusive, while it uses it.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Node) -> T) -> T {
        let active = self.header().active.load(Ordering::Acquire);
        // SAFETY: any bytes are a valid `Node`; nobody writes to the active copy, and no writer can
        // flip it while the caller holds the lock.
        look(unsafe { &*self.copy(active) })
    }

    /// Changes the state; if `edit` fails, nothing has changed. The caller holds the file's exclusive lock.
    pub(crate) fn change<T, E>(&self, edit: impl FnOnce(&mut Node) -> Result<T, E>) -> Result<T, E> {
        let active = self.header().active.load(Ordering::Acquire);
        let (from, to) = (self.copy(active), self.copy(active ^ 1));
        // SAFETY: two distinct copies inside the mapping; the inactive one is nobody else's while the
        // exclusive lock is held.
        let draft = unsafe {
            std::ptr::copy_nonoverlapping(from, to, 1);
            &mut *to
        };
        let done = edit(draft)?;
        self.header().active.store(active ^ 1, Ordering::Release);
        self.header().generation.fetch_add(1, Ordering::Release);
        self.wake();
        Ok(done)
    }

    /// Counts the changes.
    pub(crate) fn generation(&self) -> u32 {
        self.header().generation.load(Ordering::Acquire)
    }

    fn wake(&self) {
        let word = self.header().generation.as_ptr();
        // SAFETY: a valid aligned word; FUTEX_WAKE reads nothing else.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Sleeps until the generation is not `seen`, or the time is over; may return early.
    pub(crate) fn wait(&self, seen: u32, timeout: Duration) {
        let word = self.header().generation.as_ptr();
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: a valid aligned word and a valid timespec that outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, &raw const timeout) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the region that `map` got; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), LENGTH) };
    }
}
