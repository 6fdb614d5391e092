//! The seed story on a real Kubernetes in containers: `up` makes the cluster and deploys, `test` plays, `down` takes all away.
//!
//! [`tools`] finds what a machine must have and says everything that is missing at once; [`files`] is what lies in
//! `target/kind`; [`deploy`] brings image and manifests onto the cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::image;
use crate::runner::Runner;

mod deploy;
mod files;
mod tools;

use tools::Tools;

/// The cluster's name, as `kind-config/cluster.yaml` says it too.
const CLUSTER: &str = "tandem";
/// The story that is played.
const STORY: &str = "scenarios/sharing/mixed-cluster.yaml";
/// Where the plugin's pods are.
const PLUGIN_PODS: &str = "tandem/app.kubernetes.io/name=tandem-device-plugin";
/// Where the pods of its MPS supervisor are.
const MPS_PODS: &str = "tandem/app.kubernetes.io/name=tandem-mps";
/// The image that every node of kind has, as the runtime names it.
const PAUSE: &str = "registry.k8s.io/pause";

/// What to do with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Act {
    /// Make the cluster, load the image, apply the manifests
    Up,
    /// Play the seed story through the cluster's API; logs and journals stay in target/kind/logs when it fails
    Test,
    /// Delete the cluster and target/kind
    Down,
}

/// Does it.
///
/// # Errors
/// What is missing on this machine; or the program that failed.
pub fn perform(runner: &Runner, act: Act) -> Result<()> {
    let here = files::Files::of(runner.root());
    let tools = Tools::find(&|name| std::env::var_os(name))?;
    match act {
        Act::Up => up(runner, &tools, &here),
        Act::Test => test(runner, &tools, &here),
        Act::Down => down(&tools, &here),
    }
}

fn up(runner: &Runner, tools: &Tools, here: &files::Files) -> Result<()> {
    let config = here.cluster_config()?;
    tools.has_node_images(&config)?;
    image::build(runner, None)?;
    for node in files::GPU_NODES {
        let root = here.driver_root(node);
        if !root.exists() {
            let directory = root.display().to_string();
            runner.cargo([
                "sim",
                "driver-root",
                &directory,
                "--node",
                node,
                "--board",
                "tesla-t4",
                "--count",
                "4",
            ])?;
        }
    }
    here.write_cluster_config(&config)?;
    let kubeconfig = here.kubeconfig();
    if !tools.said("kind", ["get", "clusters"])?.lines().any(|name| name == CLUSTER) {
        let (config, kubeconfig) = (text(&here.written_config()), text(&kubeconfig));
        tools.run(
            "kind",
            [
                "create",
                "cluster",
                "--name",
                CLUSTER,
                "--config",
                &config,
                "--kubeconfig",
                &kubeconfig,
                "--wait",
                "180s",
            ],
        )?;
    }
    tools.run("kind", ["load", "image-archive", "--name", CLUSTER, &text(&here.image())])?;
    deploy::deploy(tools, here)
}

fn test(runner: &Runner, tools: &Tools, here: &files::Files) -> Result<()> {
    let kubeconfig = text(&here.kubeconfig());
    let image = pause_image(tools)?;
    let reports = runner.root().join("target/ci");
    std::fs::create_dir_all(&reports).with_context(|| format!("cannot create `{}`", reports.display()))?;
    let played = runner.cargo([
        "sim",
        "run",
        STORY,
        "--stage",
        "cluster",
        "--kubeconfig",
        &kubeconfig,
        "--plugin-pods",
        PLUGIN_PODS,
        "--mps-pods",
        MPS_PODS,
        "--pod-image",
        &image,
        "--junit",
        "target/ci/kind.xml",
    ]);
    if played.is_err() {
        // what cannot be collected is told and does not hide why the story failed
        if let Err(error) = deploy::collect(tools, here) {
            eprintln!("ci: not everything could be collected: {error:#}");
        }
        println!("ci: logs and journals: {}", here.logs().display());
    }
    played
}

fn down(tools: &Tools, here: &files::Files) -> Result<()> {
    tools.run("kind", ["delete", "cluster", "--name", CLUSTER])?;
    here.remove()
}

/// The pause image that the nodes have, with its tag.
fn pause_image(tools: &Tools) -> Result<String> {
    let node = format!("{CLUSTER}-control-plane");
    let listed = tools.said("docker", ["exec", &node, "crictl", "images"])?;
    pause_of(&listed).with_context(|| format!("node `{node}` has no image `{PAUSE}`"))
}

/// From the table of `crictl images`: name, tag, id, size.
fn pause_of(listed: &str) -> Option<String> {
    listed.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let (name, tag) = (columns.next()?, columns.next()?);
        (name == PAUSE).then(|| format!("{name}:{tag}"))
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Where a repository-relative path is.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path)
}

#[cfg(test)]
mod tests;
