//! Decodes `sharing` and `resources`, whose inner mappings NVIDIA reads with hand-written decoders: keys there are
//! case-sensitive and nothing is converted to text.

use std::collections::BTreeSet;

use super::devices::{DeviceRef, Devices};
use super::findings::Findings;
use super::interval::Interval;
use super::keys::shortened;
use super::memory::Memory;
use super::name::ResourceName;
use super::not_built;
use super::object::{Field, Object, Spelling, boolean, exact_choice, exact_text, whole, wrong_type};
use super::scalar::Meaning;
use super::schema::{
    REPLICAS_MAX, REPLICAS_MIN, Replicas, ReplicatedResource, ReplicatedResources, ResourcePattern,
    Resources, Sharing,
};
use super::taint;
use super::time_slice;
use super::tree::Content;

/// Most items of a list of resources or devices; far above what one node has.
const ITEMS_MAX: usize = 4096;
/// What `devices` can be.
const DEVICES: &str = "`all`, a count of at least 1, or a list of indexes and UUIDs";

/// `sharing`.
pub(super) fn sharing(found: &mut Findings, object: &Object<'_>, out: &mut Sharing) {
    for field in object.take(found, "timeSlicing") {
        out.time_slicing = replicated(found, &field);
    }
    for field in object.take(found, "mps") {
        // NVIDIA holds MPS in a pointer, so that null is "unset"; a null timeSlicing reaches its decoder and fails.
        out.mps = if field.node.is_null() { None } else { replicated(found, &field) };
    }
    object.read(found, "taint", taint::taint, &mut out.taint);
    object.read(found, "drainDeadline", deadline, &mut out.drain_deadline);
    not_built::refuse(found, object, "pressure");
}

/// A time to wait for, in Go's notation.
fn deadline(found: &mut Findings, field: &Field<'_>) -> Option<Interval> {
    const DEADLINE: &str = "a time longer than none, such as `90s`, `1h30m` or `infinite`";
    let read = match &field.node.content {
        Content::Scalar(text, Meaning::Text) => text.parse::<Interval>().ok(),
        Content::Scalar(..) | Content::List(_) | Content::Map(_) => None,
    };
    let waits = |interval: &Interval| match interval {
        Interval::Nanoseconds(nanoseconds) => *nanoseconds > 0,
        Interval::Infinite => true,
    };
    read.filter(waits).or_else(|| wrong_type(found, field.node, &field.path, DEADLINE, None))
}

/// `resources`.
pub(super) fn resources(found: &mut Findings, object: &Object<'_>, out: &mut Resources) {
    let (mut gpus, mut mig) = (None, None);
    object.read(found, "gpus", patterns, &mut gpus);
    object.read(found, "mig", patterns, &mut mig);
    out.gpus = gpus.unwrap_or_default();
    out.mig = mig.unwrap_or_default();
}

fn patterns(found: &mut Findings, field: &Field<'_>) -> Option<Vec<ResourcePattern>> {
    let items = items(found, field)?;
    Some(items.iter().filter_map(|item| pattern(found, item)).collect())
}

fn pattern(found: &mut Findings, item: &Field<'_>) -> Option<ResourcePattern> {
    let object = Object::open(found, item.node, &item.path, Spelling::Exact)?;
    let pattern = required(found, &object, item, "pattern", exact_text);
    let name = required(found, &object, item, "name", resource_name);
    Some(ResourcePattern { pattern: pattern?, name: name? })
}

/// One sharing strategy. Wrong entries are left out after they are reported.
fn replicated(found: &mut Findings, field: &Field<'_>) -> Option<ReplicatedResources> {
    if field.node.is_null() {
        found.remember(&field.path, field.node.at);
        none_specified(found, field);
        return None;
    }
    let object = Object::open(found, field.node, &field.path, Spelling::Exact)?;
    let (mut rename, mut fail) = (None, None);
    object.read(found, "renameByDefault", boolean, &mut rename);
    object.read(found, "failRequestsGreaterThanOne", boolean, &mut fail);
    let mut resources = Vec::new();
    match object.take(found, "resources").pop() {
        Some(list) if !list.node.is_null() => {
            let items = items(found, &list)?;
            if items.is_empty() {
                none_specified(found, &list);
            }
            resources.extend(items.iter().filter_map(|item| entry(found, item)));
        }
        _ => none_specified(found, field),
    }
    Some(ReplicatedResources {
        rename_by_default: rename.unwrap_or(false),
        fail_requests_greater_than_one: fail,
        resources,
    })
}

