//! Precedence and meaning of flags and environment variables.

use std::time::Duration;

use plugin_core::config::{DeviceListStrategy, Fallback, MigStrategy};
use plugin_core::settings::{ConfigSource, Timing};

use super::*;
use crate::config_dir::ConfigPath;
use crate::node_client::NodeSettings;

fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Command, clap::Error> {
    let args = std::iter::once("tandem-device-plugin").chain(args.iter().copied()).map(OsString::from);
    let env: std::collections::BTreeMap<String, String> =
        env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    parse(args, &|name| env.get(name).cloned())
}

fn run_with(args: &[&str], env: &[(&str, &str)]) -> RunSettings {
    match parse_with(args, env).unwrap() {
        Command::Run(settings, _, _) => *settings,
        other => panic!("{other:?}"),
    }
}

fn error_of(args: &[&str], env: &[(&str, &str)]) -> String {
    parse_with(args, env).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_name_it_is_called_by_is_a_subcommand_and_a_written_one_wins() {
    let command = |args: &[&str]| match parse(args.iter().map(OsString::from), &|_| None).unwrap() {
        Command::Run(..) => "run",
        Command::Mps(..) => "mps",
        other => panic!("{other:?}"),
    };
    assert_eq!(command(&["/usr/bin/mps-control-daemon"]), "mps");
    assert_eq!(command(&["mps-control-daemon", "--mps-root", "/mps"]), "mps");
    assert_eq!(command(&["mps-control-daemon", "run"]), "run");
    assert_eq!(command(&["nvidia-device-plugin", "--fail-on-init-error=false"]), "run");
    assert_eq!(command(&["/usr/bin/tandem-device-plugin"]), "run");
}

#[test]
fn a_flag_wins_over_its_environment_variable() {
    let env = [("MIG_STRATEGY", "mixed"), ("PASS_DEVICE_SPECS", "true")];
    let flags = run_with(&["--mig-strategy", "single"], &env).core.overrides.flags;
    assert_eq!(flags.mig_strategy, Some(MigStrategy::Single));
    assert_eq!(flags.plugin.pass_device_specs, Some(true));
}

#[test]
fn what_nobody_gave_stays_unset_for_the_file() {
    let settings = run_with(&[], &[]);
    assert_eq!(settings.core.overrides, plugin_core::config::Overrides::default());
    assert_eq!(settings.core.config_source, ConfigSource::None);
    assert_eq!(settings.core.timing, Timing::default());
}

#[test]
fn an_empty_variable_counts_as_set() {
    let flags = run_with(&[], &[("FAIL_ON_INIT_ERROR", ""), ("MPS_ROOT", "")]).core.overrides.flags;
    assert_eq!(flags.fail_on_init_error, Some(false));
    assert_eq!(flags.mps_root.as_deref(), Some(""));
    assert!(error_of(&[], &[("DEVICE_LIST_STRATEGY", "")]).contains("`DEVICE_LIST_STRATEGY`"));
    assert_eq!(run_with(&[], &[("IMEX_CHANNEL_IDS", "")]).core.overrides.imex.channel_ids, None);
}

#[test]
fn a_boolean_flag_without_a_value_is_true_and_takes_gos_words() {
    let of = |args: &[&str]| run_with(args, &[]).core.overrides.flags.fail_on_init_error;
    assert_eq!(of(&["--fail-on-init-error"]), Some(true));
    assert_eq!(of(&["--fail-on-init-error=F"]), Some(false));
    assert!(error_of(&["--fail-on-init-error=yes"], &[]).contains("`--fail-on-init-error`"));
}

#[test]
fn lists_are_split_on_commas_and_repeated_flags_add_up() {
    let list = |args: &[&str], env: &[(&str, &str)]| {
        run_with(args, env).core.overrides.flags.plugin.device_list_strategy.unwrap()
    };
    let both = [DeviceListStrategy::Envvar, DeviceListStrategy::VolumeMounts];
    assert_eq!(list(&[], &[("DEVICE_LIST_STRATEGY", "envvar, volume-mounts")]), both);
    assert_eq!(list(&["--device-list-strategy=envvar", "--device-list-strategy=volume-mounts"], &[]), both);
}

#[test]
fn nvidias_lenience_is_asked_for_by_flag_or_variable() {
    let asked = |args: &[&str], env: &[(&str, &str)]| run_with(args, env).core.nvidia_compat;
    assert!(!asked(&[], &[]) && !asked(&[], &[("NVIDIA_COMPAT", "")]));
    assert!(asked(&["--nvidia-compat"], &[]) && asked(&[], &[("NVIDIA_COMPAT", "true")]));
    assert!(!asked(&["--nvidia-compat=false"], &[("NVIDIA_COMPAT", "true")]));
}

#[test]
fn nvidia_smi_is_the_one_on_the_path_unless_another_is_given() {
    let program = |args: &[&str], env: &[(&str, &str)]| run_with(args, env).nvidia_smi;
    assert_eq!(program(&[], &[]), std::path::Path::new("nvidia-smi"));
    assert_eq!(program(&[], &[("NVIDIA_SMI_PATH", "/a")]), std::path::Path::new("/a"));
    assert_eq!(program(&["--nvidia-smi-path=/b"], &[("NVIDIA_SMI_PATH", "/a")]), std::path::Path::new("/b"));
}

#[test]
fn nvidias_aliases_mean_the_same() {
    let args = [
        "--nvidia-driver-root=/r",
        "--nvidia-dev-root=/d",
        "--nvidia-ctk-path=/c",
        "--container-driver-root=/x",
    ];
    let flags = run_with(&args, &[]).core.overrides.flags;
    assert_eq!(flags.nvidia_driver_root.as_deref(), Some("/r"));
    assert_eq!(flags.nvidia_dev_root.as_deref(), Some("/d"));
    assert_eq!(flags.plugin.nvidia_ctk_path.as_deref(), Some("/c"));
    assert_eq!(flags.plugin.container_driver_root.as_deref(), Some("/x"));
    let flags = run_with(&[], &[("NVIDIA_CTK_PATH", "/old")]).core.overrides.flags;
    assert_eq!(flags.plugin.nvidia_ctk_path.as_deref(), Some("/old"));
}

#[test]
fn a_config_directory_is_chosen_from_and_wins_over_a_file() {
    let env = [("CONFIG_FILE_SRCDIR", "/configs"), ("CONFIG_FILE", "/config.yaml"), ("DEFAULT_CONFIG", "a")];
    let settings = run_with(&["--fallback-strategies=empty"], &env);
    assert_eq!(settings.config, Some(ConfigPath::Directory("/configs".into())));
    let expected =
        ConfigSource::Directory { default_config: Some("a".to_owned()), fallback: vec![Fallback::Empty] };
    assert_eq!(settings.core.config_source, expected);
}

#[test]
fn the_fallbacks_are_named_and_single_unless_told_otherwise() {
    let source = run_with(&["--config-dir=/configs"], &[]).core.config_source;
    let fallback = vec![Fallback::Named, Fallback::Single];
    assert_eq!(source, ConfigSource::Directory { default_config: None, fallback });
}

#[test]
fn without_a_node_name_there_is_no_api_server() {
    assert_eq!(run_with(&["--kubeconfig=/k"], &[]).node, None);
    let node = run_with(&[], &[("NODE_NAME", "n1"), ("KUBECONFIG", "/k")]).node;
    assert_eq!(node, Some(NodeSettings { name: "n1".into(), kubeconfig: Some("/k".into()) }));
}

#[test]
fn times_are_read_and_a_wrong_one_names_its_flag() {
    let timing = run_with(&["--retire-after=200ms"], &[("HOLDERS_POLL", "2s")]).core.timing;
    assert_eq!(
        (timing.retire_after, timing.holders_poll),
        (Duration::from_millis(200), Duration::from_secs(2))
    );
    let error = error_of(&["--retire-after=soon"], &[]);
    assert!(error.contains("`--retire-after`") && error.contains("`soon`"), "{error}");
}

#[test]
fn run_and_mps_share_one_root() {
    assert_eq!(run_with(&[], &[]).mps_root, MpsRoot(MPS_ROOT.into()));
    assert_eq!(run_with(&["--mps-root=/m"], &[]).mps_root, MpsRoot("/m".into()));
    assert_eq!(
        run_with(&["--mps-root=/m", "--mps-root-ctr-path=/mps"], &[]).mps_root,
        MpsRoot("/mps".into())
    );
    match parse_with(&["mps", "--keep-compute-mode"], &[("MPS_ROOT", "/m")]).unwrap() {
        Command::Mps(settings, _, _) => {
            assert_eq!(settings.root, MpsRoot("/m".into()));
            assert!(settings.keep_compute_mode);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn mps_decides_by_itself_only_with_a_file_and_under_the_name_of_nvidias_daemon_it_is_that() {
    let mps = |args: &[&str], env: &[(&str, &str)]| {
        let env: std::collections::BTreeMap<&str, &str> = env.iter().copied().collect();
        let args = args.iter().map(OsString::from);
        match parse(args, &|name| env.get(name).map(|v| (*v).to_owned())).unwrap() {
            Command::Mps(settings, _, _) => *settings,
            other => panic!("{other:?}"),
        }
    };
    let ours = mps(&["tandem-device-plugin", "mps"], &[]);
    assert_eq!((ours.alone, ours.init, ours.multi_user), (None, true, false));
    let env = [("CONFIG_FILE", "/config/config.yaml"), ("MIG_STRATEGY", "none"), ("MPS_MULTI_USER", "true")];
    let theirs = mps(&["/usr/bin/mps-control-daemon"], &env);
    let alone = theirs.alone.unwrap();
    assert_eq!(alone.file, PathBuf::from("/config/config.yaml"));
    assert_eq!(alone.overrides.flags.mps_root.as_deref(), Some("/mps"));
    assert_eq!((theirs.root, theirs.multi_user), (MpsRoot("/mps".into()), true));
    let child = mps(&["mps-control-daemon", "--init=true", "--init=false"], &env);
    assert!(!child.init, "the last one counts");
}

#[test]
fn the_subcommands_are_told_apart_and_run_is_the_default() {
    assert!(matches!(parse_with(&["run", "--mig-strategy=none"], &[]), Ok(Command::Run(..))));
    assert!(
        matches!(parse_with(&["validate", "a.yaml"], &[]), Ok(Command::Validate(settings, _)) if settings.files.len() == 1)
    );
    assert_eq!(parse_with(&["--no-such-flag"], &[]).unwrap_err().exit_code(), 2);
}

#[test]
fn status_asks_the_socket_first_and_only_the_address_that_a_flag_names() {
    let at = |args: &[&str], env: &[(&str, &str)]| match parse_with(args, env) {
        Ok(Command::Status { at, .. }) => at.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(at(&["status"], &[]), ["/var/lib/tandem/admin.sock", "127.0.0.1:9410"]);
    let env = [("STATE_DIR", "/s"), ("ADMIN_ADDRESS", "127.0.0.1:1")];
    assert_eq!(at(&["status"], &env), ["/s/admin.sock", "127.0.0.1:1"]);
    assert_eq!(at(&["status", "--address", "127.0.0.1:2"], &env), ["127.0.0.1:2"]);
    assert_eq!(at(&["status"], &[("ADMIN_SOCKET", "")]), ["127.0.0.1:9410"]);
    assert_eq!(at(&["status", "--admin-socket=/a.sock"], &[]), ["/a.sock", "127.0.0.1:9410"]);
}

#[test]
fn the_state_directory_is_a_setting_and_may_be_none() {
    let state = |args: &[&str]| run_with(args, &[]).state_dir.map(|s| s.0);
    assert_eq!(state(&[]), Some("/var/lib/tandem".into()));
    assert_eq!(state(&["--state-dir=/s"]), Some("/s".into()));
    assert_eq!(state(&["--state-dir="]), None);
    assert_eq!(run_with(&["--state-dir="], &[]).admin_socket, None);
    assert_eq!(run_with(&["--state-dir=/s"], &[]).admin_socket, Some("/s/admin.sock".into()));
}

#[test]
fn the_help_names_every_environment_variable_that_is_read() {
    let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for args in [&["p", "run"][..], &["p", "mps"], &["p", "status"]] {
        let note = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            None
        };
        parse(args.iter().map(OsString::from), &note).unwrap();
    }
    let help: String = ["run", "mps", "status"]
        .map(|command| parse_with(&[command, "--help"], &[]).map(|_| ()).unwrap_err().to_string())
        .concat();
    let one_line = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<_> =
        read.borrow().iter().filter(|name| !one_line.contains(name.as_str())).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(read.borrow().len() > 30);
}

#[test]
fn a_comparison_needs_gpus_to_compare_on() {
    let error = parse_with(&["validate", "a.yaml", "--against", "nvidia-0.20"], &[]).unwrap_err().to_string();
    assert!(error.contains("`--against`") && error.contains("--node"), "{error}");
    let node = ["validate", "a.yaml", "--against", "nvidia-0.20", "--node", "tesla-t4"];
    let command = parse_with(&node, &[]).unwrap();
    assert!(matches!(command, Command::Validate(settings, _) if settings.against_nvidia));
}
