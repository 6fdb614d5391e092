//! The page as text: untrusted words stay words, and what matters is there without scripts.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::timeline::{Failure, Header, Kind, Marker, Recorder, Verdict};

/// Text that tries to leave wherever it is put.
const HOSTILE: &str = "</script><script>alert(1)</script><!--\"'&{{data}}\u{2028}";

fn hostile() -> Timeline {
    let mut recorder = Recorder::default();
    recorder.see(
        Duration::ZERO,
        &json!({
            "nodes": {HOSTILE: {"gpus": [{"uuid": HOSTILE, "index": 0, "role": HOSTILE, "holders": [HOSTILE]}]}},
            "pods": {HOSTILE: {"phase": HOSTILE, "node": HOSTILE, "reason": HOSTILE}},
        }),
    );
    recorder.mark(Marker {
        kind: Kind::Apply,
        text: HOSTILE.into(),
        step: Some(1),
        details: Some(HOSTILE.into()),
        ..Marker::default()
    });
    let header = Header {
        scenario: HOSTILE.into(),
        story: HOSTILE.into(),
        verdict: Verdict::Failed,
        not_reached: vec![HOSTILE.into()],
        ..Header::default()
    };
    let failure = Failure { text: HOSTILE.into(), evidence: vec![HOSTILE.into()], ..Failure::default() };
    recorder.finish(header, Some(failure))
}

#[test]
fn untrusted_text_cannot_leave_its_place() {
    let page = render(&hostile());
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
    let (_, data) = page.split_once("id=\"timeline\">").unwrap();
    assert!(!data.contains('\u{2028}'), "a line's end for older parsers");
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"), "shown as text");
    assert!(page.contains("{{data}}"), "what is filled in is not filled again");
}

#[test]
fn the_data_in_the_page_is_the_record() {
    let timeline = hostile();
    let page = render(&timeline);
    let (_, rest) = page.split_once("id=\"timeline\">").unwrap();
    let (text, _) = rest.split_once("</script>").unwrap();
    assert_eq!(serde_json::from_str::<Timeline>(text).unwrap(), timeline);
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let page = render(&hostile());
    for outside in ["src=", "@import", "url(", "fetch(", "XMLHttpRequest", "<link", "import("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let namespaces = page.matches("://").count();
    assert_eq!(namespaces, page.matches("http://www.w3.org/2000/svg").count());
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_slot_of_the_template_is_known() {
    let unknown = fill(TEMPLATE, |slot| {
        let known = ["title", "style", "header", "failure", "notes", "steps", "final", "data", "script"];
        if known.contains(&slot) { String::new() } else { format!("UNKNOWN {slot}") }
    });
    assert!(!unknown.contains("UNKNOWN") && !unknown.contains("{{"), "{unknown}");
}

#[test]
fn failure_steps_and_final_state_are_there_without_scripts() {
    let mut timeline = hostile();
    timeline.header.scenario = "mixed".into();
    timeline.truncated.push("2 lanes end early".into());
    if let Some(failure) = &mut timeline.failure {
        failure.evidence =
            vec!["pods.a.phase".into(), "  - expected  Running".into(), "  + found     Failed".into()];
        failure.step = Some(4);
    }
    let page = render(&timeline);
    let (page, _) = page.split_once("<script type=\"application/json\"").unwrap();
    for part in [
        "<title>mixed failed — Tandem</title>",
        "<span class=\"expected\">  - expected  Running</span>",
        "<span class=\"found\">  + found     Failed</span>",
        "Step failed · step 4",
        "This record is incomplete: 2 lanes end early.",
        "<caption>GPUs</caption>",
        "<caption>Pods</caption>",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_number_that_is_none_makes_no_page_with_holes() {
    let mut timeline = hostile();
    timeline.end = f64::NAN;
    let page = render(&timeline);
    assert!(page.contains("\"end\":null"), "the script takes it as 0");
}
