//! How faults happen on the wire stage: to real processes, sockets and the fake driver's state; those that end by
//! themselves are undone when their time has come, whatever step plays then.

mod control;
mod endings;
mod on_node;

use std::time::{Duration, Instant};

pub(super) use self::endings::Ending;
use fake_cluster::kubelet::wire::ListTrouble;

use self::endings::Ends;
use super::{WireStage, refused};
use crate::expect::glob;
use crate::faults::{Fault, FaultSpec};
use crate::on::{Done, StageError, driver_faults};
use crate::scenario::Process;

/// How long a fault lasts that needs a duration and has none.
const LASTS_DEFAULT: Duration = Duration::from_secs(5);
/// How long connections are cut for a broken watch.
const CUT: Duration = Duration::from_millis(100);
/// The kubelet's first back-off for a container that died.
const BACK_OFF: Duration = Duration::from_secs(10);

impl WireStage {
    /// Makes a fault happen.
    ///
    /// # Errors
    /// No node is selected, or the fault cannot be made.
    pub(super) async fn suffer(&mut self, spec: &FaultSpec) -> Result<Done, StageError> {
        let lasts = spec.lasts.unwrap_or(LASTS_DEFAULT);
        match spec.fault {
            Fault::WatchDrop if spec.node == "*" => return Ok(self.api_suffers(Fault::ApiServerDown, CUT)),
            Fault::WatchExpired => {
                // running watches end first
                self.api_suffers(Fault::ApiServerDown, CUT);
                return Ok(self.api_suffers(spec.fault, lasts));
            }
            fault if fault.is_of_cluster() => return Ok(self.api_suffers(fault, lasts)),
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

    fn troubles_list(
        &mut self,
        name: &str,
        trouble: ListTrouble,
        lasts: Duration,
    ) -> Result<Done, StageError> {
        match self.node(name)?.kubelet() {
            Some(kubelet) => kubelet.trouble_list(Some(trouble)),
            None => return Ok(Done::Skipped(format!("the kubelet of node `{name}` does not run"))),
        }
        self.ends_in(lasts, Ends::ListTrouble { node: name.to_owned() });
        Ok(Done::Did)
    }

    fn api_suffers(&mut self, fault: Fault, lasts: Duration) -> Done {
        self.ends_in(lasts, Ends::Api(fault));
        self.show_api_faults();
        Done::Did
    }

    fn ends_in(&mut self, lasts: Duration, what: Ends) {
        self.endings.push(Ending { at: Instant::now() + lasts, what });
    }

    async fn suffer_on(&mut self, name: &str, spec: &FaultSpec, lasts: Duration) -> Result<Done, StageError> {
        let skipped = |why: &str| Ok(Done::Skipped(why.to_owned()));
        if driver_faults::is_drivers(spec.fault) {
            return self.driver_suffers(name, spec).await;
        }
        let node = self.node(name)?;
        match spec.fault {
            Fault::PluginCrash => node.kill(Process::Plugin).await,
            Fault::SupervisorCrash => node.crash_supervisor(),
            Fault::PluginRestart => node.restart(Process::Plugin).await,
            Fault::PluginOomKilled => {
                self.dies(name, Process::Plugin, spec.lasts.unwrap_or(BACK_OFF), true).await
            }
            Fault::PluginUpgrade => self.dies(name, Process::Plugin, lasts, false).await,
            Fault::MpsOomKilled => {
                let done = self.dies(name, Process::Mps, spec.lasts.unwrap_or(BACK_OFF), true).await?;
                // the control daemons are in the same container, and the kernel kills all of it
                self.kill_mps_daemons(name, None)?;
                Ok(done)
            }
            Fault::MpsDirectoryBlocked => match node.block_mps_directories()? {
                true => {
                    self.ends_in(lasts, Ends::MpsDirectories { node: name.to_owned() });
                    Ok(Done::Did)
                }
                false => skipped(&format!("MPS directories of node `{name}` were made already")),
            },
            Fault::MpsDaemonCrash { gpu } => self.kill_mps_daemons(name, gpu),
            Fault::MpsDaemonHang { gpu } => self.stop_mps_daemons(name, gpu, lasts),
            Fault::KubeletRestart if spec.lasts.is_some() => {
                node.stop_kubelet().await;
                self.ends_in(lasts, Ends::Kubelet { node: name.to_owned() });
                Ok(Done::Did)
            }
            Fault::KubeletRestart => node.restart_kubelet().await,
            Fault::KubeletSocketRace => node.restart_kubelet_with(lasts, Duration::ZERO).await,
            Fault::PodResourcesEmpty => node.restart_kubelet_with(Duration::ZERO, lasts).await,
            Fault::PluginDirectoryRecreated => self.remove_directory(name, lasts).await,
            Fault::CheckpointLost => self.lose_checkpoint(name, spec.lasts.unwrap_or_default()).await,
            Fault::NodeRecreated => self.delete_node(name, lasts),
            Fault::DeviceCgroupsRewritten => Ok(self.cut_off(name)),
            Fault::WatchDrop => {
                skipped("the watch of a single node cannot be cut here (hint: `node: \"*\"`)")
            }
            Fault::KubeletHang => skipped("the simulated kubelet cannot hang over real sockets"),
            Fault::PodResourcesSlow { delay } => self.troubles_list(name, ListTrouble::Slow(delay), lasts),
            Fault::PodResourcesLimited => self.troubles_list(name, ListTrouble::Limited, lasts),
            Fault::PodResourcesStale => self.troubles_list(name, ListTrouble::Stale, lasts),
            Fault::PodResourcesUnavailable => {
                skipped("PodResources answers as long as the kubelet runs here")
            }
            Fault::NodeReboot => skipped("containers do not end with the machine here"),
            Fault::Suspend => skipped("the simulated kubelet cannot stand still with its machine here"),
            Fault::DiskFull => skipped("a node's disk cannot be filled here without filling this machine's"),
            Fault::InotifyExhausted => {
                skipped("inotify watches are this machine's here, and others need them")
            }
            other => skipped(&format!("`{}` cannot happen on a node", other.tag())),
        }
    }
}
