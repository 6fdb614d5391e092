//! The podresources service with its rate limit, which is how plugins learn who holds their devices.

use std::sync::{Arc, Mutex, PoisonError};

use plugin_api::podresources::pod_resources_lister_server::PodResourcesLister;
use plugin_api::podresources::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, GetPodResourcesRequest,
    GetPodResourcesResponse, ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::settings::ListTrouble;
use super::state::Shared;

/// Calls per second over all methods and clients (kubelet 1.36).
pub const CALLS_PER_SECOND: f64 = 100.0;
/// Calls that may come at once (kubelet 1.36).
pub const CALLS_BURST: f64 = 10.0;

/// The kubelet's PodResourcesLister service.
pub(super) struct PodResourcesService {
    shared: Arc<Shared>,
    bucket: Mutex<TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    fn new(now: Instant) -> TokenBucket {
        TokenBucket { tokens: CALLS_BURST, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let fresh = now.duration_since(self.filled).as_secs_f64() * CALLS_PER_SECOND;
        self.tokens = (self.tokens + fresh).min(CALLS_BURST);
        self.filled = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

impl PodResourcesService {
    pub(super) fn new(shared: Arc<Shared>) -> PodResourcesService {
        PodResourcesService { shared, bucket: Mutex::new(TokenBucket::new(Instant::now())) }
    }

    fn admit_call(&self) -> Result<(), Status> {
        let limited = self.shared.state().list_trouble == Some(ListTrouble::Limited);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if !limited && bucket.take(Instant::now()) {
            Ok(())
        } else {
            Err(Status::resource_exhausted("rejected by rate limit"))
        }
    }
}

impl PodResourcesService {
    /// What the ledger has, and what stays listed although it has gone.
    fn listed(&self) -> Vec<PodResources> {
        let mut state = self.shared.state();
        let mut listed = state.ledger.list_pod_resources();
        let is_gone = |old: &&PodResources| {
            !listed.iter().any(|pod| pod.namespace == old.namespace && pod.name == old.name)
        };
        let gone: Vec<PodResources> = state.stale.iter().filter(is_gone).cloned().collect();
        listed.extend(gone);
        listed
    }
}

#[tonic::async_trait]
impl PodResourcesLister for PodResourcesService {
    async fn list(
        &self,
        _request: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        self.admit_call()?;
        let trouble = self.shared.state().list_trouble;
        if let Some(ListTrouble::Slow(delay)) = trouble {
            tokio::time::sleep(delay).await;
        }
        let pod_resources = match self.shared.lists_nothing() {
            true => Vec::new(),
            false => self.listed(),
        };
        Ok(Response::new(ListPodResourcesResponse { pod_resources }))
    }

    async fn get_allocatable_resources(
        &self,
        _request: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        self.admit_call()?;
        let devices = self.shared.state().ledger.allocatable_devices();
        Ok(Response::new(AllocatableResourcesResponse { devices, ..Default::default() }))
    }

    async fn get(
        &self,
        request: Request<GetPodResourcesRequest>,
    ) -> Result<Response<GetPodResourcesResponse>, Status> {
        self.admit_call()?;
        let GetPodResourcesRequest { pod_name, pod_namespace } = request.into_inner();
        let found = self.shared.state().ledger.get_pod_resources(&pod_namespace, &pod_name);
        match found {
            Ok(pod) => Ok(Response::new(GetPodResourcesResponse { pod_resources: Some(pod) })),
            Err(error) => Err(Status::unknown(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_of_ten_passes_and_then_one_call_per_ten_milliseconds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(start);
        let burst = (0..20).filter(|_| bucket.take(start)).count();
        assert_eq!(burst, 10);
        assert!(!bucket.take(start + Duration::from_millis(5)));
        assert!(bucket.take(start + Duration::from_millis(11)));
        assert!(!bucket.take(start + Duration::from_millis(12)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 10, "the bucket holds ten");
    }
}
