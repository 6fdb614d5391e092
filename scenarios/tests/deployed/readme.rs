//! README's deploy section, followed to the letter: its kubectl commands are taken from the text and typed at the cluster that it
//! says to try them on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use simulator::on::wire::{Binaries, binaries};
use simulator::run::{Held, Leave, Place, RunOptions, run};
use simulator::run_dir;
use simulator::scenario::{Choice, read_chosen};
use tokio::sync::watch;

use crate::{Silent, runtime};

/// Where a person stands who follows the README.
const ROOT: &str = "..";
/// How the README says to try the commands, up to the story's file.
const SERVE: &str = "`cargo sim serve --deploy ";
/// How long the cluster may take after a command.
const WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked.
const EVERY: Duration = Duration::from_millis(300);

/// Node, resource, how many are allocatable.
type Promised = (&'static str, &'static str, &'static str);

/// A section, and what is true when its commands were typed.
const SECTIONS: [(&str, &[Promised]); 2] = [
    ("## Deploy", &[("gpu-1", "nvidia.com/gpu", "4"), ("gpu-2", "nvidia.com/gpu", "4")]),
    (
        "## What it looks like from a cluster",
        &[("gpu-1", "nvidia.com/gpu", "4"), ("gpu-2", "nvidia.com/gpu.shared", "16")],
    ),
];

/// The trial; where manifests cannot be played, or without kubectl, it is ignored, and that is said.
pub(super) fn trial(cannot_play: bool) -> Trial {
    let has_kubectl = Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !has_kubectl {
        eprintln!(
            "SKIPPED: README's commands are not typed: kubectl is not found (Debian: kubernetes-client)"
        );
    }
    Trial::test("manifests: README's deploy section works as it stands there", follow)
        .with_ignored_flag(cannot_play || !has_kubectl)
}

fn follow() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(ROOT);
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let (_, rest) = readme.split_once(SERVE).ok_or("README no longer says how to try it")?;
    let file = rest.split('`').next().unwrap_or_default();
    let mut scenario =
        read_chosen(&root.join(file), &Choice::default())?.into_iter().next().ok_or("no story")?;
    // nothing is played: the cluster waits for kubectl
    scenario.steps.clear();
    let products = Binaries::find_or_build()?;
    let runs_root = run_dir::default_root(binaries::workspace().ok().as_deref());
    let options = RunOptions { seed: 1, keep: false, runs_root, leave: Leave::WhenFailed };
    let (stop, stopped) = watch::channel(false);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let hold = |held: &Held| {
        let (config, root, readme, stop, tell) =
            (held.kubeconfig.clone(), root.clone(), readme.clone(), stop.clone(), tell.clone());
        // the cluster lives on this thread
        std::thread::spawn(move || {
            let person = Person { config, root };
            // nobody waits for the answer only if the test has failed already
            let _ = tell.send(person.follows(&readme));
            stop.send_replace(true);
        });
    };
    let place = Place::Deployed(&products, &[]);
    let report = runtime()?.block_on(run(&scenario, place, &options, &mut Silent, stopped, Some(&hold)))?;
    told.try_recv().map_err(|_| "the cluster was not held open")??;
    match report.leaks.as_slice() {
        [] => Ok(()),
        leaks => Err(leaks.join("\n").into()),
    }
}

struct Person {
    config: PathBuf,
    root: PathBuf,
}

impl Person {
    fn follows(&self, readme: &str) -> Result<(), String> {
        for (section, expected) in SECTIONS {
            let commands = commands(readme, section);
            if commands.is_empty() {
                return Err(format!("README's section `{section}` has no kubectl command"));
            }
            for command in commands {
                self.types(command)?;
            }
            for (node, resource, count) in expected {
                self.waits_for(node, resource, count)?;
            }
        }
        Ok(())
    }

    fn types(&self, command: &str) -> Result<String, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&self.root).env("KUBECONFIG", &self.config);
        let output = shell.output().map_err(|error| format!("`{command}`: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("`{command}`: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn waits_for(&self, node: &str, resource: &str, count: &str) -> Result<(), String> {
        let field = resource.replace('.', "\\.");
        let ask = format!("kubectl get node {node} -o 'jsonpath={{.status.allocatable.{field}}}'");
        let until = Instant::now() + WITHIN;
        loop {
            let found = self.types(&ask)?;
            if found.trim() == count {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("node {node} has `{found}` {resource} after {WITHIN:?}, not {count}"));
            }
            std::thread::sleep(EVERY);
        }
    }
}

/// The kubectl commands of a section, without prompt and remark.
fn commands<'r>(readme: &'r str, section: &str) -> Vec<&'r str> {
    let inside = readme.split_once(&format!("\n{section}\n")).map_or("", |(_, rest)| rest);
    let inside = inside.split("\n## ").next().unwrap_or_default();
    let typed =
        inside.lines().filter_map(|line| line.strip_prefix("$ ")).filter(|line| line.starts_with("kubectl "));
    typed.map(|line| line.split(" #").next().unwrap_or(line).trim()).collect()
}
