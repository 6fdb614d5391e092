//! What is simpler than a step, for shrinking: fewer names, containers and replicas, shorter and rounder times.

use std::time::Duration;

use super::label::{Devices, Group, Label, Parts, Sharing};
use super::story::Step;

/// The shortest wait that is still cut.
const WAIT_MIN: Duration = Duration::from_millis(2);

/// Simpler steps than this one, the simplest first.
pub(super) fn simpler(step: &Step) -> Vec<Step> {
    match step {
        Step::Flip { node, label } => {
            let labels = simpler_labels(label).into_iter();
            labels.map(|label| Step::Flip { node: node.clone(), label }).collect()
        }
        Step::Create(pod) => {
            let mut all = Vec::new();
            for index in 0..pod.containers.len() {
                let mut fewer = pod.clone();
                fewer.containers.remove(index);
                if fewer.containers.iter().any(|ask| !ask.init) {
                    all.push(Step::Create(fewer));
                }
                let mut less = pod.clone();
                if let Some(ask) = less.containers.get_mut(index)
                    && ask.count > 1
                {
                    ask.count = 1;
                    all.push(Step::Create(less));
                }
            }
            all
        }
        Step::Edit(label) => simpler_labels(label).into_iter().map(Step::Edit).collect(),
        Step::Delete(names) => fewer(names).map(Step::Delete).collect(),
        Step::Finish(names) => fewer(names).map(Step::Finish).collect(),
        Step::Fault(spec) => {
            let lasts = spec.lasts.into_iter().flat_map(shorter);
            lasts
                .map(|lasts| {
                    let mut spec = spec.clone();
                    spec.lasts = Some(lasts);
                    Step::Fault(spec)
                })
                .collect()
        }
        Step::Wait(time) => shorter(*time).into_iter().map(Step::Wait).collect(),
    }
}

/// All names but one, one after the other; a step needs one at least.
fn fewer(names: &[String]) -> impl Iterator<Item = Vec<String>> {
    let places = if names.len() > 1 { names.len() } else { 0 };
    (0..places).map(|place| {
        let mut fewer = names.to_vec();
        fewer.remove(place);
        fewer
    })
}

fn simpler_labels(label: &Label) -> Vec<Label> {
    let simpler: Vec<Label> = match label {
        Label::Shared(sharing) => {
            let fewest = Sharing { replicas: 2, ..*sharing };
            let renamed = Sharing { renamed: true, ..*sharing };
            [fewest, renamed].map(Label::Shared).into()
        }
        Label::Mixed(groups) => {
            let without = (0..groups.len()).map(|place| {
                let mut fewer = groups.clone();
                fewer.remove(place);
                fewer
            });
            let simplest = |group: &Group| Group {
                name: group.name,
                replicas: 2,
                devices: match &group.devices {
                    Devices::Count(_) => Devices::Count(1),
                    Devices::List(list) => Devices::List(list.iter().take(1).copied().collect()),
                },
            };
            let small = (0..groups.len()).map(|place| {
                let mut small = groups.clone();
                if let Some(group) = small.get_mut(place) {
                    *group = simplest(group);
                }
                small
            });
            without.filter(|fewer| !fewer.is_empty()).chain(small).map(Label::Mixed).collect()
        }
        Label::Parts(parts) => vec![Label::Parts(Parts { replicas: 1, ..*parts })],
        Label::Absent | Label::Default | Label::Edited | Label::Broken | Label::Missing => Vec::new(),
    };
    simpler.into_iter().filter(|simpler| simpler != label).collect()
}

/// Shorter and rounder times.
fn shorter(time: Duration) -> Vec<Duration> {
    let seconds = Duration::from_secs(time.as_secs());
    let millis = Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    [seconds, Duration::from_millis(100), millis / 2]
        .into_iter()
        .filter(|shorter| *shorter < time && *shorter >= WAIT_MIN)
        .collect()
}