fn none_specified(found: &mut Findings, field: &Field<'_>) {
    let message = format!("no resources specified in `{}`", field.path);
    let hint = "give `resources` with at least one `name` and `replicas`, or remove the strategy".to_owned();
    found.error(field.node.at, &field.path, message, Some(hint));
}

fn entry(found: &mut Findings, item: &Field<'_>) -> Option<ReplicatedResource> {
    let object = Object::open(found, item.node, &item.path, Spelling::Exact)?;
    let name = required(found, &object, item, "name", resource_name);
    let replicas = required(found, &object, item, "replicas", replicas);
    let rename = match object.take(found, "rename").pop() {
        Some(field) => Some(resource_name(found, &field)?),
        None => None,
    };
    let devices = match object.take(found, "devices").pop() {
        Some(field) => devices(found, &field)?,
        None => Devices::All,
    };
    let (mut memory_per_replica, mut allocation_policy) = (None, None);
    let (mut active_thread_percentage, mut pinned_memory_limit) = (None, None);
    object.read(found, "memoryPerReplica", memory, &mut memory_per_replica);
    object.read(found, "allocationPolicy", exact_choice, &mut allocation_policy);
    // the keys of MPS alone
    if item.path.starts_with("sharing.mps.") {
        object.read(found, "activeThreadPercentage", percentage, &mut active_thread_percentage);
        object.read(found, "pinnedMemoryLimit", memory, &mut pinned_memory_limit);
    }
    let mut time_slice = None;
    // the key of time-slicing alone
    if item.path.starts_with("sharing.timeSlicing.") {
        object.read(found, "interval", time_slice::time_slice, &mut time_slice);
    }
    if replicas == Some(Replicas::Auto) && !object.has("memoryPerReplica") {
        let path = object.path_of("replicas");
        let message =
            format!("`{path}` is `auto`, but there is no `memoryPerReplica` to divide the memory by");
        let hint = "add for example `memoryPerReplica: 8Gi`".to_owned();
        found.error(found.place(&path), &path, message, Some(hint));
    }
    Some(ReplicatedResource {
        name: name?,
        rename,
        devices,
        replicas: replicas?,
        memory_per_replica,
        allocation_policy,
        active_thread_percentage,
        pinned_memory_limit,
        time_slice,
    })
}

/// An amount of memory: a text with a unit, or bytes.
fn memory(found: &mut Findings, field: &Field<'_>) -> Option<Memory> {
    let amount = match &field.node.content {
        Content::Scalar(text, Meaning::Text) => text.parse().ok(),
        Content::Scalar(_, Meaning::Int(bytes)) => u64::try_from(*bytes).ok().and_then(Memory::from_bytes),
        Content::Scalar(..) | Content::List(_) | Content::Map(_) => None,
    };
    const MEMORY: &str = "an amount of memory of at least `1Mi`, such as `8Gi`";
    amount.or_else(|| wrong_type(found, field.node, &field.path, MEMORY, None))
}

fn percentage(found: &mut Findings, field: &Field<'_>) -> Option<u32> {
    let percentage = u32::try_from(whole(found, field)?).ok().filter(|value| (1..=100).contains(value));
    percentage.or_else(|| wrong_type(found, field.node, &field.path, "a percentage from 1 to 100", None))
}

/// A key that must be there.
fn required<T>(
    found: &mut Findings,
    object: &Object<'_>,
    item: &Field<'_>,
    key: &str,
    decode: fn(&mut Findings, &Field<'_>) -> Option<T>,
) -> Option<T> {
    match object.take(found, key).pop() {
        Some(field) => decode(found, &field),
        None => {
            found.error(item.node.at, &item.path, format!("`{}` has no `{key}`", item.path), None);
            None
        }
    }
}

fn items<'n>(found: &mut Findings, list: &Field<'n>) -> Option<Vec<Field<'n>>> {
    let Content::List(items) = &list.node.content else {
        return wrong_type(found, list.node, &list.path, "a list", None);
    };
    if items.len() > ITEMS_MAX {
        let message = format!("`{}` has at most {ITEMS_MAX} items, but is given {}", list.path, items.len());
        found.error(list.node.at, &list.path, message, None);
        return None;
    }
    let mut out = Vec::new();
    for (index, node) in items.iter().enumerate() {
        out.push(Field { node, path: format!("{}[{index}]", list.path) });
    }
    Some(out)
}

