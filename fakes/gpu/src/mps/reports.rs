//! The control daemon's tables of clients: `ps` and `get_device_client_list`.

use crate::process::ProcessKind;

use super::control::{Control, Text};

/// Pid namespace that `ps` shows: the first one of a machine.
const NAMESPACE: &str = "4026531836";

type ClientRow = (u32, u32, usize, String, String);

impl Control {
    pub(crate) fn device_clients(&self, server: Option<u32>) -> Text {
        let rows = self.client_rows(|row| server.is_none_or(|server| row.1 == server))?;
        Ok(rows.iter().map(|(pid, _, _, uuid, _)| format!("{uuid} {pid}")).collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn table(&self) -> Text {
        let mut table = vec![format!(
            "{:<9} {:<5} {:<9} {:<17} {:<14} COMMAND",
            "PID", "ID", "SERVER", "DEVICE", "NAMESPACE"
        )];
        for (pid, server, id, uuid, name) in self.client_rows(|_| true)? {
            let device: String = uuid.chars().take(17).collect();
            table.push(format!("{pid:<9} {id:<5} {server:<9} {device:<17} {NAMESPACE:<14} {name}"));
        }
        Ok(table.join("\n"))
    }

    /// Pid, server, running number, GPU and name of every client context that passes.
    fn client_rows(&self, wanted: impl Fn(&ClientRow) -> bool) -> Result<Vec<ClientRow>, String> {
        let rows = self.node.read(|node| {
            let ours = |pid: u32| self.servers.iter().any(|server| server.pid == pid);
            let clients =
                node.processes().iter().filter(|p| p.kind() == ProcessKind::MpsClient && ours(p.server_pid));
            let rows = clients.enumerate().filter_map(|(id, p)| {
                let uuid = node.gpu(p.gpu).ok()?.uuid.as_str().to_owned();
                Some((p.pid, p.server_pid, id, uuid, p.name.as_str().to_owned()))
            });
            rows.filter(wanted).collect()
        });
        rows.map_err(|error| error.to_string())
    }
}
