//! `--nvidia-compat`: what k8s-device-plugin v0.20 reads and then ignores is ignored here too, each with a warning, so
//! that a node can be moved over without any change of what it offers.

use super::devices::Devices;
use super::findings::Findings;
use super::schema::{Config, ReplicatedResources, Resources};

/// How hints end here.
const WHY: &str = "NVIDIA's plugin ignores it, and `--nvidia-compat` asks for the same";

/// Ignores `resources`, `devices` and `rename`, and lets MPS win over time-slicing.
pub(super) fn ignore(config: &mut Config, found: &mut Findings) {
    if config.resources != Resources::default() {
        ignored(found, "resources", "`resources` is ignored".to_owned());
        config.resources = Resources::default();
    }
    if config.sharing.mps.is_some() && config.sharing.time_slicing.take().is_some() {
        let message = "`sharing.timeSlicing` is ignored: `sharing.mps` wins".to_owned();
        ignored(found, "sharing.timeSlicing", message);
    }
    if let Some(mps) = &mut config.sharing.mps {
        ignore_selection(mps, "sharing.mps", found);
    }
    if let Some(time_slicing) = &mut config.sharing.time_slicing {
        ignore_selection(time_slicing, "sharing.timeSlicing", found);
    }
}

fn ignore_selection(strategy: &mut ReplicatedResources, path: &str, found: &mut Findings) {
    let rename_by_default = strategy.rename_by_default;
    for (index, entry) in strategy.resources.iter_mut().enumerate() {
        if entry.devices != Devices::All {
            let path = format!("{path}.resources[{index}].devices");
            ignored(found, &path, format!("`{path}` is ignored, but is `{}`", entry.devices));
            entry.devices = Devices::All;
        }
        let default = rename_by_default.then(|| entry.name.shared());
        if let Some(rename) = entry.rename.take_if(|rename| Some(&*rename) != default.as_ref()) {
            let path = format!("{path}.resources[{index}].rename");
            ignored(found, &path, format!("`{path}` is ignored, but is `{rename}`"));
        }
    }
}

fn ignored(found: &mut Findings, path: &str, message: String) {
    found.warning(found.place(path), path, message, Some(WHY.to_owned()));
}
