//! The verb `fault`: which faults there are and what each of them needs to be told.

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

/// A fault as an author writes it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Entry {
    /// Its word.
    pub(in super::super) kind: &'static str,
    /// Whether it happens on nodes.
    node: bool,
    gpu: Gpu,
    /// Whether it has a code.
    code: bool,
    /// Whether it can end by itself.
    lasts: bool,
    make: fn(Option<u32>, u32) -> Fault,
}

const fn plain(kind: &'static str, lasts: bool, make: fn(Option<u32>, u32) -> Fault) -> Entry {
    Entry { kind, node: true, gpu: Gpu::No, code: false, lasts, make }
}

/// Every fault.
pub(in super::super) const TABLE: &[Entry] = &[
    plain("pluginCrash", false, |_, _| Fault::PluginCrash),
    plain("pluginRestart", false, |_, _| Fault::PluginRestart),
    plain("supervisorCrash", false, |_, _| Fault::SupervisorCrash),
    Entry { gpu: Gpu::May, ..plain("mpsDaemonCrash", false, |gpu, _| Fault::MpsDaemonCrash { gpu }) },
    plain("kubeletRestart", true, |_, _| Fault::KubeletRestart),
    plain("kubeletHang", true, |_, _| Fault::KubeletHang),
    plain("podResourcesUnavailable", true, |_, _| Fault::PodResourcesUnavailable),
    Entry { node: false, ..plain("apiServerDown", true, |_, _| Fault::ApiServerDown) },
    plain("watchDrop", false, |_, _| Fault::WatchDrop),
    Entry {
        gpu: Gpu::Must,
        ..plain("gpuLost", true, |gpu, _| Fault::GpuLost { gpu: gpu.unwrap_or_default() })
    },
    Entry {
        gpu: Gpu::Must,
        code: true,
        ..plain("xid", false, |gpu, code| Fault::Xid { gpu: gpu.unwrap_or_default(), code })
    },
    plain("nodeReboot", true, |_, _| Fault::NodeReboot),
];

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
    let lasts = fields.duration(reader, "lasts", DURATION_MAX);
    refuse(reader, &fields, entry, "lasts", entry.lasts);
    let probability = match fields.get("probability") {
        Some(node) => reader.share(node, &fields.path("probability")),
        None => Some(1.0),
    };
    Some(Verb::Fault {
        spec: FaultSpec { fault: (entry.make)(gpu?, code?), node: node?, lasts },
        probability: probability?,
    })
}

fn selector(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Option<String> {
    refuse(reader, fields, entry, "node", entry.node);
    match entry.node {
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
    refuse(reader, fields, entry, "code", entry.code);
    if !entry.code {
        return Some(0);
    }
    let node = fields.need(reader, "code")?;
    let code = reader.number(node, &fields.path("code"), 1, 999)?;
    u32::try_from(code).ok()
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
            assert_eq!((entry.make)(Some(0), 1).tag(), entry.kind);
        }
    }
}
