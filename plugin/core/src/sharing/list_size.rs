//! Whether the kubelet can take a resource's list of devices: a longer one ends the stream, and the resource is gone without a
//! word to anybody (kubernetes #109304).

use std::collections::BTreeMap;

use super::{Finder, Group};
use crate::config::ResourceName;
use crate::inventory::GpuUuid;
use crate::resources::Role;

/// The longest message that a kubelet takes: gRPC's default (Kubernetes 1.36).
pub(super) const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the protobuf of one device adds to its id at most: health 11 bytes, NUMA node 10, tags and lengths 5, and some to spare.
pub(super) const DEVICE_BYTES: usize = 32;

/// Every resource whose list would be too long is an error.
pub(super) fn check(
    roles: &BTreeMap<GpuUuid, Role>,
    members: &BTreeMap<GpuUuid, Option<&Group<'_>>>,
    finder: &mut Finder<'_>,
) {
    let mut sizes: BTreeMap<&ResourceName, (u64, usize, &str)> = BTreeMap::new();
    for (gpu, role) in roles {
        let Some(Some(group)) = members.get(gpu) else {
            continue;
        };
        let longest = role.device_ids(gpu).iter().map(String::len).max().unwrap_or_default();
        let (devices, bytes, _) = sizes.entry(&role.resource).or_insert((0, 0, group.path.as_str()));
        let replicas = usize::try_from(role.replicas).unwrap_or(usize::MAX);
        *devices += u64::from(role.replicas);
        *bytes = bytes.saturating_add(replicas.saturating_mul(longest + DEVICE_BYTES));
    }
    for (resource, (devices, bytes, path)) in sizes {
        if bytes > LIST_BYTES_MAX {
            let path = format!("{path}.replicas");
            let message = format!(
                "`{resource}` would have {devices} devices on this node, a list of up to {bytes} bytes; the kubelet takes \
                 {LIST_BYTES_MAX}"
            );
            finder.error(&path, message, "ask for fewer replicas, or give some GPUs another name");
        }
    }
}
