//! Steps and reports of a run as markers and headers, because the player speaks of steps and a timeline of what
//! happened.

use std::time::Duration;

use super::{Failure, Header, Kind, Marker, Recorder, Timeline, Verdict};
use crate::report::{Outcome, RunReport, StepReport};
use crate::scenario::{Step, Verb};

impl Recorder {
    /// A step that ended at `at`, after it took the time that its report says.
    pub fn step(&mut self, at: Duration, step: &Step, report: &StepReport) {
        let (kind, node) = about(&step.verb);
        let kind = match report.outcome {
            Outcome::Violated { .. } => Kind::Invariant,
            _ => kind,
        };
        self.mark(Marker {
            at: at.saturating_sub(report.took).as_secs_f64(),
            until: Some(at.as_secs_f64()),
            node,
            kind,
            text: report.text.clone(),
            ok: match report.outcome {
                Outcome::Passed | Outcome::PassedInPart { .. } => Some(true),
                Outcome::Skipped { .. } | Outcome::NotReached | Outcome::Interrupted => None,
                Outcome::Unmet { .. }
                | Outcome::Violated { .. }
                | Outcome::Forbidden { .. }
                | Outcome::NeverExercised { .. }
                | Outcome::Broken { .. } => Some(false),
            },
            step: Some(report.index + 1),
            details: report.outcome.details(),
        });
    }

    /// Ends the record with what the run's report says. `commit` is the program's, when known.
    pub fn of_run(self, run: &RunReport, commit: Option<String>) -> Timeline {
        let failure = failed_step(self.markers(), run).or_else(|| left_behind(run));
        self.finish(header(run, commit), failure)
    }
}

/// What a report says of the run as a whole.
fn header(run: &RunReport, commit: Option<String>) -> Header {
    let not_reached = run.steps.iter().filter(|step| step.outcome == Outcome::NotReached);
    Header {
        scenario: run.scenario.clone(),
        file: run.file.clone(),
        story: run.story.trim().to_owned(),
        stage: run.stage.clone(),
        seed: run.seed,
        commit,
        timers_scaled: run.timers_scaled.clone(),
        verdict: match (run.passed(), run.interrupted) {
            (true, _) => Verdict::Passed,
            (false, true) => Verdict::Interrupted,
            (false, false) => Verdict::Failed,
        },
        wall_seconds: run.took.as_secs_f64(),
        not_reached: not_reached.map(|step| format!("{}  {}", step.index + 1, step.text)).collect(),
        replay: None,
    }
}

/// What a step is about: its kind and, when there is one, its node.
fn about(verb: &Verb) -> (Kind, Option<String>) {
    match verb {
        Verb::Label { node, .. } | Verb::Unlabel { node, .. } => (Kind::Label, Some(node.clone())),
        Verb::Apply(_) | Verb::ApplyAll(_) | Verb::ScaleDeployment { .. } => (Kind::Apply, None),
        Verb::Delete(_) | Verb::DeleteDeployments(_) => (Kind::Delete, None),
        Verb::Restart { node, .. } => (Kind::Restart, Some(node.clone())),
        Verb::OtherPlugin { node, .. } | Verb::Kill { node, .. } => (Kind::Fault, Some(node.clone())),
        Verb::Expect(_) => (Kind::Expect, None),
        Verb::InstallDriver { node, .. } | Verb::Mig { node, .. } => (Kind::Note, Some(node.clone())),
        Verb::Fault { spec, .. } => (Kind::Fault, (!spec.node.contains('*')).then(|| spec.node.clone())),
        Verb::Scale { .. } => (Kind::Apply, None),
        Verb::Finish { .. } => (Kind::Delete, None),
        Verb::Never(_) | Verb::Sometimes(_) => (Kind::Expect, None),
        Verb::Edit { .. } | Verb::Workload(_) | Verb::Parallel(_) => (Kind::Note, None),
        Verb::Wait(_) | Verb::Advance(_) => (Kind::Note, None),
    }
}

/// The first step that failed, placed where its marker stands.
fn failed_step(markers: &[Marker], run: &RunReport) -> Option<Failure> {
    let failed = |step: &&StepReport| {
        matches!(
            step.outcome,
            Outcome::Unmet { .. }
                | Outcome::Violated { .. }
                | Outcome::Forbidden { .. }
                | Outcome::NeverExercised { .. }
                | Outcome::Broken { .. }
        )
    };
    let step = run.steps.iter().find(failed)?;
    let number = step.index + 1;
    let marker = markers.iter().find(|marker| marker.step == Some(number));
    let at = marker.map_or(run.took.as_secs_f64(), |marker| marker.until.unwrap_or(marker.at));
    let (invariant, evidence) = match &step.outcome {
        Outcome::Violated { violations } => {
            let first = violations.first().map(|first| first.split(':').next().unwrap_or(first).to_owned());
            (first, violations.join("\n"))
        }
        outcome => (None, outcome.details().unwrap_or_default()),
    };
    Some(Failure {
        from: marker.map_or(at, |marker| marker.at),
        at,
        step: Some(number),
        text: step.text.clone(),
        invariant,
        evidence: evidence.lines().map(str::to_owned).collect(),
        ..Failure::default()
    })
}

/// What was left behind, when every step was fine.
fn left_behind(run: &RunReport) -> Option<Failure> {
    (!run.leaks.is_empty()).then(|| Failure {
        from: run.took.as_secs_f64(),
        at: run.took.as_secs_f64(),
        text: "something was left behind at the end of the run".to_owned(),
        invariant: Some("nothing leaks".to_owned()),
        evidence: run.leaks.clone(),
        ..Failure::default()
    })
}
