//! Who holds which device: the kubelet's PodResources List, the only place where a plugin can learn it.

pub(crate) mod checkpoint_file;

use std::path::Path;

use plugin_api::podresources::ListPodResourcesRequest;
use plugin_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use plugin_core::event::Holding;

use crate::dial::{self, CALL_TIME_MAX, CallError};
use crate::proto;

/// Largest answer that is read, in bytes: what the kubelet's documentation asks of clients (Kubernetes 1.36).
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const CALL: &str = "List";

/// Reads all holdings of the node.
///
/// # Errors
/// The kubelet cannot be reached, refuses (it allows 100 calls per second), or does not answer in [`CALL_TIME_MAX`].
pub(crate) async fn read_holders(socket: &Path) -> Result<Vec<Holding>, CallError> {
    let call = async {
        let channel = dial::unix(socket).await?;
        let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = client.list(ListPodResourcesRequest {}).await;
        answer.map_err(|status| dial::refused(CALL, &status))
    };
    let answer = tokio::time::timeout(CALL_TIME_MAX, call).await;
    let list = answer.unwrap_or(Err(CallError::TooLate { call: CALL }))?;
    Ok(proto::holdings_from_proto(list.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_socket_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("kubelet.sock");
        let error = read_holders(&socket).await.unwrap_err();
        assert!(error.to_string().contains(&socket.display().to_string()), "{error}");
    }
}
