//! What the control daemon decides: the answer to every command, and who may join.
//!
//! Limits follow the real daemon's timing: a default is copied when a server starts, a server's value
//! when a client joins; both are lost when the daemon quits.

use std::sync::Arc;

use crate::error::GpuError;
use crate::file::{NodeFile, NodeFileError};

use super::arguments::Users;
use super::client::ClientSpec;
use super::command::{Command, GpuName};
use super::limits::{Limits, size};
use super::log::Logs;
use super::pipe::Reply;
use super::server::Launcher;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) limits: Limits,
}

/// The control daemon without its socket.
pub(crate) struct Control {
    pub(crate) node: Arc<NodeFile>,
    /// NVML index and UUID of each GPU the daemon sees, by CUDA ordinal.
    pub(crate) gpus: Vec<(u32, String)>,
    pub(crate) defaults: Limits,
    pub(crate) servers: Vec<Server>,
    pub(crate) launcher: Box<dyn Launcher>,
    pub(crate) logs: Logs,
    /// Whose clients a server takes.
    pub(crate) users: Users,
    /// Quitting: nobody may join any more.
    pub(crate) closing: bool,
}

pub(crate) type Text = Result<String, String>;

impl Control {
    pub(crate) fn new(
        node: Arc<NodeFile>,
        gpus: Vec<(u32, String)>,
        launcher: Box<dyn Launcher>,
        logs: Logs,
    ) -> Self {
        Self {
            node,
            gpus,
            defaults: Limits::none(),
            servers: Vec::new(),
            launcher,
            logs,
            users: Users::One,
            closing: false,
        }
    }

    /// Answers one command. `Quit` only closes the door; the daemon does the rest.
    pub(crate) fn answer(&mut self, command: Command) -> Reply {
        self.forget_dead_servers();
        match self.decide(command) {
            Ok(text) => Reply::ok(text),
            Err(text) => Reply::error(text),
        }
    }

    fn decide(&mut self, command: Command) -> Text {
        match command {
            Command::ServerList => Ok(lines(self.servers.iter().map(|server| server.pid))),
            Command::ServerStatus { server } => self.status(server),
            Command::StartServer { uid } => self.start_server(uid).map(|_| String::new()),
            Command::ShutdownServer { server, force } => self.shutdown_server(server, force),
            Command::ClientList { server } => {
                self.server(server)?;
                Ok(lines(self.clients(server)?))
            }
            Command::DeviceClientList { server } => self.device_clients(server),
            Command::Ps => self.table(),
            Command::SetDefaultThreadPercentage { percentage } => {
                self.defaults.thread_percentage = percentage;
                Ok(format!("{percentage:.1}"))
            }
            Command::GetDefaultThreadPercentage => Ok(format!("{:.1}", self.defaults.thread_percentage)),
            Command::SetThreadPercentage { server, percentage } => {
                self.server(server)?.limits.thread_percentage = percentage;
                Ok(format!("{percentage:.1}"))
            }
            Command::GetThreadPercentage { server } => {
                Ok(format!("{:.1}", self.server(server)?.limits.thread_percentage))
            }
            Command::SetDefaultMemoryLimit { gpu, bytes } => {
                let gpu = self.gpu(&gpu)?;
                self.defaults.memory.insert(gpu, bytes);
                Ok(String::new())
            }
            Command::GetDefaultMemoryLimit { gpu } => Ok(size(self.defaults.memory.get(&self.gpu(&gpu)?))),
            Command::SetMemoryLimit { server, gpu, bytes } => {
                let gpu = self.gpu(&gpu)?;
                self.server(server)?.limits.memory.insert(gpu, bytes);
                Ok(String::new())
            }
            Command::GetMemoryLimit { server, gpu } => {
                let gpu = self.gpu(&gpu)?;
                Ok(size(self.server(server)?.limits.memory.get(&gpu)))
            }
            Command::TerminateClient { server, client } => self.terminate(server, client),
            Command::Quit { .. } => {
                self.closing = true;
                self.logs.control("Accepting no more clients, quitting");
                Ok(String::new())
            }
            Command::Connect { client } => self.join(&client).map(|server| server.to_string()),
        }
    }

