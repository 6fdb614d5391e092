//! The `doctor` subcommand: looks at a node from where the plugin stands, and says of each thing that must be right whether
//! it is and what to do. Gathering ([`gather`], [`gather_api`]) and judging ([`host`], [`runtime`], [`cluster`]) are apart, so that every
//! judgement is tested without a node.

mod cluster;
mod facts;
mod gather;
mod gather_api;
mod host;
mod report;
mod runtime;

use std::path::{Path, PathBuf};

use crate::node_client::NodeSettings;
use crate::nvml::NvmlPaths;
use crate::status::At;
use facts::NodeFacts;
use report::Finding;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DoctorSettings {
    /// Goes before every path of the host.
    pub(crate) host_root: PathBuf,
    /// The API server, if a node name is known.
    pub(crate) node: Option<NodeSettings>,
    /// The running plugin, best place first.
    pub(crate) at: Vec<At>,
    /// The kubelet's registration socket.
    pub(crate) kubelet_socket: PathBuf,
    /// The kubelet's PodResources socket.
    pub(crate) pod_resources_socket: PathBuf,
    /// The kubelet's configuration file.
    pub(crate) kubelet_config: PathBuf,
    /// The NVIDIA container toolkit's configuration file.
    pub(crate) toolkit_config: PathBuf,
    /// Directories of CDI specs, later ones win.
    pub(crate) cdi_dirs: Vec<PathBuf>,
    /// The MPS root.
    pub(crate) mps_root: PathBuf,
    /// The plugin's state directory.
    pub(crate) state_dir: PathBuf,
    /// The driver.
    pub(crate) nvml: NvmlPaths,
}

impl DoctorSettings {
    /// A path of the host as it is seen from here.
    fn host(&self, path: &Path) -> PathBuf {
        self.host_root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Every check, in the order in which trouble is looked for: from the plugin down to the machine, then the cluster.
fn judge(facts: &NodeFacts) -> Vec<Finding> {
    vec![
        host::plugin(facts),
        host::driver(facts),
        host::device_nodes(facts),
        host::fabric(facts),
        host::kubelet_sockets(facts),
        host::rival_sockets(facts),
        host::state_dir(facts),
        host::mps_root(facts),
        host::processes(facts),
        runtime::cdi(facts),
        runtime::toolkit(facts),
        host::device_cgroups(facts),
        cluster::node_name(facts),
        cluster::runtime_class(facts),
        cluster::permissions(facts),
        cluster::sharing_labels(facts),
        cluster::shared_taint(facts),
        cluster::autoscaler(facts),
    ]
}

/// Looks, judges and prints; the answer is the exit status: 0 all is well, 1 warnings, 2 something failed.
///
/// # Errors
/// When no JSON can be made of the findings.
pub(crate) async fn run(settings: &DoctorSettings, json: bool) -> anyhow::Result<u8> {
    let findings = judge(&gather::gather(settings).await);
    if json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print!("{}", report::text(&findings));
    }
    Ok(report::exit_code(&findings))
}

#[cfg(test)]
mod tests;
