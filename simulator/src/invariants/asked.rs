//! How many replicas a scenario's configurations ask for, because a node's label says so only after its devices do.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scenario::{Object, Scenario, Step, Verb};

/// `auto` asks for what fits, which the text alone does not tell; it is at most what one MPS daemon serves.
const AUTO_MAX: u64 = 48;

/// The most replicas of each configuration, over all texts that it has in the scenario.
pub(super) fn replicas(scenario: &Scenario) -> BTreeMap<String, u64> {
    let mut asked = BTreeMap::new();
    for (name, text) in &scenario.configs {
        note(&mut asked, name, text);
    }
    edits(&mut asked, &scenario.steps);
    asked
}

fn edits(asked: &mut BTreeMap<String, u64>, steps: &[Step]) {
    for step in steps {
        match &step.verb {
            Verb::Edit { config, text: Some(text) } => note(asked, config, text),
            Verb::ApplyAll(objects) => {
                for object in objects {
                    if let Object::ConfigMap(configs) = object {
                        configs.iter().for_each(|(name, text)| note(asked, name, text));
                    }
                }
            }
            Verb::Parallel(steps) => edits(asked, steps),
            _ => {}
        }
    }
}

/// Notes what one text of a configuration asks for.
pub(super) fn note(asked: &mut BTreeMap<String, u64>, name: &str, text: &str) {
    // a text that cannot be read asks for nothing
    let config: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let strategies = ["mps", "timeSlicing"].iter();
    let resources = strategies.filter_map(|strategy| config["sharing"][strategy]["resources"].as_array());
    let replicas = resources.flatten().filter_map(|resource| match resource["replicas"].as_str() {
        Some("auto") => Some(AUTO_MAX),
        _ => resource["replicas"].as_u64(),
    });
    let most = asked.entry(name.to_owned()).or_insert(1);
    *most = replicas.fold(*most, u64::max);
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
            "story: s\nnodes: [{{name: n}}]\nconfigs:\n  a: '{}'\n  b: 'version: v1'\n  c: '{}'\nsteps:\n\
             - edit: {{config: a, text: '{}'}}\n- parallel: [{{edit: {{config: b, text: '{}'}}}}]\n- edit: {{config: a, text: '{}'}}\n",
            mps("4"),
            mps("auto"),
            mps("2"),
            mps("8"),
            mps("many"),
        );
        let scenario = read_text("s.yaml", &text).unwrap();
        let expected = [("a".to_owned(), 4), ("b".to_owned(), 8), ("c".to_owned(), 48)];
        assert_eq!(replicas(&scenario), expected.into());
    }
}
