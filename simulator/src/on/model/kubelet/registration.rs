//! How plugins come and go: Register with its dial-back, the lists of a stream, and a stream's end.

use fake_cluster::kubelet::ledger::{Device, PluginOptions};

use super::super::engine::Context;
use super::super::happening::{Devices, StreamId, What};
use super::super::host::Host;
use super::super::latency;
use super::super::message::{Dial, Register};
use super::{Connection, Kubelet};
use crate::invariants::count_by_gpu;

/// The API version that plugins name (device plugin API of Kubernetes).
const API_VERSION: &str = "v1beta1";
/// What the plugin says of itself when it is asked.
const OPTIONS: PluginOptions = PluginOptions { pre_start_required: false, preferred_allocation: true };

impl Kubelet {
    /// A Register call arrives from a plugin process.
    pub(in super::super) fn register_arrives(&mut self, cx: &mut Context<'_>, call: Register) {
        let (kubelet, now) = (self.life, cx.now());
        let busy = u64::try_from(self.timers.registration.as_nanos()).unwrap_or(u64::MAX);
        let Some(running) = &mut self.running else {
            let why = "the kubelet's socket does not accept: Connection refused (os error 111)";
            return answer(cx, call, Err(why.to_owned()));
        };
        match running.ledger.register(API_VERSION, call.resource.as_str()) {
            Err(refusal) => answer(cx, call, Err(refused(&refusal.to_string()))),
            Ok(client) if running.ledger.profile().socket_path_is_authority => {
                // every plugin of this stage is ours, and refuses the call that follows
                running.ledger.connect_failed(client, call.resource.as_str());
                *self.registrations.entry(call.resource.to_string()).or_default() += 1;
                answer(cx, call, Ok(()));
            }
            Ok(client) if busy > latency::CALL_TIME_MAX => {
                running.ledger.connect_failed(client, call.resource.as_str());
                let plugin = call.plugin;
                let late = "the kubelet did not answer `Register` within 10s".to_owned();
                let told = What::PluginTold(plugin, Box::new(call.answered(Err(late))));
                cx.at(now + latency::CALL_TIME_MAX, told);
            }
            Ok(client) => {
                running.registering.push(call.clone());
                let until = now + busy + latency::DIAL_TIME_MAX;
                let dial = What::Dials(Box::new(Dial { kubelet, call, client, until }));
                match busy {
                    0 => cx.after(latency::SOCKET, dial),
                    busy => cx.at(now + busy, dial),
                }
            }
        }
    }

    /// The plugin has hung up before its registration was answered.
    pub(in super::super) fn forgets(&mut self, dial: &Dial) {
        if let Some(running) = self.living(dial.kubelet) {
            running.ledger.connect_failed(dial.client, dial.call.resource.as_str());
        }
    }

    /// Dials the plugin back and asks for its options, or gives up.
    pub(in super::super) fn dials(&mut self, cx: &mut Context<'_>, host: &Host, dial: Dial) {
        let now = cx.now();
        // one that has stopped has broken the call off
        let Some(running) = self.living(dial.kubelet) else { return };
        let socket = host.sockets.get(&dial.call.endpoint);
        let server = socket.map(|socket| socket.server).filter(|server| host.accepting.contains(server));
        if server.is_some() || now >= dial.until {
            running.registering.retain(|call| !call.is(&dial.call));
        }
        match server {
            Some(server) => {
                running.ledger.connected(dial.client, dial.call.resource.as_str(), OPTIONS);
                let connection =
                    Connection { server, resource: dial.call.resource.to_string(), streaming: true };
                running.connections.insert(dial.client, connection);
                *self.registrations.entry(dial.call.resource.to_string()).or_default() += 1;
                let stream = StreamId { kubelet: dial.kubelet, client: dial.client, server };
                cx.after(latency::SOCKET, What::StreamAsked(stream));
                answer(cx, dial.call, Ok(()));
                cx.show();
            }
            None if now >= dial.until => {
                running.ledger.connect_failed(dial.client, dial.call.resource.as_str());
                let why = "failed to dial device plugin: context deadline exceeded";
                answer(cx, dial.call, Err(refused(why)));
            }
            None => cx.after(latency::DIAL_AGAIN, What::Dials(Box::new(dial))),
        }
    }

    /// A list arrives; `true` when its stream is still read.
    pub(in super::super) fn list_arrives(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        devices: &Devices,
    ) -> bool {
        let Some(running) = self.living(stream.kubelet) else {
            return false;
        };
        let streaming = running.connections.get(&stream.client).filter(|connection| connection.streaming);
        let Some(resource) = streaming.map(|connection| connection.resource.clone()) else {
            return false;
        };
        let list: Vec<Device> = devices.iter().flat_map(|devices| devices.values()).map(device).collect();
        running.ledger.list_received(&resource, &list);
        let counted = running.ledger.lists().get(&resource).map(count_by_gpu).unwrap_or_default();
        running.lists.insert(resource.clone(), (stream.client, list.len() as u64));
        self.lists.insert(resource, counted);
        cx.api.changes.list(cx.node);
        cx.show();
        true
    }

    /// A stream ended: the kubelet disconnects a plugin, which in 1.36 may be another one.
    pub(in super::super) fn stream_ends(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        let now = cx.now();
        let Some(running) = self.living(stream.kubelet) else {
            return;
        };
        let Some(ended) = running.connections.get_mut(&stream.client) else {
            return;
        };
        if !std::mem::replace(&mut ended.streaming, false) {
            return;
        }
        let resource = ended.resource.clone();
        let age = running.age(now);
        let disconnected = running.ledger.stream_ended(stream.client, &resource, age);
        if let Some(connection) = disconnected.and_then(|client| running.connections.remove(&client))
            && let Some(client) = disconnected
            && connection.streaming
        {
            let other = StreamId { kubelet: stream.kubelet, client, server: connection.server };
            cx.after(latency::SOCKET, What::StreamLeft(other));
        }
        let (connections, ledger) = (&mut running.connections, &running.ledger);
        connections.retain(|client, connection| connection.streaming || ledger.is_referenced(*client));
        cx.show();
    }
}

fn answer(cx: &mut Context<'_>, call: Register, result: Result<(), String>) {
    let plugin = call.plugin;
    cx.after(latency::SOCKET, What::PluginTold(plugin, Box::new(call.answered(result))));
}

/// The kubelet ends, and its calls with it.
pub(super) fn broken_off(cx: &mut Context<'_>, calls: Vec<Register>) {
    for call in calls {
        answer(cx, call, Err("the kubelet's connection broke during `Register`".to_owned()));
    }
}

fn refused(message: &str) -> String {
    format!("the kubelet refused `Register`: Unknown: {message}")
}

fn device(device: &plugin_core::view::Device) -> Device {
    Device {
        id: device.id.clone(),
        healthy: device.healthy,
        numa_nodes: device.numa_node.map(|node| vec![i64::from(node)]),
    }
}

/// A kubelet's own socket in a directory without any other.
pub(super) fn make_socket(host: &mut Host, now: u64) {
    host.sockets.clear();
    host.kubelet_socket = Some(host.new_identity());
    host.kubelet_socket_made = now;
}
