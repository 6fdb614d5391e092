//! The flags of the cluster stage, because on somebody's cluster everything that a story may use is named.

use std::path::PathBuf;

use clap::Args;

use crate::on::cluster::{ClusterSettings, PodsAt};
use crate::scenario::decode::parse_duration;

/// Flags of `run --stage cluster`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Stage cluster")]
pub(super) struct ClusterArgs {
    /// How to reach the cluster
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The context in that file [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where the story's pods are made; it must hold none
    #[arg(long, value_name = "NAME", default_value = crate::on::cluster::NAMESPACE)]
    namespace: String,
    /// Which Node plays a node of the story [default: the one of that name, else one that has the label
    /// `tandem.dev/story-role` with `gpu` or `cpu`]
    #[arg(long = "node", value_name = "STORY=NODE", value_parser = pair)]
    nodes: Vec<(String, String)>,
    /// The plugin's pods; without them what it says is not looked at
    #[arg(long, value_name = "NAMESPACE/KEY=VALUE")]
    plugin_pods: Option<PodsAt>,
    /// The pods of the MPS supervisor
    #[arg(long, value_name = "NAMESPACE/KEY=VALUE")]
    mps_pods: Option<PodsAt>,
    /// The image of the story's pods, in place of the one that the story names
    #[arg(long, value_name = "IMAGE")]
    pod_image: Option<String>,
    /// How much longer an expectation may take than the story says, beyond what its scaled timers save
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    patience: std::time::Duration,
}

impl ClusterArgs {
    /// The cluster, if one is named.
    pub(super) fn settings(self) -> Option<ClusterSettings> {
        Some(ClusterSettings {
            kubeconfig: self.kubeconfig?,
            context: self.context,
            namespace: self.namespace,
            nodes: self.nodes.into_iter().collect(),
            plugin_pods: self.plugin_pods,
            mps_pods: self.mps_pods,
            pod_image: self.pod_image,
            patience: self.patience,
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((story, node)) if !story.is_empty() && !node.is_empty() => {
            Ok((story.to_owned(), node.to_owned()))
        }
        _ => Err("expected `STORY=NODE`, such as `gpu-1=worker-2`".to_owned()),
    }
}

fn time(text: &str) -> Result<std::time::Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a number with a unit, such as `30s` or `5m`".to_owned())
}
