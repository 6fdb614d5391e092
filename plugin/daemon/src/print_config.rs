//! The `print-config` subcommand: every setting as it holds in the end, and which flag, variable or line it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use plugin_core::config::{self, Effective, Read, Selected, Strictness};
use plugin_core::settings::{ConfigSource, Settings};
use serde::Serialize;
use serde_json::Value;

use crate::config_dir::ConfigPath;
use crate::settings::MPS_ROOT;

/// The exit status when the file has problems.
const PROBLEMS: u8 = 1;
/// The exit status when it cannot be read.
const UNREADABLE: u8 = 2;

/// What to print.
#[derive(Debug)]
pub(crate) struct PrintSettings {
    /// As `run` would have them.
    pub(crate) core: Settings,
    /// Where configuration is, if anywhere.
    pub(crate) path: Option<ConfigPath>,
    /// Which file of a directory.
    pub(crate) config: Option<String>,
    /// Path in the file → flag or variable, for what is given by either.
    pub(crate) origins: BTreeMap<String, String>,
    /// As JSON.
    pub(crate) json: bool,
}

/// One setting.
#[derive(Debug, PartialEq, Serialize)]
struct Setting {
    setting: String,
    value: Value,
    origin: String,
}

/// Prints; the answer is the exit status.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn print(settings: &PrintSettings, out: &mut impl Write) -> io::Result<u8> {
    let (name, text) = match file(settings) {
        Ok(file) => file,
        Err(why) => {
            writeln!(out, "{why}")?;
            return Ok(UNREADABLE);
        }
    };
    let strictness = if settings.core.strict { Strictness::Strict } else { Strictness::Warn };
    let read = match config::read(&name, &text, strictness) {
        Ok(read) => read,
        Err(problems) => {
            writeln!(out, "{problems}")?;
            return Ok(PROBLEMS);
        }
    };
    let merged = merged(settings, &name, &read);
    if settings.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&merged)?)?;
        return Ok(0);
    }
    writeln!(
        out,
        "# configuration: {}",
        if name.is_empty() { "flags, environment and defaults" } else { &name }
    )?;
    for warning in &read.warnings {
        writeln!(out, "# {warning}")?;
    }
    let width = merged.iter().map(|s| s.setting.len() + s.value.to_string().len() + 2).max().unwrap_or(0);
    for Setting { setting, value, origin } in &merged {
        writeln!(out, "{:width$}  # {origin}", format!("{setting}: {value}"))?;
    }
    Ok(0)
}

/// Name and text of the file that would be used; empty when none would.
fn file(settings: &PrintSettings) -> Result<(String, String), String> {
    let none = || (String::new(), String::new());
    let Some(path) = &settings.path else {
        return Ok(none());
    };
    let files = path.read().map_err(|e| e.to_string())?;
    let ConfigSource::Directory { default_config, fallback } = &settings.core.config_source else {
        return Ok(files.into_iter().next().unwrap_or_else(none));
    };
    let names: BTreeSet<String> = files.keys().cloned().collect();
    match config::select(settings.config.as_deref(), default_config.as_deref(), fallback, &names) {
        Ok(Selected::Empty) => Ok(none()),
        Ok(Selected::File(name)) => Ok((name.clone(), files.get(&name).cloned().unwrap_or_default())),
        Err(problem) => Err(format!("{problem} (hint: --config names one of the directory)")),
    }
}

/// Every setting, in the order of its path.
fn merged(settings: &PrintSettings, file: &str, read: &Read) -> Vec<Setting> {
    let mut effective = Effective::resolve(&settings.core.overrides, &read.config);
    if effective.mps_root.is_empty() {
        effective.mps_root = MPS_ROOT.to_owned();
    }
    // our own settings always have a JSON form
    let resolved = serde_json::to_value(&effective).unwrap_or_default();
    let config = serde_json::to_value(&read.config).unwrap_or_default();
    let mut values = BTreeMap::new();
    leaves(&resolved, "", &mut |path, value| {
        if let Some(path) = path_in_file(path, read) {
            values.insert(path, value.clone());
        }
    });
    for only_in_file in ["resources", "sharing"] {
        leaves(&config[only_in_file], only_in_file, &mut |path, value| {
            values.entry(path.to_owned()).or_insert_with(|| value.clone());
        });
    }
    let origin = |path: &str| match (settings.origins.get(path), line(path, read)) {
        (Some(origin), _) => origin.clone(),
        (None, Some(line)) => format!("{file}:{line}"),
        (None, None) => "default".to_owned(),
    };
    values.into_iter().map(|(setting, value)| Setting { origin: origin(&setting), setting, value }).collect()
}

/// The setting's line; a part of a list or mapping that the file writes short stands where that does.
fn line(path: &str, read: &Read) -> Option<u32> {
    read.places.line(path).or_else(|| {
        let (list, _) = path.rsplit_once('[')?;
        read.places.line(list)
    })
}

/// Where a file would say what the resolved setting says; `None` when it does not apply.
fn path_in_file(resolved: &str, read: &Read) -> Option<String> {
    let sharing = &read.config.sharing;
    match resolved {
        "imexChannelIDs" => Some("imex.channelIDs".to_owned()),
        "imexRequired" => Some("imex.required".to_owned()),
        "timeSlicingFailRequestsGreaterThanOne" => {
            sharing.time_slicing.as_ref().map(|_| "sharing.timeSlicing.failRequestsGreaterThanOne".to_owned())
        }
        "mpsFailRequestsGreaterThanOne" => {
            sharing.mps.as_ref().map(|_| "sharing.mps.failRequestsGreaterThanOne".to_owned())
        }
        other => Some(format!("flags.{other}")),
    }
}

