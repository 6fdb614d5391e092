//! The plugin's two DaemonSets: `run` on every node, `mps` on nodes that are labelled for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::api::ApiHandle;
use fake_cluster::node::daemonsets::{DaemonSet, DaemonSetSettings, DaemonSets, Program};
use futures::future::BoxFuture;
use serde_json::json;

use super::deployed::Deployment;
use super::process::{Ended, Launch};
use super::programs::{MPS, Name, PLUGIN, Programs};

/// The label that schedules the MPS supervisor.
const MPS_LABEL: (&str, &str) = ("nvidia.com/mps.capable", "true");
/// More than a process gets after SIGTERM, so that the process layer decides when to kill.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long after a failed start the next one comes.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What starts the plugin's programs.
#[derive(Debug)]
pub(super) enum Daemons {
    /// The laboratory.
    Fixed(DaemonSets),
    /// The DaemonSets of the API server.
    Deployed(Deployment),
}

impl Daemons {
    /// Stops every program.
    pub(super) async fn stop(self) {
        match self {
            Daemons::Fixed(daemons) => daemons.stop().await,
            Daemons::Deployed(deployment) => deployment.stop().await,
        }
    }
}

/// How to start each program on each node.
pub(super) type Launches = BTreeMap<Name, Launch>;

/// Starts the controllers of both DaemonSets.
pub(super) fn start(api: &ApiHandle, programs: &Programs, launches: &Launches) -> DaemonSets {
    let set = |program: &'static str, node_selector| DaemonSet {
        name: program.to_owned(),
        template: json!({"spec": {"nodeSelector": node_selector, "tolerations": [{"operator": "Exists"}]}}),
        program: Arc::new(Daemon { program, programs: programs.clone(), launches: launches.clone() }),
        object: None,
    };
    let sets = vec![set(PLUGIN, json!({})), set(MPS, json!({MPS_LABEL.0: MPS_LABEL.1}))];
    DaemonSets::start(api.clone(), sets, settings())
}

/// The bounds of every controller.
pub(super) fn settings() -> DaemonSetSettings {
    DaemonSetSettings { stop_max: STOP_MAX, retry_after: RETRY_AFTER }
}

struct Daemon {
    program: &'static str,
    programs: Programs,
    launches: Launches,
}

impl Daemon {
    fn name(&self, node: &str) -> Name {
        Name { node: node.to_owned(), program: self.program }
    }
}

impl Program for Daemon {
    fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let name = self.name(node);
            let launch = self.launches.get(&name).ok_or_else(|| format!("node `{node}` is not simulated"))?;
            self.programs
                .start(&name, launch)
                .map_err(|error| format!("{}: {error}", launch.program.display()))
        })
    }

    fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let name = self.name(node);
            if self.programs.stop(&name).await == Some(Ended::Killed) && self.program == MPS {
                self.programs.complain(format!("`{}` on node `{node}` did not end on SIGTERM", self.program));
            }
        })
    }

    fn kill<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.programs.kill(&self.name(node)).await;
        })
    }
}
