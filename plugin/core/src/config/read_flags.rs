//! Decodes `flags` and `imex`: the part of the file that flags and environment variables can override.

use super::findings::Findings;
use super::interval::Interval;
use super::object::{Field, Object, boolean, choice, exact_choice, text, whole, wrong_type};
use super::scalar::Meaning;
use super::schema::{DeviceListStrategy, Flags, GfdFlags, Imex, PluginFlags};
use super::tree::Content;

/// `flags`.
pub(super) fn flags(found: &mut Findings, object: &Object<'_>, out: &mut Flags) {
    object.read(found, "migStrategy", choice, &mut out.mig_strategy);
    object.read(found, "failOnInitError", boolean, &mut out.fail_on_init_error);
    object.read(found, "mpsRoot", text, &mut out.mps_root);
    object.read(found, "nvidiaDriverRoot", text, &mut out.nvidia_driver_root);
    object.read(found, "nvidiaDevRoot", text, &mut out.nvidia_dev_root);
    object.read(found, "gdrcopyEnabled", boolean, &mut out.gdrcopy_enabled);
    object.read(found, "gdsEnabled", boolean, &mut out.gds_enabled);
    object.read(found, "mofedEnabled", boolean, &mut out.mofed_enabled);
    object.read(found, "useNodeFeatureAPI", boolean, &mut out.use_node_feature_api);
    object.read(found, "deviceDiscoveryStrategy", choice, &mut out.device_discovery_strategy);
    object.descend(found, "plugin", |found, object| plugin(found, &object, &mut out.plugin));
    object.descend(found, "gfd", |found, object| gfd(found, &object, &mut out.gfd));
}

fn plugin(found: &mut Findings, object: &Object<'_>, out: &mut PluginFlags) {
    object.read(found, "passDeviceSpecs", boolean, &mut out.pass_device_specs);
    object.read(found, "deviceListStrategy", device_list_strategy, &mut out.device_list_strategy);
    object.read(found, "deviceIDStrategy", choice, &mut out.device_id_strategy);
    object.read(found, "cdiAnnotationPrefix", text, &mut out.cdi_annotation_prefix);
    object.read(found, "nvidiaCTKPath", text, &mut out.nvidia_ctk_path);
    object.read(found, "containerDriverRoot", text, &mut out.container_driver_root);
    object.read(found, "sharedDevicesAllocationPolicy", choice, &mut out.shared_devices_allocation_policy);
}

fn gfd(found: &mut Findings, object: &Object<'_>, out: &mut GfdFlags) {
    object.read(found, "oneshot", boolean, &mut out.oneshot);
    object.read(found, "noTimestamp", boolean, &mut out.no_timestamp);
    object.read(found, "sleepInterval", interval, &mut out.sleep_interval);
    object.read(found, "outputFile", text, &mut out.output_file);
    object.read(found, "machineTypeFile", text, &mut out.machine_type_file);
}

/// `imex`.
pub(super) fn imex(found: &mut Findings, object: &Object<'_>, out: &mut Imex) {
    object.read(found, "channelIDs", channel_ids, &mut out.channel_ids);
    object.read(found, "required", boolean, &mut out.required);
}

/// One word or a list of words. A single text is not split at commas (k8s-device-plugin v0.20).
fn device_list_strategy(found: &mut Findings, field: &Field<'_>) -> Option<Vec<DeviceListStrategy>> {
    let Content::List(items) = &field.node.content else {
        return exact_choice(found, field).map(|strategy| vec![strategy]);
    };
    if items.is_empty() {
        let message = format!("`{}` is empty, so no container would be told its devices", field.path);
        found.deviation(field.node.at, &field.path, message, Some("remove it or name a strategy".to_owned()));
    }
    let item = |(index, node): (usize, &std::rc::Rc<super::tree::Node>)| {
        exact_choice(found, &Field { node, path: format!("{}[{index}]", field.path) })
    };
    Some(items.iter().enumerate().filter_map(item).collect())
}

/// A Go duration, or a bare number of nanoseconds.
fn interval(found: &mut Findings, field: &Field<'_>) -> Option<Interval> {
    let nanoseconds = match &field.node.content {
        Content::Scalar(text, Meaning::Text) => {
            return match text.parse() {
                Ok(interval) => Some(interval),
                Err(_) => {
                    wrong_type(found, field.node, &field.path, "a duration like `90s` or `infinite`", None)
                }
            };
        }
        Content::Scalar(_, Meaning::Int(value)) => i64::try_from(*value).ok(),
        #[allow(clippy::cast_possible_truncation)]
        Content::Scalar(_, Meaning::Float(value)) if value.is_finite() => Some(*value as i64),
        _ => None,
    };
    let Some(nanoseconds) = nanoseconds else {
        return wrong_type(found, field.node, &field.path, "a duration like `90s` or `infinite`", None);
    };
    let interval = Interval::Nanoseconds(nanoseconds);
    let message = format!("`{}` is a bare number and means {interval}", field.path);
    found.warning(field.node.at, &field.path, message, Some("write a unit, for example `60s`".to_owned()));
    Some(interval)
}

/// No channel or channel 0 (k8s-device-plugin v0.20).
fn channel_ids(found: &mut Findings, field: &Field<'_>) -> Option<Vec<u32>> {
    let Content::List(items) = &field.node.content else {
        return wrong_type(found, field.node, &field.path, "a list", None);
    };
    let item = |(index, node): (usize, &std::rc::Rc<super::tree::Node>)| {
        whole(found, &Field { node, path: format!("{}[{index}]", field.path) })
    };
    let ids: Vec<i128> = items.iter().enumerate().filter_map(item).collect();
    if ids.len() < items.len() {
        return None;
    }
    match ids.as_slice() {
        [] => Some(Vec::new()),
        [0] => Some(vec![0]),
        [first, ..] => {
            let wrong = ids.iter().find(|id| **id != 0).unwrap_or(first);
            let message =
                format!("`{}` must be [] or [0], but holds {} ids with `{wrong}`", field.path, ids.len());
            found.error(field.node.at, &field.path, message, None);
            None
        }
    }
}
