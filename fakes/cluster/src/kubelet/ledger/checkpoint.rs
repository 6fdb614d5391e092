//! The kubelet remembers allocations across its own restart in one checked file; this reads and writes its text, so
//! that a plugin that reads the file finds what it would find on a node.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// The file's name below the device plugin directory.
pub const CHECKPOINT_FILE: &str = "kubelet_internal_checkpoint";

/// Device IDs by NUMA node (-1: the plugin gave none); absent and empty are two things, as in the file.
pub type DevicesPerNuma = Option<BTreeMap<i64, Option<Vec<String>>>>;

/// One container's devices of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// The resource's name.
    pub resource: String,
    /// The device IDs; a device on two nodes stands under both.
    pub devices: DevicesPerNuma,
    /// The plugin's ContainerAllocateResponse, encoded.
    pub response: Option<Vec<u8>>,
}

/// The content of the file, without its checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Allocations; `None` when there are none.
    pub entries: Option<Vec<Entry>>,
    /// Healthy device IDs of every resource.
    pub registered: Option<BTreeMap<String, Option<Vec<String>>>>,
}

/// Why a checkpoint was not used; a kubelet then starts with nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not the JSON of a checkpoint.
    #[error("the checkpoint is no readable JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A field holds what a checkpoint cannot hold.
    #[error("checkpoint field `{field}` is not valid: {value}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// Its content.
        value: String,
    },
    /// The content does not match its checksum.
    #[error("checkpoint is corrupted: its checksum is {stored}, its content's {computed}")]
    Corrupt {
        /// The number in the file.
        stored: u64,
        /// The number that the content has.
        computed: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct FileText {
    #[serde(rename = "Data")]
    data: DataText,
    #[serde(rename = "Checksum")]
    checksum: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataText {
    #[serde(default)]
    pod_device_entries: Option<Vec<EntryText>>,
    #[serde(default)]
    registered_devices: Option<BTreeMap<String, Option<Vec<String>>>>,
}

#[derive(Serialize, Deserialize)]
struct EntryText {
    #[serde(rename = "PodUID")]
    pod_uid: String,
    #[serde(rename = "ContainerName")]
    container: String,
    #[serde(rename = "ResourceName")]
    resource: String,
    #[serde(rename = "DeviceIDs", default)]
    devices: Option<BTreeMap<String, Option<Vec<String>>>>,
    #[serde(rename = "AllocResp", default)]
    response: Option<String>,
}

impl Checkpoint {
    /// The file's text: one line of JSON.
    pub fn to_text(&self) -> Result<String, CheckpointError> {
        let entry_text = |entry: &Entry| EntryText {
            pod_uid: entry.pod_uid.clone(),
            container: entry.container.clone(),
            resource: entry.resource.clone(),
            devices: entry
                .devices
                .as_ref()
                .map(|per_node| per_node.iter().map(|(node, ids)| (node.to_string(), ids.clone())).collect()),
            response: entry.response.as_ref().map(|bytes| BASE64.encode(bytes)),
        };
        let data = DataText {
            pod_device_entries: self.entries.as_ref().map(|all| all.iter().map(entry_text).collect()),
            registered_devices: self.registered.clone(),
        };
        Ok(serde_json::to_string(&FileText { data, checksum: self.checksum() })?)
    }

    /// Reads the file's text and compares its checksum.
    pub fn from_text(text: &str) -> Result<Checkpoint, CheckpointError> {
        let file: FileText = serde_json::from_str(text)?;
        let entries = match file.data.pod_device_entries {
            Some(texts) => Some(texts.into_iter().map(EntryText::read).collect::<Result<Vec<_>, _>>()?),
            None => None,
        };
        let checkpoint = Checkpoint { entries, registered: file.data.registered_devices };
        let computed = checkpoint.checksum();
        if computed != file.checksum {
            return Err(CheckpointError::Corrupt { stored: file.checksum, computed });
        }
        Ok(checkpoint)
    }

    /// FNV-1a, 32 bit, over the textual dump.
    pub fn checksum(&self) -> u64 {
        let hash = self
            .dump()
            .bytes()
            .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        u64::from(hash)
    }

    /// The textual dump that the checksum is taken of.
    fn dump(&self) -> String {
        let entries = list(self.entries.as_deref(), |entry| {
            format!(
                "{{PodUID:(string){} ContainerName:(string){} ResourceName:(string){} \
                 DeviceIDs:(checkpoint.DevicesPerNUMA){} AllocResp:([]uint8){}}}",
                entry.pod_uid,
                entry.container,
                entry.resource,
                map(entry.devices.as_ref()),
                list(entry.response.as_deref(), u8::to_string),
            )
        });
        format!(
            "(checkpoint.checkpointData){{PodDeviceEntries:([]checkpoint.PodDevicesEntry){entries} \
             RegisteredDevices:(map[string][]string){}}}",
            map(self.registered.as_ref())
        )
    }
}

impl EntryText {
    fn read(self) -> Result<Entry, CheckpointError> {
        let node_number = |node: &String| {
            node.parse().map_err(|_| CheckpointError::Field { field: "DeviceIDs", value: node.clone() })
        };
        let devices = match self.devices {
            Some(per_node) => Some(
                per_node
                    .into_iter()
                    .map(|(node, ids)| Ok((node_number(&node)?, ids)))
                    .collect::<Result<_, CheckpointError>>()?,
            ),
            None => None,
        };
        let response = match self.response {
            Some(text) => Some(
                BASE64
                    .decode(&text)
                    .map_err(|_| CheckpointError::Field { field: "AllocResp", value: text })?,
            ),
            None => None,
        };
        let EntryText { pod_uid, container, resource, .. } = self;
        Ok(Entry { pod_uid, container, resource, devices, response })
    }
}

fn list<T>(items: Option<&[T]>, one: impl Fn(&T) -> String) -> String {
    let Some(items) = items else {
        return "<nil>".to_owned();
    };
    format!("[{}]", items.iter().map(one).collect::<Vec<_>>().join(" "))
}

fn map<K: std::fmt::Display + Ord>(map: Option<&BTreeMap<K, Option<Vec<String>>>>) -> String {
    let Some(map) = map else { return "<nil>".to_owned() };
    let mut text = String::from("map[");
    for (index, (key, ids)) in map.iter().enumerate() {
        let gap = if index == 0 { "" } else { " " };
        let ids = list(ids.as_deref(), String::clone);
        let _infallible = write!(text, "{gap}{key}:{ids}");
    }
    text.push(']');
    text
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
