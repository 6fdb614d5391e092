//! Turns snapshots of the world into spans, because a run is looked at far more often than it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::snapshot::{self, GpuSeen};
use super::{
    Failure, GpuLane, GpuWas, Header, Marker, MemoryTrack, NodeLane, NodeWas, PodLane, PodWas, Span, Timeline,
    VERSION,
};

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
        Bounds {
            spans: 100_000,
            spans_per_lane: 5_000,
            lanes: 25_000,
            markers: 5_000,
            samples: 200_000,
        }
    }
}

/// The most lines of evidence of a failure.
const EVIDENCE_LINES_MAX: usize = 400;

/// Records a run. Times that go backwards count as the latest time seen.
#[derive(Debug, Default)]
pub struct Recorder {
    bounds: Bounds,
    now: f64,
    nodes: BTreeMap<String, NodeTrack>,
    pods: Vec<PodTrack>,
    pod_at: BTreeMap<String, usize>,
    markers: Vec<Marker>,
    room: Room,
}

#[derive(Debug, Default)]
struct NodeTrack {
    track: Track<NodeWas>,
    gpus: BTreeMap<String, GpuTrack>,
}

#[derive(Debug, Default)]
struct GpuTrack {
    index: u32,
    track: Track<GpuWas>,
    memory: Option<MemoryTrack>,
}

#[derive(Debug, Default)]
struct PodTrack {
    name: String,
    asks: BTreeMap<String, u64>,
    track: Track<PodWas>,
    seen: bool,
}

/// What was used of the bounds, and what was left out.
#[derive(Debug, Default)]
struct Room {
    spans: usize,
    lanes: usize,
    samples: usize,
    lanes_cut: usize,
    lanes_left_out: usize,
    markers_left_out: usize,
    samples_left_out: usize,
}

