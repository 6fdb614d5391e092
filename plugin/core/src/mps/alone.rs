//! What the supervisor keeps where no plugin of ours decides: beside NVIDIA's plugin, in place of its MPS control daemon.
//!
//! NVIDIA's plugin reads the file in its own way and mounts `<mpsRoot>/<resource>/pipe`. So is the file read here, and one
//! daemon serves all GPUs of a resource.

use std::collections::BTreeMap;

use super::{DaemonGpu, Daemons, Desired};
use crate::config::{Overrides, Problem, ResourceName, Strictness, read_compat};
use crate::effect::effect;
use crate::inventory::Facts;

/// The daemons that a configuration file asks for on these GPUs.
///
/// # Errors
/// Why it cannot hold, in one line each.
pub fn desired(name: &str, text: &str, overrides: &Overrides, facts: &Facts) -> Result<Desired, Vec<String>> {
    let lines = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let read = read_compat(name, text, Strictness::Warn)
        .map_err(|problems| problems.to_string().lines().map(str::to_owned).collect::<Vec<_>>())?;
    let effect = effect(&read, overrides, facts);
    if !effect.applies {
        return Err(lines(&effect.problems));
    }
    let mut gpus: BTreeMap<&ResourceName, Vec<DaemonGpu>> = BTreeMap::new();
    for gpu in &facts.gpus {
        if let Some(daemon) = effect.daemons.get(&gpu.uuid) {
            let memory_mib = daemon.pinned_memory_limit_mib;
            gpus.entry(&daemon.resource).or_default().push(DaemonGpu { uuid: gpu.uuid.clone(), memory_mib });
        }
    }
    let mut daemons = Daemons::new();
    for (gpu, daemon) in &effect.daemons {
        let mut daemon = daemon.clone();
        daemon.gpus = gpus.get(&daemon.resource).cloned().unwrap_or_default();
        daemon.pinned_memory_limit_mib = daemon.gpus.first().and_then(|first| first.memory_mib);
        daemons.insert(gpu.clone(), daemon);
    }
    Ok(Desired { generation: 0, daemons })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board;
    use crate::config::Flags;

    fn of(text: &str) -> Result<Desired, Vec<String>> {
        let overrides = Overrides {
            flags: Flags { mps_root: Some("/run/nvidia/mps".to_owned()), ..Flags::default() },
            ..Overrides::default()
        };
        desired("config.yaml", text, &overrides, &board::node("2*tesla-t4").unwrap())
    }

    #[test]
    fn one_daemon_per_resource_serves_all_its_gpus_with_nvidias_limits() {
        let text = "version: v1\nsharing: {mps: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}";
        let wish = of(text).unwrap();
        assert_eq!(wish.daemons.len(), 2);
        let mut different: Vec<_> = wish.daemons.values().collect();
        different.dedup();
        let [daemon] = different.as_slice() else { panic!("{different:?}") };
        assert_eq!(daemon.gpus.len(), 2);
        assert_eq!((daemon.active_thread_percentage, daemon.replicas), (25, 4));
        assert_eq!(daemon.pinned_memory_limit_mib, Some(15_360 / 4));
        let pipe = daemon.pipe_dir("/mps", &daemon.gpus[0].uuid);
        assert_eq!(pipe, "/mps/nvidia.com/gpu/pipe");
    }

    #[test]
    fn without_mps_there_is_no_daemon_and_a_wrong_file_says_why() {
        assert_eq!(of("version: v1"), Ok(Desired::default()));
        let sliced =
            "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}";
        assert_eq!(of(sliced), Ok(Desired::default()));
        let why = of("version: v1\nsharing: {mps: 7}").unwrap_err().join("\n");
        assert!(why.contains("sharing.mps"), "{why}");
        let many = "version: v1\nsharing: {mps: {resources: [{name: nvidia.com/gpu, replicas: 61}]}}";
        assert!(of(many).unwrap_err().join("\n").contains("at most 48"));
    }
}
