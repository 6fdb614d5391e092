//! A spec file as data, and the lowest CDI version that has everything in it, because old runtimes refuse newer ones.

use serde::{Deserialize, Serialize};

use super::names::is_class;

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The lowest CDI version that knows everything in this file.
    pub cdi_version: String,
    /// `vendor/class`.
    pub kind: String,
    /// The devices, by name.
    pub devices: Vec<Device>,
    /// What every container with a device of this file gets.
    #[serde(default, skip_serializing_if = "Edits::is_empty")]
    pub container_edits: Edits,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its name, after the `=`.
    pub name: String,
    /// What a container with it gets.
    pub container_edits: Edits,
}

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edits {
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Device nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<Node>,
    /// Mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<BindMount>,
    /// Programs that the runtime starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookCall>,
    /// Groups that the container's process gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// A device node. Runtimes read its numbers from the host, where they change with every load of a driver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Path in the container.
    pub path: String,
    /// Path on the host, when it is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host_path: Option<String>,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BindMount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Options of mount.
    pub options: Vec<String>,
}

/// A program that the runtime starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookCall {
    /// When.
    pub hook_name: String,
    /// The program on the host.
    pub path: String,
    /// Its arguments, its own name first.
    pub args: Vec<String>,
}

impl Edits {
    /// Whether they change nothing. CDI refuses a device without an edit.
    pub fn is_empty(&self) -> bool {
        *self == Edits::default()
    }
}

impl Spec {
    /// A spec of this kind; `None` without devices, because CDI refuses such a file.
    pub(super) fn new(kind: String, devices: Vec<Device>, container_edits: Edits) -> Option<Spec> {
        let mut spec = Spec { cdi_version: String::new(), kind, devices, container_edits };
        spec.cdi_version = spec.lowest_version().to_owned();
        (!spec.devices.is_empty()).then_some(spec)
    }

    /// The lowest version that has everything in it.
    pub fn lowest_version(&self) -> &'static str {
        let devices = || self.devices.iter().map(|device| &device.container_edits);
        let mut edits = devices().chain([&self.container_edits]);
        let class = self.kind.split_once('/').map_or("", |(_, class)| class);
        let digit = |device: &Device| !device.name.starts_with(|c: char| c.is_ascii_alphabetic());
        if edits.clone().any(|edits| !edits.additional_gids.is_empty()) {
            "0.7.0"
        } else if is_class(class) && class.contains('.') {
            "0.6.0"
        } else if self.devices.iter().any(digit)
            || edits.any(|edits| edits.device_nodes.iter().any(|node| node.host_path.is_some()))
        {
            "0.5.0"
        } else {
            "0.3.0"
        }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        // none of these values lacks a JSON form
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }
}
