//! What a stage cannot see is taken out of an expectation and named, because a part that nobody looked at must not count
//! as true.

use serde_json::Value;

use super::pattern::{Op, Pattern, PatternKind};

/// Deeper than a node or a pod: what stands there is a field.
const OBJECT_DEPTH: usize = 2;
/// What stands for any name in a hidden path.
const ANY: &str = "*";

/// A part of the world that a stage cannot see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Its path; `*` is any name.
    pub path: &'static [&'static str],
    /// Why.
    pub reason: String,
}

impl Hidden {
    fn covers<S: AsRef<str>>(&self, path: &[S]) -> bool {
        path.len() >= self.path.len()
            && self.path.iter().zip(path).all(|(hidden, name)| *hidden == ANY || *hidden == name.as_ref())
    }
}

/// A part of an expectation that nobody can look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the world.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// As much of a pattern as can be seen, if anything; and what was left out.
pub fn narrow(pattern: &Pattern, hidden: &[Hidden]) -> (Option<Pattern>, Vec<LeftOut>) {
    let mut run = Run { hidden, left_out: Vec::new() };
    let kept = run.pattern(pattern, &[]);
    (kept, run.left_out)
}

/// What was left out, a reason after the other.
pub fn told(left_out: &[LeftOut]) -> String {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for LeftOut { path, reason } in left_out {
        match by_reason.iter_mut().find(|(known, _)| known == reason) {
            Some((_, paths)) if paths.contains(&path.as_str()) => {}
            Some((_, paths)) => paths.push(path),
            None => by_reason.push((reason, vec![path])),
        }
    }
    let lines = by_reason.iter().map(|(reason, paths)| format!("{reason}: {}", paths.join(", ")));
    lines.collect::<Vec<_>>().join("\n")
}

struct Run<'h> {
    hidden: &'h [Hidden],
    left_out: Vec<LeftOut>,
}

impl Run<'_> {
    fn reason<S: AsRef<str>>(&self, path: &[S]) -> Option<String> {
        self.hidden.iter().find(|hidden| hidden.covers(path)).map(|hidden| hidden.reason.clone())
    }

    fn leave_out(&mut self, path: &[String], reason: String) {
        self.left_out.push(LeftOut { path: path.join("."), reason });
    }

    fn pattern(&mut self, pattern: &Pattern, path: &[String]) -> Option<Pattern> {
        if let Some(reason) = self.reason(path) {
            self.leave_out(path, reason);
            return None;
        }
        let kind = match &pattern.kind {
            PatternKind::Equals(Value::String(text)) => {
                if !self.can_resolve(text, path) {
                    return None;
                }
                pattern.kind.clone()
            }
            PatternKind::Equals(_) => pattern.kind.clone(),
            PatternKind::Has(entries) => PatternKind::Has(self.entries(entries, path)?),
            PatternKind::Items(items) => {
                let before = self.left_out.len();
                for (index, item) in items.iter().enumerate() {
                    self.pattern(item, &deeper(path, &index.to_string()));
                }
                if self.left_out.len() > before {
                    return None;
                }
                pattern.kind.clone()
            }
            PatternKind::Ops(ops) => {
                let kept: Vec<Op> = ops.iter().filter_map(|op| self.op(op, path)).collect();
                if kept.is_empty() {
                    return None;
                }
                PatternKind::Ops(kept)
            }
        };
        Some(Pattern { place: pattern.place, kind })
    }

    /// The entries that can be seen; nothing when there were some and none of them can.
    fn entries(&mut self, entries: &[(String, Pattern)], path: &[String]) -> Option<Vec<(String, Pattern)>> {
        let seen = entries
            .iter()
            .filter_map(|(key, inner)| Some((key.clone(), self.pattern(inner, &deeper(path, key))?)));
        let kept: Vec<_> = seen.collect();
        (entries.is_empty() || !kept.is_empty()).then_some(kept)
    }

    fn op(&mut self, op: &Op, path: &[String]) -> Option<Op> {
        let kept = match op {
            Op::Each(inner) => return Some(Op::Each(Box::new(self.pattern(inner, &deeper(path, ANY))?))),
            Op::Exactly(entries) => {
                // no key may leave: the others would then be too many
                let there = |inner: &Pattern| Pattern {
                    place: inner.place,
                    kind: PatternKind::Ops(vec![Op::Absent(false)]),
                };
                let entries = entries.iter().map(|(key, inner)| {
                    let seen = self.pattern(inner, &deeper(path, key));
                    (key.clone(), seen.unwrap_or_else(|| there(inner)))
                });
                return Some(Op::Exactly(entries.collect()));
            }
            Op::Contains(inner) => match &inner.kind {
                PatternKind::Equals(Value::String(text)) => self.can_resolve(text, path),
                _ => true,
            },
            Op::ContainsOnce(text) | Op::Matches(text) => self.can_resolve(text, path),
            Op::SameAs { path: other, .. } => self.can_follow(other, path),
            Op::UnchangedSince { .. } => {
                if path.len() <= OBJECT_DEPTH && !self.hidden.is_empty() {
                    self.leave_out(path, "compared as far as it can be seen".to_owned());
                }
                true
            }
            Op::Absent(_) | Op::AtLeast(_) | Op::AtMost(_) | Op::Size(_) => true,
        };
        kept.then(|| op.clone())
    }

    /// Whether everything that a text refers to can be seen.
    fn can_resolve(&mut self, text: &str, path: &[String]) -> bool {
        let references = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
        references.fold(true, |can, (reference, _)| can & self.can_follow(reference, path))
    }

    /// Whether a reference leads to something that can be seen.
    fn can_follow(&mut self, reference: &str, path: &[String]) -> bool {
        let segments: Vec<String> = match reference.strip_prefix('.') {
            Some(relative) => {
                let object = path.iter().take(OBJECT_DEPTH).cloned();
                object.chain(relative.split('.').map(str::to_owned)).collect()
            }
            None => reference.split('.').map(str::to_owned).collect(),
        };
        let Some(reason) = self.reason(&segments) else { return true };
        self.leave_out(path, reason);
        false
    }
}