impl Recorder {
    /// A recorder with other bounds than the default.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Recorder {
            bounds,
            ..Recorder::default()
        }
    }

    /// The world at a time, in the shape of [`crate::world::World`] as JSON.
    pub fn see(&mut self, at: Duration, world: &Value) {
        let at = self.advance(at);
        let nodes = world["nodes"].as_object();
        for (name, lane) in &mut self.nodes {
            if nodes.is_none_or(|nodes| !nodes.contains_key(name)) {
                lane.gone(at);
            }
        }
        for (name, view) in nodes.into_iter().flatten() {
            self.node(at, name, view, &world["pods"]);
        }
        for (name, view) in world["pods"].as_object().into_iter().flatten() {
            self.pod(at, name, view);
        }
        for pod in &mut self.pods {
            if !std::mem::take(&mut pod.seen) {
                pod.track.close(at);
            }
        }
    }

    /// Something that happened or was demanded; see [`Marker`]. Markers may come in any order.
    pub fn mark(&mut self, mut marker: Marker) {
        if self.markers.len() >= self.bounds.markers {
            self.room.markers_left_out += 1;
            return;
        }
        marker.text = snapshot::cut(&marker.text);
        marker.details = marker.details.as_deref().map(snapshot::cut);
        marker.at = rounded(marker.at);
        marker.until = marker.until.map(rounded);
        self.now = self.now.max(marker.until.unwrap_or(marker.at));
        self.markers.push(marker);
    }

    /// What was marked so far.
    pub fn markers(&self) -> &[Marker] {
        &self.markers
    }

    /// Ends the record. The failure's nodes, pods and GPUs are found in its evidence.
    pub fn finish(mut self, header: Header, failure: Option<Failure>) -> Timeline {
        let end = self.now;
        self.markers.sort_by(|a, b| a.at.total_cmp(&b.at).then(a.step.cmp(&b.step)));
        let nodes: Vec<NodeLane> = self.nodes.into_iter().map(|(name, lane)| lane.ended(name, end)).collect();
        let pods = self.pods.into_iter().map(|pod| pod.ended(end)).collect::<Vec<_>>();
        let truncated = self.room.sentences(&self.bounds);
        let failure = failure.map(|failure| located(failure, &nodes, &pods));
        Timeline {
            version: VERSION,
            header,
            end,
            nodes,
            pods,
            markers: self.markers,
            failure,
            truncated,
        }
    }

    fn advance(&mut self, at: Duration) -> f64 {
        self.now = self.now.max(rounded(at.as_secs_f64()));
        self.now
    }

    fn node(&mut self, at: f64, name: &str, view: &Value, pods: &Value) {
        if !self.nodes.contains_key(name) {
            if !self.room.lane(&self.bounds) {
                return;
            }
            self.nodes.insert(name.to_owned(), NodeTrack::default());
        }
        let Some(lane) = self.nodes.get_mut(name) else {
            return;
        };
        lane.track.see(at, snapshot::node(view), &mut self.room, &self.bounds);
        let seen = snapshot::gpus(name, view, pods);
        for (uuid, gpu) in &mut lane.gpus {
            if !seen.iter().any(|seen| seen.uuid == *uuid) {
                gpu.track.see(at, lost(), &mut self.room, &self.bounds);
            }
        }
        for seen in seen {
            if !lane.gpus.contains_key(&seen.uuid) && !self.room.lane(&self.bounds) {
                continue;
            }
            let gpu = lane.gpus.entry(seen.uuid.clone()).or_insert_with(|| GpuTrack {
                index: seen.index,
                ..GpuTrack::default()
            });
            gpu.see(at, seen, &mut self.room, &self.bounds);
        }
    }

    fn pod(&mut self, at: f64, name: &str, view: &Value) {
        let known = self.pod_at.get(name).copied();
        let index = match known {
            Some(index) => index,
            None if !self.room.lane(&self.bounds) => return,
            None => {
                self.pods.push(PodTrack {
                    name: name.to_owned(),
                    ..PodTrack::default()
                });
                self.pod_at.insert(name.to_owned(), self.pods.len() - 1);
                self.pods.len() - 1
            }
        };
        if let Some(pod) = self.pods.get_mut(index) {
            let (was, asks) = snapshot::pod(view);
            pod.seen = true;
            pod.asks = asks;
            pod.track.see(at, was, &mut self.room, &self.bounds);
        }
    }
}

/// A GPU that the driver does not list any more.
fn lost() -> GpuWas {
    GpuWas {
        state: "lost".to_owned(),
        ..GpuWas::default()
    }
}

impl NodeTrack {
    fn gone(&mut self, at: f64) {
        self.track.close(at);
        for gpu in self.gpus.values_mut() {
            gpu.track.close(at);
        }
    }

    fn ended(self, name: String, end: f64) -> NodeLane {
        let mut gpus: Vec<GpuLane> = self
            .gpus
            .into_iter()
            .map(|(uuid, gpu)| GpuLane {
                uuid,
                index: gpu.index,
                spans: gpu.track.ended(end),
                memory: gpu.memory,
            })
            .collect();
        gpus.sort_by(|a, b| a.index.cmp(&b.index).then(a.uuid.cmp(&b.uuid)));
        NodeLane {
            name,
            spans: self.track.ended(end),
            gpus,
        }
    }
}

impl GpuTrack {
    fn see(&mut self, at: f64, mut seen: GpuSeen, room: &mut Room, bounds: &Bounds) {
        // A node may announce its next number of replicas while this GPU still plays its old role.
        if let Some(before) = self.track.spans.last().map(|span| &span.is)
            && before.role == seen.was.role
            && before.strategy == seen.was.strategy
            && seen.was.state != "settled"
        {
            seen.was.replicas = seen.was.replicas.max(before.replicas);
        }
        self.track.see(at, seen.was, room, bounds);
        let Some((used, total)) = seen.memory else {
            return;
        };
        let track = self.memory.get_or_insert_default();
        track.total = total;
        if track.used.last().is_none_or(|(_, last)| *last != used) {
            if room.samples >= bounds.samples {
                room.samples_left_out += 1;
                return;
            }
            room.samples += 1;
            track.used.push((at, used));
        }
    }
}

