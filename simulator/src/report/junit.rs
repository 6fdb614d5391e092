//! A run as JUnit XML, because every CI system shows that.

use super::{Outcome, RunReport};

/// One test suite per scenario, one test case per step.
pub fn render(runs: &[RunReport]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in runs {
        let failed = report.steps.iter().filter(|step| is_failure(&step.outcome)).count()
            + usize::from(!report.leaks.is_empty());
        let skipped = report.steps.iter().filter(|step| is_skip(&step.outcome)).count();
        out.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{:.3}\">\n",
            escape(&report.scenario),
            report.steps.len() + usize::from(!report.leaks.is_empty()),
            report.took.as_secs_f64(),
        ));
        for step in &report.steps {
            out.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"{:02} {}\" time=\"{:.3}\">",
                escape(&report.scenario),
                step.index + 1,
                escape(&step.text),
                step.took.as_secs_f64(),
            ));
            let details = escape(&step.outcome.details().unwrap_or_default());
            let word = step.outcome.word();
            if is_failure(&step.outcome) {
                out.push_str(&format!("<failure message=\"{word}\">{details}</failure>"));
            } else if is_skip(&step.outcome) {
                out.push_str(&format!("<skipped message=\"{word}\"/>"));
            } else if !details.is_empty() {
                out.push_str(&format!("<system-out>{word}: {details}</system-out>"));
            }
            out.push_str("</testcase>\n");
        }
        if !report.leaks.is_empty() {
            out.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"nothing is left behind\"><failure message=\"left behind\">{}</failure></testcase>\n",
                escape(&report.scenario),
                escape(&report.leaks.join("\n")),
            ));
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn is_failure(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Unmet { .. }
            | Outcome::Violated { .. }
            | Outcome::Forbidden { .. }
            | Outcome::NeverExercised { .. }
            | Outcome::Broken { .. }
            | Outcome::Interrupted
    )
}

fn is_skip(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Skipped { .. } | Outcome::NotReached)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
