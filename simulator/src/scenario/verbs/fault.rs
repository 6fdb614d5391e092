//! The verb `fault`: which faults there are and what each of them needs to be told.

use std::time::Duration;

use super::super::decode::{Fields, Reader};
use super::super::grammar::FAULT;
use super::super::limits::{DURATION_MAX, GPUS_MAX};
use super::super::verb::Verb;
use super::super::yaml::Node;
use crate::faults::{Fault, FaultSpec};

/// What a fault is told of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Gpu {
    /// Nothing.
    No,
    /// One, or all of the node.
    May,
    /// One.
    Must,
}

/// What a fault is told beside where it happens and for how long.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    gpu: Option<u32>,
    code: u32,
    delay: Duration,
}

/// A fault as an author writes it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Entry {
    /// Its word.
    pub(in super::super) kind: &'static str,
    gpu: Gpu,
    /// The least and the highest code, where it has one.
    code: Option<(u64, u64)>,
    /// Whether it has a delay.
    delay: bool,
    make: fn(Told) -> Fault,
}

const fn plain(kind: &'static str, make: fn(Told) -> Fault) -> Entry {
    Entry { kind, gpu: Gpu::No, code: None, delay: false, make }
}

const fn on_gpu(gpu: Gpu, kind: &'static str, make: fn(Told) -> Fault) -> Entry {
    Entry { gpu, ..plain(kind, make) }
}

/// The codes of Xids and of NVML's errors.
const DRIVER_CODES: Option<(u64, u64)> = Some((1, CODE_MAX));
/// HTTP statuses that refuse.
const REFUSALS: Option<(u64, u64)> = Some((400, 599));
/// The highest code.
pub(in super::super) const CODE_MAX: u64 = 999;

/// Every fault.
pub(in super::super) const TABLE: &[Entry] = &[
    plain("pluginCrash", |_| Fault::PluginCrash),
    plain("pluginRestart", |_| Fault::PluginRestart),
    plain("pluginUpgrade", |_| Fault::PluginUpgrade),
    plain("pluginOomKilled", |_| Fault::PluginOomKilled),
    plain("supervisorCrash", |_| Fault::SupervisorCrash),
    on_gpu(Gpu::May, "mpsDaemonCrash", |told| Fault::MpsDaemonCrash { gpu: told.gpu }),
    on_gpu(Gpu::May, "mpsDaemonHang", |told| Fault::MpsDaemonHang { gpu: told.gpu }),
    on_gpu(Gpu::Must, "mpsFault", |told| Fault::MpsFault { gpu: told.gpu.unwrap_or_default() }),
    plain("mpsOomKilled", |_| Fault::MpsOomKilled),
    plain("mpsControlMissing", |_| Fault::MpsControlMissing),
    plain("mpsControlHang", |_| Fault::MpsControlHang),
    plain("mpsControlGarbage", |_| Fault::MpsControlGarbage),
    plain("mpsControlFails", |_| Fault::MpsControlFails),
    plain("nvidiaSmiMissing", |_| Fault::NvidiaSmiMissing),
    plain("nvidiaSmiHang", |_| Fault::NvidiaSmiHang),
    plain("nvidiaSmiFails", |_| Fault::NvidiaSmiFails),
    plain("mpsDirectoryBlocked", |_| Fault::MpsDirectoryBlocked),
    plain("kubeletRestart", |_| Fault::KubeletRestart),
    plain("kubeletHang", |_| Fault::KubeletHang),
    plain("kubeletSocketRace", |_| Fault::KubeletSocketRace),
    plain("podResourcesUnavailable", |_| Fault::PodResourcesUnavailable),
    plain("podResourcesEmpty", |_| Fault::PodResourcesEmpty),
    Entry { delay: true, ..plain("podResourcesSlow", |told| Fault::PodResourcesSlow { delay: told.delay }) },
    plain("podResourcesLimited", |_| Fault::PodResourcesLimited),
    plain("podResourcesStale", |_| Fault::PodResourcesStale),
    plain("pluginDirectoryRecreated", |_| Fault::PluginDirectoryRecreated),
    plain("checkpointLost", |_| Fault::CheckpointLost),
    plain("apiServerDown", |_| Fault::ApiServerDown),
    Entry { delay: true, ..plain("apiServerSlow", |told| Fault::ApiServerSlow { delay: told.delay }) },
    Entry { code: REFUSALS, ..plain("apiServerRefuses", |told| Fault::ApiServerRefuses { code: told.code }) },
    plain("watchDrop", |_| Fault::WatchDrop),
    plain("watchExpired", |_| Fault::WatchExpired),
    plain("nodeRecreated", |_| Fault::NodeRecreated),
    on_gpu(Gpu::Must, "gpuLost", |told| Fault::GpuLost { gpu: told.gpu.unwrap_or_default() }),
    on_gpu(Gpu::Must, "gpuUnplugged", |told| Fault::GpuUnplugged { gpu: told.gpu.unwrap_or_default() }),
    Entry {
        code: DRIVER_CODES,
        ..on_gpu(Gpu::Must, "xid", |told| Fault::Xid { gpu: told.gpu.unwrap_or_default(), code: told.code })
    },
    on_gpu(Gpu::Must, "eccError", |told| Fault::EccError { gpu: told.gpu.unwrap_or_default() }),
    Entry {
        code: DRIVER_CODES,
        ..on_gpu(Gpu::May, "nvmlError", |told| Fault::NvmlError { gpu: told.gpu, code: told.code })
    },
    Entry { delay: true, ..plain("nvmlSlow", |told| Fault::NvmlSlow { delay: told.delay }) },
    plain("nvmlHang", |_| Fault::NvmlHang),
    on_gpu(Gpu::Must, "gpuHang", |told| Fault::GpuHang { gpu: told.gpu.unwrap_or_default() }),
    plain("driverUpgrade", |_| Fault::DriverUpgrade),
    plain("lateDeviceNodes", |_| Fault::LateDeviceNodes),
    plain("fabricNotReady", |_| Fault::FabricNotReady),
    plain("diskFull", |_| Fault::DiskFull),
    plain("suspend", |_| Fault::Suspend),
    plain("inotifyExhausted", |_| Fault::InotifyExhausted),
    plain("deviceCgroupsRewritten", |_| Fault::DeviceCgroupsRewritten),
    plain("nodeReboot", |_| Fault::NodeReboot),
    on_gpu(Gpu::Must, "uninvitedProcess", |told| Fault::UninvitedProcess {
        gpu: told.gpu.unwrap_or_default(),
    }),
    Entry {
        code: DRIVER_CODES,
        ..on_gpu(Gpu::Must, "processesUnreadable", |told| Fault::ProcessesUnreadable {
            gpu: told.gpu.unwrap_or_default(),
            code: told.code,
        })
    },
];

