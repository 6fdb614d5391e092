//! Device plugins that are not ours: where they stand, and what a step does to them.

use super::super::decode::Reader;
use super::super::grammar::{OTHER_PLUGIN, OTHER_PLUGINS};
use super::super::limits::OTHER_DEVICES_MAX;
use super::super::other_plugin::{OtherAct, OtherPlugin};
use super::super::verb::Verb;
use super::super::yaml::Node;

/// `otherPlugins` of a node.
pub(in super::super) fn other_plugins(reader: &mut Reader, value: &Node, path: &str) -> Vec<OtherPlugin> {
    let mut plugins: Vec<OtherPlugin> = Vec::new();
    for (index, item) in reader.list(value, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let fields = reader.fields(item, &path, OTHER_PLUGINS);
        let name = fields.need_text(reader, "name");
        let resource = fields.need_text(reader, "resource");
        let devices = fields
            .need(reader, "devices")
            .and_then(|n| reader.number(n, &fields.path("devices"), 0, OTHER_DEVICES_MAX));
        let behaviour =
            fields.get("behaviour").map(|n| reader.texts(n, &fields.path("behaviour"))).unwrap_or_default();
        let start =
            fields.get("start").and_then(|n| reader.word(n, &fields.path("start"), &["at-once", "later"]));
        let (Some(name), Some(resource), Some(devices)) = (name, resource, devices) else { continue };
        if plugins.iter().any(|other| other.name == name) {
            reader.problem(item.place, &path, format!("a second plugin is named `{name}`"));
        }
        let starts = start.as_deref() != Some("later");
        plugins.push(OtherPlugin { name, resource, devices, behaviour, starts });
    }
    plugins
}

/// `otherPlugin`.
pub(in super::super) fn other_plugin(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, OTHER_PLUGIN);
    let node = fields.need_text(reader, "node");
    let name = fields.need_text(reader, "name");
    let act = fields
        .need(reader, "do")
        .and_then(|n| reader.word(n, &fields.path("do"), OtherAct::NAMES))
        .and_then(|word| OtherAct::parse(&word));
    Some(Verb::OtherPlugin { node: node?, name: name?, act: act? })
}
