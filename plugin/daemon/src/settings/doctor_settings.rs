//! The settings of `doctor`: every place on the host that it looks at.

use std::path::PathBuf;

use super::given::{Environment, given_text};
use super::look_args::DoctorArgs;
use super::run_settings::{KUBELET_SOCKET, POD_RESOURCES_SOCKET};
use super::{MPS_ROOT, STATE_DIR, nvml_paths, places, state_dir, text_or};
use crate::doctor::DoctorSettings;
use crate::node_client::NodeSettings;

const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
const TOOLKIT_CONFIG: &str = "/etc/nvidia-container-runtime/config.toml";
const CDI_DIRS: &str = "/etc/cdi,/var/run/cdi";

/// Reads them all; none can be wrong before it is looked at.
pub(super) fn doctor_settings(args: &DoctorArgs, env: Environment<'_>) -> DoctorSettings {
    let path =
        |value, flag, variable, default: &str| PathBuf::from(text_or(value, flag, env, variable, default));
    let name = given_text(args.node_name.as_ref(), "--node-name", env, &["NODE_NAME"]).map(|g| g.text);
    let kubeconfig = given_text(args.kubeconfig.as_ref(), "--kubeconfig", env, &["KUBECONFIG"]);
    let kubeconfig = kubeconfig.map(|g| PathBuf::from(g.text));
    let dirs = text_or(&args.cdi_dirs, "--cdi-dirs", env, "CDI_DIRS", CDI_DIRS);
    let pod_resources = &args.pod_resources_socket;
    DoctorSettings {
        host_root: path(&args.host_root, "--host-root", "HOST_ROOT", "/"),
        node: name.map(|name| NodeSettings { name, kubeconfig }),
        at: places(&args.status, env),
        kubelet_socket: path(&args.kubelet_socket, "--kubelet-socket", "KUBELET_SOCKET", KUBELET_SOCKET),
        pod_resources_socket: path(
            pod_resources,
            "--pod-resources-socket",
            "POD_RESOURCES_SOCKET",
            POD_RESOURCES_SOCKET,
        ),
        kubelet_config: path(&args.kubelet_config, "--kubelet-config", "KUBELET_CONFIG", KUBELET_CONFIG),
        toolkit_config: path(&args.toolkit_config, "--toolkit-config", "TOOLKIT_CONFIG", TOOLKIT_CONFIG),
        cdi_dirs: dirs.split(',').map(|dir| dir.trim().into()).collect(),
        mps_root: path(&args.mps_root, "--mps-root", "MPS_ROOT", MPS_ROOT),
        state_dir: state_dir(&args.status.state_dir, env).map_or_else(|| STATE_DIR.into(), |state| state.0),
        nvml: nvml_paths(&args.gpu, env),
    }
}
