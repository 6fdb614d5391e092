//! Which devices a sharing entry selects: NVIDIA's `devices` grammar (k8s-device-plugin v0.20).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

/// The devices that a sharing entry selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// Every device of the resource.
    #[default]
    All,
    /// So many: the first by index that nothing else selects. At least 1.
    Count(u32),
    /// These.
    List(Vec<DeviceRef>),
}

/// One selected device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceRef {
    /// A GPU by its NVML index: `0`.
    Index(u32),
    /// A MIG device by GPU index and its own: `0:1`.
    MigIndex(u32, u32),
    /// A GPU by UUID: `GPU-…`.
    GpuUuid(String),
    /// A MIG device by UUID: `MIG-…` or `MIG-GPU-…/gi/ci`.
    MigUuid(String),
}

impl DeviceRef {
    /// Reads one selector; nothing if it has none of the four forms.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(uuid) = text.strip_prefix("GPU-") {
            return is_uuid(uuid).then(|| DeviceRef::GpuUuid(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("MIG-GPU-") {
            let mut parts = rest.split('/');
            let (uuid, gi, ci) = (parts.next()?, parts.next()?, parts.next()?);
            let whole = parts.next().is_none() && index(gi).is_some() && index(ci).is_some();
            return (whole && is_uuid(uuid)).then(|| DeviceRef::MigUuid(text.to_owned()));
        }
        if let Some(uuid) = text.strip_prefix("MIG-") {
            return is_uuid(uuid).then(|| DeviceRef::MigUuid(text.to_owned()));
        }
        match text.split_once(':') {
            Some((gpu, mig)) => Some(DeviceRef::MigIndex(index(gpu)?, index(mig)?)),
            None => Some(DeviceRef::Index(index(text)?)),
        }
    }
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceRef::Index(gpu) => write!(f, "{gpu}"),
            DeviceRef::MigIndex(gpu, mig) => write!(f, "{gpu}:{mig}"),
            DeviceRef::GpuUuid(uuid) | DeviceRef::MigUuid(uuid) => f.write_str(uuid),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Devices::All => f.write_str("all"),
            Devices::Count(count) => write!(f, "{count}"),
            Devices::List(list) => {
                let names: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", names.join(", "))
            }
        }
    }
}

impl Serialize for DeviceRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Devices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Devices::All => serializer.serialize_str("all"),
            Devices::Count(count) => serializer.serialize_u32(*count),
            Devices::List(list) => list.serialize(serializer),
        }
    }
}

impl Devices {
    /// Whether two selections of the same resource meet, as far as that can be said without hardware: a UUID and an
    /// index may name the same GPU, which only the node knows.
    pub(crate) fn surely_overlaps(&self, other: &Devices) -> bool {
        match (self, other) {
            (Devices::List(list), _) | (_, Devices::List(list)) if list.is_empty() => false,
            (Devices::All, _) | (_, Devices::All) => true,
            // a count is taken from the devices that no list names
            (Devices::Count(_), _) | (_, Devices::Count(_)) => false,
            (Devices::List(a), Devices::List(b)) => {
                let b: BTreeSet<&DeviceRef> = b.iter().collect();
                a.iter().any(|device| b.contains(device))
            }
        }
    }
}

/// An index: decimal digits only.
fn index(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}
