//! MPS servers and their clients: who joins a control daemon, within which limits, and who goes with it.

use std::collections::BTreeMap;

use fake_gpu::{ControlTrouble, Node as Gpus, ProcessKind, ProcessSpec};
use plugin_core::inventory::GpuUuid;
use plugin_core::mps::DesiredDaemon;

use super::super::host::Host;
use crate::on::work;
use crate::world::ContainerView;

/// What a control daemon gives to clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Limits {
    /// By NVML index.
    memory_bytes: BTreeMap<u32, u64>,
    thread_percentage: u32,
}

/// A control daemon's own state.
#[derive(Debug, Default)]
pub(in crate::on::model) struct Daemon {
    /// A server copies them when it starts.
    defaults: Limits,
    /// Its server's process and limits.
    server: Option<(u32, Limits)>,
}

impl Host {
    /// A control daemon is told its default limits.
    pub(in crate::on::model) fn limit_mps(&mut self, daemon: u32, gpu: &GpuUuid, wanted: &DesiredDaemon) {
        let limited = wanted.serves(gpu).into_iter();
        let limited = limited.filter_map(|gpu| Some((self.index(&gpu.uuid)?, gpu.memory_mib? << 20)));
        let memory_bytes = limited.collect();
        let thread_percentage = wanted.active_thread_percentage;
        self.daemons.entry(daemon).or_default().defaults = Limits { memory_bytes, thread_percentage };
    }

    /// Why a control daemon takes no new clients, and whether that is because it says nothing.
    pub(in crate::on::model) fn mps_ill(&self, daemon: u32) -> Option<(String, bool)> {
        let silent = |why: &str| Some((format!("the control daemon does not answer: {why}"), true));
        let gpus = self.gpus.as_ref()?;
        match gpus.control_trouble() {
            Some(ControlTrouble::Hangs) => return silent("no answer within 5s"),
            Some(ControlTrouble::Garbage) => return silent("garbage"),
            Some(ControlTrouble::Fails) => return silent("cuInit failed (exit status: 1)"),
            Some(ControlTrouble::Missing) => return silent("`nvidia-cuda-mps-control` cannot be run"),
            None => {}
        }
        if self.hung.contains(&daemon) {
            return silent("no answer within 5s");
        }
        let (server, _) = self.daemons.get(&daemon)?.server.as_ref()?;
        let mine = gpus.processes().iter().filter(|process| process.pid == *server);
        let faulty = mine.filter_map(|process| gpus.gpu(process.gpu).ok()).any(|gpu| gpu.mps_fault != 0);
        faulty.then(|| (format!("MPS server {server} is in state `FAULT`"), false))
    }

    /// A program joins the control daemon behind a pipe directory, which starts a server for the first one.
    ///
    /// # Errors
    /// There is no daemon, or the driver refuses.
    pub(in crate::on::model) fn join_mps(
        &mut self,
        pipe: &str,
        pid: u32,
        gpus: &[(u32, String)],
        container: &ContainerView,
        name: &str,
    ) -> Result<(), String> {
        let next = self.new_pid();
        let driver = self.gpus.as_mut().ok_or("no driver")?;
        let found = driver.mps_daemons().iter().find(|daemon| daemon.pipe_directory.as_str() == pipe);
        let daemon = found.copied().ok_or("Cannot find MPS control daemon process")?;
        let state = self.daemons.entry(daemon.pid).or_default();
        let living = state.server.clone();
        let living = living.filter(|(pid, _)| driver.processes().iter().any(|p| p.pid == *pid));
        let (server, limits) = match living {
            Some(living) => living,
            None => {
                let seen = driver.gpus().iter().map(|gpu| gpu.index).filter(|index| daemon.sees(*index));
                for gpu in seen.collect::<Vec<_>>() {
                    let spec = ProcessSpec::new(next, gpu, ProcessKind::MpsServer, "nvidia-cuda-mps-server");
                    driver.start_process(&spec).map_err(|error| error.to_string())?;
                }
                state.server.insert((next, state.defaults.clone())).clone()
            }
        };
        let mut joined = gpus.iter().filter(|(index, _)| daemon.sees(*index)).peekable();
        if joined.peek().is_none() {
            return Err("none of its GPUs is here".to_owned());
        }
        joined.try_for_each(|(gpu, _)| {
            let of_server = limits.memory_bytes.get(gpu).copied();
            let limit = of_server.into_iter().chain(work::own_memory_limit(container)).min();
            let shares = std::iter::once(limits.thread_percentage).chain(work::own_percentage(container));
            let spec = ProcessSpec {
                server_pid: server,
                limit_bytes: limit.unwrap_or_default(),
                thread_percentage_tenths: shares.min().unwrap_or_default() * 10,
                ..ProcessSpec::new(pid, *gpu, ProcessKind::MpsClient, name)
            };
            driver.start_process(&spec).map_err(|error| error.to_string())
        })
    }

    /// A control daemon ends and its server with it. One that quits takes its clients off the GPUs; of one that was
    /// killed the driver sees no more than that its server is gone.
    pub(in crate::on::model) fn end_mps_daemon(&mut self, daemon: u32, quits: bool) {
        let server = self.daemons.remove(&daemon).and_then(|state| state.server);
        let Some(gpus) = self.gpus.as_mut() else { return };
        if let Some((server, _)) = server {
            end_server(gpus, server, quits);
        }
        gpus.remove_mps_daemon(daemon);
    }
}

fn end_server(gpus: &mut Gpus, server: u32, quits: bool) {
    if quits {
        for client in gpus.mps_clients(server) {
            gpus.stop_process(client);
        }
    }
    gpus.stop_process(server);
}
