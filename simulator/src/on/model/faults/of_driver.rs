//! The faults of a node's GPUs and its driver.

use fake_gpu::GpuError;

use super::super::engine::Context;
use super::super::happening::Ending;
use super::super::node::Node;
use super::{LASTS_DEFAULT, nanos};
use crate::faults::Fault;
use crate::on::driver_faults;

impl Node {
    /// One fault of the driver; the answer is why it could not happen.
    pub(super) fn driver_suffers(
        &mut self,
        cx: &mut Context<'_>,
        fault: Fault,
        lasts: Option<u64>,
    ) -> Option<String> {
        if fault == Fault::DeviceCgroupsRewritten {
            // only processes on GPUs feel it
            return Some("no process of a pod runs on a GPU on this stage".to_owned());
        }
        let name = self.name.clone();
        let Some(gpus) = self.host.gpus.as_mut() else {
            return Some(format!("node `{name}` has no driver"));
        };
        let ending = match driver_faults::happen(gpus, fault) {
            Ok(ending) => ending?,
            Err(GpuError::NoSuchGpu { gpu, .. }) => return Some(format!("node `{name}` has no GPU {gpu}")),
            Err(error) => return Some(format!("node `{name}`: {error}")),
        };
        if matches!(fault, Fault::GpuUnplugged { .. })
            && let Some(shell) = &mut self.mps.process
        {
            shell.daemons_changed(cx, &self.host);
        }
        let for_good = driver_faults::is_for_good(fault);
        let lasts = if for_good { lasts } else { lasts.or(Some(nanos(LASTS_DEFAULT))) };
        lasts.and_then(|lasts| self.ends_in(cx, lasts, Ending::Driver(ending)))
    }
}
