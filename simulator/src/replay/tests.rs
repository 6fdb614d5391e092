//! Journals written by the core itself, then harmed.

use std::path::{Path, PathBuf};

use plugin_core::event::{Checkpoint, Event};
use plugin_core::plugin::ConfigSource;

use super::recorded_node::RecordedNode;
use super::*;

mod supervisor;

/// Lines of a node with two GPUs: it starts, serves and grants one Allocate.
fn run_of_a_node() -> Vec<String> {
    let mut node = RecordedNode::new();
    node.start(ConfigSource::None);
    node.tell(Event::HoldersRead { holdings: vec![], checkpoint: Checkpoint::Unread });
    let (resource, endpoint, attempt) = node.listen.clone().expect("nothing was registered");
    node.tell(Event::Listening { resource: resource.clone(), endpoint, attempt });
    node.tell(Event::Registered { resource: resource.clone(), attempt });
    assert_eq!(node.allocate(resource, &["GPU-1"]), None);
    node.tell(Event::StopRequested);
    node.lines
}

struct Ring {
    directory: tempfile::TempDir,
}

impl Ring {
    fn of(current: &str) -> Self {
        let ring = Ring { directory: tempfile::tempdir().unwrap() };
        ring.write("journal.jsonl", current);
        ring
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal.jsonl")
    }
}

fn args(journal: &Path) -> ReplayArgs {
    ReplayArgs { journal: journal.into(), alone: false, verbose: false }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What the command says, and its exit code.
fn outcome(ring: &Ring) -> (String, u8) {
    let args = args(&ring.path());
    match replay(&args, None) {
        Ok(verdict) => told(&args, &verdict),
        Err(error) => (error.to_string(), EXIT_BAD_INPUT),
    }
}

#[test]
fn a_journal_replays_to_the_same_actions() {
    let lines = run_of_a_node();
    let (said, code) = outcome(&Ring::of(&text(&lines)));
    let actions = lines.iter().filter(|line| line.contains("\"action\":")).count();
    assert_eq!(said, format!("the same: one run of the plugin, 8 events, {actions} actions\n"));
    assert_eq!(code, EXIT_PASSED);
}

#[test]
fn the_narration_tells_events_actions_and_changes() {
    let ring = Ring::of(&text(&run_of_a_node()));
    let mut told = Vec::new();
    replay(&args(&ring.path()), Some(&mut told)).unwrap();
    let told = String::from_utf8(told).unwrap();
    for part in [
        "0.010s  event   started: the plugin of node (no node name) starts",
        "action  find_gpus",
        "event   gpus_found: 2 × Tesla T4, driver 595.91.07",
        "·       GPU 1 is now settled as nvidia.com/gpu",
        "event   allocated: nvidia.com/gpu GPU-1: granted from view",
        "action  exit: code 0: asked to stop",
    ] {
        assert!(told.contains(part), "no `{part}` in\n{told}");
    }
}

#[test]
fn a_changed_action_is_found_with_the_event_before_it_and_its_fields() {
    let mut lines = run_of_a_node();
    let at = lines.iter().position(|line| line.contains("\"action\":\"register\"")).unwrap();
    lines[at] = lines[at].replace("nvidia-gpu.sock", "other.sock");
    let (said, code) = outcome(&Ring::of(&text(&lines)));
    assert_eq!(code, EXIT_FAILED);
    let number = at + 1;
    for part in [
        format!("journal.jsonl:{number}: differs at entry {number}, 0.050s"),
        format!("after     entry {at}, listening: nvidia.com/gpu on nvidia-gpu.sock"),
        "- endpoint: recorded \"other.sock\", replayed \"nvidia-gpu.sock\"".to_owned(),
    ] {
        assert!(said.contains(&part), "no `{part}` in\n{said}");
    }
}

#[test]
fn an_action_more_or_less_is_a_difference() {
    let lines = run_of_a_node();
    let at = lines.iter().position(|line| line.contains("\"action\":\"register\"")).unwrap();
    let mut less = lines.clone();
    less.remove(at);
    let (said, code) = outcome(&Ring::of(&text(&less)));
    assert_eq!(code, EXIT_FAILED);
    assert!(said.contains("recorded  the journal goes on with the next event"), "{said}");
    let mut more = lines.clone();
    more.insert(at, lines[at].clone());
    let (said, code) = outcome(&Ring::of(&text(&more)));
    assert_eq!(code, EXIT_FAILED);
    assert!(said.contains("replayed  no action"), "{said}");
    let (said, code) = outcome(&Ring::of(&text(&lines[..lines.len() - 1])));
    assert_eq!(code, EXIT_FAILED);
    assert!(said.contains("recorded  the journal ends here"), "{said}");
}

#[test]
fn an_allocate_that_would_be_answered_otherwise_is_a_difference() {
    let mut lines = run_of_a_node();
    let at = lines.iter().position(|line| line.contains("\"event\":\"allocated\"")).unwrap();
    lines[at] = lines[at].replace("\"refused\":null", "\"refused\":\"because\"");
    let (said, code) = outcome(&Ring::of(&text(&lines)));
    assert_eq!(code, EXIT_FAILED);
    assert!(said.contains("recorded  refused (because)\n  replayed  granted"), "{said}");
}

#[test]
fn an_unfinished_last_line_is_left_out_and_said() {
    let whole = text(&run_of_a_node());
    let (said, code) = outcome(&Ring::of(&whole[..whole.len() - 20]));
    assert_eq!(code, EXIT_PASSED);
    assert!(said.contains("left out, unfinished") && said.contains("the same: one run"), "{said}");
}

#[test]
fn a_broken_line_and_another_version_are_told_with_file_and_line() {
    let lines = run_of_a_node();
    let harmed = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line.to_owned();
        outcome(&Ring::of(&text(&lines)))
    };
    for (line, expected) in [
        ("{\"v\":1,\"at\":", "journal.jsonl:3: not a journal entry: EOF while parsing"),
        ("{\"v\":2,\"at\":1,\"event\":\"timeout\"}", "journal.jsonl:3: the journal has version 2"),
        ("{\"at\":1,\"event\":\"timeout\"}", "journal.jsonl:3: not a journal entry: no version `v`"),
        ("{\"v\":1,\"event\":\"timeout\"}", "journal.jsonl:3: not a journal entry: no time `at`"),
        (
            "{\"v\":1,\"at\":1}",
            "journal.jsonl:3: not a journal entry: expected either an `event` or an `action`",
        ),
        (
            "{\"v\":1,\"at\":20000000,\"event\":\"sneezed\"}",
            "journal.jsonl:3: not a journal entry: event `sneezed`: unknown variant",
        ),
        (
            "{\"v\":1,\"at\":20000000,\"action\":\"close\"}",
            "journal.jsonl:3: not a journal entry: action `close`: missing field `resource`",
        ),
    ] {
        let (said, code) = harmed(2, line);
        assert_eq!(code, EXIT_BAD_INPUT, "{said}");
        assert!(said.contains(expected), "no `{expected}` in {said}");
    }
}

