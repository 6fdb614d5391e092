//! What steps mean once the steps before them are known: what a `scale` changes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::decode::Reader;
use super::limits::PODS_MAX;
use super::problem::{Place, nearest};
use super::verb::{Apply, Change, Object, Step, Verb};
use super::verbs::Asked;

/// A step as it is written.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Where it stands.
    pub(super) place: Place,
    /// Its path in the document, up to its verb.
    pub(super) path: String,
    /// Its name.
    pub(super) name: Option<String>,
    /// Which turn of a `repeat` it is.
    pub(super) turn: Option<(u64, u64)>,
    /// Its verb.
    pub(super) verb: DraftVerb,
}

/// A verb as it is written.
#[derive(Debug, Clone)]
pub(super) enum DraftVerb {
    /// Needs nothing else.
    Ready(Verb),
    /// A group's new size.
    Scale(Asked),
    /// Steps side by side.
    Parallel(Vec<Draft>),
}

/// A group of pods.
struct Group {
    manifest: Value,
    count: u64,
}

struct Resolver<'r> {
    reader: &'r mut Reader,
    groups: BTreeMap<String, Group>,
}

/// The steps, with every `scale` a change of a known size.
pub(super) fn resolve(reader: &mut Reader, drafts: Vec<Draft>) -> Vec<Step> {
    let mut resolver = Resolver { reader, groups: BTreeMap::new() };
    resolver.steps(drafts)
}

impl Resolver<'_> {
    fn steps(&mut self, drafts: Vec<Draft>) -> Vec<Step> {
        let steps = drafts.into_iter().filter_map(|draft| {
            let Draft { place, path, name, turn, verb } = draft;
            let verb = match verb {
                DraftVerb::Ready(verb) => verb,
                DraftVerb::Parallel(inner) => Verb::Parallel(self.steps(inner)),
                DraftVerb::Scale(asked) => self.scale(place, &path, asked)?,
            };
            self.note(&verb);
            Some(Step { place, path, name, turn, verb })
        });
        steps.collect()
    }

    fn scale(&mut self, place: Place, path: &str, asked: Asked) -> Option<Verb> {
        let Asked { group, is_deployment, count } = asked;
        if is_deployment {
            // up to that many pods more
            return self.room(place, path, count).then_some(Verb::ScaleDeployment { name: group, count });
        }
        let Some(known) = self.groups.get_mut(&group) else {
            let names = self.groups.keys().map(String::as_str);
            let hint = nearest(&group, names).map(|near| format!("did you mean `{near}`?"));
            let message = format!(
                "there is no group of pods `{group}` at this step; an `apply` with `count` makes one"
            );
            self.reader.problem_with_hint(place, path, message, hint);
            return None;
        };
        let before = known.count;
        if !self.room(place, path, count.saturating_sub(before)) {
            return None;
        }
        let known = self.groups.get_mut(&group)?;
        let names = |from: u64, to: u64| (from + 1..=to).map(|n| format!("{group}-{n}")).collect();
        let change = match known.count {
            before if before < count => {
                Change::Grow(Apply { names: names(before, count), manifest: known.manifest.clone() })
            }
            before if before > count => Change::Shrink(names(count, before)),
            _ => Change::Nothing,
        };
        known.count = count;
        Some(Verb::Scale { group, count, change })
    }

    /// Whether there may be that many pods more.
    fn room(&mut self, place: Place, path: &str, more: u64) -> bool {
        self.reader.made.pods = self.reader.made.pods.saturating_add(more);
        let has_room = self.reader.made.pods <= PODS_MAX;
        if !has_room {
            let message = format!("expected at most {PODS_MAX} pods in all (PODS_MAX)");
            self.reader.problem(place, path, message);
        }
        has_room
    }

    /// Remembers the groups that a step makes.
    fn note(&mut self, verb: &Verb) {
        let all: Vec<&Apply> = match verb {
            Verb::Apply(all) => all.iter().collect(),
            Verb::ApplyAll(objects) => objects
                .iter()
                .filter_map(|object| match object {
                    Object::Pods(apply) => Some(apply),
                    Object::Deployment { .. } | Object::ConfigMap(_) => None,
                })
                .collect(),
            _ => return,
        };
        for apply in all {
            let name = apply.manifest.pointer("/metadata/name").and_then(Value::as_str);
            if let Some(name) = name
                && apply.names.first().is_some_and(|first| first != name)
            {
                let group = Group { manifest: apply.manifest.clone(), count: apply.names.len() as u64 };
                self.groups.insert(name.to_owned(), group);
            }
        }
    }
}
