//! Reads the cluster: nodes, their GPUs and kubelets.

use std::collections::BTreeMap;

use fake_gpu::Wiring;

use super::decode::{Fields, Reader};
use super::grammar::{GPUS, NODE};
use super::limits::{GPUS_MAX, NODES_MAX};
use super::mig;
use super::schema::{GpuNode, KubeletProfile, NodeSpec};
use super::verbs;
use super::yaml::Node;

/// Reads `nodes`.
pub(super) fn nodes(reader: &mut Reader, fields: &Fields<'_>) -> Vec<NodeSpec> {
    let Some(list) = fields.need(reader, "nodes") else {
        return Vec::new();
    };
    let mut nodes = Vec::new();
    let mut total = 0;
    for (index, item) in reader.list(list, "nodes").iter().enumerate() {
        let path = format!("nodes[{index}]");
        let inner = reader.fields(item, &path, NODE);
        let name = inner.need_text(reader, "name");
        let count = inner.get("count").map(|n| reader.number(n, &inner.path("count"), 1, NODES_MAX));
        let gpus = inner.get("gpus").map(|n| gpus(reader, n, &inner.path("gpus")));
        let labels: BTreeMap<String, String> = inner
            .get("labels")
            .map(|n| reader.text_map(n, &inner.path("labels")).into_iter().collect())
            .unwrap_or_default();
        let kubelet = inner
            .get("kubelet")
            .and_then(|n| reader.word(n, &inner.path("kubelet"), KubeletProfile::NAMES))
            .and_then(|name| KubeletProfile::parse(&name))
            .unwrap_or_default();
        let other_plugins = inner
            .get("otherPlugins")
            .map(|n| verbs::other_plugins(reader, n, &inner.path("otherPlugins")))
            .unwrap_or_default();
        let Some(name) = name else { continue };
        total += count.flatten().unwrap_or(1);
        if total > NODES_MAX {
            let message = format!("expected at most {NODES_MAX} nodes (NODES_MAX), found {total} up to here");
            reader.problem(item.place, &path, message);
            break;
        }
        let names: Vec<String> = match count.flatten() {
            None => vec![name],
            Some(count) => (1..=count).map(|n| format!("{name}-{n}")).collect(),
        };
        nodes.extend(names.into_iter().map(|name| NodeSpec {
            name,
            gpus: gpus.clone().flatten(),
            labels: labels.clone(),
            kubelet,
            other_plugins: other_plugins.clone(),
        }));
    }
    nodes
}

/// Reads the GPUs of a node.
pub(super) fn gpus(reader: &mut Reader, node: &Node, path: &str) -> Option<GpuNode> {
    let inner = reader.fields(node, path, GPUS);
    let board = inner.need_text(reader, "board");
    let count =
        inner.need(reader, "count").and_then(|count| reader.number(count, &inner.path("count"), 1, GPUS_MAX));
    let numa = inner.get("numa").map(|node| numa(reader, node, &inner.path("numa"))).unwrap_or_default();
    if let (false, Some(count)) = (numa.is_empty(), count)
        && numa.len() as u64 != count
    {
        let message = format!("expected one NUMA node for each of {count} GPUs, found {}", numa.len());
        reader.problem(node.place, &inner.path("numa"), message);
    }
    let links =
        inner.get("links").and_then(|node| links(reader, node, &inner.path("links"), board.as_deref()));
    let cuda_version = inner.text(reader, "cudaVersion");
    if cuda_version.as_ref().is_some_and(|version| !is_major_minor(version)) {
        let message = "expected a CUDA version such as `13.2`";
        reader.problem(node.place, &inner.path("cudaVersion"), message);
    }
    let mig = inner
        .get("mig")
        .map(|node| mig::layouts(reader, node, &inner.path("mig"), board.as_deref(), count))
        .unwrap_or_default();
    Some(GpuNode {
        board: board?,
        count: u32::try_from(count?).unwrap_or(u32::MAX),
        numa,
        mig,
        links,
        driver_version: inner.text(reader, "driverVersion"),
        cuda_version,
    })
}

fn links(reader: &mut Reader, node: &Node, path: &str, board: Option<&str>) -> Option<Wiring> {
    let wiring = reader.word(node, path, Wiring::NAMES).and_then(|name| Wiring::parse(&name))?;
    let linked = |board: &&str| fake_gpu::BoardProfile::load(board).is_ok_and(|profile| profile.nvlinks == 0);
    if let Some(bare) = board.filter(linked).filter(|_| wiring != Wiring::None) {
        reader.problem(node.place, path, format!("expected a board with NVLink, found `{bare}`"));
    }
    Some(wiring)
}

fn numa(reader: &mut Reader, node: &Node, path: &str) -> Vec<u32> {
    let items = reader.list(node, path);
    let read = |(index, item)| reader.number(item, &format!("{path}[{index}]"), 0, GPUS_MAX - 1);
    let numbers = items.iter().enumerate().filter_map(read);
    numbers.filter_map(|number| u32::try_from(number).ok()).collect()
}

fn is_major_minor(version: &str) -> bool {
    let number = |part: &str| part.parse::<u8>().is_ok();
    version.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor))
}
