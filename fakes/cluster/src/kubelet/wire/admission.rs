//! Pods' way in: the ledger says which call to a plugin is due, this makes it and carries the answer back.

use std::sync::Arc;

use super::calls::{self, PluginClient};
use super::log::WireEvent;
use super::state::Shared;
use crate::kubelet::ledger::{
    AllocateCall, AllocationError, CallError, ClientId, PreStartCall, PreferredCall, RunOptions, StartError,
    Step,
};
use crate::kubelet::pod::{Admission, PodRequest, Rejection};
use plugin_api::deviceplugin::ContainerAllocateResponse;

/// Why a pod was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// It is refused for good.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The kubelet was stopped, or died, before it decided: the pod stays as it is.
    #[error("the kubelet is not running")]
    KubeletGone,
}

/// Why an allocation ended without devices.
enum Failure {
    Allocation(AllocationError),
    KubeletGone,
}

impl Shared {
    /// Admits one pod at a time: allocation first, then the node's figures.
    pub(super) async fn admit(&self, pod: &PodRequest) -> Result<Admission, AdmitError> {
        let _turn = self.admission.lock().await;
        if self.is_stopping() {
            return Err(AdmitError::KubeletGone);
        }
        let begun = self.state().ledger.begin_admission(&Arc::new(pod.clone()));
        let allocated = match self.allocate(&pod.uid, begun).await {
            Ok(()) => self.check_fit(pod),
            Err(Failure::KubeletGone) => return Err(AdmitError::KubeletGone),
            Err(Failure::Allocation(error)) => Err(Rejection {
                reason: "UnexpectedAdmissionError".to_owned(),
                message: format!("Pod was rejected: Allocate failed due to {error}, which is unexpected"),
            }),
        };
        let name = format!("{}/{}", pod.namespace, pod.name);
        match allocated {
            Ok(()) => {
                let devices = self.state().ledger.devices_of(&pod.uid);
                self.log(WireEvent::PodAdmitted { pod: name });
                Ok(Admission { devices })
            }
            Err(rejection) => {
                self.state().ledger.pod_terminated(&pod.uid);
                let Rejection { reason, message } = rejection.clone();
                self.log(WireEvent::PodRejected { pod: name, reason, message });
                Err(rejection.into())
            }
        }
    }

    fn check_fit(&self, pod: &PodRequest) -> Result<(), Rejection> {
        let state = self.state();
        let figures = state.node_allocatable.clone();
        let figures = figures.unwrap_or_else(|| state.ledger.allocatable_figures());
        state.ledger.check_fit(pod, &figures)
    }

    /// Makes the calls of an allocation; ends after at most two per container and resource.
    async fn allocate(&self, uid: &str, begun: Step) -> Result<(), Failure> {
        let mut step = begun;
        loop {
            step = match step {
                Step::Finished(outcome) => {
                    self.write_checkpoint();
                    return outcome.map_err(|error| self.allocation_failed(error));
                }
                Step::AskPreferred(call, awaiting) => {
                    let answer = self.ask_preferred(&call).await?;
                    self.state().ledger.preferred(awaiting, answer)
                }
                Step::CallAllocate(call, awaiting) => {
                    let answer = self.call_allocate(uid, &call).await?;
                    self.state().ledger.allocated(awaiting, answer)
                }
            };
        }
    }

    fn allocation_failed(&self, error: AllocationError) -> Failure {
        if error.kills_the_kubelet() {
            self.end(WireEvent::Died { why: error.to_string() });
            return Failure::KubeletGone;
        }
        Failure::Allocation(error)
    }

    async fn ask_preferred(&self, call: &PreferredCall) -> Result<Result<Vec<String>, CallError>, Failure> {
        let answer = self.on_plugin(call.client, async |plugin| plugin.preferred(call).await).await?;
        self.log(WireEvent::PreferredAllocation {
            resource: call.resource.clone(),
            available: call.available.clone(),
            must_include: call.must_include.clone(),
            size: call.size,
            preferred: answer.clone().unwrap_or_default(),
            error: error_text(&answer),
        });
        Ok(answer)
    }

    async fn call_allocate(
        &self,
        uid: &str,
        call: &AllocateCall,
    ) -> Result<Result<Option<ContainerAllocateResponse>, CallError>, Failure> {
        self.log(WireEvent::AllocateCalled {
            pod_uid: uid.to_owned(),
            container: call.container.clone(),
            resource: call.resource.clone(),
            ids: call.ids.clone(),
        });
        let answer = self.on_plugin(call.client, async |plugin| plugin.allocate(call).await).await?;
        let first = answer.as_ref().ok().and_then(|responses| responses.first().cloned());
        self.log(WireEvent::AllocateAnswered {
            resource: call.resource.clone(),
            responses: answer.as_ref().map_or(0, Vec::len),
            envs: first.as_ref().map(|response| response.envs.clone()).unwrap_or_default(),
            error: error_text(&answer),
        });
        Ok(answer.map(|_| first))
    }

    /// Makes a call unless the kubelet ends first. There is no deadline: a plugin that hangs stops all admission.
    async fn on_plugin<T>(
        &self,
        client: ClientId,
        call: impl AsyncFnOnce(&PluginClient) -> Result<T, CallError>,
    ) -> Result<Result<T, CallError>, Failure> {
        let Some(plugin) = self.plugin(client) else {
            return Ok(Err(calls::closing()));
        };
        let mut stopped = self.stopped();
        tokio::select! {
            answer = call(&plugin) => Ok(answer),
            () = stopped.wait() => Err(Failure::KubeletGone),
        }
    }

    /// Everything that precedes a container's creation.
    pub(super) async fn start_container(&self, uid: &str, container: &str) -> Result<RunOptions, StartError> {
        if self.is_stopping() {
            return Err(StartError::KubeletGone);
        }
        let calls = self.state().ledger.pre_start_calls(uid, container);
        for call in calls {
            self.pre_start(&call?).await?;
        }
        self.allocate_missing(uid, container).await?;
        let mut state = self.state();
        let options = state.ledger.run_options(uid, container).unwrap_or_default();
        state.running.entry(uid.to_owned()).or_default().insert(container.to_owned());
        drop(state);
        self.announce();
        Ok(options)
    }

    async fn pre_start(&self, call: &PreStartCall) -> Result<(), StartError> {
        let timeout = self.pre_start_timeout();
        let answer = self.on_plugin(call.client, async |plugin| plugin.pre_start(call, timeout).await);
        let answer = answer.await.map_err(Failure::into_start_error)?;
        self.log(WireEvent::PreStartContainer {
            resource: call.resource.clone(),
            ids: call.ids.clone(),
            error: error_text(&answer),
        });
        answer.map_err(StartError::PreStart)
    }

    async fn allocate_missing(&self, uid: &str, container: &str) -> Result<(), StartError> {
        let _turn = match self.profile().concurrent_allocation_is_fatal {
            // a pod's own worker does not wait for the admission of others
            true => None,
            false => Some(self.admission.lock().await),
        };
        let begun = self.state().ledger.begin_missing_allocation(uid, container);
        match begun {
            Some(step) => self.allocate(uid, step).await.map_err(Failure::into_start_error),
            None => Ok(()),
        }
    }
}

impl Failure {
    fn into_start_error(self) -> StartError {
        match self {
            Failure::Allocation(error) => StartError::Allocation(error),
            Failure::KubeletGone => StartError::KubeletGone,
        }
    }
}

fn error_text<T>(answer: &Result<T, CallError>) -> Option<String> {
    answer.as_ref().err().map(CallError::to_string)
}