/// Every value that is no mapping and no list of mappings, with its path.
fn leaves(value: &Value, path: &str, tell: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(value, &path, tell);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{path}[{index}]"), tell);
            }
        }
        Value::Null => {}
        leaf => tell(path, leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Command, parse};

    fn printed(files: &[(&str, &str)], args: &[&str], env: &[(&str, &str)]) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let directory = format!("--config-dir={}", folder.path().display());
        let mut all = vec!["tandem-device-plugin", "print-config", &directory];
        all.extend(args);
        let variable = |name: &str| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        let command = parse(all.into_iter().map(Into::into), &variable).unwrap();
        let Command::PrintConfig(settings) = command else {
            panic!("{command:?}");
        };
        let mut out = Vec::new();
        let code = print(&settings, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    const FILE: &str = "version: v1\nflags:\n  migStrategy: single\n  gdsEnabled: true\nsharing:\n  mps:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";

    #[test]
    fn every_value_names_the_flag_variable_line_or_default_that_it_comes_from() {
        let (code, out) = printed(
            &[("default", FILE)],
            &["--device-id-strategy=index"],
            &[("GDS_ENABLED", ""), ("NVIDIA_CTK_PATH", "/ctk")],
        );
        assert_eq!(code, 0, "{out}");
        for (setting, origin) in [
            ("flags.migStrategy: \"single\"", "default:3"),
            ("flags.gdsEnabled: false", "environment GDS_ENABLED"),
            ("flags.plugin.deviceIDStrategy: \"index\"", "flag --device-id-strategy"),
            ("flags.plugin.nvidiaCTKPath: \"/ctk\"", "environment NVIDIA_CTK_PATH"),
            ("flags.mpsRoot: \"/run/nvidia/mps\"", "default"),
            ("sharing.mps.failRequestsGreaterThanOne: true", "default"),
            ("sharing.mps.resources[0].replicas: 4", "default:9"),
        ] {
            let line = out
                .lines()
                .find(|line| line.starts_with(setting))
                .unwrap_or_else(|| panic!("{setting}\n{out}"));
            assert!(line.ends_with(&format!("# {origin}")), "{line}");
        }
    }

    #[test]
    fn every_flag_that_a_file_has_too_is_named_as_an_origin() {
        let variables = [
            "MIG_STRATEGY",
            "FAIL_ON_INIT_ERROR",
            "MPS_ROOT",
            "NVIDIA_DRIVER_ROOT",
            "NVIDIA_DEV_ROOT",
            "GDRCOPY_ENABLED",
            "GDS_ENABLED",
            "MOFED_ENABLED",
            "DEVICE_DISCOVERY_STRATEGY",
            "PASS_DEVICE_SPECS",
            "DEVICE_LIST_STRATEGY",
            "DEVICE_ID_STRATEGY",
            "CDI_ANNOTATION_PREFIX",
            "NVIDIA_CDI_HOOK_PATH",
            "DRIVER_ROOT_CTR_PATH",
            "SHARED_DEVICES_ALLOCATION_POLICY",
            "IMEX_CHANNEL_IDS",
            "IMEX_REQUIRED",
        ];
        let value = |name: &str| match name {
            "MIG_STRATEGY" => "none",
            "DEVICE_DISCOVERY_STRATEGY" => "auto",
            "DEVICE_LIST_STRATEGY" => "envvar",
            "DEVICE_ID_STRATEGY" => "uuid",
            "SHARED_DEVICES_ALLOCATION_POLICY" => "packed",
            "IMEX_CHANNEL_IDS" => "0",
            name if name.ends_with("ENABLED") || name.ends_with("REQUIRED") => "true",
            "FAIL_ON_INIT_ERROR" | "PASS_DEVICE_SPECS" => "true",
            _ => "/x",
        };
        let env: Vec<(&str, &str)> = variables.iter().map(|name| (*name, value(name))).collect();
        let (code, out) = printed(&[("default", "")], &[], &env);
        assert_eq!(code, 0, "{out}");
        for name in variables {
            assert!(out.contains(&format!("# environment {name}")), "{name}\n{out}");
        }
        let file_only = ["flags.gfd.", "flags.useNodeFeatureAPI", "resources."];
        let defaults = out.lines().filter(|line| line.ends_with("# default"));
        for line in defaults {
            assert!(file_only.iter().any(|prefix| line.starts_with(prefix)), "{line}");
        }
    }

    #[test]
    fn a_named_config_is_printed_and_a_wrong_name_or_file_is_told() {
        let files = [("one", "version: v1"), ("two", FILE), ("bad", "flags: 7")];
        let (code, out) = printed(&files, &["--config=two", "--json"], &[]);
        let settings: Vec<Value> = serde_json::from_str(&out).unwrap();
        assert!(code == 0 && settings.iter().any(|s| s["origin"] == "two:3"), "{out}");
        let (code, out) = printed(&files, &["--config=three"], &[]);
        assert!(code == UNREADABLE && out.contains("three") && out.contains("--config"), "{out}");
        let (code, out) = printed(&files, &["--config=bad"], &[]);
        assert!(code == PROBLEMS && out.contains("bad:1:"), "{out}");
    }
}
