//! How faults happen on the wire stage: to real processes, sockets and the fake driver's state; those that end by
//! themselves are undone when their time has come, whatever step plays then.

use std::time::{Duration, Instant};

use fake_cluster::api::server::Faults;

use super::process::alive_with;
use super::spawn::{Signal, signal_process};
use super::{Node, WireStage, refused};
use crate::expect::glob;
use crate::faults::{Fault, FaultSpec};
use crate::on::{Done, StageError};
use crate::scenario::Process;

/// How long a fault lasts that needs a duration and has none.
const LASTS_DEFAULT: Duration = Duration::from_secs(5);
/// How long connections are cut for a broken watch.
const CUT: Duration = Duration::from_millis(100);

/// A fault that ends by itself.
#[derive(Debug)]
pub(super) struct Ending {
    at: Instant,
    what: Ends,
}

#[derive(Debug)]
enum Ends {
    /// The API server answers again.
    Api,
    /// A GPU is back on its bus.
    Gpu { node: String, gpu: u32 },
    /// A kubelet starts again.
    Kubelet { node: String },
}

impl WireStage {
    /// Makes a fault happen.
    ///
    /// # Errors
    /// No node is selected, or the fault cannot be made.
    pub(super) async fn suffer(&mut self, spec: &FaultSpec) -> Result<Done, StageError> {
        let lasts = spec.lasts.unwrap_or(LASTS_DEFAULT);
        match spec.fault {
            Fault::ApiServerDown => return Ok(self.cut_api(lasts)),
            Fault::WatchDrop if spec.node == "*" => return Ok(self.cut_api(CUT)),
            _ => {}
        }
        let names = self.nodes.iter().map(|node| node.name.clone());
        let chosen: Vec<String> = names.filter(|name| glob(&spec.node, name)).collect();
        if chosen.is_empty() {
            let what = format!("make `{}` happen on `{}`", spec.fault.tag(), spec.node);
            return Err(refused(what, &"there is no such node"));
        }
        let mut skipped = Vec::new();
        for name in chosen {
            if let Done::Skipped(why) = self.suffer_on(&name, spec, lasts).await? {
                skipped.push(why);
            }
        }
        match skipped.is_empty() {
            true => Ok(Done::Did),
            false => Ok(Done::Skipped(skipped.join("; "))),
        }
    }

    async fn suffer_on(&mut self, name: &str, spec: &FaultSpec, lasts: Duration) -> Result<Done, StageError> {
        let ends = |what| Ending { at: Instant::now() + lasts, what };
        let directory = self.directory.clone();
        let node = self.node(name)?;
        let skipped = |why: &str| Ok(Done::Skipped(why.to_owned()));
        match spec.fault {
            Fault::PluginCrash => node.kill(Process::Plugin).await,
            Fault::SupervisorCrash => node.kill(Process::Mps).await,
            Fault::PluginRestart => node.restart(Process::Plugin).await,
            Fault::MpsDaemonCrash { gpu } => node.kill_mps_daemons(gpu, &directory),
            Fault::KubeletRestart if spec.lasts.is_some() => {
                node.stop_kubelet().await;
                let node = name.to_owned();
                self.endings.push(ends(Ends::Kubelet { node }));
                Ok(Done::Did)
            }
            Fault::KubeletRestart => node.restart_kubelet().await,
            Fault::GpuLost { gpu } => {
                node.set_lost(gpu, true)?;
                if spec.lasts.is_some() {
                    let node = name.to_owned();
                    self.endings.push(ends(Ends::Gpu { node, gpu }));
                }
                Ok(Done::Did)
            }
            Fault::Xid { gpu, code } => node.raise_xid(gpu, code),
            Fault::WatchDrop => {
                skipped("the watch of a single node cannot be cut here (hint: `node: \"*\"`)")
            }
            Fault::KubeletHang => skipped("the simulated kubelet cannot hang over real sockets"),
            Fault::PodResourcesUnavailable => {
                skipped("PodResources answers as long as the kubelet runs here")
            }
            Fault::NodeReboot => skipped("containers do not end with the machine here"),
            Fault::ApiServerDown => Ok(Done::Did),
        }
    }

    fn cut_api(&mut self, lasts: Duration) -> Done {
        if let Some(server) = &self.server {
            server.set_faults(Faults { down: true, ..Faults::default() });
        }
        self.endings.push(Ending { at: Instant::now() + lasts, what: Ends::Api });
        Done::Did
    }

    /// Whether something happens by itself as time passes.
    pub(super) fn has_future(&self) -> bool {
        !self.endings.is_empty() || self.workloads.are_active()
    }

    /// Does what has come due.
    pub(super) async fn tend(&mut self) {
        let now = Instant::now();
        let due: Vec<Ending> = self.endings.extract_if(.., |ending| ending.at <= now).collect();
        for ending in due {
            self.undo(ending.what).await;
        }
        self.tend_workloads().await;
    }

    /// Ends every fault now.
    pub(super) async fn end_faults(&mut self) {
        for ending in std::mem::take(&mut self.endings) {
            self.undo(ending.what).await;
        }
    }

    async fn undo(&mut self, what: Ends) {
        let done = match what {
            Ends::Api => {
                let still = self.endings.iter().any(|other| matches!(other.what, Ends::Api));
                if let (false, Some(server)) = (still, &self.server) {
                    server.set_faults(Faults::default());
                }
                Ok(())
            }
            Ends::Gpu { node, gpu } => self.node(&node).and_then(|node| node.set_lost(gpu, false)),
            Ends::Kubelet { node } => match self.node(&node) {
                Ok(node) => node.start_kubelet().await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = done {
            self.programs.complain(error.to_string());
        }
    }
}

impl Node {
    fn set_lost(&mut self, gpu: u32, lost: bool) -> Result<(), StageError> {
        let what = format!("take GPU {gpu} of node `{}` off its bus or put it back", self.name);
        self.driver_state(&what)?.set_lost(gpu, lost).map_err(|error| refused(what, &error))
    }

    fn raise_xid(&mut self, gpu: u32, code: u32) -> Result<Done, StageError> {
        let what = format!("raise Xid {code} on GPU {gpu} of node `{}`", self.name);
        self.driver_state(&what)?.raise_xid(gpu, u64::from(code)).map_err(|error| refused(what, &error))?;
        Ok(Done::Did)
    }

    /// SIGKILL for control daemons that this run started.
    fn kill_mps_daemons(&mut self, gpu: Option<u32>, run: &std::path::Path) -> Result<Done, StageError> {
        let what = format!("kill MPS control daemons of node `{}`", self.name);
        let snapshot = self.driver_state(&what)?.snapshot().map_err(|error| refused(what, &error))?;
        let of_this_run: Vec<u32> = alive_with(run).into_iter().map(|left| left.pid).collect();
        let daemons = snapshot.mps_daemons.into_iter();
        let hit: Vec<u32> = daemons
            .filter(|daemon| gpu.is_none_or(|gpu| daemon.gpus.contains(&gpu)))
            .map(|daemon| daemon.pid)
            .filter(|pid| of_this_run.contains(pid))
            .collect();
        if hit.is_empty() {
            let why = format!("no MPS control daemon runs on node `{}`", self.name);
            return Ok(Done::Skipped(why));
        }
        hit.into_iter().for_each(|pid| signal_process(pid, Signal::Kill));
        Ok(Done::Did)
    }
}
