//! How faults end by themselves on the wire stage, at their time or with the run.

use std::time::{Duration, Instant};

use fake_cluster::api::server::Faults;

use super::super::spawn::{Signal, signal_process};
use super::super::{WireStage, refused};
use crate::faults::Fault;
use crate::on::{StageError, driver_faults};
use crate::scenario::Process;

/// A fault that ends by itself.
#[derive(Debug)]
pub(in super::super) struct Ending {
    /// When.
    pub(super) at: Instant,
    /// What.
    pub(super) what: Ends,
}

/// What a fault's end is.
#[derive(Debug)]
pub(super) enum Ends {
    /// The API server's fault.
    Api(Fault),
    /// The driver's fault.
    Driver { node: String, ending: driver_faults::Ending },
    /// A kubelet starts again.
    Kubelet { node: String },
    /// PodResources lists as it should.
    ListTrouble { node: String },
    /// The kubelet's directory is there again with its checkpoint, and the kubelet starts.
    Directory { node: String, checkpoint: Option<Vec<u8>> },
    /// A kubelet starts again that registers its Node.
    NodeObject { node: String },
    /// A program starts again.
    Program { node: String, process: Process },
    /// MPS directories can be made again.
    MpsDirectories { node: String },
    /// Processes go on.
    Stopped { pids: Vec<u32> },
}

impl Ending {
    /// A kubelet that died starts again.
    pub(in super::super) fn kubelet_starts(at: Instant, node: &str) -> Ending {
        Ending { at, what: Ends::Kubelet { node: node.to_owned() } }
    }
}

impl WireStage {
    /// Whether something happens by itself as time passes.
    pub(in super::super) fn has_future(&self) -> bool {
        let may_kill = self.nodes.iter().any(|node| node.other_plugins.are_there());
        !self.endings.is_empty() || self.workloads.are_active() || may_kill
    }

    /// Does what has come due.
    pub(in super::super) async fn tend(&mut self) {
        self.tend_kubelets().await;
        let now = Instant::now();
        let due: Vec<Ending> = self.endings.extract_if(.., |ending| ending.at <= now).collect();
        for ending in due {
            self.undo(ending.what).await;
        }
        self.tend_workloads().await;
    }

    /// Ends every fault now.
    pub(in super::super) async fn end_faults(&mut self) {
        for ending in std::mem::take(&mut self.endings) {
            self.undo(ending.what).await;
        }
    }

    /// The API server plays the faults that have not ended.
    pub(super) fn show_api_faults(&mut self) {
        let mut faults = Faults::default();
        for ending in &self.endings {
            match ending.what {
                Ends::Api(Fault::ApiServerSlow { delay }) => faults.latency = delay,
                Ends::Api(Fault::ApiServerRefuses { code }) => faults.refuse_with = u16::try_from(code).ok(),
                Ends::Api(Fault::WatchExpired) => faults.expire_watches = true,
                Ends::Api(_) => faults.down = true,
                _ => {}
            }
        }
        if let Some(server) = &self.server {
            server.set_faults(faults);
        }
    }

    async fn undo(&mut self, what: Ends) {
        if let Err(error) = self.try_undo(what).await {
            self.programs.complain(error.to_string());
        }
    }

    async fn try_undo(&mut self, what: Ends) -> Result<(), StageError> {
        match what {
            Ends::Api(_) => self.show_api_faults(),
            Ends::Driver { node, ending } => {
                let what = format!("end a fault of the driver of node `{node}`");
                let state = self.node(&node)?.driver_state(&what)?;
                let ended = state.change(|gpus| driver_faults::recover(gpus, &ending));
                ended.map_err(|error| refused(what, &error))?;
                self.node(&node)?.show_capabilities()?;
                self.node(&node)?.show_programs()?;
            }
            Ends::Kubelet { node } => self.node(&node)?.start_kubelet().await?,
            Ends::ListTrouble { node } => {
                if let Some(kubelet) = self.node(&node)?.kubelet() {
                    kubelet.trouble_list(None);
                }
            }
            Ends::Directory { node, checkpoint } => {
                let node = self.node(&node)?;
                node.put_back_directory(checkpoint)?;
                node.start_kubelet().await?;
            }
            Ends::NodeObject { node } => {
                self.node(&node)?.restart_kubelet_with(Duration::ZERO, Duration::ZERO).await?;
            }
            Ends::Program { node, process } => {
                self.node(&node)?.start_program(process)?;
            }
            Ends::MpsDirectories { node } => self.node(&node)?.unblock_mps_directories()?,
            Ends::Stopped { pids } => {
                pids.into_iter().for_each(|pid| signal_process(pid, Signal::Continue));
            }
        }
        Ok(())
    }
}
