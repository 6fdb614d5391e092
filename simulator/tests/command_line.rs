//! The program as its users meet it: exit codes, bad input, a held cluster with kubectl, and nothing left behind.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use simulator::on::wire::{Binaries, binaries};

const KUBECTL: &str = "/usr/bin/kubectl";
/// How long the plugin may take to do what a label says.
const SOON: Duration = Duration::from_secs(20);

const SMALL: &str = "\
story: two nodes that only wait
timers: {nodeStatusUpdate: 200ms, termination: 100ms}
nodes:
- {name: gpu-1, gpus: {board: tesla-t4, count: 2}}
- {name: cpu-1}
configs:
  default: 'version: v1'
  mps-config: 'version: v1

    sharing: {mps: {renameByDefault: true, resources: [{name: nvidia.com/gpu, replicas: 4}]}}'
steps:
- expect: {within: 20s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 2}}}}
";

fn tandem_sim(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem-sim"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("TMPDIR", dir).stdin(Stdio::null());
    command
}

fn scenario(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("small.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Short, because sockets lie below it.
fn short_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ts-").tempdir_in("/tmp").unwrap()
}

#[test]
fn a_wrong_scenario_ends_with_code_2_all_its_problems_and_nothing_started() {
    let dir = short_dir();
    let file = scenario(dir.path(), &SMALL.replace("tesla-t4", "tesla-t5").replace("steps:", "stps:"));
    let output =
        tandem_sim(dir.path()).args(["run", "--runs-dir"]).arg(dir.path()).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("small.yaml:4:") || text.contains("small.yaml:3:"), "{text}");
    assert!(text.contains("did you mean `tesla-t4`?") && text.contains("did you mean `steps`?"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the scenario itself is there");
}

#[test]
fn a_missing_file_ends_with_code_2() {
    let dir = short_dir();
    let output = tandem_sim(dir.path()).args(["lint", "/nowhere/x.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("`/nowhere/x.yaml`"));
}

#[test]
fn a_missing_binary_is_named_with_the_command_that_builds_it() {
    let dir = short_dir();
    let file = scenario(dir.path(), SMALL);
    let empty = dir.path().join("bin");
    std::fs::create_dir(&empty).unwrap();
    let output =
        tandem_sim(dir.path()).env(binaries::DIR_VARIABLE, &empty).arg("run").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("tandem-device-plugin") && text.contains("cargo build -p plugin-daemon"), "{text}");
}

#[test]
fn a_run_reports_in_json_and_junit_and_leaves_only_its_run_directory() {
    let dir = short_dir();
    let file = scenario(dir.path(), SMALL);
    let junit = dir.path().join("junit.xml");
    let runs = dir.path().join("runs");
    let output = tandem_sim(dir.path())
        .args(["run", "--json", "-", "--junit"])
        .arg(&junit)
        .arg("--runs-dir")
        .arg(&runs)
        .arg(&file)
        .output()
        .unwrap();
    let view = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{view}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["runs"][0]["world"]["nodes"]["gpu-1"]["allocatable"]["nvidia.com/gpu"], 2);
    assert!(std::fs::read_to_string(&junit).unwrap().contains("failures=\"0\""));
    let run = runs.join("small-1");
    assert!(run.join("report.json").is_file());
    let journal = std::fs::read_dir(run.join("gpu-1/journal")).unwrap().count();
    assert!(journal > 0, "the journal of the node is kept");
    let mut left: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["junit.xml", "runs", "small.yaml"]);
}

#[test]
fn kubectl_flips_a_node_of_a_held_cluster_and_ctrl_c_leaves_nothing() {
    if !Path::new(KUBECTL).exists() {
        println!("SKIPPED: kubectl not found at {KUBECTL} (Debian: kubernetes-client)");
        return;
    }
    Binaries::find_or_build().unwrap();
    let dir = short_dir();
    let file = scenario(dir.path(), SMALL);
    let mut held = Held::start(
        tandem_sim(dir.path()).arg("serve").arg("--runs-dir").arg(dir.path().join("runs")).arg(&file),
    );
    let kubeconfig = held.wait_for("export KUBECONFIG=");
    let kubectl = |args: &[&str]| {
        let output = Command::new(KUBECTL).env("KUBECONFIG", &kubeconfig).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let nodes = kubectl(&["get", "nodes,pods"]);
    assert!(nodes.contains("gpu-1") && nodes.contains("cpu-1") && nodes.contains("Ready"), "{nodes}");
    kubectl(&["label", "node", "gpu-1", "nvidia.com/device-plugin.config=mps-config"]);
    let shared = "jsonpath={.status.allocatable.nvidia\\.com/gpu\\.shared}";
    let begun = Instant::now();
    while kubectl(&["get", "node", "gpu-1", "-o", shared]) != "8" {
        assert!(begun.elapsed() < SOON, "{}", kubectl(&["get", "node", "gpu-1", "-o", "yaml"]));
    }
    assert_eq!(held.interrupt(), Some(0));
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "runs" || name == "small.yaml"), "{left:?}");
    let needle = dir.path().as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let ours = environment.windows(needle.len()).any(|window| window == needle);
        assert!(!ours || command.is_empty(), "{}", String::from_utf8_lossy(&command));
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_leaves_nothing() {
    Binaries::find_or_build().unwrap();
    let dir = short_dir();
    let file = scenario(dir.path(), &format!("{SMALL}- wait: 10m\n"));
    let mut command = tandem_sim(dir.path());
    command.args(["run", "--quiet", "--runs-dir"]).arg(dir.path().join("runs")).arg(&file);
    let mut run = Ended(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(run.0.stderr.take().unwrap());
    let temporary = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
        entries.map(|entry| entry.path()).find(|path| path.join("kubeconfig").exists())
    };
    let begun = Instant::now();
    // the plugin of the first node listens: much is under way
    while !temporary().is_some_and(|at| at.join("gpu-1/probes/admin").exists()) {
        assert!(begun.elapsed() < SOON, "nothing was started");
        std::thread::sleep(Duration::from_millis(5));
    }
    // a plugin that does not hear its SIGTERM: stopping in order takes longer than the second interrupt needs
    let needle = format!("{}/tandem-", dir.path().display());
    let stopped =
        Command::new("pkill").args(["-STOP", "-f", &format!("tandem-device-plugin.*{needle}")]).status();
    assert!(stopped.unwrap().success());
    let interrupt = || Command::new("kill").args(["-INT", &run.0.id().to_string()]).status().unwrap();
    assert!(interrupt().success());
    let mut text = String::new();
    while !text.contains("once more to leave at once") {
        assert_ne!(said.read_line(&mut text).unwrap(), 0, "{text}");
    }
    assert!(interrupt().success());
    said.read_to_string(&mut text).unwrap();
    assert_eq!(run.0.wait().unwrap().code(), Some(1), "{text}");
    assert!(text.contains("left at once"), "the second one came too late to show anything: {text}");
    assert_eq!(temporary(), None, "{text}");
    let names = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = names.filter(|name| name != "runs" && name != "small.yaml").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A run that is ended however the test ends: a second interrupt makes it leave at once.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        while matches!(self.0.try_wait(), Ok(None)) {
            // it is gone by then, or asked once more
            let _asked = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A `serve` that is ended however the test ends.
struct Held {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Held {
    fn start(command: &mut Command) -> Held {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Held { child, output }
    }

    /// The rest of the first line that holds the text.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "ended before `{text}`:\n{seen}");
            if let Some((_, rest)) = line.split_once(text) {
                return rest.trim().to_owned();
            }
            seen.push_str(&line);
        }
    }

    /// Ctrl-C, the rest of the output, the exit code.
    fn interrupt(&mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Ended already when the test passed.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What a command prints and its exit code.
fn printed(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

const SIZES: &str = "parameters:
  few: {labels: [short], values: {count: 2}}
  many: {labels: [long], values: {count: 8}}
";

/// The small scenario in two sizes.
fn sized() -> String {
    format!("{SIZES}{}", SMALL.replace("count: 2}}", "count: '${count}'}}"))
}

#[test]
fn many_seeds_play_on_the_model_stage_and_each_variant_is_chosen_by_name_or_label() {
    let dir = short_dir();
    let text = sized().replace("nvidia.com/gpu: 2", "nvidia.com/gpu: '${count}'");
    let file = scenario(dir.path(), &text);
    let run = |more: &[&str]| {
        let mut command = tandem_sim(dir.path());
        command.args(["run", "--stage", "model", "--runs-dir"]).arg(dir.path());
        printed(command.arg(&file).args(more))
    };
    let (code, text) = run(&["--seeds", "20"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("small (few) · model: 20 of 20 seeds passed"), "{text}");
    let (code, text) = run(&["--label", "long"]);
    assert!(code == Some(0) && text.contains("small (many) · model stage"), "{text}");
    let (code, text) = run(&["--variant", "huge"]);
    assert!(code == Some(2) && text.contains("no scenario or variant is chosen"), "{text}");
}

#[test]
fn a_stage_that_a_scenario_refuses_is_named_with_its_reason() {
    let dir = short_dir();
    let file = scenario(dir.path(), &format!("notOn: {{model: it needs real sockets}}\n{SMALL}"));
    let mut command = tandem_sim(dir.path());
    let (code, text) = printed(command.args(["run", "--stage", "model"]).arg(&file));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("small is not played on model: it needs real sockets"), "{text}");
}

#[test]
fn what_fails_on_the_model_stage_is_told_and_leaves_its_journals() {
    let dir = short_dir();
    let wrong = SMALL.replace("steps:\n", "steps:\n- never: {nodes: {gpu-*: {plugin: {ready: true}}}}\n");
    let file = scenario(dir.path(), &wrong);
    let mut command = tandem_sim(dir.path());
    let command = command.args(["run", "--stage", "model", "--seeds", "2", "--runs-dir"]).arg(dir.path());
    let (code, text) = printed(command.arg(&file));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("became true: never of step 1") && text.contains("0 of 2 seeds passed"), "{text}");
    let run = dir.path().join("small-2");
    assert!(run.join("gpu-1/journal/journal.jsonl").exists());
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("never of step 1") && page.contains("model"), "{page}");
    let report = std::fs::read_to_string(run.join("report.json")).unwrap();
    assert!(report.contains("\"stage\": \"model\"") && report.contains("\"passed\": false"), "{report}");
}

#[test]
fn a_run_on_the_model_stage_leaves_the_same_reports_and_many_seeds_only_those_that_fail() {
    let dir = short_dir();
    let file = scenario(dir.path(), SMALL);
    let junit = dir.path().join("junit.xml");
    let play = |seeds: &str, runs: &Path| {
        let mut command = tandem_sim(dir.path());
        command.args(["run", "--stage", "model", "--json", "-", "--junit"]).arg(&junit);
        command.args(["--seeds", seeds, "--runs-dir"]).arg(runs).arg(&file).output().unwrap()
    };
    let one = dir.path().join("one");
    let output = play("1", &one);
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["passed"], &report["runs"][0]["stage"]), (&true.into(), &"model".into()));
    assert!(std::fs::read_to_string(&junit).unwrap().contains("failures=\"0\""));
    for name in ["report.html", "report.json", "gpu-1/journal/journal.jsonl"] {
        assert!(one.join("small-1").join(name).is_file(), "{name}");
    }
    let many = dir.path().join("many");
    let report: serde_json::Value = serde_json::from_slice(&play("3", &many).stdout).unwrap();
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(3));
    assert_eq!(std::fs::read_to_string(&junit).unwrap().matches("<testsuite ").count(), 3);
    assert!(!many.exists(), "runs that passed leave nothing");
}

#[test]
fn the_schema_is_printed_and_lint_checks_every_variant() {
    let dir = short_dir();
    let (code, text) = printed(tandem_sim(dir.path()).arg("schema"));
    assert!(code == Some(0) && text.contains("json-schema.org"), "{text}");
    let file = scenario(dir.path(), &sized());
    let (code, text) = printed(tandem_sim(dir.path()).arg("lint").arg(&file));
    assert!(code == Some(0) && text.contains("variant few") && text.contains("variant many"), "{text}");
    let file = scenario(dir.path(), &sized().replace("count: 8", "count: 800"));
    let (code, text) = printed(tandem_sim(dir.path()).arg("lint").arg(&file));
    assert!(code == Some(2) && text.contains("from 1 to 64, found 800"), "{text}");
}
