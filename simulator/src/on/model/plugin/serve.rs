//! The device plugin API of each resource: sockets, streams of lists, and answers from the published view.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::kubelet::ledger::{AllocateCall, CallError, PreferredCall};
use plugin_core::action::Severity;
use plugin_core::allocate::AllocateError;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;

use super::super::engine::{Channel, Context};
use super::super::happening::{Devices, ServerId, StreamId, What};
use super::super::host::{Host, Socket};
use super::super::latency;
use super::super::message::{Answer, Call, Request};
use super::Shell;

/// A server that accepts connections, until it is closed.
#[derive(Debug)]
pub(super) struct Server {
    resource: ResourceName,
    attempt: u64,
    endpoint: String,
    identity: u64,
    /// It was told that somebody removed the socket.
    lost: bool,
    streams: BTreeMap<StreamId, Stream>,
}

/// One ListAndWatch.
#[derive(Debug, Default)]
struct Stream {
    sent: Option<Devices>,
    /// A list is on its way: there is no room for another.
    under_way: bool,
    channel: Channel,
}

impl Shell {
    /// Serves a resource on a new socket; a server that it already has is closed first.
    pub(super) fn listen(
        &mut self,
        cx: &mut Context<'_>,
        host: &mut Host,
        resource: ResourceName,
        endpoint: String,
        attempt: u64,
    ) {
        self.close(cx, host, &resource);
        self.servers_made += 1;
        let number = self.servers_made;
        let identity = host.new_identity();
        let server = ServerId { life: self.life, number };
        host.sockets.insert(endpoint.clone(), Socket { identity, server });
        host.accepting.insert(server);
        self.by_resource.insert(resource.clone(), number);
        self.servers.insert(
            number,
            Server {
                resource: resource.clone(),
                attempt,
                endpoint: endpoint.clone(),
                identity,
                lost: false,
                streams: BTreeMap::new(),
            },
        );
        let event = Event::Listening { resource, endpoint, attempt };
        cx.after(latency::TASK, What::PluginTold(self.life, Box::new(event)));
        // the directory has changed: the plugin's own watch sees that, too
        let news = host.news(cx.now());
        cx.after(news, What::KubeletDirectoryChanged(self.life));
    }

    /// Ends a resource's streams without a word and removes its socket if it is still ours.
    /// Whether a Register call is about a resource that is served; others were given up.
    pub(in super::super) fn registers(&self, resource: &ResourceName) -> bool {
        self.by_resource.contains_key(resource)
    }

    pub(super) fn close(&mut self, cx: &mut Context<'_>, host: &mut Host, resource: &ResourceName) {
        let Some(number) = self.by_resource.remove(resource) else {
            return;
        };
        let Some(server) = self.servers.remove(&number) else {
            return;
        };
        let id = ServerId { life: self.life, number };
        host.accepting.remove(&id);
        let ours =
            host.sockets.get(&server.endpoint).is_some_and(|socket| socket.identity == server.identity);
        if ours {
            host.sockets.remove(&server.endpoint);
        }
        for stream in server.streams.into_keys() {
            cx.after(latency::SOCKET, What::StreamEnds(stream));
        }
    }

    /// The process died: its sockets stay on disk, its connections end.
    pub(in super::super) fn die(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        for (number, server) in std::mem::take(&mut self.servers) {
            host.accepting.remove(&ServerId { life: self.life, number });
            for stream in server.streams.into_keys() {
                cx.after(latency::SOCKET, What::StreamEnds(stream));
            }
        }
    }

    /// Servers whose socket somebody removed can never be dialled again.
    pub(super) fn report_losses(&mut self, cx: &mut Context<'_>, host: &Host) {
        for (number, server) in self.servers.iter_mut().filter(|(_, server)| !server.lost) {
            let there = host.sockets.get(&server.endpoint);
            if there.is_none_or(|socket| socket.identity != server.identity) {
                server.lost = true;
                let id = ServerId { life: self.life, number: *number };
                cx.after(latency::TASK, What::SocketLost(id));
            }
        }
    }

    /// A server that was not closed meanwhile tells that its socket is lost.
    pub(in super::super) fn socket_lost(&mut self, cx: &mut Context<'_>, id: ServerId) {
        let Some(server) = self.servers.get(&id.number) else {
            return;
        };
        let (resource, attempt) = (server.resource.clone(), server.attempt);
        self.warn(Severity::Warning, "the socket was removed by someone else".to_owned());
        self.post(cx, Event::StreamClosed { resource, attempt });
    }

    /// The kubelet opens ListAndWatch.
    pub(in super::super) fn stream_asked(&mut self, cx: &mut Context<'_>, id: StreamId) -> bool {
        let Some(server) = self.servers.get_mut(&id.server.number) else {
            return false;
        };
        server.streams.insert(id, Stream::default());
        let resource = server.resource.clone();
        self.post(cx, Event::StreamOpened { resource });
        self.send_lists(cx);
        true
    }

