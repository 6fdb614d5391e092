//! The virtual clock: a heap of what will happen, ordered by time, and the seed that draws how long everything takes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::happening::{Happening, What};
use super::latency::Latency;
use super::random::Random;

/// What lies in the heap; happenings themselves stay in their slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: u64,
    /// Drawn, so that the seed decides the order of simultaneous happenings.
    tie: u32,
    sequence: u64,
    slot: u32,
}

/// Time, randomness and the future.
#[derive(Debug)]
pub(super) struct Engine {
    now: u64,
    sequence: u64,
    random: Random,
    future: BinaryHeap<Reverse<Due>>,
    slots: Vec<Option<Happening>>,
    free: Vec<u32>,
}

/// A channel that keeps its order: what was put in later comes out later.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Channel {
    last: u64,
}

impl Engine {
    /// Nothing has happened and nothing will.
    pub(super) fn new(seed: u64) -> Engine {
        Engine {
            now: 0,
            sequence: 0,
            random: Random::new(seed),
            future: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// How many happenings have been put in so far.
    pub(super) fn count(&self) -> u64 {
        self.sequence
    }

    /// A number drawn for something else than a latency.
    pub(super) fn draw(&mut self) -> u64 {
        self.random.next()
    }

    /// A duration in nanoseconds.
    pub(super) fn draw_from(&mut self, latency: Latency) -> u64 {
        self.random.between(latency.least, latency.most)
    }

    /// Happens after a drawn time.
    pub(super) fn after(&mut self, latency: Latency, happening: Happening) {
        let at = self.now + self.draw_from(latency);
        self.at(at, happening);
    }

    /// Happens after a drawn time, and after all that the channel holds.
    pub(super) fn through(&mut self, channel: &mut Channel, latency: Latency, happening: Happening) {
        channel.last = (self.now + self.draw_from(latency)).max(channel.last + 1);
        self.at(channel.last, happening);
    }

    /// Happens at this time, or now if that is over.
    pub(super) fn at(&mut self, at: u64, happening: Happening) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(happening);
        }
        self.sequence += 1;
        let tie = (self.random.next() >> 32) as u32;
        self.future.push(Reverse(Due { at: at.max(self.now), tie, sequence: self.sequence, slot }));
    }

    /// The next happening up to `limit`, whose time it becomes; without one the time becomes `limit`.
    pub(super) fn next(&mut self, limit: u64) -> Option<Happening> {
        if self.future.peek().is_none_or(|Reverse(due)| due.at > limit) {
            self.now = self.now.max(limit);
            return None;
        }
        let Reverse(due) = self.future.pop()?;
        self.now = due.at;
        self.free.push(due.slot);
        self.slots.get_mut(due.slot as usize)?.take()
    }
}

/// What a part of one node may reach beyond itself.
pub(super) struct Context<'c> {
    /// Time and future.
    pub(super) engine: &'c mut Engine,
    /// The API server.
    pub(super) api: &'c mut super::api::Api,
    /// The node's number.
    pub(super) node: usize,
}

impl Context<'_> {
    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        self.engine.now()
    }

    /// Happens on this node after a drawn time.
    pub(super) fn after(&mut self, latency: Latency, what: What) {
        let node = self.node;
        self.engine.after(latency, Happening::Node { node, what });
    }

    /// Happens on this node after a drawn time, and after all that the channel holds.
    pub(super) fn through(&mut self, channel: &mut Channel, latency: Latency, what: What) {
        let node = self.node;
        self.engine.through(channel, latency, Happening::Node { node, what });
    }

    /// A request reaches the API server.
    pub(super) fn ask_api(&mut self, what: What) {
        let at = self.now() + self.engine.draw_from(super::latency::API) + self.api.trouble.delay;
        self.at(at, what);
    }

    /// Happens on this node at this time.
    pub(super) fn at(&mut self, at: u64, what: What) {
        let node = self.node;
        self.engine.at(at, Happening::Node { node, what });
    }

    /// Something that can be seen of this node has changed.
    pub(super) fn show(&mut self) {
        self.api.changes.node(self.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Latency = Latency { least: 0, most: 1_000 };

    fn order(seed: u64, through_channel: bool) -> Vec<usize> {
        let mut engine = Engine::new(seed);
        let mut channel = Channel::default();
        for node in 0..20 {
            let happening = Happening::Node { node, what: What::KubeletStarts };
            if through_channel {
                engine.through(&mut channel, WIDE, happening);
            } else {
                engine.after(WIDE, happening);
            }
        }
        let mut order = Vec::new();
        while let Some(Happening::Node { node, .. }) = engine.next(5_000) {
            order.push(node);
        }
        assert_eq!(engine.now(), 5_000, "time passes although nothing happens");
        order
    }

    #[test]
    fn the_seed_decides_who_comes_first() {
        assert_eq!(order(1, false), order(1, false));
        assert_ne!(order(1, false), order(2, false));
    }

    #[test]
    fn a_channel_keeps_its_order_with_every_seed() {
        for seed in 0..50 {
            assert_eq!(order(seed, true), (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_happens_before_its_time() {
        let mut engine = Engine::new(1);
        engine.at(100, Happening::Schedule);
        assert!(engine.next(99).is_none());
        assert!(matches!(engine.next(100), Some(Happening::Schedule)));
        assert_eq!((engine.now(), engine.count()), (100, 1));
    }
}
