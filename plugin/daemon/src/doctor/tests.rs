//! Every judgement with each of its outcomes, from facts alone.

use std::collections::BTreeMap;

use plugin_core::config::TimeSlice;
use plugin_core::inventory::{Facts, GpuUuid};
use plugin_core::time_slice::TimeSliceStatus;
use plugin_core::view::{GpuStatus, ResourceStatus, Status, Strategy};

use super::facts::{
    CdiDevice, CdiFile, CdiSpec, DaemonSet, DeviceNode, NodeObject, Permissions, Socket, Toolkit,
};
use super::report::Outcome::{self, Failed, Ok as Fine, Skipped, Warning};
use super::*;
use crate::gpu::FindError;

const PLUGIN_KIND: &str = "k8s.device-plugin.nvidia.com/gpu";

fn labels(replicas: &str, strategy: &str, capable: &str) -> BTreeMap<String, String> {
    let pairs = [("gpu.replicas", replicas), ("gpu.sharing-strategy", strategy), ("mps.capable", capable)];
    pairs.map(|(key, value)| (format!("nvidia.com/{key}"), value.to_owned())).into()
}

fn resource(endpoint: &str) -> ResourceStatus {
    ResourceStatus {
        devices: 1,
        healthy: 1,
        registration: "serving".into(),
        endpoint: Some(endpoint.into()),
        registrations: 1,
    }
}

/// A node on which nothing is wrong, with one GPU shared by MPS.
fn healthy() -> NodeFacts {
    let gpu = GpuStatus {
        uuid: GpuUuid::new("GPU-a"),
        index: 0,
        name: "Tesla T4".into(),
        mig_index: None,
        state: "settled".into(),
        ill: None,
        resource: Some("nvidia.com/gpu".into()),
        strategy: Some(Strategy::Mps),
        next_resource: None,
        holders: Vec::new(),
        mps: None,
        blockers: Vec::new(),
        processes: Vec::new(),
        since_ms: 0,
        overdue: false,
        time_slice: None,
    };
    let status = Status {
        ready: true,
        config_applied: Some("mps".into()),
        device_list_strategy: vec!["envvar".into()],
        resources: [("nvidia.com/gpu".to_owned(), resource("nvidia-gpu.sock"))].into(),
        gpus: vec![gpu],
        ..Default::default()
    };
    let socket = |name: &str| Socket { name: name.into(), accepts: true };
    let node = |path: &str| DeviceNode { path: path.into(), exists: true, linked: true };
    NodeFacts {
        plugin: Ok(status),
        driver: Ok(Facts { gpus: vec![gpu_facts()], ..Facts::default() }),
        device_nodes: vec![node("/dev/nvidiactl"), node("/dev/nvidia0")],
        fabric: Ok(vec![]),
        kubelet: vec![socket("/dp/kubelet.sock"), socket("/pr/kubelet.sock")],
        plugin_sockets: Ok(vec![socket("nvidia-gpu.sock"), socket("rdma.sock")]),
        state_dir: Ok(()),
        mps_root: Ok(()),
        supervisor_alive: true,
        host_processes: Ok(true),
        cdi: vec![cdi("/etc/cdi/a.yaml", 0, "nvidia.com/gpu", "0")],
        toolkit: Ok(Toolkit { mode: Some("cdi".into()), envvar_unprivileged: Some(true) }),
        cgroup_driver: Ok("systemd".into()),
        runtime_classes: Ok(vec!["nvidia".into()]),
        permissions: Ok(may_patch(true)),
        node_name: Some("n1".into()),
        node: Ok(NodeObject {
            labels: labels("4", "mps", "true"),
            allocatable: [("nvidia.com/gpu".to_owned(), "4".to_owned())].into(),
        }),
        daemon_sets: Ok(vec![DaemonSet { name: "kube-system/cni".into(), tolerates: true }]),
    }
}

fn may_patch(allowed: bool) -> Permissions {
    let allowed = [("patch nodes".to_owned(), allowed)].into();
    Permissions { user: "system:serviceaccount:ns:a".into(), allowed }
}

/// Containers are told the GPU by its CDI name.
fn by_name(facts: &mut NodeFacts) {
    let status = facts.plugin.as_mut().unwrap();
    status.device_list_strategy = vec!["cdi-cri".into()];
    status.cdi_names = vec![format!("{PLUGIN_KIND}=GPU-a")];
}

