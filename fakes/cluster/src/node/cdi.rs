//! How a container runtime looks up CDI names, because a name that leads nowhere, or to the wrong device, is only noticed
//! when a container is created. Follows the CDI specification 0.3 to 1.0: files are JSON, a file that breaks a rule is
//! ignored as a whole, and a name that two files of one directory give is unresolvable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::runtime::{DeviceSnapshot, MountSnapshot};
use crate::kubelet::ledger::RunOptions;

/// What annotations with CDI names begin with.
const ANNOTATION_PREFIX: &str = "cdi.k8s.io/";
/// The versions that a runtime of today knows.
const VERSIONS: [&str; 7] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0"];
/// Most files of one directory that are read.
const FILES_MAX: usize = 64;

/// What CDI names add to a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Injected {
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Device nodes, each once.
    pub devices: BTreeSet<DeviceSnapshot>,
    /// Mounts, each once.
    pub mounts: BTreeSet<MountSnapshot>,
}

/// The names that a container is created with: the CRI's own field, then annotations; each once.
pub fn names(options: &RunOptions) -> Vec<String> {
    let annotated = options.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX));
    let annotated = annotated.flat_map(|(_, value)| value.split(',').map(str::to_owned));
    let mut names: Vec<String> = Vec::new();
    for name in options.cdi_devices.iter().cloned().chain(annotated) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The spec files of a node: name → text. A later directory's file wins over one of the same name.
pub fn read(directories: &[PathBuf]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for directory in directories {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(FILES_MAX);
        for path in
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"))
        {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            // a file that is gone in between is no file
            files.extend(name.zip(std::fs::read_to_string(&path).ok()));
        }
    }
    files
}

/// What these names add to a container.
///
/// # Errors
/// In containerd's words, all names that lead nowhere.
pub fn inject(files: &BTreeMap<String, String>, names: &[String]) -> Result<Injected, String> {
    let specs: Vec<Value> = files.values().filter_map(|text| valid(text)).collect();
    let mut injected = Injected::default();
    let mut unknown = Vec::new();
    for name in names {
        let found: Vec<(&Value, &Value)> =
            specs.iter().filter_map(|spec| Some((spec, device(spec, name)?))).collect();
        match found.as_slice() {
            [(spec, device)] => {
                injected.add(&spec["containerEdits"]);
                injected.add(&device["containerEdits"]);
            }
            _ => unknown.push(name.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(injected);
    }
    let names = unknown.join(", ");
    Err(format!("failed to inject CDI devices: unresolvable CDI devices {names}"))
}

impl Injected {
    fn add(&mut self, edits: &Value) {
        let list = |key: &str| edits[key].as_array().into_iter().flatten();
        for pair in list("env").filter_map(Value::as_str) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.env.insert(name.to_owned(), value.to_owned());
        }
        for node in list("deviceNodes") {
            let path = text(&node["path"]);
            self.devices.insert(DeviceSnapshot {
                host_path: node["hostPath"].as_str().map_or_else(|| path.clone(), str::to_owned),
                permissions: node["permissions"].as_str().unwrap_or("rwm").to_owned(),
                container_path: path,
            });
        }
        for mount in list("mounts") {
            let options = mount["options"].as_array();
            self.mounts.insert(MountSnapshot {
                container_path: text(&mount["containerPath"]),
                host_path: text(&mount["hostPath"]),
                read_only: options.is_some_and(|options| options.iter().any(|option| option == "ro")),
            });
        }
    }
}

fn device<'s>(spec: &'s Value, name: &str) -> Option<&'s Value> {
    let (kind, device) = name.split_once('=')?;
    let devices = spec["devices"].as_array().filter(|_| spec["kind"] == kind)?;
    devices.iter().find(|known| known["name"] == device)
}

/// The spec of a text that keeps the rules.
fn valid(text: &str) -> Option<Value> {
    let spec: Value = serde_json::from_str(text).ok()?;
    keeps_rules(&spec)?.then_some(spec)
}