    /// Whether a server takes the clients of a user.
    pub(crate) fn takes(&self, server: &Server, uid: u32) -> bool {
        server.uid == uid || self.users == Users::All
    }

    /// Whether any server still has clients.
    pub(crate) fn has_clients(&self) -> Result<bool, NodeFileError> {
        self.node.read(|node| self.servers.iter().any(|server| !node.mps_clients(server.pid).is_empty()))
    }

    /// Ends every server, and takes their clients off the GPUs: they have lost their context.
    pub(crate) fn end_all(&mut self) {
        for pid in self.servers.iter().map(|server| server.pid).collect::<Vec<_>>() {
            self.end_server(pid);
        }
    }

    pub(crate) fn server(&mut self, pid: u32) -> Result<&mut Server, String> {
        self.servers.iter_mut().find(|server| server.pid == pid).ok_or_else(|| format!("no server `{pid}`"))
    }

    pub(crate) fn clients(&self, server: u32) -> Result<Vec<u32>, String> {
        self.node.read(|node| node.mps_clients(server)).map_err(|error| error.to_string())
    }

    fn gpu(&self, name: &GpuName) -> Result<u32, String> {
        let found = match name {
            GpuName::Ordinal(ordinal) => self.gpus.get(*ordinal as usize),
            GpuName::Uuid(uuid) => self.gpus.iter().find(|(_, known)| known == uuid),
        };
        found.map(|(index, _)| *index).ok_or_else(|| format!("no GPU `{}` here", written(name)))
    }

    fn status(&mut self, server: u32) -> Text {
        self.server(server)?;
        let faulty = self.node.read(|node| {
            self.gpus.iter().any(|(index, _)| node.gpu(*index).is_ok_and(|gpu| gpu.mps_fault != 0))
        });
        match faulty {
            Ok(true) => Ok("FAULT".to_owned()),
            Ok(false) => Ok("ACTIVE".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn join(&mut self, client: &ClientSpec) -> Result<u32, String> {
        let who = format!("NEW CLIENT {} from user {}", client.pid, client.uid);
        if !self.servers.iter().any(|server| self.takes(server, client.uid)) {
            self.logs.control(&format!("{who}: Server is not ready, push client to pending list"));
        }
        let pid = self.start_server(client.uid)?;
        let limits = self.server(pid)?.limits.clone();
        let wanted = |uuid: &String| client.gpus.is_empty() || client.gpus.contains(uuid);
        let gpus: Vec<u32> =
            self.gpus.iter().filter(|(_, uuid)| wanted(uuid)).map(|(index, _)| *index).collect();
        if gpus.is_empty() {
            return Err(format!("none of the GPUs `{}` is here", client.gpus.join(",")));
        }
        let joined = self.node.change(|node| {
            gpus.iter().try_for_each(|gpu| node.start_process(&limits.process(client, pid, *gpu)))
        });
        joined.map_err(|error| error.to_string())?;
        self.logs.control(&format!("{who}: Server already exists"));
        self.logs.server(pid, &format!("Received new client request, client {}", client.pid));
        Ok(pid)
    }

    fn terminate(&mut self, server: u32, client: u32) -> Text {
        self.server(server)?;
        if !self.clients(server)?.contains(&client) {
            return Err(format!("no client `{client}` of server `{server}`"));
        }
        let stopped = self.node.change(|node| Ok::<_, GpuError>(node.stop_process(client)));
        stopped.map_err(|error| error.to_string())?;
        self.logs.server(server, &format!("Terminated client {client}"));
        Ok(String::new())
    }
}

fn lines(pids: impl IntoIterator<Item = u32>) -> String {
    pids.into_iter().map(|pid| pid.to_string()).collect::<Vec<_>>().join("\n")
}

fn written(name: &GpuName) -> String {
    match name {
        GpuName::Ordinal(ordinal) => ordinal.to_string(),
        GpuName::Uuid(uuid) => uuid.clone(),
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