impl PodTrack {
    fn ended(self, end: f64) -> PodLane {
        PodLane {
            name: self.name,
            asks: self.asks,
            spans: self.track.ended(end),
        }
    }
}

/// The spans of one lane; the last one is still going on while `open`.
#[derive(Debug)]
struct Track<T> {
    spans: Vec<Span<T>>,
    open: bool,
    full: bool,
}

impl<T> Default for Track<T> {
    fn default() -> Self {
        Track {
            spans: Vec::new(),
            open: false,
            full: false,
        }
    }
}

impl<T: PartialEq> Track<T> {
    fn see(&mut self, at: f64, is: T, room: &mut Room, bounds: &Bounds) {
        if self.full || (self.open && self.spans.last().is_some_and(|last| last.is == is)) {
            return;
        }
        self.close(at);
        if self.spans.len() >= bounds.spans_per_lane || room.spans >= bounds.spans {
            self.full = true;
            room.lanes_cut += 1;
            return;
        }
        room.spans += 1;
        self.spans.push(Span { from: at, to: at, is });
        self.open = true;
    }

    fn close(&mut self, at: f64) {
        if std::mem::take(&mut self.open)
            && let Some(last) = self.spans.last_mut()
        {
            last.to = at;
        }
    }

    fn ended(mut self, end: f64) -> Vec<Span<T>> {
        self.close(end);
        self.spans
    }
}

impl Room {
    fn lane(&mut self, bounds: &Bounds) -> bool {
        if self.lanes >= bounds.lanes {
            self.lanes_left_out += 1;
            return false;
        }
        self.lanes += 1;
        true
    }

    fn sentences(&self, bounds: &Bounds) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.lanes_cut > 0 {
            sentences.push(format!(
                "{} lanes end early: a record holds {} spans in all and {} per lane",
                self.lanes_cut, bounds.spans, bounds.spans_per_lane
            ));
        }
        if self.lanes_left_out > 0 {
            sentences.push(format!("some nodes, GPUs or pods are left out: a record holds {} of them", bounds.lanes));
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

/// Fills in which nodes, pods and GPUs the evidence names.
fn located(mut failure: Failure, nodes: &[NodeLane], pods: &[PodLane]) -> Failure {
    if failure.evidence.len() > EVIDENCE_LINES_MAX {
        let more = failure.evidence.len() - EVIDENCE_LINES_MAX;
        failure.evidence.truncate(EVIDENCE_LINES_MAX);
        failure.evidence.push(format!("… and {more} more lines"));
    }
    let text = failure.evidence.join("\n");
    for node in nodes {
        let mut named = names(&text, "nodes.", &node.name);
        for gpu in &node.gpus {
            let place = format!("{}.gpus.{}", node.name, gpu.index);
            if text.contains(&gpu.uuid) || names(&text, "nodes.", &place) {
                failure.gpus.push(gpu.uuid.clone());
                named = true;
            }
        }
        if named {
            failure.nodes.push(node.name.clone());
        }
    }
    failure.pods = pods.iter().filter(|pod| names(&text, "pods.", &pod.name)).map(|pod| pod.name.clone()).collect();
    failure
}

/// Whether a text names an object: after its section, in backticks, or as a word of its own of at least two letters.
fn names(text: &str, section: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + name.len()..).unwrap_or_default().chars().next();
        let ends = after.is_none_or(|c| !(c.is_alphanumeric() || c == '-' || c == '_' || c == '/'));
        let starts = before.ends_with(section)
            || before.ends_with('`')
            || (name.len() > 1 && before.chars().next_back().is_none_or(|c| c.is_whitespace() || "\"[,(".contains(c)));
        starts && ends
    })
}

/// Seconds to the microsecond, which is finer than anything that a report shows.
fn rounded(seconds: f64) -> f64 {
    (seconds.max(0.0) * 1e6).round() / 1e6
}
