//! What a scenario tells the plugin's process: the few flags and variables that change a decision of the core.
//!
//! The production program reads many more; one that the model does not know is an error, so that no scenario means
//! something else here than on the wire.

use std::str::FromStr;
use std::time::Duration;

use plugin_core::config::{DeviceIdStrategy, DeviceListStrategy, Fallback, parse_boolean};
use plugin_core::settings::{ConfigSource, Settings};

use super::host::MPS_ROOT;
use crate::on::StageError;
use crate::scenario::PluginSettings;

/// The settings of a node's plugin process.
///
/// # Errors
/// A flag or variable that the model does not know, or a wrong value.
pub(super) fn of(given: &PluginSettings, node: &str) -> Result<Settings, StageError> {
    let mut settings = Settings { node_name: Some(node.to_owned()), ..Settings::default() };
    let mut source = Source { default_config: None, fallback: vec![Fallback::Named, Fallback::Single] };
    settings.overrides.flags.mps_root = Some(MPS_ROOT.to_owned());
    let from_env =
        given.env.iter().map(|(name, value)| (name.to_lowercase().replace('_', "-"), value.clone()));
    let pairs = from_env.chain(pairs(&given.args)?);
    for (name, value) in pairs {
        set(&mut settings, &mut source, &name, &value).map_err(|why| StageError::Cluster {
            what: format!("start the plugin with `{name}`"),
            error: why,
        })?;
    }
    settings.config_source =
        ConfigSource::Directory { default_config: source.default_config, fallback: source.fallback };
    Ok(settings)
}

struct Source {
    default_config: Option<String>,
    fallback: Vec<Fallback>,
}

/// `--name value` and `--name=value` as pairs; a name alone is a boolean.
fn pairs(args: &[String]) -> Result<Vec<(String, String)>, StageError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for arg in args {
        match (arg.strip_prefix("--"), open) {
            (Some(name), _) => {
                let (name, value) = name.split_once('=').unwrap_or((name, "true"));
                open = !arg.contains('=');
                pairs.push((name.to_owned(), value.to_owned()));
            }
            (None, true) => {
                open = false;
                if let Some(last) = pairs.last_mut() {
                    last.1.clone_from(arg);
                }
            }
            (None, false) => {
                return Err(StageError::Cluster {
                    what: "start the plugin".to_owned(),
                    error: format!("`{arg}` is not a flag"),
                });
            }
        }
    }
    Ok(pairs)
}

fn set(settings: &mut Settings, source: &mut Source, name: &str, value: &str) -> Result<(), String> {
    let timing = &mut settings.timing;
    let flags = &mut settings.overrides.flags;
    let boolean = || parse_boolean(value).map(Some).map_err(|error| error.to_string());
    match name {
        "default-config" => source.default_config = Some(value.to_owned()),
        "fallback-strategies" => {
            let list = value.split(',').map(|word| Fallback::from_str(word.trim()));
            source.fallback = list.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        }
        "node-label" => settings.config_label = value.to_owned(),
        "config-validation" => settings.strict = value == "strict",
        "nvidia-compat" => settings.nvidia_compat = boolean()?.unwrap_or(false),
        "fail-on-init-error" => flags.fail_on_init_error = boolean()?,
        "device-list-strategy" => {
            let list = value.split(',').map(|word| DeviceListStrategy::from_str(word.trim()));
            let list: Result<Vec<_>, _> = list.collect();
            flags.plugin.device_list_strategy = Some(list.map_err(|error| error.to_string())?);
        }
        "device-id-strategy" => {
            let by = DeviceIdStrategy::from_str(value).map_err(|error| error.to_string())?;
            flags.plugin.device_id_strategy = Some(by);
        }
        "pass-device-specs" => flags.plugin.pass_device_specs = boolean()?,
        "retire-after" => timing.retire_after = duration(value)?,
        "driver-retry" => timing.driver_retry = duration(value)?,
        "gpu-look" => timing.gpu_look = duration(value)?,
        "driver-patience" => timing.driver_patience = duration(value)?,
        "hint-absence" => timing.hint_absence = duration(value)?,
        "holders-poll" => timing.holders_poll = duration(value)?,
        // who logs what changes no decision
        "log-level" | "log-format" => {}
        _ => return Err("the model stage does not know it (hint: play this scenario on `wire`)".to_owned()),
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as `500ms`, `30s` or `2m`");
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let (number, millis) = units
        .iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(number.saturating_mul(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(args: &[&str], env: &[(&str, &str)]) -> Result<Settings, StageError> {
        let given = PluginSettings {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        of(&given, "n")
    }

    #[test]
    fn flags_and_variables_reach_the_core_and_flags_win() {
        let settings = given(
            &["--default-config", "one", "--fail-on-init-error=false"],
            &[("DEFAULT_CONFIG", "other"), ("RETIRE_AFTER", "500ms")],
        )
        .unwrap();
        assert_eq!(settings.overrides.flags.fail_on_init_error, Some(false));
        assert_eq!(settings.timing.retire_after, Duration::from_millis(500));
        let ConfigSource::Directory { default_config, .. } = settings.config_source else {
            panic!("a directory is watched");
        };
        assert_eq!(default_config.as_deref(), Some("one"));
    }

    #[test]
    fn what_the_model_does_not_know_is_refused_by_name() {
        let error = given(&["--imex-channel-ids", "0"], &[]).unwrap_err().to_string();
        assert!(error.contains("imex-channel-ids") && error.contains("wire"), "{error}");
        let error = given(&["--retire-after", "soon"], &[]).unwrap_err().to_string();
        assert!(error.contains("`soon`"), "{error}");
    }
}
