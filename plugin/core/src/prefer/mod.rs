//! GetPreferredAllocation as a pure function of the view: which of the free devices to hand out.
//!
//! | devices | are chosen | by |
//! |---|---|---|
//! | whole GPUs | close to each other, and so that islands stay whole | `aligned`, `search` |
//! | MIG devices | from as few GPUs as possible | `mig` |
//! | replicas | spread or stacked, as their resource says | `replicas` |
//!
//! The kubelet ends a pod for good when this call fails. So every request that can be met is met: devices that are ill or not
//! known come last, and a resource that is not served is left to Allocate, which says why.

mod aligned;
mod mig;
mod replicas;
pub(crate) mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::config::ResourceName;
use crate::view::{Device, Strategy, View};

/// Why there is no preference.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PreferError {
    /// Fewer devices than asked for.
    #[error(
        "not enough available devices to satisfy allocation: `{resource}` has {available}, asked for {size}"
    )]
    TooFew {
        /// The extended resource.
        resource: String,
        /// How many distinct ids were offered.
        available: usize,
        /// How many were asked for.
        size: usize,
    },
}

/// See [`View::prefer`].
pub(crate) fn prefer(
    view: &View,
    resource: &ResourceName,
    available: &[String],
    must_include: &[String],
    size: usize,
) -> Result<Vec<String>, PreferError> {
    let must: BTreeSet<&String> = must_include.iter().collect();
    if must.len() >= size {
        return Ok(must.into_iter().cloned().collect());
    }
    let free: BTreeSet<&String> = available.iter().filter(|id| !must.contains(id)).collect();
    let missing = size - must.len();
    if free.len() < missing {
        return Err(PreferError::TooFew {
            resource: resource.to_string(),
            available: free.len() + must.len(),
            size,
        });
    }
    let mut chosen: Vec<String> = must.iter().map(|id| (*id).clone()).collect();
    chosen.extend(healthy(view, resource, &free, &must, missing));
    let short = size - chosen.len();
    if short > 0 {
        fill(view, resource, &free, &mut chosen, short);
    }
    Ok(chosen)
}

/// At most `missing` of the free devices, all healthy.
fn healthy(
    view: &View,
    resource: &ResourceName,
    free: &BTreeSet<&String>,
    must: &BTreeSet<&String>,
    missing: usize,
) -> Vec<String> {
    let Some(served) = view.resources.get(resource) else {
        return Vec::new();
    };
    let known = |id: &&String| served.devices.get(*id);
    let must: Vec<&Device> = must.iter().filter_map(known).collect();
    let free: Vec<&Device> = free.iter().filter_map(known).filter(|device| device.healthy).collect();
    let any = |what: fn(&Device) -> bool| free.iter().chain(&must).any(|device| what(device));
    if any(|device| device.strategy != Strategy::Exclusive) {
        replicas::take(served, &free, missing)
    } else if any(|device| device.mig.is_some()) {
        mig::take(&free, &must, missing)
    } else {
        aligned::take(&view.links, &free, &must, missing)
    }
}

/// What healthy devices cannot meet: those that would be granted first, then the others that are known, then ids of an older
/// list.
fn fill(
    view: &View,
    resource: &ResourceName,
    free: &BTreeSet<&String>,
    chosen: &mut Vec<String>,
    short: usize,
) {
    let picked: BTreeSet<String> = chosen.iter().cloned().collect();
    let device = |id: &str| view.resources.get(resource).and_then(|served| served.devices.get(id));
    let mut rest: Vec<&String> = free.iter().copied().filter(|id| !picked.contains(*id)).collect();
    rest.sort_by_key(|id| device(id).map_or(2, |device| u8::from(!device.granted)));
    chosen.extend(rest.into_iter().take(short).cloned());
}
