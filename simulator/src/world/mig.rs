//! MIG devices as a scenario sees them, below their GPU.

use serde::Serialize;

use super::{GpuView, MemoryView, gpu_of};

/// A MIG device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigView {
    /// NVML index on its GPU.
    pub index: u32,
    /// `MIG-…`.
    pub uuid: String,
    /// What it was cut to, such as `1g.5gb`.
    pub profile: String,
    /// GPU instance.
    pub gpu_instance: u32,
    /// Compute instance.
    pub compute_instance: u32,
    /// Its memory.
    pub memory: MemoryView,
    /// How many processes of pods have a context on it.
    pub processes: u64,
    /// The pods that it was given to according to the kubelet, sorted, once per device.
    pub holders: Vec<String>,
}

impl GpuView {
    /// Notes a pod that holds a device of this GPU or of one of its MIG devices; of any other it notes nothing.
    pub fn note_holder(&mut self, pod: &str, resource: &str, id: &str) {
        let uuid = gpu_of(id);
        let devices = self.mig.iter_mut().flatten();
        let mig = devices.into_iter().find(|mig| mig.uuid == uuid);
        if mig.is_none() && self.uuid != uuid {
            return;
        }
        if let Some(mig) = mig {
            mig.holders.push(pod.to_owned());
        }
        self.holders.push(pod.to_owned());
        self.resources.push(resource.to_owned());
    }

    /// Forgets all holders.
    pub fn forget_holders(&mut self) {
        self.mig.iter_mut().flatten().for_each(|mig| mig.holders.clear());
        self.holders.clear();
        self.resources.clear();
    }

    /// Puts the holders in order.
    pub fn sort_holders(&mut self) {
        self.mig.iter_mut().flatten().for_each(|mig| mig.holders.sort());
        self.holders.sort();
        self.resources.sort();
        self.resources.dedup();
    }
}