impl Entry {
    /// Whether it happens on nodes.
    fn has_node(&self) -> bool {
        !(self.make)(Told::default()).is_of_cluster()
    }
}

/// `fault`.
pub(in super::super) fn fault(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, FAULT);
    let kinds: Vec<&str> = TABLE.iter().map(|entry| entry.kind).collect();
    let kind =
        fields.need(reader, "kind").and_then(|node| reader.word(node, &fields.path("kind"), &kinds))?;
    let entry = TABLE.iter().find(|entry| entry.kind == kind)?;
    let node = selector(reader, &fields, entry);
    let gpu = gpu(reader, &fields, entry);
    let code = code(reader, &fields, entry);
    let delay = delay(reader, &fields, entry);
    let lasts = fields.duration(reader, "lasts", DURATION_MAX);
    refuse(reader, &fields, entry, "lasts", (entry.make)(Told::default()).can_last());
    let probability = match fields.get("probability") {
        Some(node) => reader.share(node, &fields.path("probability")),
        None => Some(1.0),
    };
    Some(Verb::Fault {
        spec: FaultSpec {
            fault: (entry.make)(Told { gpu: gpu?, code: code?, delay: delay? }),
            node: node?,
            lasts,
        },
        probability: probability?,
    })
}

fn selector(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Option<String> {
    let has_node = entry.has_node();
    refuse(reader, fields, entry, "node", has_node);
    match has_node {
        true => fields.need_text(reader, "node"),
        false => Some("*".to_owned()),
    }
}

fn gpu(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Option<Option<u32>> {
    refuse(reader, fields, entry, "gpu", entry.gpu != Gpu::No);
    let node = match entry.gpu {
        Gpu::Must => Some(fields.need(reader, "gpu")?),
        Gpu::May => fields.get("gpu"),
        Gpu::No => None,
    };
    let Some(node) = node else { return Some(None) };
    let index = reader.number(node, &fields.path("gpu"), 0, GPUS_MAX - 1)?;
    Some(u32::try_from(index).ok())
}

fn code(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Option<u32> {
    refuse(reader, fields, entry, "code", entry.code.is_some());
    let Some((least, most)) = entry.code else { return Some(0) };
    let node = fields.need(reader, "code")?;
    let code = reader.number(node, &fields.path("code"), least, most)?;
    u32::try_from(code).ok()
}

fn delay(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Option<Duration> {
    refuse(reader, fields, entry, "delay", entry.delay);
    if !entry.delay {
        return Some(Duration::ZERO);
    }
    let node = fields.need(reader, "delay")?;
    reader.duration(node, &fields.path("delay"), DURATION_MAX)
}

/// A key that this fault has no use for.
fn refuse(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry, name: &str, has_use: bool) {
    if let (false, Some(node)) = (has_use, fields.get(name)) {
        let message = format!("`{}` has no use for `{name}`", entry.kind);
        reader.problem(node.place, &fields.path(name), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_written_with_the_word_that_reports_use() {
        for entry in TABLE {
            let told = Told { gpu: Some(3), code: 1, delay: Duration::from_secs(2) };
            let fault = (entry.make)(told);
            assert_eq!(fault.tag(), entry.kind);
            // what it is told it knows, and no more
            assert_eq!(fault.gpu(), (entry.gpu != Gpu::No).then_some(3), "{}", entry.kind);
            assert_eq!(fault.code(), entry.code.map(|_| 1), "{}", entry.kind);
            assert_eq!(fault.delay(), entry.delay.then_some(told.delay), "{}", entry.kind);
        }
    }
}
