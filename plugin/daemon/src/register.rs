//! The Registration call: tells the kubelet that a resource is served. The kubelet dials back before it answers, so the
//! resource's server must accept connections already.

use std::path::Path;

use plugin_api::DEVICE_PLUGIN_VERSION;
use plugin_api::deviceplugin::registration_client::RegistrationClient;
use plugin_api::deviceplugin::{DevicePluginOptions, RegisterRequest};
use plugin_core::config::ResourceName;

use crate::dial::{self, CALL_TIME_MAX, CallError};

const CALL: &str = "Register";

/// Registers `endpoint`, a file name beside the kubelet's socket.
///
/// # Errors
/// The kubelet cannot be reached, refuses, or does not answer in [`CALL_TIME_MAX`].
pub(crate) async fn register(
    kubelet_socket: &Path,
    resource: &ResourceName,
    endpoint: &str,
) -> Result<(), CallError> {
    let request = RegisterRequest {
        version: DEVICE_PLUGIN_VERSION.to_owned(),
        endpoint: endpoint.to_owned(),
        resource_name: resource.to_string(),
        options: Some(options()),
    };
    let call = async {
        let channel = dial::unix(kubelet_socket).await?;
        let answer = RegistrationClient::new(channel).register(request).await;
        answer.map(|_| ()).map_err(|status| dial::refused(CALL, &status))
    };
    tokio::time::timeout(CALL_TIME_MAX, call).await.unwrap_or(Err(CallError::TooLate { call: CALL }))
}

/// What the plugin can do: it has preferences, and needs no call before a container starts.
pub(crate) fn options() -> DevicePluginOptions {
    DevicePluginOptions { pre_start_required: false, get_preferred_allocation_available: true }
}
