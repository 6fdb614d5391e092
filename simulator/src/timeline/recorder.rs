//! Turns snapshots of the world into spans, because a run is looked at far more often than it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::evidence::located;
use super::snapshot::{self, GpuSeen};
pub use super::track::Bounds;
use super::track::{Room, Track};
use super::{
    Failure, GpuLane, GpuWas, Header, Marker, MemoryTrack, NodeLane, NodeWas, PodLane, PodWas, Timeline,
    VERSION,
};

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
    /// Its role and replicas when it was last settled.
    settled_as: Option<(String, u32)>,
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

impl Recorder {
    /// A recorder with other bounds than the default.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Recorder { bounds, ..Recorder::default() }
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
        Timeline { version: VERSION, header, end, nodes, pods, markers: self.markers, failure, truncated }
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
            let gpu = lane
                .gpus
                .entry(seen.uuid.clone())
                .or_insert_with(|| GpuTrack { index: seen.index, ..GpuTrack::default() });
            gpu.see(at, seen, &mut self.room, &self.bounds);
        }
    }

    fn pod(&mut self, at: f64, name: &str, view: &Value) {
        let known = self.pod_at.get(name).copied();
        let index = match known {
            Some(index) => index,
            None if !self.room.lane(&self.bounds) => return,
            None => {
                self.pods.push(PodTrack { name: name.to_owned(), ..PodTrack::default() });
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
    GpuWas { state: "lost".to_owned(), ..GpuWas::default() }
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
                there: gpu.track.there,
                spans: gpu.track.ended(end),
                memory: gpu.memory,
            })
            .collect();
        gpus.sort_by(|a, b| a.index.cmp(&b.index).then(a.uuid.cmp(&b.uuid)));
        NodeLane { name, spans: self.track.ended(end), gpus }
    }
}

impl GpuTrack {
    /// A GPU that is not settled is divided as when it last was: a node announces its next number of replicas while a
    /// GPU still plays its old role, and nobody says anything while the plugin is away.
    fn divide(&mut self, now: &mut GpuWas) {
        if now.state == "settled" {
            self.settled_as = now.role.clone().map(|role| (role, now.replicas));
        } else if let Some((role, replicas)) = &self.settled_as
            && (now.role.as_ref() == Some(role) || (now.role.is_none() && !now.holders.is_empty()))
        {
            now.replicas = now.replicas.max(*replicas);
        }
    }

    fn see(&mut self, at: f64, mut seen: GpuSeen, room: &mut Room, bounds: &Bounds) {
        self.divide(&mut seen.was);
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
        PodLane { name: self.name, asks: self.asks, there: self.track.there, spans: self.track.ended(end) }
    }
}

/// Seconds to the microsecond, which is finer than anything that a report shows.
fn rounded(seconds: f64) -> f64 {
    (seconds.max(0.0) * 1e6).round() / 1e6
}
