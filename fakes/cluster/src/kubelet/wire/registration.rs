//! Registration, and the stream that follows it: the kubelet calls back before it answers, and the end of a stream
//! is how it learns that a plugin is gone.

use std::path::PathBuf;
use std::sync::Arc;

use plugin_api::deviceplugin::registration_server::Registration;
use plugin_api::deviceplugin::{Empty, RegisterRequest};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::authority;
use super::calls::PluginClient;
use super::log::WireEvent;
use super::state::{Connection, Shared, State};
use crate::kubelet::ledger::{CLIENTS_MAX, ClientId, Device, RegisterRefusal};

/// The kubelet's Registration service.
pub(super) struct RegistrationService {
    pub(super) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let resource = request.resource_name.clone();
        let mut stopped = self.shared.stopped();
        let outcome = tokio::select! {
            outcome = self.register_plugin(&request) => outcome,
            () = stopped.wait() => Err("the kubelet is stopping".to_owned()),
        };
        let error = outcome.as_ref().err().cloned();
        self.shared.log(WireEvent::RegisterAnswered { resource, error });
        outcome.map(|()| Response::new(Empty {})).map_err(Status::unknown)
    }
}

impl RegistrationService {
    async fn register_plugin(&self, request: &RegisterRequest) -> Result<(), String> {
        let resource = &request.resource_name;
        self.shared.log(WireEvent::RegisterReceived {
            resource: resource.clone(),
            endpoint: request.endpoint.clone(),
            version: request.version.clone(),
        });
        let busy = self.shared.register_after();
        if !busy.is_zero() {
            tokio::time::sleep(busy).await;
        }
        let client = self.begin(request).map_err(|refusal| refusal.to_string())?;
        if !self.shared.profile().socket_path_is_authority {
            return self.connect(client, request).await;
        }
        let (later, request) = (RegistrationService { shared: Arc::clone(&self.shared) }, request.clone());
        tokio::spawn(async move {
            let mut stopped = later.shared.stopped();
            let why = tokio::select! {
                () = stopped.wait() => return,
                outcome = later.connect(client, &request) => outcome.err(),
            };
            if let Some(why) = why {
                later.shared.log(WireEvent::ConnectFailed { resource: request.resource_name, why });
            }
        });
        Ok(())
    }

    /// Dials the plugin back and begins to read its lists.
    async fn connect(&self, client: ClientId, request: &RegisterRequest) -> Result<(), String> {
        let resource = &request.resource_name;
        let attempt = Attempt { shared: &self.shared, client, resource, connected: false };
        let socket = self.socket(&request.endpoint);
        let plugin = PluginClient::dial(&socket, self.shared.dial_timeout()).await?;
        let no_options = |error| format!("failed to get device plugin options: {error}");
        if self.shared.profile().socket_path_is_authority {
            authority::offer_socket_path(&socket).await.map_err(no_options)?;
        }
        let options = plugin.options().await.map_err(no_options)?;
        let (close, closed) = oneshot::channel();
        attempt.succeed(|state| {
            state.ledger.connected(client, resource, options);
            let resource = resource.clone();
            let connection = Connection { plugin: plugin.clone(), resource, close, streaming: true };
            state.connections.insert(client, connection);
        });
        self.watch(client, resource.clone(), plugin, closed);
        Ok(())
    }

    fn begin(&self, request: &RegisterRequest) -> Result<ClientId, RegisterRefusal> {
        let mut state = self.shared.state();
        if state.connections.len() >= CLIENTS_MAX {
            return Err(RegisterRefusal::TooMany { max: CLIENTS_MAX });
        }
        state.ledger.register_at(&request.version, &request.resource_name, &request.endpoint)
    }

    /// An absolute path is joined below the directory, too.
    fn socket(&self, endpoint: &str) -> PathBuf {
        self.shared.device_plugins_dir().join(endpoint.trim_start_matches('/'))
    }

    fn watch(&self, client: ClientId, resource: String, plugin: PluginClient, closed: oneshot::Receiver<()>) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let mut stopped = shared.stopped();
            let why = tokio::select! {
                () = stopped.wait() => return,
                _ = closed => "closed by the kubelet".to_owned(),
                why = read_lists(&shared, &resource, &plugin) => why,
            };
            shared.stream_ended(client, &resource, why);
        });
    }
}

/// Reads list messages until the stream ends; returns why it did.
async fn read_lists(shared: &Shared, resource: &str, plugin: &PluginClient) -> String {
    let mut lists = match plugin.list_and_watch().await {
        Ok(lists) => lists,
        Err(error) => return error.to_string(),
    };
    loop {
        match lists.message().await {
            Ok(Some(list)) => {
                let devices: Vec<Device> = list.devices.iter().map(Device::from_api).collect();
                shared.list_received(resource, &devices);
            }
            Ok(None) => return "EOF".to_owned(),
            Err(status) => return plugin.error(&status).to_string(),
        }
    }
}

/// A registration that has begun: if it does not succeed, whatever the reason (also a plugin that hangs up), the
/// ledger learns that it failed.
struct Attempt<'a> {
    shared: &'a Shared,
    client: ClientId,
    resource: &'a str,
    connected: bool,
}

impl Attempt<'_> {
    fn succeed(mut self, connected: impl FnOnce(&mut State)) {
        connected(&mut self.shared.state());
        self.connected = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.connected {
            self.shared.state().ledger.connect_failed(self.client, self.resource);
        }
    }
}
