//! Register: one call to the kubelet, and what tells a new kubelet from the one that was registered with.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use plugin_api::deviceplugin::registration_client::RegistrationClient;
use plugin_api::deviceplugin::{DevicePluginOptions, RegisterRequest};
use plugin_api::{DEVICE_PLUGIN_VERSION, KUBELET_SOCKET};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use super::arguments::Settings;
use super::behaviour::Way;

/// How long a patient plugin waits for the answer; a kubelet that cannot dial back needs longer, and another try is better.
const PATIENCE: Duration = Duration::from_secs(2);

/// Calls Register once.
pub(crate) async fn call(settings: &Settings) -> Result<(), String> {
    let behaviour = &settings.behaviour;
    let patience = match behaviour.has(Way::Impatient) {
        true => behaviour.time(Way::Impatient),
        false => PATIENCE,
    };
    let answered = tokio::time::timeout(patience, without_deadline(settings)).await;
    answered.unwrap_or_else(|_| Err(format!("the kubelet did not answer within {patience:?}")))
}

async fn without_deadline(settings: &Settings) -> Result<(), String> {
    let socket = settings.dir.join(KUBELET_SOCKET);
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    let channel = channel.map_err(|error| format!("the kubelet cannot be reached: {error:?}"))?;
    let request = RegisterRequest {
        version: DEVICE_PLUGIN_VERSION.to_owned(),
        endpoint: settings.socket.clone(),
        resource_name: settings.resource.clone(),
        options: Some(DevicePluginOptions::default()),
    };
    let answer = RegistrationClient::new(channel).register(request).await;
    answer.map(|_| ()).map_err(|status| format!("the kubelet refused: {}", status.message()))
}

/// What a socket is on disk; another kubelet's is another one.
pub(crate) fn identity(socket: &Path) -> Option<(u64, i64, i64)> {
    let data = std::fs::metadata(socket).ok()?;
    Some((data.ino(), data.ctime(), data.ctime_nsec()))
}
