//! How the plugin's two processes are started on a node, as its DaemonSet would: everything through documented flags.

use std::collections::BTreeMap;
use std::path::Path;

use fake_gpu::STATE_VARIABLE;

use super::binaries::Binaries;
use super::layout::NodeLayout;
use super::process::Launch;
use crate::scenario::{OtherPlugin, PluginSettings};

/// How the sockets of device plugins begin that are not ours.
pub(super) const OTHER_SOCKET: &str = "example-";

/// `tandem-device-plugin run` on a node.
pub(super) fn plugin(
    binaries: &Binaries,
    layout: &NodeLayout,
    node: &str,
    kubeconfig: &Path,
    settings: &PluginSettings,
) -> Launch {
    let mut args = vec!["run".to_owned()];
    let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
    flag("--node-name", node.to_owned());
    flag("--kubeconfig", text(kubeconfig));
    flag("--config-dir", text(&layout.config));
    flag("--kubelet-socket", text(&layout.device_plugins.join("kubelet.sock")));
    flag("--pod-resources-socket", text(&layout.pod_resources.join("kubelet.sock")));
    flag("--cdi-spec-dir", text(&layout.cdi));
    flag("--mps-root", text(&layout.mps_root));
    flag("--state-dir", text(&layout.state));
    flag("--nvml-library", text(&layout.nvml()));
    flag("--nvidia-smi-path", text(&layout.nvidia_smi()));
    flag("--driver-root-ctr-path", text(&layout.driver_root));
    flag("--sysfs-root", text(&layout.sysfs));
    flag("--proc-root", text(&layout.driver_root.join("proc")));
    flag("--admin-address", "127.0.0.1:0".to_owned());
    flag("--admin-address-file", text(&layout.admin_address));
    flag("--journal-dir", text(&layout.journal));
    flag("--log-format", "json".to_owned());
    args.extend(settings.args.iter().cloned());
    let mut env = environment(layout);
    env.extend(settings.env.clone());
    Launch { program: binaries.plugin.clone(), args, env, log: layout.log("plugin") }
}

/// `tandem-device-plugin mps` on a node.
pub(super) fn mps(binaries: &Binaries, layout: &NodeLayout, more: &[String]) -> Launch {
    let mut args = vec!["mps".to_owned()];
    let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
    flag("--mps-root", text(&layout.mps_root));
    flag("--nvml-library", text(&layout.nvml()));
    flag("--driver-root-ctr-path", text(&layout.driver_root));
    flag("--sysfs-root", text(&layout.sysfs));
    flag("--proc-root", text(&layout.driver_root.join("proc")));
    flag("--mps-control", text(&layout.mps_control()));
    flag("--journal-dir", text(&layout.journal.join("mps")));
    flag("--log-format", "json".to_owned());
    args.extend(more.iter().cloned());
    Launch { program: binaries.plugin.clone(), args, env: environment(layout), log: layout.log("mps") }
}

/// A device plugin that is not ours.
pub(super) fn other_plugin(binaries: &Binaries, layout: &NodeLayout, other: &OtherPlugin) -> Launch {
    let mut args = Vec::new();
    let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
    flag("--dir", text(&layout.device_plugins));
    flag("--resource", other.resource.clone());
    flag("--devices", other.devices.to_string());
    flag("--socket", format!("{OTHER_SOCKET}{}.sock", other.name));
    for way in &other.behaviour {
        flag("--naive", way.clone());
    }
    let log = layout.log(&format!("{OTHER_SOCKET}{}", other.name));
    Launch { program: binaries.example.clone(), args, env: environment(layout), log }
}

/// A container's environment; the fake driver finds its state through it, production code does not know it.
fn environment(layout: &NodeLayout) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        (STATE_VARIABLE.to_owned(), text(&layout.gpus)),
    ])
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