fn resource_name(found: &mut Findings, field: &Field<'_>) -> Option<ResourceName> {
    let text = exact_text(found, field)?;
    if text.is_empty() {
        return wrong_type(found, field.node, &field.path, "a resource name", None);
    }
    match ResourceName::parse(&text) {
        Ok(name) => Some(name),
        Err(error) => {
            found.error(field.node.at, &field.path, format!("`{}`: {error}", field.path), None);
            None
        }
    }
}

fn replicas(found: &mut Findings, field: &Field<'_>) -> Option<Replicas> {
    if matches!(&field.node.content, Content::Scalar(text, Meaning::Text) if text == "auto") {
        return Some(Replicas::Auto);
    }
    let value = whole(found, field)?;
    let replicas = u32::try_from(value).ok().filter(|value| (REPLICAS_MIN..=REPLICAS_MAX).contains(value));
    if replicas.is_none() {
        let hint = (value == 1).then(|| "leave the resource out to hand its GPUs out whole".to_owned());
        let message =
            format!("`{}` must be from {REPLICAS_MIN} to {REPLICAS_MAX}, but is `{value}`", field.path);
        found.error(field.node.at, &field.path, message, hint);
    }
    replicas.map(Replicas::Count)
}

fn devices(found: &mut Findings, field: &Field<'_>) -> Option<Devices> {
    match &field.node.content {
        Content::Scalar(text, Meaning::Text) if text == "all" => Some(Devices::All),
        Content::Scalar(text, Meaning::Text) if DeviceRef::parse(text).is_some() => {
            let hint = Some(format!("write one device as a list: [\"{}\"]", shortened(text)));
            wrong_type(found, field.node, &field.path, DEVICES, hint)
        }
        Content::Scalar(_, Meaning::Int(_) | Meaning::Float(_)) => {
            let count = whole(found, field)?;
            match u32::try_from(count).ok().filter(|count| *count > 0) {
                Some(count) => Some(Devices::Count(count)),
                None => wrong_type(found, field.node, &field.path, DEVICES, None),
            }
        }
        Content::List(_) => device_list(found, field).map(Devices::List),
        Content::Scalar(..) | Content::Map(_) => wrong_type(found, field.node, &field.path, DEVICES, None),
    }
}

/// NVIDIA accepts an empty list and null items, and selects nothing by them.
fn device_list(found: &mut Findings, list: &Field<'_>) -> Option<Vec<DeviceRef>> {
    let items = items(found, list)?;
    if items.is_empty() {
        let message = format!("`{}` is an empty list and selects no device", list.path);
        found.deviation(list.node.at, &list.path, message, Some("remove it to mean `all`".to_owned()));
    }
    let mut out: Vec<DeviceRef> = Vec::new();
    let mut seen = BTreeSet::new();
    for item in &items {
        if item.node.is_null() {
            let message = format!("`{}` is empty and selects no device", item.path);
            found.deviation(item.node.at, &item.path, message, Some("remove it".to_owned()));
            continue;
        }
        let Some(device) = device(found, item) else {
            continue;
        };
        if !seen.insert(device.clone()) {
            let message = format!("`{}` selects `{device}` a second time", item.path);
            found.deviation(item.node.at, &item.path, message, Some("remove it".to_owned()));
        }
        found.remember(&format!("{}[{}]", list.path, out.len()), item.node.at);
        out.push(device);
    }
    Some(out)
}

fn device(found: &mut Findings, item: &Field<'_>) -> Option<DeviceRef> {
    const DEVICE: &str = "an index (`0`), a MIG index (`0:1`) or a UUID (`GPU-…`, `MIG-…`)";
    let device = match &item.node.content {
        Content::Scalar(text, Meaning::Text) => DeviceRef::parse(text),
        Content::Scalar(_, Meaning::Int(_) | Meaning::Float(_)) => {
            u32::try_from(whole(found, item)?).ok().map(DeviceRef::Index)
        }
        Content::Scalar(..) | Content::List(_) | Content::Map(_) => None,
    };
    device.or_else(|| wrong_type(found, item.node, &item.path, DEVICE, None))
}
