//! NVLink: what each link of a GPU ends at, because preferences for GPUs that work together follow from it.
//!
//! On boards with NVLink the machine has NVSwitches, or pairs of GPUs with all links between the two, or no links that are up.

use crate::record::{Gpu, Node};

/// NVSwitches of a machine that has them; links are dealt out among them in turn.
const NVSWITCHES: u32 = 4;
/// PCI bus of the first NVSwitch, below those of the GPUs.
const NVSWITCH_BUS_FIRST: u32 = 0x05;
/// Device and vendor id of an NVSwitch of the Hopper generation.
const NVSWITCH_DEVICE_ID: u32 = 0x22A3_10DE;
/// The peer of GPUs whose links end at NVSwitches.
pub(crate) const PEER_SWITCH: u32 = 0;

/// How the links of a node's GPUs are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// GPUs 0 and 1, 2 and 3, … have all their links in common; one that is left over has none.
    Pairs,
    /// All links end at NVSwitches.
    Switch,
    /// The boards stand alone.
    None,
}

impl Wiring {
    /// The names in scenario files.
    pub const NAMES: &'static [&'static str] = &["pairs", "switch", "none"];

    /// The wiring of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "pairs" => Some(Wiring::Pairs),
            "switch" => Some(Wiring::Switch),
            "none" => Some(Wiring::None),
            _ => None,
        }
    }
}

/// What a link ends at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkEnd {
    /// Whether it is an NVSwitch; else a GPU.
    pub is_switch: bool,
    /// PCI bus, in the domain of the GPU.
    pub pci_bus: u32,
    /// PCI device (slot).
    pub pci_device: u32,
    /// PCI device and vendor id.
    pub pci_device_id: u32,
}

impl Gpu {
    /// How many NVLinks it has on this machine, up or not.
    pub fn nvlinks(&self) -> u32 {
        self.nvlinks
    }
}

impl Node {
    /// What the link of a GPU ends at; nothing while the GPU there is lost or pulled out.
    pub fn nvlink(&self, gpu: &Gpu, link: u32) -> Option<LinkEnd> {
        if link >= gpu.nvlinks {
            return None;
        }
        if gpu.nvlink_peer_bus == PEER_SWITCH {
            let pci_bus = NVSWITCH_BUS_FIRST + link % NVSWITCHES;
            return Some(LinkEnd {
                is_switch: true,
                pci_bus,
                pci_device: 0,
                pci_device_id: NVSWITCH_DEVICE_ID,
            });
        }
        let peer = self.gpus().iter().find(|peer| peer.pci_bus == gpu.nvlink_peer_bus && peer.lost == 0)?;
        let (pci_bus, pci_device) = (peer.pci_bus, peer.pci_device);
        Some(LinkEnd { is_switch: false, pci_bus, pci_device, pci_device_id: peer.board.pci_device_id })
    }

    /// Connects the links of fresh GPUs.
    pub(crate) fn wire(&mut self, wiring: Option<Wiring>) {
        let buses: Vec<u32> = self.gpus().iter().map(|gpu| gpu.pci_bus).collect();
        let count = buses.len();
        for (place, gpu) in self.gpus.iter_mut().take(count).enumerate() {
            // the board's own: boards with NVLink stand on a baseboard with NVSwitches
            let wiring = wiring.unwrap_or(Wiring::Switch);
            (gpu.nvlinks, gpu.nvlink_peer_bus) = match (wiring, buses.get(place ^ 1)) {
                (Wiring::Switch, _) => (gpu.board.nvlinks, PEER_SWITCH),
                (Wiring::Pairs, Some(peer)) => (gpu.board.nvlinks, *peer),
                (Wiring::Pairs, None) | (Wiring::None, _) => (0, PEER_SWITCH),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeSpec, SpecError};

    fn node(board: &str, wiring: Option<Wiring>) -> Result<Box<Node>, SpecError> {
        Node::new(&NodeSpec { wiring, ..NodeSpec::uniform("n", board, 3) })
    }

    /// For each GPU: how many links end at switches, and how many at which GPU.
    fn ends(node: &Node) -> Vec<(usize, Vec<u32>)> {
        let of = |gpu: &Gpu| {
            let ends: Vec<LinkEnd> = (0..64).filter_map(|link| node.nvlink(gpu, link)).collect();
            let switches = ends.iter().filter(|end| end.is_switch).count();
            let mut peers: Vec<u32> =
                ends.iter().filter(|end| !end.is_switch).map(|end| end.pci_bus).collect();
            peers.dedup();
            (switches, peers)
        };
        node.gpus().iter().map(of).collect()
    }

    #[test]
    fn boards_with_nvlink_hang_on_switches_unless_told_otherwise() {
        assert_eq!(ends(&node("h100-80gb-hbm3", None).unwrap()), vec![(18, vec![]); 3]);
        assert_eq!(ends(&node("a100-sxm4-40gb", Some(Wiring::Switch)).unwrap()), vec![(12, vec![]); 3]);
        assert_eq!(ends(&node("a100-sxm4-40gb", Some(Wiring::None)).unwrap()), vec![(0, vec![]); 3]);
        assert_eq!(ends(&node("tesla-t4", None).unwrap()), vec![(0, vec![]); 3]);
        assert!(matches!(node("tesla-t4", Some(Wiring::Pairs)), Err(SpecError::NoNvLink { .. })));
    }

    #[test]
    fn links_of_a_pair_follow_the_peer_and_go_down_with_it() {
        let mut node = node("a100-sxm4-40gb", Some(Wiring::Pairs)).unwrap();
        let bus = |index: u32| 0x1E + 3 * index;
        assert_eq!(ends(&node), [(0, vec![bus(1)]), (0, vec![bus(0)]), (0, vec![])]);
        node.set_lost(1, true).unwrap();
        assert_eq!(ends(&node)[0], (0, vec![]));
        node.set_lost(1, false).unwrap();
        node.unplug(0).unwrap();
        assert_eq!(ends(&node)[0], (0, vec![]), "the second GPU is the first now, and its peer is out");
    }
}
