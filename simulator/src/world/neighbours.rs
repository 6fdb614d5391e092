//! The plugin's neighbours on a node, as a scenario sees them: the kubelet, and device plugins that are not ours.

use std::collections::BTreeMap;

use serde::Serialize;

/// The fields of `kubelet` that an `expect` block may name.
pub const KUBELET_FIELDS: &[&str] = &["running", "starts", "died", "streams", "forgotten"];
/// The fields of an entry of `otherPlugins` that an `expect` block may name.
pub const OTHER_PLUGIN_FIELDS: &[&str] = &["running", "starts"];

/// The kubelet of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KubeletView {
    /// Whether it serves.
    pub running: bool,
    /// How often it was started.
    pub starts: u64,
    /// Why it died by a defect of its own, once for each time.
    pub died: Vec<String>,
    /// Resource → ListAndWatch streams that it reads; the wire stage alone.
    pub streams: BTreeMap<String, u64>,
    /// Resource → connections whose stream has ended and which it never closes; the wire stage alone.
    pub forgotten: BTreeMap<String, u64>,
}

/// The process of a device plugin that is not ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OtherPluginView {
    /// Whether the process lives.
    pub running: bool,
    /// How often it was started.
    pub starts: u64,
}
