//! Event sets: each has its own place in the node's ring of events, so that every waiter sees every event.

use std::ffi::{c_uint, c_ulonglong};
use std::time::{Duration, Instant};

use fake_gpu::{Event, EventKind, Node};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as GPU_IS_LOST,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_enum_NVML_ERROR_TIMEOUT as TIMEOUT,
    nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN,
};

use crate::call::{Answer, export, put};
use crate::session::{Session, file, gpu_of, handle_of, with_gpu, with_gpu_at, with_session};

/// What these boards can report.
fn supported() -> u64 {
    EventKind::SingleBitEcc.bit() | EventKind::DoubleBitEcc.bit() | EventKind::Xid.bit()
}

/// What one set waits for.
#[derive(Debug, Default)]
pub(crate) struct EventSet {
    registrations: Vec<Registration>,
    /// Sequence number of the next event to look at.
    next: u64,
}

/// Kinds of events of one GPU, from some moment on.
#[derive(Debug)]
struct Registration {
    gpu: u32,
    kinds: u64,
    from: u64,
}

impl EventSet {
    fn wants(&self, event: &Event) -> bool {
        let wanted =
            |r: &Registration| r.gpu == event.gpu && r.kinds & event.kind != 0 && event.sequence >= r.from;
        self.registrations.iter().any(wanted)
    }

    /// The next event for this set; then GPU_IS_LOST while one of its GPUs is lost; else nothing.
    fn take(&mut self, node: &Node) -> Answer<Option<Event>> {
        let found = node.events_from(self.next).find(|event| self.wants(event)).copied();
        self.next = found.map_or(node.event_next(), |event| event.sequence + 1);
        if found.is_some() {
            return Ok(found);
        }
        let lost = |r: &Registration| node.gpu(r.gpu).is_ok_and(|gpu| gpu.lost != 0);
        if self.registrations.iter().any(lost) { Err(GPU_IS_LOST) } else { Ok(None) }
    }
}

impl Session {
    fn event_set(&mut self, set: nvmlEventSet_t) -> Answer<&mut EventSet> {
        self.event_sets.get_mut(&set.addr()).ok_or(INVALID_ARGUMENT)
    }
}

export! {
    /// Makes an empty set.
    fn nvmlEventSetCreate(place: *mut nvmlEventSet_t) {
        if place.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        let number = with_session(|session| session.add_event_set(EventSet::default()))?;
        put(place, std::ptr::without_provenance_mut(number))
    }
}

export! {
    /// Frees a set.
    fn nvmlEventSetFree(set: nvmlEventSet_t) {
        with_session(|session| session.event_sets.remove(&set.addr()).map(drop).ok_or(INVALID_ARGUMENT))
    }
}

export! {
    /// Which kinds of event a GPU can report.
    fn nvmlDeviceGetSupportedEventTypes(device: nvmlDevice_t, kinds: *mut c_ulonglong) {
        with_gpu(device, |_, _| put(kinds, supported()))
    }
}

export! {
    /// Makes a set wait for a GPU's events from now on.
    fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, kinds: c_ulonglong, set: nvmlEventSet_t) {
        let gpu = gpu_of(device)?;
        let from = with_gpu_at(gpu, |node, _| Ok(node.event_next()))?;
        if kinds & !supported() != 0 {
            return Err(NOT_SUPPORTED);
        }
        with_session(|session| {
            let set = session.event_set(set)?;
            set.registrations.retain(|registration| registration.gpu != gpu);
            set.registrations.push(Registration { gpu, kinds, from });
            Ok(())
        })
    }
}

export! {
    /// Waits for the next event of a set, at most `timeout_ms`.
    fn nvmlEventSetWait_v2(set: nvmlEventSet_t, data: *mut nvmlEventData_t, timeout_ms: c_uint) {
        if data.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        let file = file()?;
        let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
        loop {
            let seen = file.generation();
            let taken = with_session(|session| {
                let set = session.event_set(set)?;
                file.read(|node| set.take(node)).map_err(|_| UNKNOWN)?
            })?;
            if let Some(event) = taken {
                return put(data, nvmlEventData_t {
                    device: handle_of(event.gpu),
                    eventType: event.kind,
                    eventData: event.data,
                    gpuInstanceId: event.gpu_instance,
                    computeInstanceId: event.compute_instance,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TIMEOUT);
            }
            file.wait_change(seen, left);
        }
    }
}
