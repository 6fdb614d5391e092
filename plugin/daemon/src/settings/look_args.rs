//! The flags of the subcommands that look at a running plugin and its node, word for word.

use clap::Args;

use super::args::GpuArgs;

/// Flags of `status`.
#[derive(Debug, Default, Args)]
pub(crate) struct StatusArgs {
    /// Admin address of the running plugin; given as a flag, the socket is not tried [env: ADMIN_ADDRESS] [default: 127.0.0.1:9410]
    #[arg(long, alias = "address", value_name = "HOST:PORT")]
    pub(crate) admin_address: Option<String>,
    /// Admin socket of the running plugin; tried first [env: ADMIN_SOCKET] [default: admin.sock in --state-dir]
    #[arg(long, value_name = "SOCKET", conflicts_with = "admin_address")]
    pub(crate) admin_socket: Option<String>,
    /// The state directory of the running plugin [env: STATE_DIR] [default: /var/lib/tandem]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<String>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `doctor`.
#[derive(Debug, Default, Args)]
pub(crate) struct DoctorArgs {
    /// Where the host's root is mounted; goes before every host path below [env: HOST_ROOT] [default: /]
    #[arg(long, value_name = "DIR")]
    pub(crate) host_root: Option<String>,
    /// Name of this Node; without it no API server is asked [env: NODE_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Kubeconfig file; without it the pod's service account is used [env: KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<String>,
    /// The kubelet's registration socket [env: KUBELET_SOCKET] [default: /var/lib/kubelet/device-plugins/kubelet.sock]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) kubelet_socket: Option<String>,
    /// The kubelet's PodResources socket [env: POD_RESOURCES_SOCKET] [default: /var/lib/kubelet/pod-resources/kubelet.sock]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pod_resources_socket: Option<String>,
    /// The kubelet's configuration [env: KUBELET_CONFIG] [default: /var/lib/kubelet/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_config: Option<String>,
    /// The container toolkit's configuration [env: TOOLKIT_CONFIG] [default: /etc/nvidia-container-runtime/config.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) toolkit_config: Option<String>,
    /// Directories of CDI specs, later ones win [env: CDI_DIRS] [default: /etc/cdi,/var/run/cdi]
    #[arg(long, value_name = "LIST")]
    pub(crate) cdi_dirs: Option<String>,
    /// Host directory of MPS [env: MPS_ROOT] [default: /run/nvidia/mps]
    #[arg(long, value_name = "DIR")]
    pub(crate) mps_root: Option<String>,
    #[command(flatten)]
    pub(crate) status: StatusArgs,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
}
