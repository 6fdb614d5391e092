//! The seed story through nothing but a kubeconfig: the wire stage's API server stands for a cluster whose nodes have names
//! of their own, and what the cluster stage cannot do or see must be named in its report.

use std::path::Path;

use libtest_mimic::Failed;
use simulator::on::Stage;
use simulator::on::cluster::{ClusterSettings, ClusterStage, ROLE_LABEL};
use simulator::on::wire::{Binaries, WireStage, binaries};
use simulator::play::{Played, play};
use simulator::report::Outcome;
use simulator::run::{Leave, RunOptions};
use simulator::run_dir;
use simulator::scenario::{Scenario, read_text};

use super::{Silent, runtime};

const STORY: &str = "sharing/mixed-cluster.yaml";

/// What is played, and the names of the lab's nodes.
fn story() -> Result<(Scenario, Scenario), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(STORY);
    let story = read_text(STORY, &std::fs::read_to_string(path)?)?;
    let mut lab = story.clone();
    for (name, node) in ["w-a", "w-b", "w-c"].iter().zip(&mut lab.nodes) {
        node.name = (*name).to_owned();
        let role = if node.gpus.is_some() { "gpu" } else { "cpu" };
        node.labels.insert(ROLE_LABEL.to_owned(), role.to_owned());
    }
    Ok((story, lab))
}

/// Plays a story on a lab that is held open; the answer is what was played, and what each stage left behind.
async fn on_lab(story: &Scenario, lab: &Scenario) -> Result<(Played, Vec<String>, Vec<String>), Failed> {
    let workspace = binaries::workspace().ok();
    let runs_root = run_dir::default_root(workspace.as_deref());
    let run_dir = run_dir::create(&runs_root, "cluster-lab")?;
    let options = RunOptions { seed: 1, keep: false, runs_root, leave: Leave::WhenFailed };
    let mut wire = WireStage::start(lab, &Binaries::find_or_build()?, &options, &run_dir, None).await?;
    let settings = ClusterSettings::new(wire.kubeconfig());
    let played = match ClusterStage::start(story, &settings, 1).await {
        Ok(mut stage) => {
            let (_nobody_stops_it, stop) = tokio::sync::watch::channel(false);
            let played = play(story, &mut stage, &mut Silent, stop).await;
            Ok((played, stage.finish().await))
        }
        Err(error) => Err(error),
    };
    let left_by_lab = wire.finish().await;
    let (played, left) = played?;
    Ok((played, left, left_by_lab))
}

/// The story passes; every expectation in part, and what was not done is said.
pub(super) fn tells_the_seed_story() -> Result<(), Failed> {
    let (story, lab) = story()?;
    let (played, left, left_by_lab) = runtime()?.block_on(on_lab(&story, &lab))?;
    let told: Vec<String> = played
        .steps
        .iter()
        .map(|step| {
            format!("{} {}\n{}", step.outcome.word(), step.text, step.outcome.details().unwrap_or_default())
        })
        .collect();
    let told = told.join("\n");
    if !played.steps.iter().all(|step| step.outcome.is_fine()) || !left.is_empty() || !left_by_lab.is_empty()
    {
        return Err(format!("{told}\nleft: {left:?}; by the lab: {left_by_lab:?}").into());
    }
    let words: Vec<&str> = played.steps.iter().map(|step| step.outcome.word()).collect();
    let (part, did) = ("passed in part", "passed");
    let expected = [part, did, part, did, part, did, part, did, part, "skipped", part, "skipped"];
    if words != expected {
        return Err(format!("expected {expected:?}\n{told}").into());
    }
    let says =
        |index: usize, what: &str| match played.steps.get(index).and_then(|step| step.outcome.details()) {
            Some(details) if details.contains(what) => Ok(()),
            details => Err(format!("step {} does not say `{what}`: {details:?}", index + 1)),
        };
    says(0, "nodes.gpu-*.gpus")?;
    says(0, "nodes.gpu-*.plugin")?;
    says(4, "pods.shared-*.env")?;
    says(6, "compared as far as it can be seen: pods.shared-*")?;
    says(9, "a kubelet cannot be ended")?;
    says(11, "`withinReplicas`: device ids are in the kubelet's books alone")?;
    Ok(())
}

/// What the cluster stage does see, it judges.
pub(super) fn can_fail() -> Result<(), Failed> {
    let (_, lab) = story()?;
    let text = "story: s\nnodes: [{name: gpu-1, gpus: {board: tesla-t4, count: 4}}]\nconfigs: {default: 'version: v1'}\n\
                steps:\n- expect: {within: 10s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 4}}}}\n\
                - expect: {within: 100ms, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 5}}}}\n- wait: 1s\n";
    let mut story = read_text("s.yaml", text)?;
    story.timers = lab.timers.clone();
    story.timers.node_status_update = simulator::scenario::Timers::default().node_status_update;
    story.timers.endpoint_grace = simulator::scenario::Timers::default().endpoint_grace;
    story.timers.config_map_sync = simulator::scenario::Timers::default().config_map_sync;
    let (played, left, left_by_lab) = runtime()?.block_on(on_lab(&story, &lab))?;
    let outcomes: Vec<&Outcome> = played.steps.iter().map(|step| &step.outcome).collect();
    match outcomes.as_slice() {
        [Outcome::Passed, Outcome::Unmet { diff, .. }, Outcome::NotReached] if diff.contains("gpu-1") => {}
        other => return Err(format!("{other:?}").into()),
    }
    match left.is_empty() && left_by_lab.is_empty() {
        true => Ok(()),
        false => Err(format!("left: {left:?}; by the lab: {left_by_lab:?}").into()),
    }
}
