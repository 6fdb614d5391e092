//! The parts of the page that are there without scripts, because some places that show reports run none.

use std::fmt::Write as _;

use super::escape;
use crate::timeline::{Failure, Marker, Timeline, Verdict};

/// The title of the window.
pub(super) fn title(timeline: &Timeline) -> String {
    let header = &timeline.header;
    escape(&format!("{} {} — Tandem", header.scenario, header.verdict.word()))
}

/// Verdict, name, story, and the facts of the run.
pub(super) fn header(timeline: &Timeline) -> String {
    let header = &timeline.header;
    let mut out = String::new();
    let verdict = header.verdict.word();
    let mark = if header.verdict == Verdict::Passed { "✓" } else { "✗" };
    push(
        &mut out,
        format_args!(
            "<div class=\"headline\"><span class=\"verdict {verdict}\"><span aria-hidden=\"true\">{mark}</span> {verdict}</span>\
             <h1>{}</h1></div>\n<p class=\"story\">{}</p>\n<dl class=\"facts\">",
            escape(&header.scenario),
            escape(header.story.trim())
        ),
    );
    let gpus: usize = timeline.nodes.iter().map(|node| node.gpus.len()).sum();
    let commit = header.commit.clone().unwrap_or_default();
    let replay = header.replay.clone().unwrap_or_default();
    let facts = [
        ("stage", header.stage.clone()),
        ("seed", header.seed.to_string()),
        ("cluster", format!("{} nodes, {gpus} GPUs, {} pods", timeline.nodes.len(), timeline.pods.len())),
        ("run time", seconds(timeline.end)),
        ("wall time", seconds(header.wall_seconds)),
        ("timers scaled", header.timers_scaled.join(", ")),
        ("commit", commit),
        ("file", header.file.clone()),
        ("replay with", replay),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        push(&mut out, format_args!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value)));
    }
    out.push_str("</dl>");
    out
}

/// The failure with its evidence; nothing when there is none.
pub(super) fn failure(timeline: &Timeline) -> String {
    let Some(failure) = &timeline.failure else {
        return String::new();
    };
    let what = match (&failure.invariant, failure.step) {
        (Some(_), _) => "Invariant broken",
        (None, Some(_)) => "Step failed",
        (None, None) => "Run failed",
    };
    let step = failure.step.map(|step| format!(" · step {step}")).unwrap_or_default();
    let mut out = String::new();
    push(
        &mut out,
        format_args!(
            "<section class=\"failure\" id=\"failure\" aria-labelledby=\"failure-title\">\n<p class=\"what\">{what}{step} · {}</p>\n\
             <h2 id=\"failure-title\">{}</h2>\n",
            seconds(failure.at),
            escape(failure.invariant.as_deref().unwrap_or(&failure.text))
        ),
    );
    if failure.invariant.is_some() {
        push(&mut out, format_args!("<p>{}</p>\n", escape(&failure.text)));
    }
    out.push_str("<pre class=\"evidence\" tabindex=\"0\">");
    for line in &failure.evidence {
        let class = evidence_class(line);
        push(&mut out, format_args!("<span class=\"{class}\">{}</span>\n", escape(line)));
    }
    out.push_str("</pre>\n");
    out.push_str(&named(failure));
    out.push_str("</section>");
    out
}

/// How a line of evidence is shown: `- expected`, `+ found`, or neither.
fn evidence_class(line: &str) -> &'static str {
    match line.trim_start() {
        start if start.starts_with("- ") => "expected",
        start if start.starts_with("+ ") => "found",
        _ => "place",
    }
}

fn named(failure: &Failure) -> String {
    let all: Vec<String> = failure
        .nodes
        .iter()
        .chain(&failure.pods)
        .map(|name| format!("<code>{}</code>", escape(name)))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    format!("<p class=\"named\">Concerns {}</p>\n", all.join(" "))
}

/// What the record left out.
pub(super) fn notes(timeline: &Timeline) -> String {
    timeline
        .truncated
        .iter()
        .map(|sentence| {
            format!("<p class=\"note\" role=\"note\">This record is incomplete: {}.</p>\n", escape(sentence))
        })
        .collect()
}

/// Every step with its time and how it went.
pub(super) fn steps(timeline: &Timeline) -> String {
    let mut out = String::from("<ol class=\"steps\">\n");
    for marker in timeline.markers.iter().filter(|marker| marker.step.is_some()) {
        let (class, mark) = outcome(marker);
        push(
            &mut out,
            format_args!(
                "<li class=\"{class}\" value=\"{}\"><span class=\"mark\">{mark}</span> {} <span class=\"time\">{}, {}</span>",
                marker.step.unwrap_or_default(),
                escape(&marker.text),
                seconds(marker.at),
                seconds(marker.until.map_or(0.0, |until| until - marker.at)),
            ),
        );
        if let Some(details) = &marker.details {
            push(&mut out, format_args!("<pre>{}</pre>", escape(details)));
        }
        out.push_str("</li>\n");
    }
    out.push_str("</ol>\n");
    if !timeline.header.not_reached.is_empty() {
        out.push_str("<p>Not reached:</p>\n<ul class=\"steps\">\n");
        for text in &timeline.header.not_reached {
            push(&mut out, format_args!("<li class=\"skipped\">{}</li>\n", escape(text)));
        }
        out.push_str("</ul>\n");
    }
    out
}

fn outcome(marker: &Marker) -> (&'static str, &'static str) {
    match marker.ok {
        Some(true) => ("passed", "✓"),
        Some(false) => ("failed", "✗"),
        None => ("skipped", "–"),
    }
}

pub(super) fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(what);
}

/// Seconds as people read them.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0) / 60.0),
    }
}
