//! The one place that refuses what the file can say and the core cannot do yet. NVIDIA's plugin ignores the same
//! settings with a warning, so that is what happens without strict validation.

use super::devices::Devices;
use super::findings::{Findings, Strictness};
use super::schema::{Config, ReplicatedResources};

/// How hints begin that say what happens instead.
pub(super) const ADVICE: &str = "without strict validation";

/// Reports entries that cannot be honoured. Without strict validation they are then ignored.
pub(super) fn ignore_entries(config: &mut Config, strictness: Strictness, found: &mut Findings) {
    let ignore = strictness == Strictness::Warn;
    if !config.resources.gpus.is_empty() || !config.resources.mig.is_empty() {
        not_yet(
            found,
            "resources",
            "customizing `resources` is not supported yet".to_owned(),
            "it is ignored",
        );
        if ignore {
            config.resources = super::schema::Resources::default();
        }
    }
    if let Some(mps) = &mut config.sharing.mps {
        ignore_selection(mps, "sharing.mps", ignore, found);
    }
    if let Some(time_slicing) = &mut config.sharing.time_slicing {
        ignore_selection(time_slicing, "sharing.timeSlicing", ignore, found);
    }
}

fn ignore_selection(strategy: &mut ReplicatedResources, path: &str, ignore: bool, found: &mut Findings) {
    let rename_by_default = strategy.rename_by_default;
    for (index, entry) in strategy.resources.iter_mut().enumerate() {
        if entry.devices != Devices::All {
            let path = format!("{path}.resources[{index}].devices");
            let message =
                format!("`{path}` other than `all` is not supported yet, but is `{}`", entry.devices);
            not_yet(found, &path, message, "all devices are shared");
            if ignore {
                entry.devices = Devices::All;
            }
        }
        let default = rename_by_default.then(|| entry.name.shared());
        if let Some(rename) = entry.rename.take_if(|rename| Some(&*rename) != default.as_ref()) {
            let path = format!("{path}.resources[{index}].rename");
            not_yet(
                found,
                &path,
                format!("`{path}` is not supported yet, but is `{rename}`"),
                "it is ignored",
            );
        }
    }
}

/// Reports that both strategies are given. Without strict validation MPS wins, as in NVIDIA's plugin.
pub(super) fn keep_one_strategy(config: &mut Config, found: &mut Findings) {
    if config.sharing.mps.is_some() && config.sharing.time_slicing.take().is_some() {
        let path = "sharing.timeSlicing";
        let message = "`sharing.timeSlicing` beside `sharing.mps` is not supported yet".to_owned();
        not_yet(found, path, message, "`sharing.mps` wins");
    }
}

fn not_yet(found: &mut Findings, path: &str, message: String, instead: &str) {
    found.deviation(found.place(path), path, message, Some(format!("remove it; {ADVICE} {instead}")));
}
