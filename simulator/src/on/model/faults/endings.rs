//! How the faults of a node end by themselves.

use super::super::engine::Context;
use super::super::happening::Ending;
use super::super::node::Node;
use crate::on::driver_faults;

impl Node {
    /// A fault ends by itself.
    pub(in super::super) fn fault_ends(&mut self, cx: &mut Context<'_>, ending: Ending) {
        match ending {
            Ending::ListTrouble => self.kubelet.is_well_again(),
            Ending::MpsDaemonHang(pids) => self.host.hung.retain(|pid| !pids.contains(pid)),
            Ending::MpsDirectoryBlocked => self.host.mps.is_blocked = false,
            Ending::DiskFull => self.host.disk_full = false,
            Ending::InotifyExhausted => self.host.no_inotify = false,
            Ending::NodeRecreated => {
                cx.api.register_node(cx.engine, cx.node);
                // only a kubelet that starts registers its Node; one that is down does so by itself
                if self.kubelet.is_up() {
                    self.kubelet_restarts(cx, 0);
                }
            }
            Ending::Driver(ending) => {
                let gpus = self.host.gpus.as_mut();
                if let Some(Err(error)) = gpus.map(|gpus| driver_faults::recover(gpus, &ending)) {
                    self.deaths.push(format!("node `{}`: a fault did not end: {error}", self.name));
                }
                if matches!(ending, driver_faults::Ending::NvmlHang | driver_faults::Ending::GpuHang(_)) {
                    self.host.nvml_returns(cx);
                }
            }
        }
        cx.show();
    }
}
