//! What joins the GPUs of a node, read once per look at them, so that a preference never waits for NVML.
//!
//! Whatever NVML does not tell is not known: a link or a GPU that answers with an error costs the pair its links and nothing else.

use std::collections::BTreeMap;

use nvml_wrapper::enum_wrappers::device::TopologyLevel;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use plugin_core::inventory::GpuFacts;
use plugin_core::links::{Ancestor, LINKED_GPUS_MAX, Link};

/// Most links of one GPU that are asked for; NVIDIA's plugin asks for as many (v0.20).
const LINKS_MAX: u32 = 36;
/// NVIDIA as the maker of a PCI device.
const NVIDIA: u32 = 0x10DE;

/// What the links of one GPU end at that are up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ends {
    /// How many, by PCI address.
    at: BTreeMap<String, u32>,
    /// How many end at NVSwitches.
    switches: u32,
}

/// One end of a link: PCI address, and device and maker.
struct End {
    bus_id: String,
    device_id: u32,
}

/// The links between these GPUs.
pub(crate) fn read(nvml: &Nvml, gpus: &[GpuFacts]) -> Vec<Link> {
    let gpus = gpus.get(..LINKED_GPUS_MAX).unwrap_or(gpus);
    let devices: Vec<Option<Device<'_>>> =
        gpus.iter().map(|gpu| nvml.device_by_index(gpu.index).ok()).collect();
    let ends: Vec<Ends> =
        devices.iter().map(|device| device.as_ref().map(ends).unwrap_or_default()).collect();
    let ancestor = |a: usize, b: usize| {
        let (one, other) = (devices.get(a)?.as_ref()?, devices.get(b)?.as_ref()?);
        one.topology_common_ancestor(nvml.device_by_index(other.index().ok()?).ok()?).ok().map(from_nvml)
    };
    join(gpus, &ends, ancestor)
}

/// One entry for each pair of which something is known; where the two ends disagree, the smaller number counts.
fn join(gpus: &[GpuFacts], ends: &[Ends], ancestor: impl Fn(usize, usize) -> Option<Ancestor>) -> Vec<Link> {
    let mut links = Vec::new();
    for (a, (one, ends_of_one)) in gpus.iter().zip(ends).enumerate() {
        for (b, (other, ends_of_other)) in gpus.iter().zip(ends).enumerate().skip(a + 1) {
            let to =
                |ends: &Ends, gpu: &GpuFacts| ends.at.get(&address(&gpu.pci_bus_id)).copied().unwrap_or(0);
            let nvlinks = to(ends_of_one, other).min(to(ends_of_other, one));
            let switch_links = ends_of_one.switches.min(ends_of_other.switches);
            let ancestor = ancestor(a, b);
            if nvlinks > 0 || switch_links > 0 || ancestor.is_some() {
                let between = (one.index.min(other.index), one.index.max(other.index));
                links.push(Link { between, nvlinks, switch_links, ancestor });
            }
        }
    }
    links
}

fn ends(device: &Device<'_>) -> Ends {
    let mut found = Vec::new();
    for number in 0..LINKS_MAX {
        let link = device.link_wrapper_for(number);
        match link.is_active() {
            Ok(true) => {
                let end = link.remote_pci_info();
                found.extend(end.map(|pci| End { bus_id: pci.bus_id, device_id: pci.pci_device_id }));
            }
            // a board without NVLink, or a number behind its last link
            Err(NvmlError::NotSupported) if number == 0 => break,
            Err(NvmlError::InvalidArg | NvmlError::GpuLost | NvmlError::FailedToLoadSymbol(_)) => break,
            Ok(false) | Err(_) => {}
        }
    }
    if found.is_empty() {
        return Ends::default();
    }
    counted(found, device.pci_info().ok().map(|pci| pci.pci_device_id))
}

/// An end is an NVSwitch when NVIDIA made it and it is not of the GPU's own kind: `nvmlDeviceGetNvLinkRemoteDeviceType` would tell,
/// but nvml-wrapper 0.13 throws its answer away.
fn counted(found: Vec<End>, own_device_id: Option<u32>) -> Ends {
    let mut ends = Ends::default();
    for end in found {
        let of_nvidia = end.device_id == 0 || end.device_id & 0xFFFF == NVIDIA;
        if of_nvidia && Some(end.device_id) != own_device_id {
            ends.switches += 1;
        }
        *ends.at.entry(address(&end.bus_id)).or_default() += 1;
    }
    ends
}

fn address(bus_id: &str) -> String {
    bus_id.to_ascii_lowercase()
}

fn from_nvml(level: TopologyLevel) -> Ancestor {
    match level {
        TopologyLevel::Internal => Ancestor::Board,
        TopologyLevel::Single => Ancestor::Switch,
        TopologyLevel::Multiple => Ancestor::Switches,
        TopologyLevel::HostBridge => Ancestor::HostBridge,
        TopologyLevel::Node => Ancestor::NumaNode,
        TopologyLevel::System => Ancestor::System,
    }
}

#[cfg(test)]
mod tests {
    use plugin_core::board;

    use super::*;

    const GPU: u32 = 0x20B0_10DE;
    const SWITCH: u32 = 0x1AF1_10DE;

    fn end(bus_id: &str, device_id: u32) -> End {
        End { bus_id: bus_id.to_owned(), device_id }
    }

    #[test]
    fn ends_are_told_apart_by_who_made_them_and_what_they_are() {
        let all = vec![
            end("00000000:01:00.0", GPU),
            end("00000000:01:00.0", GPU),
            end("00000000:C5:00.0", SWITCH),
            end("00000000:C6:00.0", 0),
            end("00000000:D0:00.0", 0x04EA_1014),
        ];
        let ends = counted(all, Some(GPU));
        assert_eq!(ends.switches, 2, "an NPU of IBM is none");
        assert_eq!(ends.at["00000000:01:00.0"], 2);
    }

    #[test]
    fn of_two_ends_that_disagree_the_smaller_number_counts() {
        let gpus = board::node("3*a100-sxm4-40gb").unwrap().gpus;
        let to = |gpu: usize, links: usize| {
            (0..links).map(|_| end(&gpus[gpu].pci_bus_id, GPU)).collect::<Vec<_>>()
        };
        let ends = [counted(to(1, 4), Some(GPU)), counted(to(0, 3), Some(GPU)), Ends::default()];
        let links = join(&gpus, &ends, |a, _| (a == 0).then_some(Ancestor::NumaNode));
        let link = |b, nvlinks| Link {
            between: (0, b),
            nvlinks,
            switch_links: 0,
            ancestor: Some(Ancestor::NumaNode),
        };
        assert_eq!(links, [link(1, 3), link(2, 0)], "nothing is known of 1 and 2");
    }

    #[test]
    fn one_gpu_that_tells_nothing_leaves_the_others_their_switches() {
        let gpus = board::node("3*a100-sxm4-40gb").unwrap().gpus;
        let on_switches = counted((0..12).map(|_| end("00000000:C5:00.0", SWITCH)).collect(), Some(GPU));
        let links = join(&gpus, &[on_switches.clone(), Ends::default(), on_switches], |_, _| None);
        let expected = Link { between: (0, 2), nvlinks: 0, switch_links: 12, ancestor: None };
        assert_eq!(links, [expected]);
    }
}
