//! Many pods through one cluster as fast as the machine can: the same engine under a steady load, for measurements.

use std::time::Duration;

use serde_json::json;

use super::api::pods::Fate;
use super::{ModelStage, refused};
use crate::on::StageError;

/// Names of pods that wait or run at one time are taken from this many.
const NAMES_MAX: u64 = 1_000_000_000;

/// What pods come, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The extended resource that each asks one of.
    pub resource: String,
    /// How many pods wait or run at one time.
    pub at_once: usize,
    /// How many pods end in all.
    pub pods: u64,
    /// How long each runs, in virtual time.
    pub runs: Duration,
}

/// What a load did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput {
    /// Pods that were scheduled, admitted, allocated, run and released.
    pub ended: u64,
    /// Pods that were refused.
    pub failed: u64,
    /// The virtual time it took.
    pub took: Duration,
    /// Happenings it needed.
    pub happenings: u64,
}

impl ModelStage {
    /// Lets pods come and go until enough have ended; whenever one is gone the next comes.
    ///
    /// # Errors
    /// The API server refuses a pod, or nothing ends any more within the bound of virtual time.
    pub fn bear(&mut self, load: &Load, bound: Duration) -> Result<Throughput, StageError> {
        let what = || format!("create pods that ask for `{}`", load.resource);
        let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": {
            "containers": [{"name": "main", "image": "cuda:13",
                "resources": {"limits": {load.resource.clone(): 1}}}]}});
        let cluster = &mut self.cluster;
        let template =
            cluster.api.template(&cluster.engine, &manifest).map_err(|error| refused(what(), &error))?;
        let (begun, happenings) = (cluster.engine.now(), cluster.engine.count());
        let limit = begun.saturating_add(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX));
        let fate = Fate::EndsAfter(load.runs);
        let (mut made, mut failed) = (0_u64, 0_u64);
        // ends with the pods, or with the bound of virtual time
        loop {
            let cluster = &mut self.cluster;
            while cluster.api.pods.len() < load.at_once {
                let name = format!("load-{}", made % NAMES_MAX);
                cluster
                    .api
                    .create_pod(&mut cluster.engine, &template, &name, fate)
                    .map_err(|error| refused(what(), &error))?;
                made += 1;
            }
            let ended = made - cluster.api.pods.len() as u64;
            if ended >= load.pods + failed {
                let took = Duration::from_nanos(cluster.engine.now() - begun);
                let happenings = cluster.engine.count() - happenings;
                return Ok(Throughput { ended: ended - failed, failed, took, happenings });
            }
            if !cluster.step(limit) {
                return Err(refused(what(), &format!("{ended} had ended after {bound:?}")));
            }
            failed += cluster.clear_failed();
            if self.judge.is_some() && self.cluster.api.changes.take_any() {
                self.check();
            }
        }
    }
}