fn gpu_facts() -> plugin_core::inventory::GpuFacts {
    plugin_core::inventory::GpuFacts {
        uuid: GpuUuid::new("GPU-a"),
        index: 0,
        minor: 0,
        name: "Tesla T4".into(),
        memory_bytes: 1,
        compute_capability: (7, 5),
        pci_bus_id: String::new(),
        numa_node: None,
        mig_capable: false,
        compute_mode: plugin_core::inventory::ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    }
}

fn cdi(path: &str, priority: usize, kind: &str, device: &str) -> CdiFile {
    let devices = vec![CdiDevice { name: device.into(), ..Default::default() }];
    let spec = CdiSpec { kind: kind.into(), devices, ..Default::default() };
    CdiFile { path: path.into(), priority, spec: Ok(spec), missing: Vec::new() }
}

#[test]
fn a_healthy_node_has_nothing_to_mend() {
    let findings = judge(&healthy());
    assert!(findings.iter().all(|f| f.outcome == Fine && f.fix.is_none()), "{findings:#?}");
    assert_eq!((findings.len(), report::exit_code(&findings)), (18, 0));
}

type Change = fn(&mut NodeFacts);

/// Check, what is different on the node, what the check then says, and a part of its words.
fn cases() -> Vec<(&'static str, Change, Outcome, &'static str)> {
    let mut all = host_cases();
    all.extend(runtime_cases());
    all.extend(cluster_cases());
    all
}

fn host_cases() -> Vec<(&'static str, Change, Outcome, &'static str)> {
    vec![
        ("plugin", |f| f.plugin = Err("no socket".into()), Failed, "no socket"),
        ("plugin", |f| f.plugin.as_mut().unwrap().ready = false, Failed, "not ready"),
        ("plugin", |f| f.plugin.as_mut().unwrap().config_problems = vec!["typo".into()], Warning, "typo"),
        (
            "driver",
            |f| f.driver = Err(FindError::NoDriver { why: "no library".into() }),
            Failed,
            "no library",
        ),
        (
            "driver",
            |f| f.driver = Err(FindError::DriverFailed { why: "mismatch".into() }),
            Failed,
            "mismatch",
        ),
        (
            "plugin",
            |f| {
                let why = Some("Insufficient Permissions".to_owned());
                let slice = TimeSliceStatus { wanted: TimeSlice::Short, set: None, why };
                f.plugin.as_mut().unwrap().gpus[0].time_slice = Some(slice);
            },
            Warning,
            "GPU 0: not `short`: Insufficient Permissions",
        ),
        ("driver", |f| f.driver = Ok(Facts::default()), Warning, "no GPU"),
        ("device nodes", |f| f.device_nodes[1].exists = false, Failed, "/dev/nvidia0"),
        ("device nodes", |f| f.device_nodes.clear(), Skipped, "no GPU"),
        ("fabric", |f| f.fabric = Err("not told".into()), Skipped, "not told"),
        ("fabric", |f| f.fabric = Ok(vec!["`GPU-a`".into()]), Failed, "`GPU-a`"),
        ("kubelet sockets", |f| f.kubelet[1].accepts = false, Failed, "/pr/kubelet.sock"),
        ("other plugins", |f| f.plugin_sockets = Err("not mounted".into()), Skipped, "not mounted"),
        ("other plugins", |f| f.plugin = Err("-".into()), Skipped, "not known"),
        (
            "other plugins",
            |f| f.plugin_sockets = Ok(vec![Socket { name: "nvidia-mig.sock".into(), accepts: true }]),
            Failed,
            "nvidia-mig.sock",
        ),
        (
            "other plugins",
            |f| f.plugin_sockets = Ok(vec![Socket { name: "nvidia-mig.sock".into(), accepts: false }]),
            Fine,
            "none",
        ),
        ("state directory", |f| f.state_dir = Err("read-only".into()), Warning, "read-only"),
        ("MPS root", |f| f.mps_root = Err("not there".into()), Failed, "not there"),
        ("MPS root", |f| f.supervisor_alive = false, Failed, "no MPS supervisor"),
        ("MPS root", |f| f.plugin.as_mut().unwrap().gpus.clear(), Skipped, "no GPU is shared by MPS"),
        ("MPS root", |f| f.plugin = Err("-".into()), Skipped, "not known"),
        ("host processes", |f| f.host_processes = Ok(false), Warning, "NVML hides the others"),
        ("host processes", |f| f.host_processes = Err("no /proc".into()), Skipped, "no /proc"),
    ]
}