#[test]
fn both_files_of_a_ring_are_one_journal() {
    let lines = run_of_a_node();
    let ring = Ring::of(&text(&lines[5..]));
    let (said, code) = outcome(&ring);
    assert_eq!(code, EXIT_BAD_INPUT);
    assert!(said.contains("no `started` event"), "{said}");
    ring.write("journal.1.jsonl", &text(&lines[..5]));
    let (said, code) = outcome(&ring);
    assert_eq!(code, EXIT_PASSED, "{said}");
    let alone = ReplayArgs { alone: true, ..args(&ring.path()) };
    let entries = (lines.len() - 5) as u64;
    assert_eq!(replay(&alone, None).unwrap(), Verdict::NoStart { entries });
    let directory = args(ring.directory.path());
    assert!(matches!(replay(&directory, None).unwrap(), Verdict::Compared { .. }));
}

#[test]
fn an_earlier_run_whose_beginning_is_gone_is_skipped_and_the_next_one_replayed() {
    let lines = run_of_a_node();
    let ring = Ring::of(&text(&lines));
    ring.write("journal.1.jsonl", &text(&lines[4..]));
    let (said, code) = outcome(&ring);
    assert_eq!(code, EXIT_PASSED);
    let skipped = lines.len() - 4;
    assert!(said.starts_with(&format!("skipped {skipped} entries")), "{said}");
    ring.write("journal.1.jsonl", &text(&lines));
    let (said, _) = outcome(&ring);
    assert!(said.starts_with("the same: 2 runs of the plugin"), "{said}");
}

#[test]
fn a_missing_middle_is_noticed_because_time_goes_back() {
    let lines = run_of_a_node();
    let mut swapped = lines.clone();
    let last = swapped.pop().unwrap();
    swapped.insert(3, last);
    let (said, code) = outcome(&Ring::of(&text(&swapped)));
    assert_eq!(code, EXIT_FAILED, "{said}");
    let mut back = lines;
    back.truncate(3);
    back.push("{\"v\":1,\"at\":1,\"event\":\"timeout\"}".to_owned());
    let (said, code) = outcome(&Ring::of(&text(&back)));
    assert_eq!(code, EXIT_BAD_INPUT);
    assert!(said.contains("journal.jsonl:4: the time goes back from 0.010s to 0.000s"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let ring = Ring::of("");
    let (said, code) = outcome(&ring);
    assert_eq!(code, EXIT_BAD_INPUT);
    assert!(said.ends_with("journal.jsonl: no entries\n"), "{said}");
    let error = replay(&args(Path::new("/nonexistent/journal.jsonl")), None).unwrap_err();
    assert!(error.to_string().starts_with("journal `/nonexistent/journal.jsonl` cannot be read"));
}
