//! A run written by the core itself: two GPUs shared by time slicing, three pods, then a flip back to whole GPUs.

use std::path::Path;

use plugin_core::config::ResourceName;
use plugin_core::event::{Checkpoint, Event, Holding};
use plugin_core::plugin::ConfigSource;
use serde_json::json;

use super::*;
use crate::replay::recorded_node::RecordedNode;

const SHARED: &str = "version: v1\nsharing:\n  timeSlicing:\n    failRequestsGreaterThanOne: true\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";
const WHOLE: &str = "version: v1\n";

struct Node {
    recorded: RecordedNode,
    holdings: Vec<Holding>,
}

fn shared() -> ResourceName {
    ResourceName::gpu().shared()
}

impl Node {
    fn started() -> Self {
        let mut node = Node { recorded: RecordedNode::new(), holdings: vec![] };
        node.start();
        node
    }

    fn start(&mut self) {
        self.recorded.start(ConfigSource::File);
        self.configure(SHARED);
        self.read();
    }

    fn configure(&mut self, text: &str) {
        let files = [("config.yaml".to_owned(), text.to_owned())].into();
        self.recorded.tell(Event::ConfigRead { files });
    }

    fn read(&mut self) {
        let holdings = self.holdings.clone();
        self.recorded.tell(Event::HoldersRead { holdings, checkpoint: Checkpoint::Unread });
    }

    fn admit(&mut self, pod: &str, id: &str) {
        assert_eq!(self.recorded.allocate(shared(), &[id]), None);
        self.holdings.push(Holding {
            namespace: "default".into(),
            pod: pod.into(),
            container: "main".into(),
            resource: shared().to_string(),
            ids: vec![id.into()],
        });
    }
}

/// The story; the refusal's text.
fn story(node: &mut Node) -> String {
    node.admit("shared-1", "GPU-0::0");
    node.admit("shared-2", "GPU-1::0");
    node.admit("shared-3", "GPU-0::1");
    let refused =
        node.recorded.allocate(shared(), &["GPU-1::2", "GPU-1::3"]).expect("two shared devices are too many");
    node.read();
    node.configure(WHOLE);
    node.holdings.retain(|holding| holding.pod != "shared-2");
    node.read();
    refused
}

fn report(refused: &str) -> serde_json::Value {
    let running = |id: &str| json!({"phase": "Running", "node": "gpu-2", "resources": {"nvidia.com/gpu.shared": 1}, "ids": {"nvidia.com/gpu.shared": [id]}});
    let message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
    json!({"scenario": "story", "passed": true, "world": {
        "nodes": {"gpu-2": {"allocatable": {"nvidia.com/gpu": 2}}, "cpu-1": {}},
        "pods": {
            "shared-1": running("GPU-0::0"),
            "shared-3": running("GPU-0::1"),
            "too-big": {"phase": "Pending", "resources": {"nvidia.com/gpu": 5}, "scheduled": {"status": "False", "message": message}},
            "greedy": {"phase": "Failed", "node": "gpu-2", "resources": {"nvidia.com/gpu.shared": 2},
                "message": format!("Pod was rejected: Allocate failed due to {refused}, which is unexpected")},
        },
    }})
}

fn write(root: &Path, node: &Node, report: Option<serde_json::Value>) {
    let journal = root.join("story-1/gpu-2/journal");
    std::fs::create_dir_all(&journal).unwrap();
    std::fs::write(journal.join("journal.jsonl"), node.recorded.lines.join("\n") + "\n").unwrap();
    std::fs::create_dir_all(root.join("story-1/cpu-1")).unwrap();
    if let Some(report) = report {
        std::fs::write(root.join("story-1/report.json"), report.to_string()).unwrap();
    }
}

fn played() -> tempfile::TempDir {
    let (root, mut node) = (tempfile::tempdir().unwrap(), Node::started());
    let refused = story(&mut node);
    write(root.path(), &node, Some(report(&refused)));
    root
}

fn told(root: &Path, run: &str, pod: Option<&str>) -> Result<String, String> {
    let args = ExplainArgs { run: run.into(), pod: pod.map(str::to_owned), runs_dir: Some(root.into()) };
    explain(&args).map_err(|error| error.to_string())
}

