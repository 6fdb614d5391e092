//! Where List does not tell the truth about who holds what: kubelets that do not answer, and kubelets that go on listing pods that have
//! ended.

use std::collections::BTreeSet;

use super::Ownership;
use crate::checkpoint::Alone;
use crate::event::Holding;
use crate::inventory::GpuUuid;
use crate::pods::Pods;

/// The pod of a holding, as `namespace/name`.
fn pod_of(holding: &Holding) -> String {
    format!("{}/{}", holding.namespace, holding.pod)
}

impl Ownership {
    /// Without what is listed of pods that the API server has called over: kubelets before 1.34 list them for as long as they exist. What
    /// was handed out since is another pod's of that name. What is known of them outlives the watch of pods.
    pub(crate) fn of_living(&mut self, mut holdings: Vec<Holding>, pods: &Pods) -> Vec<Holding> {
        let listed: BTreeSet<String> = holdings.iter().map(pod_of).collect();
        self.ended.retain(|pod, _| listed.contains(pod));
        for pod in listed {
            match (pods.over_since(&pod), pods.named(&pod)) {
                (Some(over), _) => drop(self.ended.entry(pod).or_insert(over)),
                (None, Some(_)) => drop(self.ended.remove(&pod)),
                (None, None) => {}
            }
        }
        if self.ended.is_empty() {
            return holdings;
        }
        for holding in &mut holdings {
            let Some(over) = self.ended.get(&pod_of(holding)) else { continue };
            let is_new = |id: &String| {
                let mut holds = self.holds.get(id).into_iter().flatten();
                holds.any(|h| h.resource == holding.resource && h.allocated.is_some_and(|at| at >= *over))
            };
            holding.ids.retain(is_new);
        }
        holdings.retain(|holding| !holding.ids.is_empty());
        holdings
    }

    /// The kubelet does not list anything: what its checkpoint has holds as well, for as long as the checkpoint has it.
    pub(crate) fn believe(&mut self, alone: &[Alone<'_>]) -> BTreeSet<GpuUuid> {
        let mut touched = BTreeSet::new();
        let has = |resource: &str, id: &String| {
            alone.iter().any(|entry| entry.resource == resource && entry.ids.contains(id))
        };
        self.holds.retain(|id, holds| {
            holds.retain(|hold| {
                let stays = !hold.unlisted || has(&hold.resource, id);
                if !stays {
                    touched.insert(hold.gpu.clone());
                }
                stays
            });
            !holds.is_empty()
        });
        for entry in alone {
            for id in entry.ids {
                if self.find(entry.resource, id).is_none() {
                    self.add(entry.resource, id).unlisted = true;
                }
                let hold = self.find(entry.resource, id).filter(|hold| hold.unlisted);
                if let Some(hold) = hold.filter(|hold| hold.who.as_ref() != Some(&entry.who)) {
                    hold.who = Some(entry.who.clone());
                    touched.insert(hold.gpu.clone());
                }
            }
        }
        touched
    }
}
