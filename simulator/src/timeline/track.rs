//! Spans of lanes within bounds, because a record of a long run must not grow without end, and must say what it left out.

use super::Span;

/// How much a record may hold; what comes later is left out and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Spans of all lanes together.
    pub spans: usize,
    /// Spans of one lane.
    pub spans_per_lane: usize,
    /// Lanes: nodes, GPUs and pods together.
    pub lanes: usize,
    /// Markers.
    pub markers: usize,
    /// Changes of memory use of all GPUs together.
    pub samples: usize,
}

impl Default for Bounds {
    /// Enough for a cluster of hundreds of GPUs; the record stays below some 30 MiB.
    fn default() -> Self {
        Bounds { spans: 100_000, spans_per_lane: 5_000, lanes: 25_000, markers: 5_000, samples: 200_000 }
    }
}

/// The spans of one lane.
#[derive(Debug)]
pub(super) struct Track<T> {
    pub(super) spans: Vec<Span<T>>,
    /// The last span is still going on.
    open: bool,
    /// A bound was reached; nothing more is kept.
    full: bool,
    /// What the lane is about was in the last snapshot.
    pub(super) there: bool,
}

impl<T> Default for Track<T> {
    fn default() -> Self {
        Track { spans: Vec::new(), open: false, full: false, there: false }
    }
}

impl<T: PartialEq> Track<T> {
    pub(super) fn see(&mut self, at: f64, is: T, room: &mut Room, bounds: &Bounds) {
        self.there = true;
        if self.full || (self.open && self.spans.last().is_some_and(|last| last.is == is)) {
            return;
        }
        self.end_last(at);
        if self.spans.len() >= bounds.spans_per_lane || room.spans >= bounds.spans {
            self.full = true;
            room.lanes_cut += 1;
            return;
        }
        room.spans += 1;
        self.spans.push(Span { from: at, to: at, is });
        self.open = true;
    }

    /// What the lane is about is gone.
    pub(super) fn close(&mut self, at: f64) {
        self.there = false;
        self.end_last(at);
    }

    pub(super) fn end_last(&mut self, at: f64) {
        if std::mem::take(&mut self.open)
            && let Some(last) = self.spans.last_mut()
        {
            last.to = at;
        }
    }

    pub(super) fn ended(mut self, end: f64) -> Vec<Span<T>> {
        self.end_last(end);
        self.spans
    }
}

/// What was used of the bounds, and what was left out.
#[derive(Debug, Default)]
pub(super) struct Room {
    spans: usize,
    lanes: usize,
    pub(super) samples: usize,
    lanes_cut: usize,
    lanes_left_out: usize,
    pub(super) markers_left_out: usize,
    pub(super) samples_left_out: usize,
}

impl Room {
    pub(super) fn lane(&mut self, bounds: &Bounds) -> bool {
        if self.lanes >= bounds.lanes {
            self.lanes_left_out += 1;
            return false;
        }
        self.lanes += 1;
        true
    }

    pub(super) fn sentences(&self, bounds: &Bounds) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.lanes_cut > 0 {
            sentences.push(format!(
                "{} lanes end early: a record holds {} spans in all and {} per lane",
                self.lanes_cut, bounds.spans, bounds.spans_per_lane
            ));
        }
        if self.lanes_left_out > 0 {
            sentences.push(format!(
                "some nodes, GPUs or pods are left out: a record holds {} of them",
                bounds.lanes
            ));
        }
        if self.markers_left_out > 0 {
            sentences.push(format!(
                "{} markers are left out: a record holds {}",
                self.markers_left_out, bounds.markers
            ));
        }
        if self.samples_left_out > 0 {
            sentences.push(format!(
                "{} changes of memory use are left out: a record holds {}",
                self.samples_left_out, bounds.samples
            ));
        }
        sentences
    }
}
