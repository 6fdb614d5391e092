//! What happens to GPUs, kept for readers that come later: each reader has its own place in one bounded ring.

use crate::error::GpuError;
use crate::mig::MigInstance;
use crate::record::{EVENTS_MAX, Event, Node};

/// GPU or compute instance of an event that is not about a MIG device.
pub const NO_INSTANCE: u32 = u32::MAX;

/// Kinds of event, with NVML's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A corrected ECC error.
    SingleBitEcc,
    /// An uncorrected ECC error.
    DoubleBitEcc,
    /// An Xid; the event's data is its code.
    Xid,
}

impl EventKind {
    /// NVML's bit.
    pub fn bit(self) -> u64 {
        match self {
            Self::SingleBitEcc => 1,
            Self::DoubleBitEcc => 2,
            Self::Xid => 8,
        }
    }
}

impl Node {
    /// Raises an Xid for the whole GPU; a lost GPU can still raise one (Xid 79 says so).
    ///
    /// # Errors
    /// No such GPU.
    pub fn raise_xid(&mut self, gpu: u32, code: u64) -> Result<Event, GpuError> {
        self.raise_event(gpu, EventKind::Xid, code)
    }

    /// Raises an event for the whole GPU; ECC events also count as ECC errors.
    ///
    /// # Errors
    /// No such GPU.
    pub fn raise_event(&mut self, gpu: u32, kind: EventKind, data: u64) -> Result<Event, GpuError> {
        self.raise(gpu, None, kind, data)
    }

    pub(crate) fn raise(
        &mut self,
        gpu: u32,
        instance: Option<MigInstance>,
        kind: EventKind,
        data: u64,
    ) -> Result<Event, GpuError> {
        let sequence = self.event_next;
        let record = self.gpu_mut(gpu)?;
        match kind {
            EventKind::SingleBitEcc => record.ecc_errors[0] = record.ecc_errors[0].saturating_add(1),
            EventKind::DoubleBitEcc => record.ecc_errors[1] = record.ecc_errors[1].saturating_add(1),
            EventKind::Xid => {}
        }
        record.event_count += 1;
        let event = Event {
            sequence,
            gpu_sequence: record.event_count,
            kind: kind.bit(),
            data,
            gpu,
            gpu_instance: instance.map_or(NO_INSTANCE, |instance| instance.gpu_instance),
            compute_instance: instance.map_or(NO_INSTANCE, |instance| instance.compute_instance),
            reserved: 0,
        };
        self.events[ring_slot(sequence)] = event;
        self.event_next = sequence + 1;
        Ok(event)
    }

    /// The sequence number that the next event will have: where a new reader begins.
    pub fn event_next(&self) -> u64 {
        self.event_next
    }

    /// Events from `sequence` on, oldest first; those that left the ring are missed.
    pub fn events_from(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        let oldest = self.event_next.saturating_sub(EVENTS_MAX as u64);
        (sequence.max(oldest)..self.event_next).map(|sequence| &self.events[ring_slot(sequence)])
    }
}

fn ring_slot(sequence: u64) -> usize {
    (sequence % EVENTS_MAX as u64) as usize
}
