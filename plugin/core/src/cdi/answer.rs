//! The part of an answer to Allocate that tells CDI names.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ALL, Class, annotation_key, qualified};
use crate::allocate::{Allocation, ContainerEdits};
use crate::config::ResourceName;
use crate::unit::Unit;
use crate::view::Device;

/// How containers are told the CDI names of their devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdiEdits {
    /// By an annotation whose key begins with this.
    pub annotation_prefix: Option<String>,
    /// In the kubelet's own field.
    pub cri: bool,
    /// Whose devices.
    pub vendor: String,
    /// Features that have a spec: their device `all` is named too.
    pub features: BTreeSet<Class>,
}

/// Names of GPUs, then of IMEX channels, then of features.
pub(crate) fn add(
    edits: &ContainerEdits,
    resource: &ResourceName,
    devices: &[&Device],
    names: &[String],
    out: &mut Allocation,
) {
    let cdi = &edits.cdi;
    let gpus = names.iter().map(|name| qualified(&cdi.vendor, Class::Gpu, name));
    let all: Vec<String> = gpus.chain(beside_gpus(edits)).collect();
    if let Some(prefix) = cdi.annotation_prefix.as_ref().filter(|_| !all.is_empty()) {
        let ids = devices.iter().map(|device| device.id.as_str());
        out.annotations.insert(annotation_key(prefix, resource.as_str(), ids), all.join(","));
    }
    if cdi.cri {
        out.cdi_devices = all;
    }
}

/// What every answer has beside the GPUs: channels and features.
fn beside_gpus(edits: &ContainerEdits) -> impl Iterator<Item = String> {
    let cdi = &edits.cdi;
    let channels = edits.imex_channels.iter().map(u32::to_string);
    let channels = channels.map(|id| qualified(&cdi.vendor, Class::ImexChannel, &id));
    let features = [(edits.gdrcopy, Class::Gdrcopy), (edits.gds, Class::Gds), (edits.mofed, Class::Mofed)];
    let features = features.into_iter().filter(|(on, class)| *on && cdi.features.contains(class));
    channels.chain(features.map(|(_, class)| qualified(&cdi.vendor, class, ALL)))
}

/// Every name that a container may be told while these are served; none where containers are told no names.
pub(crate) fn names<'a>(edits: &ContainerEdits, served: impl Iterator<Item = Unit<'a>>) -> Vec<String> {
    let cdi = &edits.cdi;
    if cdi.annotation_prefix.is_none() && !cdi.cri {
        return Vec::new();
    }
    let name = |unit: Unit<'_>| if edits.by_index { unit.index() } else { unit.uuid().to_string() };
    let gpus = served.map(|unit| qualified(&cdi.vendor, Class::Gpu, &name(unit)));
    gpus.chain(beside_gpus(edits)).collect()
}
