//! What the API server of a cluster does not show, in one list, because a run names each part that nobody looked at.

use crate::expect::Hidden;
use crate::invariants::Invariant;
use crate::on::Limits;
use crate::scenario::{Scenario, Timers};

use super::settings::ClusterSettings;

/// What only the driver, the kubelet or the container runtime of a machine knows.
const NEVER_SHOWN: &[(&[&str], &str)] = &[
    (&["nodes", "*", "kubelet"], "the kubelet's books are on its machine"),
    (&["nodes", "*", "otherPlugins"], "other device plugins are on their machine"),
    (&["nodes", "*", "plugin", "registered"], "the kubelet's books are on its machine"),
    (&["nodes", "*", "plugin", "registrations"], "the kubelet's books are on its machine"),
    (&["nodes", "*", "plugin", "warnings"], "logs are not read while a story plays"),
    (&["pods", "*", "ids"], "device ids are in the kubelet's books alone"),
    (&["pods", "*", "gpus"], "device ids are in the kubelet's books alone"),
    (&["pods", "*", "env"], "what a container was given is not in its Pod"),
    (&["pods", "*", "mounts"], "what a container was given is not in its Pod"),
    (&["pods", "*", "devices"], "what a container was given is not in its Pod"),
    (&["pods", "*", "cdi"], "what a container was given is not in its Pod"),
    (&["pods", "*", "cdiNodes"], "what a container was given is not in its Pod"),
    (&["pods", "*", "containers"], "what a container was given is not in its Pod"),
    (&["pods", "*", "ended"], "what a pod does is up to its image"),
];
/// What the driver knows of a GPU and the plugin does not tell.
const OF_THE_DRIVER: &[&[&str]] = &[
    &["nodes", "*", "gpus", "*", "minor"],
    &["nodes", "*", "gpus", "*", "computeMode"],
    &["nodes", "*", "gpus", "*", "mpsDaemon"],
    &["nodes", "*", "gpus", "*", "health"],
    &["nodes", "*", "gpus", "*", "memory"],
    &["nodes", "*", "gpus", "*", "processes"],
    &["nodes", "*", "gpus", "*", "utilization"],
    &["nodes", "*", "gpus", "*", "mig"],
    &["nodes", "*", "gpus", "*", "holders"],
    &["nodes", "*", "gpus", "*", "resources"],
];
/// What needs the devices that pods hold.
const OF_DEVICES: &[Invariant] = &[
    Invariant::OneExclusiveHolder,
    Invariant::OneStrategy,
    Invariant::HandedOutOnce,
    Invariant::WithinReplicas,
    Invariant::MeaningStays,
    Invariant::EnvironmentNamesGpus,
];

/// The limits of a cluster; `no_account` says why the plugin's own account cannot be read, if it cannot.
pub(super) fn limits(scenario: &Scenario, settings: &ClusterSettings, no_account: Option<&str>) -> Limits {
    let mut limits = Limits { patience: patience(scenario, settings), ..Limits::default() };
    let mut hide = |path, reason: &str| limits.hidden.push(Hidden { path, reason: reason.to_owned() });
    let no_pods = |what: &str, flag: &str| format!("nobody says where {what} are (hint: {flag})");
    if settings.plugin_pods.is_none() {
        hide(&["nodes", "*", "plugin"], &no_pods("the plugin's pods", "--plugin-pods"));
    }
    if settings.mps_pods.is_none() {
        hide(&["nodes", "*", "mps"], &no_pods("the MPS supervisor's pods", "--mps-pods"));
    }
    if let Some(why) = no_account {
        hide(&["nodes", "*", "plugin", "state"], why);
        hide(&["nodes", "*", "gpus"], why);
    }
    NEVER_SHOWN.iter().for_each(|(path, reason)| hide(path, reason));
    OF_THE_DRIVER.iter().for_each(|path| hide(path, "only the driver on the machine knows"));
    let unjudged =
        OF_DEVICES.iter().map(|invariant| (*invariant, "device ids are in the kubelet's books alone"));
    limits.unjudged = unjudged.map(|(invariant, why)| (invariant, why.to_owned())).collect();
    if let Some(why) = no_account {
        limits.unjudged.insert(Invariant::AllocatableExists, why.to_owned());
    }
    limits
}

/// What the story's scaled timers save, as it is not saved here, and what the caller adds.
fn patience(scenario: &Scenario, settings: &ClusterSettings) -> std::time::Duration {
    let (real, scaled) = (Timers::default(), &scenario.timers);
    let pairs = [
        (real.node_status_update, scaled.node_status_update),
        (real.endpoint_grace, scaled.endpoint_grace),
        (real.config_map_sync, scaled.config_map_sync),
        (real.crash_back_off, scaled.crash_back_off),
    ];
    let saved = pairs.iter().map(|(real, scaled)| real.saturating_sub(*scaled));
    saved.sum::<std::time::Duration>() + settings.patience
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_text;
    use std::time::Duration;

    fn scenario(timers: &str) -> Scenario {
        let text = format!("story: s\ntimers: {timers}\nnodes: [{{name: n}}]\nsteps: [{{wait: 1s}}]\n");
        read_text("s.yaml", &text).unwrap()
    }

    #[test]
    fn scaled_timers_are_given_back() {
        let mut settings = ClusterSettings::new("f".into());
        settings.patience = Duration::from_secs(30);
        assert_eq!(patience(&scenario("{}"), &settings), Duration::from_secs(30));
        let scaled = scenario("{nodeStatusUpdate: 1s, endpointGrace: 10s}");
        assert_eq!(patience(&scaled, &settings), Duration::from_secs(9 + 290 + 30));
    }

    #[test]
    fn the_plugins_account_is_seen_where_it_can_be_read() {
        let mut settings = ClusterSettings::new("f".into());
        let hides = |limits: &Limits, path: &[&str]| limits.hidden.iter().any(|hidden| hidden.path == path);
        let blind = limits(&scenario("{}"), &settings, Some("no"));
        assert!(hides(&blind, &["nodes", "*", "gpus"]) && hides(&blind, &["nodes", "*", "plugin"]));
        assert!(blind.unjudged.contains_key(&Invariant::AllocatableExists));
        settings.plugin_pods = Some("a/b=c".parse().unwrap());
        let seeing = limits(&scenario("{}"), &settings, None);
        assert!(!hides(&seeing, &["nodes", "*", "gpus"]) && !hides(&seeing, &["nodes", "*", "plugin"]));
        assert!(
            hides(&seeing, &["nodes", "*", "mps"]) && hides(&seeing, &["nodes", "*", "gpus", "*", "memory"])
        );
        assert!(!seeing.unjudged.contains_key(&Invariant::NoRefusal));
    }
}
