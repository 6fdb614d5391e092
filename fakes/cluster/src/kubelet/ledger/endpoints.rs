//! Who serves a resource: the kubelet keeps a table of connected plugins and a table of endpoints by resource name,
//! and the two drift apart when plugins overlap.

use std::collections::BTreeMap;
use std::time::Duration;

use super::names::{self, RegisterRefusal};
use super::{CLIENTS_MAX, Ledger};

/// One registration of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What a plugin said about itself when it registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginOptions {
    /// PreStartContainer must be called before each container start.
    pub pre_start_required: bool,
    /// GetPreferredAllocation may be called.
    pub preferred_allocation: bool,
}

/// Where calls for a resource go.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The registration; `None` for one that is known from the checkpoint only.
    pub(super) client: Option<ClientId>,
    /// `None` until a plugin registers with this kubelet process.
    pub(super) options: Option<PluginOptions>,
    /// Since when it is stopped.
    pub(super) stopped_at: Option<Duration>,
}

/// One of several plugins of a resource.
#[derive(Debug)]
struct Peer {
    client: ClientId,
    socket: String,
    options: PluginOptions,
}

/// Both tables.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    clients: BTreeMap<String, ClientId>,
    by_resource: BTreeMap<String, Endpoint>,
    /// Where there may be several: the plugins of a resource, the newest last.
    peers: BTreeMap<String, Vec<Peer>>,
    /// The sockets of registrations that are not connected yet.
    sockets: BTreeMap<ClientId, String>,
    /// What B7 would forget: the client that an unfinished registration replaced.
    replaced: BTreeMap<ClientId, Option<ClientId>>,
    issued: u64,
}

impl Endpoints {
    pub(super) fn get(&self, resource: &str) -> Option<&Endpoint> {
        self.by_resource.get(resource)
    }

    /// An endpoint that the checkpoint knows and nobody serves.
    pub(super) fn insert_stopped(&mut self, resource: &str, now: Duration) {
        let endpoint = Endpoint { client: None, options: None, stopped_at: Some(now) };
        self.by_resource.insert(resource.to_owned(), endpoint);
    }

    /// Whether the resource still counts: it has an endpoint that has not been stopped for too long.
    pub(super) fn counts(&self, resource: &str, now: Duration, grace: Duration) -> bool {
        self.get(resource).is_some_and(|endpoint| {
            endpoint.stopped_at.is_none_or(|stopped| now.saturating_sub(stopped) <= grace)
        })
    }

    pub(super) fn forget(&mut self, resource: &str) {
        self.by_resource.remove(resource);
    }

    fn has_peer(&self, resource: &str, socket: &str) -> bool {
        self.peers.get(resource).into_iter().flatten().any(|peer| peer.socket == socket)
    }

    /// A plugin leaves; the newest of those that stay takes over. False when none stays.
    fn leave(&mut self, client: ClientId, resource: &str) -> bool {
        let Some(peers) = self.peers.get_mut(resource) else { return false };
        peers.retain(|peer| peer.client != client);
        let Some(newest) = peers.last() else {
            self.peers.remove(resource);
            return false;
        };
        let endpoint =
            Endpoint { client: Some(newest.client), options: Some(newest.options), stopped_at: None };
        self.clients.insert(resource.to_owned(), newest.client);
        self.by_resource.insert(resource.to_owned(), endpoint);
        true
    }

    fn stop(&mut self, resource: &str, now: Duration) -> bool {
        let Some(endpoint) = self.by_resource.get_mut(resource) else {
            return false;
        };
        endpoint.stopped_at = Some(now);
        true
    }
}

impl Ledger {
    /// A plugin asks to register. On success the caller dials it, asks for its options, and reports
    /// [`Ledger::connected`] or [`Ledger::connect_failed`]. An earlier plugin is replaced without a word.
    pub fn register(&mut self, version: &str, resource: &str) -> Result<ClientId, RegisterRefusal> {
        self.register_at(version, resource, "")
    }

    /// The same for a kubelet that tells plugins of one resource apart by their sockets.
    pub fn register_at(
        &mut self,
        version: &str,
        resource: &str,
        socket: &str,
    ) -> Result<ClientId, RegisterRefusal> {
        names::check(version, resource)?;
        if self.endpoints.has_peer(resource, socket) {
            return Err(RegisterRefusal::AlreadyConnected { socket: socket.to_owned() });
        }
        if self.endpoints.clients.len() >= CLIENTS_MAX {
            return Err(RegisterRefusal::TooMany { max: CLIENTS_MAX });
        }
        self.endpoints.issued += 1;
        let client = ClientId(self.endpoints.issued);
        let earlier = self.endpoints.clients.insert(resource.to_owned(), client);
        self.endpoints.replaced.insert(client, earlier);
        self.endpoints.sockets.insert(client, socket.to_owned());
        Ok(client)
    }

    /// The plugin answered GetDevicePluginOptions: it serves the resource from here on. The caller opens its
    /// ListAndWatch and answers the registration.
    pub fn connected(&mut self, client: ClientId, resource: &str, options: PluginOptions) {
        self.endpoints.replaced.remove(&client);
        let socket = self.endpoints.sockets.remove(&client).unwrap_or_default();
        if self.profile.several_plugins_per_resource {
            let peers = self.endpoints.peers.entry(resource.to_owned()).or_default();
            peers.push(Peer { client, socket, options });
        }
        let endpoint = Endpoint { client: Some(client), options: Some(options), stopped_at: None };
        self.endpoints.by_resource.insert(resource.to_owned(), endpoint);
    }

    /// The plugin could not be dialled or did not tell its options.
    pub fn connect_failed(&mut self, client: ClientId, resource: &str) {
        let earlier = self.endpoints.replaced.remove(&client).flatten();
        self.endpoints.sockets.remove(&client);
        if self.profile.failed_registration_orphans_first {
            self.endpoints.clients.remove(resource);
            return;
        }
        if self.endpoints.clients.get(resource) == Some(&client) {
            match earlier {
                Some(earlier) => self.endpoints.clients.insert(resource.to_owned(), earlier),
                None => self.endpoints.clients.remove(resource),
            };
        }
    }

    /// A ListAndWatch stream ended. Returns the registration whose connection the kubelet closes in response: in
    /// 1.36 the *newest* of that resource, whichever stream it was; its devices turn unhealthy.
    pub fn stream_ended(&mut self, client: ClientId, resource: &str, now: Duration) -> Option<ClientId> {
        if self.endpoints.leave(client, resource) {
            return Some(client);
        }
        let current = *self.endpoints.clients.get(resource)?;
        if current != client && !self.profile.old_stream_end_disconnects_new {
            return None;
        }
        self.endpoints.clients.remove(resource);
        if self.endpoints.stop(resource, now) {
            self.devices.mark_all_unhealthy(resource);
        }
        Some(current)
    }

    /// Whether a call could still go to this registration.
    pub fn is_referenced(&self, client: ClientId) -> bool {
        self.endpoints.clients.values().any(|known| *known == client)
            || self.endpoints.peers.values().flatten().any(|peer| peer.client == client)
            || self.endpoints.by_resource.values().any(|endpoint| endpoint.client == Some(client))
    }
}