    /// The kubelet has left a stream.
    pub(in super::super) fn stream_left(&mut self, cx: &mut Context<'_>, id: StreamId) {
        let Some(server) = self.servers.get_mut(&id.server.number) else {
            return;
        };
        if server.streams.remove(&id).is_some() && server.streams.is_empty() {
            let (resource, attempt) = (server.resource.clone(), server.attempt);
            self.post(cx, Event::StreamClosed { resource, attempt });
        }
    }

    /// The kubelet took a list: there is room for the newest one.
    pub(in super::super) fn list_taken(&mut self, cx: &mut Context<'_>, id: StreamId) {
        let server = self.servers.get_mut(&id.server.number);
        if let Some(stream) = server.and_then(|server| server.streams.get_mut(&id)) {
            stream.under_way = false;
            self.send_lists(cx);
        }
    }

    /// Sends each stream its resource's list, if it changed and there is room.
    pub(super) fn send_lists(&mut self, cx: &mut Context<'_>) {
        for server in self.servers.values_mut() {
            if server.streams.is_empty() {
                continue;
            }
            let devices = self.view.devices(&server.resource);
            let devices = match &self.saboteur {
                None => devices,
                Some(saboteur) => saboteur.lists(devices),
            };
            for (id, stream) in &mut server.streams {
                let changed = stream.sent.as_ref().is_none_or(|before| is_changed(before, &devices));
                if changed && !stream.under_way {
                    stream.under_way = true;
                    stream.sent = Some(devices.clone());
                    let what = What::ListArrives(*id, devices.clone());
                    cx.through(&mut stream.channel, latency::SOCKET, what);
                }
            }
        }
    }

    /// Answers a call from the published view. An Allocate is put into the queue before its answer leaves.
    pub(in super::super) fn call_arrives(&mut self, cx: &mut Context<'_>, call: Call) {
        let server = self.servers.get(&call.server.number);
        let resource = server.map(|server| server.resource.clone());
        let answer = match (resource, call.request) {
            (None, request) => broken(&request),
            (Some(resource), Request::Preferred(call)) => Answer::Preferred(self.prefer(&resource, &call)),
            (Some(resource), Request::Allocate(call)) => Answer::Allocate(self.allocate(cx, resource, call)),
        };
        cx.after(latency::SOCKET, What::CallAnswered(call.kubelet, call.number, Box::new(answer)));
    }

    fn prefer(&self, resource: &ResourceName, call: &PreferredCall) -> Result<Vec<String>, CallError> {
        let size = usize::try_from(call.size).unwrap_or(0);
        let answer = self.view.prefer(resource, &call.available, &call.must_include, size);
        answer.map_err(|error| unknown(error.to_string()))
    }

    fn allocate(
        &mut self,
        cx: &mut Context<'_>,
        resource: ResourceName,
        call: AllocateCall,
    ) -> Result<plugin_core::allocate::Allocation, CallError> {
        let answer = self.view.allocate(&resource, &call.ids);
        let code = answer.as_ref().err().map_or("", code);
        let mut answer = answer.map_err(|error| error.to_string());
        if let (Some(saboteur), Ok(answer)) = (&self.saboteur, &mut answer) {
            saboteur.answers(answer);
        }
        let event = Event::Allocated {
            resource,
            ids: call.ids,
            view_generation: self.view.generation,
            refused: answer.as_ref().err().cloned(),
        };
        self.post(cx, event);
        answer.map_err(|message| CallError { code: code.to_owned(), message })
    }
}

/// As the production handlers answer.
fn code(error: &AllocateError) -> &'static str {
    match error {
        AllocateError::UnknownDevice { .. } | AllocateError::MoreThanOneShared { .. } => "Unknown",
        AllocateError::TooMany { .. } => "InvalidArgument",
        AllocateError::Unhealthy { .. } => "FailedPrecondition",
        AllocateError::NotServed { .. } => "Unavailable",
    }
}

/// What a call ends with whose server is gone.
pub(in super::super) fn broken(request: &Request) -> Answer {
    let error =
        CallError { code: "Unavailable".to_owned(), message: "error reading from server: EOF".to_owned() };
    match request {
        Request::Preferred(_) => Answer::Preferred(Err(error)),
        Request::Allocate(_) => Answer::Allocate(Err(error)),
    }
}

/// The code of a plain error in Go, which NVIDIA's plugin returns.
fn unknown(message: String) -> CallError {
    CallError { code: "Unknown".to_owned(), message }
}

/// The same `Arc` is the same list without a look inside.
fn is_changed(before: &Devices, now: &Devices) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => !Arc::ptr_eq(before, now) && before != now,
        (before, now) => before.is_some() != now.is_some(),
    }
}