fn assert_tells(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn a_pod_that_got_its_device_is_told_from_request_to_drain() {
    let root = played();
    let text = told(root.path(), "story-1", Some("shared-3")).unwrap();
    assert_tells(
        &text,
        &[
            "shared-3 asked for nvidia.com/gpu.shared ×1\n",
            "the scheduler bound shared-3 to gpu-2\n",
            "at 0.080s the plugin on gpu-2 granted nvidia.com/gpu.shared GPU-0::1 from view ",
            "GPU 0 was among the least used: 1 of 4 replicas taken (others: GPU 1 1 of 4)\n",
            "PodResources confirmed it 0.020s later\n",
            "its GPU 0 was draining from nvidia.com/gpu.shared\n",
            "shared-3 was running at the end\n",
            "not told: node cpu-1 has no journal\n",
        ],
    );
}

#[test]
fn a_pod_that_is_gone_is_told_from_the_journals() {
    let root = played();
    let text = told(root.path(), "last", Some("default/shared-2")).unwrap();
    assert_tells(
        &text,
        &[
            "shared-2 was gone at the end of the run",
            "granted nvidia.com/gpu.shared GPU-1::0",
            "GPU 1 was the least used: 0 of 4 replicas taken (others: GPU 0 1 of 4)\n",
            "PodResources did not list it any more\n",
        ],
    );
}

#[test]
fn a_pending_pod_is_told_in_the_schedulers_words() {
    let root = played();
    let text = told(root.path(), "story-1", Some("too-big")).unwrap();
    assert_tells(
        &text,
        &[
            "the scheduler found no node for too-big: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.\n",
            "it wants 5 of nvidia.com/gpu on one node; allocatable at the end: cpu-1 none, gpu-2 2\n",
            "too-big stays Pending\n",
        ],
    );
}

#[test]
fn a_refused_pod_is_told_with_the_plugins_refusal() {
    let root = played();
    let text = told(root.path(), "story-1", Some("greedy")).unwrap();
    assert_tells(
        &text,
        &[
            "at 0.090s the plugin on gpu-2 refused nvidia.com/gpu.shared GPU-1::2, GPU-1::3 from view ",
            "maximum request size for shared resources is 1; found 2\n",
            "greedy ended as Failed: Pod was rejected",
        ],
    );
}

#[test]
fn without_a_pod_every_pod_and_the_life_of_every_gpu_is_told() {
    let root = played();
    let text = told(root.path(), "story-1", None).unwrap();
    assert_tells(
        &text,
        &[
            "story passed\n",
            "shared-1: asked for nvidia.com/gpu.shared ×1, Running on gpu-2 with GPU-0::0 (GPU 0)\n",
            "shared-2: held GPU-1::0 (GPU 1) on gpu-2, gone at the end\n",
            "too-big: asked for nvidia.com/gpu ×5, Pending on no node: 0/1 nodes are available",
            "gpu-2 GPU 1 (GPU-1)\n  0.030s  found, not offered yet\n",
            "  0.100s  held by shared-2 as GPU-1::0\n",
            "  0.110s  draining from nvidia.com/gpu.shared\n",
            "  0.120s  shared-2 let go of GPU-1::0\n",
            "gpu-2 plugin\n  0.010s  started\n",
        ],
    );
}

#[test]
fn a_restarted_plugin_finds_its_holders_and_both_starts_are_told() {
    let (root, mut node) = (tempfile::tempdir().unwrap(), Node::started());
    node.admit("shared-1", "GPU-0::0");
    node.read();
    node.start();
    write(root.path(), &node, None);
    let text = told(root.path(), "story-1", Some("shared-1")).unwrap();
    assert_tells(
        &text,
        &[
            "at 0.060s of start 1 the plugin on gpu-2 granted",
            "PodResources confirmed it 0.010s later\n",
            "not told: no report",
        ],
    );
}

#[test]
fn an_unknown_pod_or_run_is_answered_with_the_nearest_name() {
    let root = played();
    let error = told(root.path(), "story-1", Some("shraed-1")).unwrap_err();
    assert_eq!(error, "no pod `shraed-1` in this run (hint: did you mean `shared-1`?)");
    let error = told(root.path(), "stroy-1", None).unwrap_err();
    assert!(error.ends_with("(hint: did you mean `story-1`?)"), "{error}");
    let error = told(&root.path().join("nowhere"), "last", None).unwrap_err();
    assert!(error.ends_with("(hint: play a scenario first: `cargo sim run FILE`)"), "{error}");
}

#[test]
fn a_directory_without_report_and_journals_is_no_run() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("empty")).unwrap();
    let error = told(root.path(), "empty", None).unwrap_err();
    assert!(error.contains("is no run: it holds neither a `report.json` nor"), "{error}");
}

#[test]
fn a_broken_journal_is_told_up_to_the_broken_line() {
    let (root, mut node) = (tempfile::tempdir().unwrap(), Node::started());
    let refused = story(&mut node);
    node.recorded.lines.push("not json".to_owned());
    write(root.path(), &node, Some(report(&refused)));
    let text = told(root.path(), "story-1", Some("shared-1")).unwrap();
    assert_tells(
        &text,
        &[
            "the plugin on gpu-2 granted nvidia.com/gpu.shared GPU-0::0",
            "not told: node gpu-2: the journal is told up to an error only: ",
            "not a journal entry",
        ],
    );
}