fn runtime_cases() -> Vec<(&'static str, Change, Outcome, &'static str)> {
    vec![
        ("CDI", |f| f.cdi.clear(), Skipped, "no CDI"),
        ("CDI", |f| f.cdi[0].spec = Err("no kind".into()), Failed, "a.yaml: no kind"),
        ("CDI", |f| f.cdi[0].missing = vec!["/dev/nvidia9".into()], Failed, "/dev/nvidia9"),
        (
            "CDI",
            |f| f.cdi.push(cdi("/etc/cdi/operator.yaml", 0, "nvidia.com/gpu", "0")),
            Failed,
            "both define `nvidia.com/gpu=0`",
        ),
        ("CDI", |f| f.cdi.push(cdi("/var/run/cdi/b.yaml", 1, "nvidia.com/gpu", "0")), Fine, "agree"),
        ("CDI", |f| f.cdi.push(cdi("/etc/cdi/b.yaml", 0, "vendor.com/nic", "0")), Fine, "agree"),
        ("CDI", by_name, Failed, "`k8s.device-plugin.nvidia.com/gpu=GPU-a`"),
        (
            "CDI",
            |f| {
                by_name(f);
                f.cdi.clear();
            },
            Failed,
            "no spec has",
        ),
        (
            "CDI",
            |f| {
                by_name(f);
                f.cdi.push(cdi("/var/run/cdi/ours.json", 1, PLUGIN_KIND, "GPU-a"));
                f.cdi.push(cdi("/var/run/cdi/operator.yaml", 1, "management.nvidia.com/gpu", "all"));
            },
            Fine,
            "agree",
        ),
        (
            "CDI",
            |f| f.cdi.push(cdi("/var/run/cdi/operator.yaml", 1, "management.nvidia.com/gpu", "all")),
            Warning,
            "operator.yaml), but the plugin passes GPUs on by `envvar`",
        ),
        (
            "CDI",
            |f| f.cdi.push(cdi("/var/run/cdi/theirs.json", 1, PLUGIN_KIND, "GPU-a")),
            Warning,
            "theirs.json is not of this plugin",
        ),
        (
            "container toolkit",
            |f| {
                by_name(f);
                f.cdi.clear();
                f.toolkit.as_mut().unwrap().envvar_unprivileged = Some(false);
            },
            Fine,
            "`cdi`",
        ),
        ("container toolkit", |f| f.toolkit = Err("not mounted".into()), Skipped, "not mounted"),
        ("container toolkit", |f| f.cdi.clear(), Failed, "mode is `cdi`"),
        (
            "container toolkit",
            |f| f.toolkit.as_mut().unwrap().envvar_unprivileged = Some(false),
            Warning,
            "unprivileged",
        ),
        ("container toolkit", |f| f.toolkit = Ok(Toolkit::default()), Fine, "`auto`"),
        ("device cgroups", |f| f.device_nodes[1].linked = false, Warning, "/dev/nvidia0"),
        (
            "device cgroups",
            |f| {
                f.device_nodes[1].linked = false;
                f.cgroup_driver = Ok("cgroupfs".into());
            },
            Fine,
            "cgroupfs",
        ),
        ("device cgroups", |f| f.cgroup_driver = Err("no file".into()), Skipped, "no file"),
    ]
}

