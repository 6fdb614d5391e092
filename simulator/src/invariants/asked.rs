//! How many replicas a scenario's configurations ask for, because a node's label says so only after its devices do.

use std::collections::BTreeMap;

use fake_gpu::BoardProfile;
use serde_json::Value;

use crate::scenario::{Object, Scenario, Step, Verb};

/// The most replicas of each configuration, over all texts that it has had.
#[derive(Debug, Default)]
pub(super) struct Asked {
    by_config: BTreeMap<String, u64>,
    /// The memory of the scenario's largest GPU, in MiB: what replicas with a budget are counted from.
    largest_gpu_mib: u64,
}

impl Asked {
    /// What a scenario's configurations ask for, in all its steps.
    pub(super) fn of(scenario: &Scenario) -> Asked {
        let boards = scenario.nodes.iter().filter_map(|node| node.gpus.as_ref());
        let sizes = boards.filter_map(|gpus| BoardProfile::load(&gpus.board).ok());
        let largest_gpu_mib = sizes.map(|profile| profile.memory.total_mib).max().unwrap_or_default();
        let mut asked = Asked { by_config: BTreeMap::new(), largest_gpu_mib };
        for (name, text) in &scenario.configs {
            asked.note(name, text);
        }
        asked.edits(&scenario.steps);
        asked
    }

    /// The most replicas that a configuration ever asked for.
    pub(super) fn most(&self, config: &str) -> u64 {
        self.by_config.get(config).copied().unwrap_or(1)
    }

    fn edits(&mut self, steps: &[Step]) {
        for step in steps {
            match &step.verb {
                Verb::Edit { config, text: Some(text) } => self.note(config, text),
                Verb::InstallDriver { gpus, .. } => {
                    let size = BoardProfile::load(&gpus.board).map(|profile| profile.memory.total_mib);
                    self.largest_gpu_mib = self.largest_gpu_mib.max(size.unwrap_or_default());
                }
                Verb::ApplyAll(objects) => {
                    for object in objects {
                        if let Object::ConfigMap(configs) = object {
                            configs.iter().for_each(|(name, text)| self.note(name, text));
                        }
                    }
                }
                Verb::Parallel(steps) => self.edits(steps),
                _ => {}
            }
        }
    }

    /// Notes what one text of a configuration asks for.
    pub(super) fn note(&mut self, name: &str, text: &str) {
        // a text that cannot be read asks for nothing
        let config: Value = serde_saphyr::from_str(text).unwrap_or_default();
        let strategies = ["mps", "timeSlicing"].iter();
        let resources = strategies.filter_map(|strategy| config["sharing"][strategy]["resources"].as_array());
        let replicas = resources.flatten().filter_map(|resource| match resource["replicas"].as_u64() {
            Some(count) => Some(count),
            None => self.fitting(resource["memoryPerReplica"].as_str()?),
        });
        let most = replicas.fold(1, u64::max);
        let before = self.by_config.entry(name.to_owned()).or_insert(1);
        *before = most.max(*before);
    }

    /// How many replicas of this size fit on the largest GPU; stories write whole `Gi` or `Mi`.
    fn fitting(&self, budget: &str) -> Option<u64> {
        let units = [("Gi", 1024), ("Mi", 1)];
        let (number, unit) =
            units.iter().find_map(|(suffix, mib)| Some((budget.strip_suffix(suffix)?, mib)))?;
        self.largest_gpu_mib.checked_div(number.parse::<u64>().ok()? * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_text;

    #[test]
    fn the_largest_number_of_every_text_counts() {
        let mps = |replicas: &str| {
            format!("{{sharing: {{mps: {{resources: [{{name: nvidia.com/gpu, replicas: {replicas}}}]}}}}}}")
        };
        let text = format!(
            "story: s\nnodes: [{{name: n}}]\nconfigs:\n  a: '{}'\n  b: 'version: v1'\nsteps:\n\
             - edit: {{config: a, text: '{}'}}\n- parallel: [{{edit: {{config: b, text: '{}'}}}}]\n- edit: {{config: a, text: '{}'}}\n",
            mps("4"),
            mps("2"),
            mps("8"),
            mps("many"),
        );
        let scenario = read_text("s.yaml", &text).unwrap();
        let expected = [("a".to_owned(), 4), ("b".to_owned(), 8)];
        assert_eq!(Asked::of(&scenario).by_config, expected.into());
    }

    #[test]
    fn replicas_with_a_budget_are_counted_from_the_largest_gpu() {
        let text = "story: s\nnodes: [{name: n, gpus: {board: tesla-t4, count: 1}}]\nconfigs:\n  a: '{sharing: {mps: {resources: \
                    [{name: nvidia.com/gpu, replicas: auto, memoryPerReplica: 6Gi}]}}}'\nsteps: [{wait: 1s}]\n";
        let asked = Asked::of(&read_text("s.yaml", text).unwrap());
        assert_eq!((asked.most("a"), asked.most("b")), (2, 1));
    }
}
