//! How servers of a control daemon begin and end, by command, by their first client, or by accident.

use crate::process::{ProcessKind, ProcessSpec};
use crate::record::Node;

use super::control::{Control, Server, Text};

/// Most servers of one daemon.
const SERVERS_MAX: usize = 16;
/// Name of the server program.
const SERVER_NAME: &str = "nvidia-cuda-mps-server";

impl Control {
    pub(crate) fn start_server(&mut self, uid: u32) -> Result<u32, String> {
        if self.closing {
            return Err("the daemon is quitting".to_owned());
        }
        if let Some(server) = self.servers.iter().find(|server| self.takes(server, uid)) {
            return Ok(server.pid);
        }
        // One user at a time: an idle server of another user makes room, a busy one does not.
        for other in self.servers.iter().map(|server| server.pid).collect::<Vec<_>>() {
            if !self.clients(other)?.is_empty() {
                return Err(format!("server `{other}` of another user has clients"));
            }
            self.end_server(other);
        }
        if self.servers.len() >= SERVERS_MAX {
            return Err(format!("too many servers, at most {SERVERS_MAX}"));
        }
        let (pid, started_ticks) =
            self.launcher.launch().map_err(|error| format!("server does not start: {error}"))?;
        self.logs.control(&format!("Starting new server {pid} for user {uid}"));
        let gpus: Vec<u32> = self.gpus.iter().map(|(index, _)| *index).collect();
        let registered = self.node.change(|node| {
            for gpu in gpus {
                let server = ProcessSpec::new(pid, gpu, ProcessKind::MpsServer, SERVER_NAME);
                node.start_process(&ProcessSpec { uid, started_ticks, ..server })?;
            }
            Ok(())
        });
        if let Err(error) = registered {
            self.launcher.end(pid);
            self.logs.server(pid, &format!("Failed to start : {error}"));
            self.logs.control(&format!("Server {pid} exited with status 1"));
            return Err(error.to_string());
        }
        self.servers.push(Server { pid, uid, limits: self.defaults.clone() });
        self.logs.server(pid, "Startup");
        self.logs.control(&format!("NEW SERVER {pid}: Ready"));
        Ok(pid)
    }

    pub(crate) fn shutdown_server(&mut self, pid: u32, force: bool) -> Text {
        self.server(pid)?;
        let clients = self.clients(pid)?.len();
        if clients > 0 && !force {
            return Err(format!("server `{pid}` has {clients} clients"));
        }
        self.end_server(pid);
        Ok(String::new())
    }

    pub(crate) fn end_server(&mut self, pid: u32) {
        let removed = self.node.change(|node| {
            for client in node.mps_clients(pid) {
                node.stop_process(client);
            }
            node.stop_process(pid);
            Ok(())
        });
        if let Err(error) = removed {
            self.logs.control(&format!("Server {pid} stays on its GPUs: {error}"));
        }
        self.launcher.end(pid);
        self.servers.retain(|server| server.pid != pid);
        self.logs.control(&format!("Server {pid} exited with status 0"));
    }

    /// Servers that were killed are off the node's state; their clients lost their context with them.
    pub(crate) fn forget_dead_servers(&mut self) {
        let alive = |node: &Node, pid: u32| node.processes().iter().any(|process| process.pid == pid);
        let dead = self.node.read(|node| {
            let pids = self.servers.iter().map(|server| server.pid);
            pids.filter(|pid| !alive(node, *pid)).collect::<Vec<_>>()
        });
        for pid in dead.unwrap_or_default() {
            self.logs.control(&format!("Server {pid} is gone"));
            self.end_server(pid);
        }
    }
}
