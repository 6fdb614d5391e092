//! Judgements about what the container runtime makes of an answer: CDI specs, and NVIDIA's container toolkit.

use std::collections::{BTreeMap, BTreeSet};

use plugin_core::view::Status;

use super::facts::{CdiFile, CdiSpec, NodeFacts};
use super::report::Finding;

/// The kind under which the GPU operator's own containers ask for GPUs; it writes the spec where it manages CDI.
const OPERATOR_KIND: &str = "management.nvidia.com/gpu";
/// The kind under which the toolkit looks up what `NVIDIA_VISIBLE_DEVICES` names.
const TOOLKIT_KIND: &str = "nvidia.com/gpu";
/// The kind of NVIDIA's plugin, and of this one unless told otherwise.
const PLUGIN_KIND: &str = "k8s.device-plugin.nvidia.com/gpu";
/// Most names in one finding.
const NAMED_MAX: usize = 4;

/// CDI files agree, name what exists, and have every name that containers are told.
pub(super) fn cdi(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "CDI";
    let by_name = facts.plugin.as_ref().is_ok_and(is_by_name);
    if facts.cdi.is_empty() && !by_name {
        return Finding::skipped(CHECK, "no CDI spec files");
    }
    let broken: Vec<String> = facts.cdi.iter().filter_map(broken_spec).collect();
    if !broken.is_empty() {
        let fix = "correct or remove these files: their devices are unresolvable";
        return Finding::failed(CHECK, broken.join("; "), fix);
    }
    let twice = twice(&facts.cdi);
    if !twice.is_empty() {
        let fix = "keep one of the files: runtimes resolve neither. If the GPU operator writes one, let it write all";
        return Finding::failed(CHECK, twice.join("; "), fix);
    }
    let unresolvable =
        facts.plugin.as_ref().map(|status| unresolvable(status, &facts.cdi)).unwrap_or_default();
    if !unresolvable.is_empty() {
        let found = format!("the plugin tells containers names that no spec has: {}", shown(&unresolvable));
        let fix = "mount the host's /var/run/cdi at --cdi-spec-dir, and see that the runtime reads it (containerd: \
                   enable_cdi = true, cdi_spec_dirs); a second plugin with the same --cdi-vendor overwrites the file: remove one";
        return Finding::failed(CHECK, found, fix);
    }
    let missing: Vec<String> = facts
        .cdi
        .iter()
        .filter(|file| !file.missing.is_empty())
        .map(|file| {
            format!("{} names {}, which the host lacks", file.path.display(), file.missing.join(", "))
        })
        .collect();
    if !missing.is_empty() {
        let fix = "generate it again: `nvidia-ctk cdi generate --output=FILE`, after a driver update it is out of date; a file \
                   of the plugin: set --nvidia-driver-root, --nvidia-dev-root and --nvidia-cdi-hook-path to the host's paths";
        return Finding::failed(CHECK, missing.join("; "), fix);
    }
    conflict(CHECK, facts)
        .unwrap_or_else(|| Finding::ok(CHECK, format!("{} spec files agree", facts.cdi.len())))
}

/// Others that manage CDI on this node, and want what the plugin does not do.
fn conflict(check: &'static str, facts: &NodeFacts) -> Option<Finding> {
    let status = facts.plugin.as_ref().ok()?;
    let file_of = |kind: &str| facts.cdi.iter().find(|file| kind_of(file) == Some(kind));
    if let Some(file) = file_of(OPERATOR_KIND).filter(|_| !is_by_name(status)) {
        let found = format!(
            "the GPU operator manages CDI ({}), but the plugin passes GPUs on by `{}`: containers get them twice or not at all",
            file.path.display(),
            status.device_list_strategy.join("`, `")
        );
        let fix = "set --device-list-strategy=cdi-annotations,cdi-cri, or cdi.enabled: false in the operator's ClusterPolicy";
        return Some(Finding::warning(check, found, fix));
    }
    let ours = |name: &String| name.starts_with(PLUGIN_KIND);
    let file = file_of(PLUGIN_KIND).filter(|_| !status.cdi_names.iter().any(ours))?;
    let found = format!(
        "{} is not of this plugin: another one runs beside it, or has left the file, which goes on naming GPUs as they were",
        file.path.display()
    );
    let fix = "remove the other plugin; if none is there, remove the file once no pod uses its names (`uninstall` does)";
    Some(Finding::warning(check, found, fix))
}