fn keeps_rules(spec: &Value) -> Option<bool> {
    let version = spec["cdiVersion"].as_str().filter(|version| VERSIONS.contains(version))?;
    let (vendor, class) = spec["kind"].as_str()?.split_once('/')?;
    let devices = spec["devices"].as_array().filter(|devices| !devices.is_empty())?;
    let names: BTreeSet<&str> = devices.iter().filter_map(|device| device["name"].as_str()).collect();
    let old = matches!(version, "0.3.0" | "0.4.0");
    let proper = |device: &Value| {
        let name = device["name"].as_str().unwrap_or_default();
        let edits = device["containerEdits"].as_object();
        is_name(name, "_-.:", !old) && edits.is_some_and(|edits| !edits.is_empty())
    };
    let all = devices.iter().map(|device| &device["containerEdits"]).chain([&spec["containerEdits"]]);
    let newer = all.clone().any(|edits| {
        edits["deviceNodes"].as_array().into_iter().flatten().any(|node| node["hostPath"].is_string())
    });
    let newest = all.clone().any(|edits| edits["additionalGids"].is_array());
    let too_old = (old && newer) || (newest && version < "0.7.0");
    let kept = is_name(vendor, "_-.", false) && is_name(class, "_-.", false);
    Some(kept && !too_old && names.len() == devices.len() && devices.iter().all(proper))
}

/// Letters, digits and marks, from a letter (or digit) to a letter or digit.
fn is_name(name: &str, marks: &str, digit_first: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || (digit_first && c.is_ascii_digit());
    let known = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    name.starts_with(first) && name.ends_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(known)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"cdiVersion": "0.5.0", "kind": "example.com/gpu",
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/driver/dev/nvidia0"}]}},
            {"name": "b", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia1"}]}}],
        "containerEdits": {"env": ["A=b=c"], "mounts": [{"hostPath": "/h", "containerPath": "/c", "options": ["ro"]}]}}"#;

    fn files(texts: &[&str]) -> BTreeMap<String, String> {
        texts.iter().enumerate().map(|(n, text)| (format!("{n}.json"), (*text).to_owned())).collect()
    }

    fn nodes(files: &BTreeMap<String, String>, names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let injected = inject(files, &names)?;
        Ok(injected.devices.iter().map(|d| format!("{} {}", d.container_path, d.host_path)).collect())
    }

    #[test]
    fn a_name_adds_its_device_and_what_all_devices_of_the_file_add() {
        let names = ["example.com/gpu=0".to_owned()];
        let injected = inject(&files(&[SPEC]), &names).unwrap();
        assert_eq!(injected.env["A"], "b=c");
        assert!(injected.mounts.iter().all(|mount| mount.read_only) && injected.mounts.len() == 1);
        assert_eq!(
            nodes(&files(&[SPEC]), &["example.com/gpu=0"]).unwrap(),
            ["/dev/nvidia0 /driver/dev/nvidia0"]
        );
        assert_eq!(nodes(&files(&[SPEC]), &["example.com/gpu=b"]).unwrap(), ["/dev/nvidia1 /dev/nvidia1"]);
    }

    #[test]
    fn names_that_lead_nowhere_are_told_together() {
        let why = nodes(&files(&[SPEC]), &["example.com/gpu=9", "example.com/gpu=0", "x"]).unwrap_err();
        assert_eq!(why, "failed to inject CDI devices: unresolvable CDI devices example.com/gpu=9, x");
        let twice = nodes(&files(&[SPEC, SPEC]), &["example.com/gpu=0"]).unwrap_err();
        assert!(twice.contains("example.com/gpu=0"), "two files give the name");
    }

    #[test]
    fn a_file_that_breaks_a_rule_is_ignored_as_a_whole() {
        for (from, to) in [
            ("0.5.0", "9.9.9"),
            ("0.5.0", "0.4.0"),
            ("example.com/gpu", "-example.com/gpu"),
            ("example.com/gpu", "example.com"),
            ("\"b\"", "\"0\""),
            ("\"b\"", "\"b b\""),
            ("\"env\"", "\"additionalGids\""),
            ("{\"deviceNodes\": [{\"path\": \"/dev/nvidia1\"}]}", "{}"),
        ] {
            let broken = SPEC.replace(from, to);
            assert_ne!(broken, SPEC);
            assert!(nodes(&files(&[&broken]), &["example.com/gpu=0"]).is_err(), "{to}");
        }
    }

    #[test]
    fn names_come_from_the_cri_and_from_annotations_each_once() {
        let options = RunOptions {
            annotations: [
                ("cdi.k8s.io/x".to_owned(), "v/c=a,v/c=b".to_owned()),
                ("other/x".to_owned(), "v/c=z".to_owned()),
            ]
            .into(),
            cdi_devices: vec!["v/c=b".into()],
            ..RunOptions::default()
        };
        assert_eq!(names(&options), ["v/c=b", "v/c=a"]);
    }
}
