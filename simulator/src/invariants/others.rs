//! Device plugins that are not ours: what they do to pods that ask for their resources alone breaks no promise of ours.

use std::collections::BTreeSet;

use super::is_gpu;
use crate::scenario::Scenario;
use crate::world::PodView;

/// What a plugin that renames its resource adds to the name.
const RENAMED: &str = ".shared";

/// The resources of plugins that are not ours, except GPUs: whoever serves those, pods rely on them.
#[derive(Debug, Default)]
pub(super) struct Others {
    resources: BTreeSet<String>,
}

impl Others {
    /// Those of a scenario.
    pub(super) fn of(scenario: &Scenario) -> Others {
        let plugins = scenario.nodes.iter().flat_map(|node| &node.other_plugins);
        let resources = plugins.map(|plugin| plugin.resource.clone()).filter(|resource| !is_gpu(resource));
        Others { resources: resources.collect() }
    }

    /// Whether a pod asks for nothing but their resources.
    pub(super) fn serve(&self, pod: &PodView) -> bool {
        let theirs = |resource: &String| {
            let plain = resource.strip_suffix(RENAMED).unwrap_or(resource);
            self.resources.contains(plain)
        };
        !pod.resources.is_empty() && pod.resources.keys().all(theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_text;

    #[test]
    fn a_pod_is_theirs_only_if_it_asks_for_nothing_of_ours() {
        let text = "story: s\nnodes:\n- name: n\n  otherPlugins:\n  - {name: a, resource: example.com/a, devices: 1}\n  \
                    - {name: b, resource: nvidia.com/gpu, devices: 1}\nsteps: [{wait: 1s}]\n";
        let others = Others::of(&read_text("s.yaml", text).unwrap());
        let asks = |resources: &[&str]| {
            let resources = resources.iter().map(|resource| ((*resource).to_owned(), 1)).collect();
            others.serve(&PodView { resources, ..PodView::default() })
        };
        assert!(asks(&["example.com/a"]) && asks(&["example.com/a.shared"]));
        assert!(!asks(&[]) && !asks(&["nvidia.com/gpu"]) && !asks(&["example.com/a", "nvidia.com/gpu"]));
        assert!(!asks(&["example.com/b"]));
    }
}