fn is_by_name(status: &Status) -> bool {
    status.device_list_strategy.iter().any(|strategy| strategy.starts_with("cdi-"))
}

fn broken_spec(file: &CdiFile) -> Option<String> {
    file.spec.as_ref().err().map(|why| format!("{}: {why}", file.path.display()))
}

fn kind_of(file: &CdiFile) -> Option<&str> {
    file.spec.as_ref().ok().map(|spec| spec.kind.as_str())
}

/// The qualified names of a spec's devices.
fn names(spec: &CdiSpec) -> impl Iterator<Item = String> {
    spec.devices.iter().map(|device| format!("{}={}", spec.kind, device.name))
}

/// Names that containers are told and no file has.
fn unresolvable(status: &Status, files: &[CdiFile]) -> Vec<String> {
    let known: BTreeSet<String> = files.iter().flat_map(|file| file.spec.iter().flat_map(names)).collect();
    status.cdi_names.iter().filter(|name| !known.contains(*name)).cloned().collect()
}

/// The first few.
fn shown(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(NAMED_MAX) {
        None | Some(0) => first.join(", "),
        Some(more) => format!("{} and {more} more", first.join(", ")),
    }
}

/// Devices that two files of one directory define; a file in a later directory replaces one in an earlier.
fn twice(files: &[CdiFile]) -> Vec<String> {
    let mut seen: BTreeMap<(usize, String), &CdiFile> = BTreeMap::new();
    let mut conflicts: BTreeMap<(String, String), String> = BTreeMap::new();
    for file in files {
        for name in file.spec.iter().flat_map(names) {
            if let Some(first) = seen.insert((file.priority, name.clone()), file) {
                let pair = (first.path.display().to_string(), file.path.display().to_string());
                conflicts.entry(pair).or_insert(name);
            }
        }
    }
    conflicts.into_iter().map(|((a, b), name)| format!("{a} and {b} both define `{name}`")).collect()
}

/// The toolkit passes GPUs on to plain containers.
pub(super) fn toolkit(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "container toolkit";
    let toolkit = match &facts.toolkit {
        Ok(toolkit) => toolkit,
        Err(why) => return Finding::skipped(CHECK, why.clone()),
    };
    let strategies: Option<&[String]> =
        facts.plugin.as_ref().ok().map(|status| status.device_list_strategy.as_slice());
    let passes_by = |word: &str| strategies.is_none_or(|words| words.iter().any(|w| w == word));
    let mode = toolkit.mode.as_deref().unwrap_or("auto");
    let has_spec = facts.cdi.iter().any(|file| kind_of(file) == Some(TOOLKIT_KIND));
    let asks_by_variable = passes_by("envvar") || passes_by("volume-mounts");
    if mode == "cdi" && asks_by_variable && !has_spec {
        return Finding::failed(
            CHECK,
            "mode is `cdi`, but there is no CDI spec of `nvidia.com/gpu`",
            "run `nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml`, or set mode = \"auto\"",
        );
    }
    if toolkit.envvar_unprivileged == Some(false) && passes_by("envvar") {
        return Finding::warning(
            CHECK,
            "it ignores NVIDIA_VISIBLE_DEVICES of unprivileged containers, which is how `envvar` passes GPUs on",
            "set --device-list-strategy=volume-mounts and accept-nvidia-visible-devices-as-volume-mounts = true",
        );
    }
    Finding::ok(CHECK, format!("mode `{mode}`"))
}