fn cluster_cases() -> Vec<(&'static str, Change, Outcome, &'static str)> {
    vec![
        ("node name", |f| f.node_name = None, Warning, "none is set"),
        ("node name", |f| f.node = Err("not found".into()), Failed, "Node `n1` cannot be read: not found"),
        ("runtime class", |f| f.runtime_classes = Err("no API".into()), Skipped, "no API"),
        ("runtime class", |f| f.runtime_classes = Ok(vec!["gvisor".into()]), Warning, "`nvidia`"),
        ("permissions", |f| f.permissions = Err("no API".into()), Skipped, "no API"),
        (
            "permissions",
            |f| f.permissions = Ok(may_patch(false)),
            Failed,
            "`system:serviceaccount:ns:a` may not patch nodes",
        ),
        ("sharing labels", |f| f.node = Err("no API".into()), Skipped, "no API"),
        ("sharing labels", |f| f.node.as_mut().unwrap().labels.clear(), Warning, "not all"),
        (
            "sharing labels",
            |f| f.node.as_mut().unwrap().labels = labels("4", "mps", "false"),
            Failed,
            "false",
        ),
        (
            "sharing labels",
            |f| f.node.as_mut().unwrap().labels = labels("4", "none", "false"),
            Failed,
            "contradict",
        ),
        ("sharing labels", |f| f.node.as_mut().unwrap().labels = labels("1", "none", "false"), Fine, "none"),
        (
            "sharing labels",
            |f| f.plugin.as_mut().unwrap().labels = labels("8", "mps", "true"),
            Failed,
            "the plugin writes `8`",
        ),
        ("shared taint", |f| f.daemon_sets = Err("not configured".into()), Skipped, "not configured"),
        (
            "shared taint",
            |f| f.daemon_sets.as_mut().unwrap()[0].tolerates = false,
            Warning,
            "kube-system/cni",
        ),
        ("autoscaler", |f| f.node = Err("no API".into()), Skipped, "no API"),
        (
            "autoscaler",
            |f| {
                let node = f.node.as_mut().unwrap();
                node.labels.insert("cloud.google.com/gke-accelerator".into(), "t4".into());
                node.allocatable.insert("nvidia.com/gpu".into(), "0".into());
            },
            Warning,
            "gke-accelerator",
        ),
        (
            "autoscaler",
            |f| {
                f.node.as_mut().unwrap().labels.insert("k8s.amazonaws.com/accelerator".into(), "t4".into());
            },
            Fine,
            "allocatable",
        ),
    ]
}

#[test]
fn every_check_says_what_is_wrong_and_what_to_do() {
    for (check, change, outcome, part) in cases() {
        let mut facts = healthy();
        change(&mut facts);
        let findings = judge(&facts);
        let finding = findings.iter().find(|f| f.check == check).unwrap();
        assert!(finding.outcome == outcome && finding.found.contains(part), "{check} {part}: {finding:?}");
        assert_eq!(finding.fix.is_some(), matches!(outcome, Warning | Failed), "{finding:?}");
    }
}

#[test]
fn every_check_has_a_case_that_is_not_fine() {
    for finding in judge(&healthy()) {
        let spoiled = cases().iter().any(|(check, _, o, _)| *check == finding.check && *o != Fine);
        assert!(spoiled, "{}", finding.check);
    }
}

#[test]
fn the_worst_finding_is_the_exit_status_and_skipped_ones_do_not_count() {
    let code = |change: Change| {
        let mut facts = healthy();
        change(&mut facts);
        report::exit_code(&judge(&facts))
    };
    assert_eq!(code(|f| f.fabric = Err("x".into())), 0);
    assert_eq!(code(|f| f.state_dir = Err("x".into())), 1);
    assert_eq!(code(|f| f.kubelet[0].accepts = false), 2);
}

#[test]
fn the_text_has_a_line_per_check_and_one_per_fix() {
    let mut facts = healthy();
    facts.state_dir = Err("read-only".into());
    let text = report::text(&judge(&facts));
    assert_eq!(text.lines().count(), 19, "{text}");
    assert!(text.contains("WARNING  state directory") && text.contains("fix: mount"), "{text}");
}

#[test]
fn a_toleration_covers_a_taint_by_key_value_and_effect() {
    let taint = plugin_core::taints::Taint {
        key: "nvidia.com/gpu.shared".into(),
        value: "true".into(),
        effect: "NoSchedule".into(),
    };
    let rows = [
        (r#"{"operator": "Exists"}"#, true),
        (r#"{"key": "nvidia.com/gpu.shared", "operator": "Exists"}"#, true),
        (r#"{"key": "nvidia.com/gpu.shared", "operator": "Exists", "effect": "NoExecute"}"#, false),
        (r#"{"key": "nvidia.com/gpu.shared", "value": "true", "effect": "NoSchedule"}"#, true),
        (r#"{"key": "nvidia.com/gpu.shared", "value": "false"}"#, false),
        (r#"{"key": "nvidia.com/gpu", "operator": "Exists"}"#, false),
        ("{}", false),
    ];
    for (text, covers) in rows {
        let toleration = serde_json::from_str(text).unwrap();
        assert_eq!(super::gather_api::tolerates(&toleration, &taint), covers, "{text}");
    }
}
