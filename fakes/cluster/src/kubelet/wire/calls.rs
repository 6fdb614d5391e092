//! Calls to plugins: how they are dialled, and how their failures read in the words of Go's gRPC, which is what
//! pods' messages show.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use plugin_api::deviceplugin::device_plugin_client::DevicePluginClient;
use plugin_api::deviceplugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, Empty, PreStartContainerRequest, PreferredAllocationRequest,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::kubelet::ledger::{AllocateCall, CallError, PluginOptions, PreStartCall, PreferredCall};

/// First pause between two attempts to reach a plugin.
const DIAL_PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause; kubelet's gRPC starts at 1 s, a laboratory need not be that slow.
const DIAL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The authority that kubelets send since 1.26; servers built on `h2` refuse the socket's path.
const AUTHORITY_URI: &str = "http://localhost";

/// A connected plugin.
#[derive(Clone, Debug)]
pub(super) struct PluginClient {
    client: DevicePluginClient<Channel>,
    socket: PathBuf,
}

impl PluginClient {
    /// Connects, trying again until `timeout` is over.
    pub(super) async fn dial(socket: &Path, timeout: Duration) -> Result<PluginClient, String> {
        let attempts = async {
            let mut pause = DIAL_PAUSE_FIRST;
            loop {
                match connect(socket).await {
                    Ok(channel) => break channel,
                    Err(_refused) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(DIAL_PAUSE_MAX);
            }
        };
        let channel = tokio::time::timeout(timeout, attempts)
            .await
            .map_err(|_| "failed to dial device plugin: context deadline exceeded".to_owned())?;
        Ok(PluginClient { client: DevicePluginClient::new(channel), socket: socket.to_owned() })
    }

    pub(super) async fn options(&self) -> Result<PluginOptions, CallError> {
        let answer = self.client.clone().get_device_plugin_options(Empty {}).await;
        let options = answer.map_err(|status| self.error(&status))?.into_inner();
        Ok(PluginOptions {
            pre_start_required: options.pre_start_required,
            preferred_allocation: options.get_preferred_allocation_available,
        })
    }

    pub(super) async fn preferred(&self, call: &PreferredCall) -> Result<Vec<String>, CallError> {
        let request = ContainerPreferredAllocationRequest {
            available_device_i_ds: call.available.clone(),
            must_include_device_i_ds: call.must_include.clone(),
            allocation_size: call.size,
        };
        let request = PreferredAllocationRequest { container_requests: vec![request] };
        let answer = self.client.clone().get_preferred_allocation(request).await;
        let responses = answer.map_err(|status| self.error(&status))?.into_inner().container_responses;
        Ok(responses.into_iter().next().map(|response| response.device_i_ds).unwrap_or_default())
    }

    pub(super) async fn allocate(
        &self,
        call: &AllocateCall,
    ) -> Result<Vec<ContainerAllocateResponse>, CallError> {
        let request = ContainerAllocateRequest { devices_ids: call.ids.clone() };
        let request = AllocateRequest { container_requests: vec![request] };
        let answer = self.client.clone().allocate(request).await;
        Ok(answer.map_err(|status| self.error(&status))?.into_inner().container_responses)
    }

    pub(super) async fn pre_start(&self, call: &PreStartCall, timeout: Duration) -> Result<(), CallError> {
        let request = PreStartContainerRequest { devices_ids: call.ids.clone() };
        let mut client = self.client.clone();
        match tokio::time::timeout(timeout, client.pre_start_container(request)).await {
            Ok(answer) => answer.map(|_| ()).map_err(|status| self.error(&status)),
            Err(_elapsed) => Err(CallError {
                code: "DeadlineExceeded".to_owned(),
                message: "context deadline exceeded".to_owned(),
            }),
        }
    }

    pub(super) async fn list_and_watch(
        &self,
    ) -> Result<tonic::Streaming<plugin_api::deviceplugin::ListAndWatchResponse>, CallError> {
        let answer = self.client.clone().list_and_watch(Empty {}).await;
        Ok(answer.map_err(|status| self.error(&status))?.into_inner())
    }

    /// The error as Go's gRPC prints it. A status that came from the plugin keeps its text; one that stands for a
    /// broken connection has a source.
    pub(super) fn error(&self, status: &Status) -> CallError {
        if status.source().is_none() {
            let code = code_name(status.code());
            return CallError { code, message: status.message().to_owned() };
        }
        let message = match refused(status) {
            Some(why) => format!(
                "connection error: desc = \"transport: Error while dialing: dial unix {}: connect: {why}\"",
                self.socket.display()
            ),
            None => "error reading from server: EOF".to_owned(),
        };
        CallError { code: code_name(Code::Unavailable), message }
    }
}

/// What a call on a registration without a connection ends with.
pub(super) fn closing() -> CallError {
    CallError {
        code: code_name(Code::Cancelled),
        message: "grpc: the client connection is closing".to_owned(),
    }
}

async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static(AUTHORITY_URI).connect_with_connector(connector).await
}

/// The system's words if the connection was refused.
fn refused(status: &Status) -> Option<&'static str> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => Some("connection refused"),
                io::ErrorKind::NotFound => Some("no such file or directory"),
                _ => None,
            };
        }
        source = error.source();
    }
    None
}

/// The code's name as Go prints it.
fn code_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}
