//! What the kubelet may hand out, asked of PodResources: the only place where a plugin sees whether the kubelet took it.

use std::collections::BTreeMap;
use std::path::Path;

use plugin_api::podresources::AllocatableResourcesRequest;
use plugin_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::takeover::Allocatable;
use tonic::Code;

use crate::dial::{self, CALL_TIME_MAX, CallError};
use crate::pod_resources::ANSWER_BYTES_MAX;

const CALL: &str = "GetAllocatableResources";

/// Asks about these resources, and answers as the core is told.
pub(crate) async fn read(socket: &Path, resources: &[ResourceName]) -> Event {
    let call = async {
        let channel = dial::unix(socket).await.map_err(|why| (why, false))?;
        let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = client.get_allocatable_resources(AllocatableResourcesRequest {}).await;
        answer.map_err(|status| (dial::refused(CALL, &status), is_unsupported(status.code())))
    };
    let answer = tokio::time::timeout(CALL_TIME_MAX, call).await;
    let answer = answer.unwrap_or(Err((CallError::TooLate { call: CALL }, false)));
    match answer {
        Err((why, unsupported)) => Event::AllocatableUnreadable { why: why.to_string(), unsupported },
        Ok(answer) => {
            let mut devices: Allocatable = resources.iter().map(|r| (r.to_string(), Vec::new())).collect();
            for entry in answer.into_inner().devices {
                if let Some(ids) = devices.get_mut(&entry.resource_name) {
                    ids.extend(entry.device_ids);
                }
            }
            Event::AllocatableRead { devices: in_order(devices) }
        }
    }
}

/// One entry per device and NUMA node comes from the kubelet, in any order.
fn in_order(mut devices: Allocatable) -> BTreeMap<String, Vec<String>> {
    for ids in devices.values_mut() {
        ids.sort();
        ids.dedup();
    }
    devices
}

/// Before Kubernetes 1.21 the method does not exist; where its feature gate is off a plain error comes, which Go calls Unknown.
fn is_unsupported(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::Unknown)
}

#[cfg(test)]
mod tests {
    use plugin_api::podresources as pb;
    use plugin_api::podresources::pod_resources_lister_server::{
        PodResourcesLister, PodResourcesListerServer,
    };
    use tokio::net::UnixListener;
    use tokio_stream::wrappers::UnixListenerStream;
    use tonic::{Request, Response, Status};

    use super::*;

    /// A kubelet that answers this.
    struct Kubelet(Result<pb::AllocatableResourcesResponse, Status>);

    #[tonic::async_trait]
    impl PodResourcesLister for Kubelet {
        async fn list(
            &self,
            _: Request<pb::ListPodResourcesRequest>,
        ) -> Result<Response<pb::ListPodResourcesResponse>, Status> {
            Err(Status::unimplemented("List"))
        }

        async fn get_allocatable_resources(
            &self,
            _: Request<AllocatableResourcesRequest>,
        ) -> Result<Response<pb::AllocatableResourcesResponse>, Status> {
            self.0.clone().map(Response::new)
        }

        async fn get(
            &self,
            _: Request<pb::GetPodResourcesRequest>,
        ) -> Result<Response<pb::GetPodResourcesResponse>, Status> {
            Err(Status::unimplemented("Get"))
        }
    }

    async fn answered(answer: Result<pb::AllocatableResourcesResponse, Status>) -> Event {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("kubelet.sock");
        let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        let resources = [ResourceName::gpu()];
        let service = PodResourcesListerServer::new(Kubelet(answer));
        let server = tonic::transport::Server::builder().add_service(service).serve_with_incoming(listener);
        tokio::select! {
            _ = server => panic!("the server ended"),
            event = read(&socket, &resources) => event,
        }
    }

    #[tokio::test]
    async fn each_device_is_told_once_and_only_of_the_resources_that_were_asked_for() {
        let entry = |resource: &str, id: &str| pb::ContainerDevices {
            resource_name: resource.into(),
            device_ids: vec![id.into()],
            topology: None,
        };
        let devices = vec![
            entry("nvidia.com/gpu", "GPU-b"),
            entry("nvidia.com/gpu", "GPU-a"),
            entry("nvidia.com/gpu", "GPU-b"),
            entry("example.com/nic", "nic-0"),
        ];
        let event = answered(Ok(pb::AllocatableResourcesResponse { devices, ..Default::default() })).await;
        let ids = vec!["GPU-a".to_owned(), "GPU-b".to_owned()];
        assert_eq!(event, Event::AllocatableRead { devices: [("nvidia.com/gpu".to_owned(), ids)].into() });
    }

    #[tokio::test]
    async fn a_kubelet_without_the_method_or_with_its_gate_off_is_told_from_one_that_is_busy() {
        for (status, never) in [
            (Status::unimplemented("unknown method"), true),
            (Status::unknown("PodResources API GetAllocatableResources disabled"), true),
            (Status::resource_exhausted("rejected by rate limit"), false),
            (Status::unavailable("stopping"), false),
        ] {
            let text = status.message().to_owned();
            let Event::AllocatableUnreadable { why, unsupported } = answered(Err(status)).await else {
                panic!("refused: {text}")
            };
            assert_eq!(unsupported, never, "{text}");
            assert!(why.contains("`GetAllocatableResources`") && why.contains(&text), "{why}");
        }
    }
}
