//! The loop: next event → journal → core → view → actions, in production's order.

use std::sync::Arc;

use plugin_core::event::Event;
use plugin_core::time::Time;

use super::super::engine::Context;
use super::super::happening::What;
use super::super::host::Host;
use super::super::latency;
use super::{Exit, Shell};

impl Shell {
    /// The loop takes the next event; a time that has come goes first.
    pub(in super::super) fn wakes(&mut self, cx: &mut Context<'_>, host: &mut Host) -> Option<Exit> {
        self.awake = false;
        let event = if self.is_due(cx) { Event::Timeout } else { self.queue.pop_front()? };
        let exit = self.step(cx, host, event);
        if exit.is_none() && !self.queue.is_empty() && !self.awake {
            self.awake = true;
            cx.after(latency::LOOP, What::PluginWakes(self.life));
        }
        exit
    }

    /// The time that the core asked for has come, unless it asked for another meanwhile.
    pub(in super::super) fn due(&mut self, cx: &mut Context<'_>, host: &mut Host) -> Option<Exit> {
        self.armed = None;
        if self.is_due(cx) {
            return self.step(cx, host, Event::Timeout);
        }
        self.arm(cx);
        None
    }

    fn is_due(&self, cx: &Context<'_>) -> bool {
        self.core.poll_timeout().is_some_and(|at| at <= self.time(cx))
    }

    fn time(&self, cx: &Context<'_>) -> Time {
        Time::from_nanos(cx.now() - self.began)
    }

    /// One event, all its actions.
    fn step(&mut self, cx: &mut Context<'_>, host: &mut Host, event: Event) -> Option<Exit> {
        let now = self.time(cx);
        self.journal.event(now, &event);
        self.core.handle(now, event);
        let mut actions = Vec::new();
        // ends with the actions of one event
        while let Some(action) = self.core.poll_action() {
            self.journal.action(now, &action);
            actions.push(action);
        }
        self.publish(cx);
        let mut exit = None;
        for action in actions {
            exit = exit.or(self.perform(cx, host, action));
        }
        if exit.is_none() {
            self.arm(cx);
        }
        exit
    }

    /// Before the actions, so that a server that opens answers from the view that asked for it.
    fn publish(&mut self, cx: &mut Context<'_>) {
        let view = self.core.view();
        if Arc::ptr_eq(&view, &self.view) {
            return;
        }
        self.view = view;
        self.send_lists(cx);
        cx.show();
    }

    /// Asks to be woken at the time that the core asks for.
    fn arm(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.core.poll_timeout() else {
            return;
        };
        // a time that is over must not stop the clock
        let at = (self.began + at.as_nanos()).max(cx.now() + latency::LOOP.least);
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            cx.at(at, What::PluginDue(self.life));
        }
    }
}