fn deeper(path: &[String], key: &str) -> Vec<String> {
    let mut longer = path.to_vec();
    longer.push(key.to_owned());
    longer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::{Memory, check};
    use crate::scenario::{Scenario, Verb, read_text};
    use serde_json::json;

    fn hidden() -> Vec<Hidden> {
        let hidden = |path, reason: &str| Hidden { path, reason: reason.to_owned() };
        vec![
            hidden(&["nodes", "*", "gpus"], "no driver"),
            hidden(&["nodes", "*", "plugin", "registered"], "no kubelet"),
            hidden(&["pods", "*", "env"], "no runtime"),
        ]
    }

    fn pattern(yaml: &str) -> Pattern {
        let pod = |name: &str| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: main}}]}}}}"
            )
        };
        let apply = format!("[{{manifest: {}}}, {{manifest: {}}}]", pod("p"), pod("q"));
        let text = format!(
            "story: s\nnodes: [{{name: n}}]\nsteps:\n- apply: {apply}\n- name: before\n  expect: {{phases: {{Running: 2}}}}\n- expect: {yaml}\n"
        );
        let Scenario { steps, .. } = read_text("s.yaml", &text).unwrap();
        match steps.into_iter().next_back().map(|step| step.verb) {
            Some(Verb::Expect(expectation)) => expectation.pattern,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_seen_leaves_the_pattern_and_is_named() {
        let whole = pattern(
            "{nodes: {'n*': {ready: true, gpus: {size: 1}, plugin: {running: true, registered: {size: 1}}}}}",
        );
        let (kept, left_out) = narrow(&whole, &hidden());
        assert_eq!(told(&left_out), "no driver: nodes.n*.gpus\nno kubelet: nodes.n*.plugin.registered");
        let kept = kept.unwrap();
        let world =
            |ready, running| json!({"nodes": {"n": {"ready": ready, "plugin": {"running": running}}}});
        assert_eq!(check(&kept, &world(true, true), &Memory::new()), []);
        assert_eq!(check(&kept, &world(true, false), &Memory::new()).len(), 1);
        assert_eq!(check(&kept, &world(false, true), &Memory::new()).len(), 1);
        assert!(!check(&whole, &world(true, true), &Memory::new()).is_empty());
    }

    #[test]
    fn an_expectation_of_hidden_things_alone_is_nothing() {
        let (kept, left_out) = narrow(&pattern("{nodes: {n: {gpus: []}}}"), &hidden());
        assert_eq!((kept, left_out.len()), (None, 1));
    }

    #[test]
    fn what_refers_to_hidden_things_is_left_out() {
        let text = "{pods: {p: {node: '${.env.A}', phase: {matches: '${pods.q.env.B}?'}, reason: {sameAs: nodes.n.gpus}}}}";
        let (kept, left_out) = narrow(&pattern(text), &hidden());
        assert_eq!(kept, None);
        let told = told(&left_out);
        assert!(told.contains("no runtime: pods.p.node, pods.p.phase"), "{told}");
        assert!(told.contains("no driver: pods.p.reason"), "{told}");
    }

    #[test]
    fn an_exact_mapping_keeps_all_its_keys() {
        let (kept, left_out) = narrow(&pattern("{pods: {exactly: {p: {env: {A: b}}}}}"), &hidden());
        assert_eq!(left_out.len(), 1);
        let kept = kept.unwrap();
        let found = |world: Value| check(&kept, &world, &Memory::new()).len();
        assert_eq!(found(json!({"pods": {"p": {}}})), 0);
        assert_eq!(found(json!({"pods": {}})), 1);
        assert_eq!(found(json!({"pods": {"p": {}, "q": {}}})), 1);
    }

    #[test]
    fn a_comparison_of_whole_objects_says_that_it_is_partial() {
        let (kept, left_out) = narrow(&pattern("{pods: {p: {unchangedSince: before}}}"), &hidden());
        assert!(kept.is_some());
        assert_eq!(told(&left_out), "compared as far as it can be seen: pods.p");
    }

    #[test]
    fn where_everything_is_seen_nothing_changes() {
        let whole = pattern("{nodes: {n: {gpus: {each: {index: 0}}}}, pods: {p: {unchangedSince: before}}}");
        assert_eq!(narrow(&whole, &[]), (Some(whole.clone()), vec![]));
    }
}
