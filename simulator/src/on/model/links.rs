//! What NVML would tell of the links between the fake GPUs, and how many calls production makes for that.

use fake_gpu::{Gpu, Node as Gpus};
use plugin_core::links::{Ancestor, Link};

/// Most links of one GPU that production asks for.
const LINKS_MAX: u32 = 36;

/// What joins each pair of GPUs.
pub(super) fn links(gpus: &Gpus) -> Vec<Link> {
    let all = gpus.gpus();
    let pairs = all.iter().enumerate().flat_map(|(a, one)| all.iter().skip(a + 1).map(move |b| (one, b)));
    pairs.map(|(one, other)| link(gpus, one, other)).collect()
}

fn link(gpus: &Gpus, one: &Gpu, other: &Gpu) -> Link {
    let count = |gpu: &Gpu, ends_there: &dyn Fn(bool, u32) -> bool| {
        let ends = (0..LINKS_MAX).filter_map(|link| gpus.nvlink(gpu, link));
        u32::try_from(ends.filter(|end| ends_there(end.is_switch, end.pci_bus)).count()).unwrap_or(0)
    };
    let to = |gpu: &Gpu, peer: &Gpu| count(gpu, &|is_switch, bus| !is_switch && bus == peer.pci_bus);
    let switches = |gpu: &Gpu| count(gpu, &|is_switch, _| is_switch);
    let near = one.numa_node == other.numa_node;
    Link {
        between: (one.index, other.index),
        nvlinks: to(one, other).min(to(other, one)),
        switch_links: switches(one).min(switches(other)),
        ancestor: Some(if near { Ancestor::NumaNode } else { Ancestor::System }),
    }
}

/// NVML calls that production makes for the links: two handles and an index for a pair and its common ancestor, the state of each
/// link of a board up to one that it does not have, and what those that are up end at.
pub(super) fn calls(gpus: &Gpus) -> u64 {
    let count = gpus.gpus().len() as u64;
    let of = |gpu: &Gpu| {
        let up = (0..LINKS_MAX).filter(|link| gpus.nvlink(gpu, *link).is_some()).count() as u64;
        2 + u64::from(gpu.board.nvlinks) + up + u64::from(up > 0)
    };
    gpus.gpus().iter().map(of).sum::<u64>() + 3 * (count * count.saturating_sub(1) / 2)
}
