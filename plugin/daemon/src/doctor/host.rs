//! Judgements about the machine: the driver, the kubelet's and the plugin's directories, device cgroups.

use plugin_core::view::{Status, Strategy};

use super::facts::{NodeFacts, Socket};
use super::report::Finding;
use crate::gpu::FindError;

/// A plugin answers and is ready.
pub(super) fn plugin(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "plugin";
    match &facts.plugin {
        Err(why) => Finding::failed(
            CHECK,
            format!("no plugin answers: {why}"),
            "look at the log of its pod; run doctor in its container, or name --admin-socket or --admin-address",
        ),
        Ok(status) if !status.ready => Finding::failed(
            CHECK,
            format!("it is not ready: {}", status.not_ready_because.join("; ")),
            "mend the first reason; it goes on by itself",
        ),
        Ok(status) if !status.config_problems.is_empty() => Finding::warning(
            CHECK,
            format!(
                "configuration `{}` is refused and `{}` stays in force: {}",
                status.config_requested.as_deref().unwrap_or("-"),
                status.config_applied.as_deref().unwrap_or("-"),
                status.config_problems.join("; ")
            ),
            "correct the file or the label; it is read again by itself",
        ),
        Ok(status) if unset_intervals(status).next().is_some() => Finding::warning(
            CHECK,
            format!(
                "time-slice intervals are not as wanted: {}",
                unset_intervals(status).collect::<Vec<_>>().join("; ")
            ),
            "nvidia-smi needs the driver capability `utility` and SYS_ADMIN in the plugin's container; it is tried again by itself",
        ),
        Ok(status) => {
            Finding::ok(CHECK, format!("ready with `{}`", status.config_applied.as_deref().unwrap_or("-")))
        }
    }
}

/// GPUs whose interval could not be set.
fn unset_intervals(status: &Status) -> impl Iterator<Item = String> {
    status.gpus.iter().filter_map(|gpu| {
        let slice = gpu.time_slice.as_ref()?;
        Some(format!("GPU {}: not `{}`: {}", gpu.index, slice.wanted, slice.why.as_ref()?))
    })
}

/// The driver library works.
pub(super) fn driver(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "driver";
    match &facts.driver {
        Ok(found) if found.gpus.is_empty() => Finding::warning(
            CHECK,
            format!("driver {} sees no GPU", found.driver_version),
            "see `lspci -d 10de:` and `dmesg`; let the plugin run on nodes with GPUs only",
        ),
        Ok(found) => {
            Finding::ok(CHECK, format!("{} GPUs, driver {}", found.gpus.len(), found.driver_version))
        }
        Err(FindError::NoDriver { why }) => Finding::failed(
            CHECK,
            why.clone(),
            "install the driver, or set --driver-root-ctr-path or runtimeClassName: nvidia so that its library is seen here",
        ),
        Err(error @ FindError::Unsupported { .. }) => Finding::failed(
            CHECK,
            error.to_string(),
            "use NVIDIA's plugin on such nodes, and keep this one away from them by a nodeSelector",
        ),
        Err(FindError::DriverFailed { why }) => Finding::failed(
            CHECK,
            why.clone(),
            "a version mismatch goes with a reboot or a reload of the kernel modules; see `dmesg` for others",
        ),
    }
}

/// Every GPU has its device node.
pub(super) fn device_nodes(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "device nodes";
    let missing: Vec<&str> =
        facts.device_nodes.iter().filter(|n| !n.exists).map(|n| n.path.as_str()).collect();
    if facts.device_nodes.is_empty() {
        return Finding::skipped(CHECK, "no GPU is known");
    }
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("{} are there", facts.device_nodes.len()));
    }
    let fix = "run `nvidia-modprobe -u -c=0` or `nvidia-smi` on the host; is --host-root right?";
    Finding::failed(CHECK, format!("missing: {}", missing.join(", ")), fix)
}

/// The NVLink fabric is ready.
pub(super) fn fabric(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "fabric";
    match &facts.fabric {
        Err(why) => Finding::skipped(CHECK, why.clone()),
        Ok(starting) if starting.is_empty() => Finding::ok(CHECK, "no GPU waits for it"),
        Ok(starting) => Finding::failed(
            CHECK,
            format!("it is not complete for GPU {}", starting.join(", ")),
            "start nvidia-fabricmanager of the driver's version; CUDA fails with error 802 until then",
        ),
    }
}

/// The kubelet answers on both sockets.
pub(super) fn kubelet_sockets(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "kubelet sockets";
    let silent: Vec<&str> = facts.kubelet.iter().filter(|s| !s.accepts).map(|s| s.name.as_str()).collect();
    if silent.is_empty() {
        return Finding::ok(CHECK, "registration and PodResources accept");
    }
    let fix = "mount the kubelet's device-plugins and pod-resources directories; set --kubelet-socket and \
               --pod-resources-socket where the kubelet's root is not /var/lib/kubelet";
    Finding::failed(CHECK, format!("does not accept: {}", silent.join(", ")), fix)
}

/// Nobody else serves GPUs to the kubelet.
pub(super) fn rival_sockets(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "other plugins";
    let (sockets, status) = match (&facts.plugin_sockets, &facts.plugin) {
        (Err(why), _) => return Finding::skipped(CHECK, why.clone()),
        (_, Err(_)) => {
            return Finding::skipped(CHECK, "without the plugin's answer its own sockets are not known");
        }
        (Ok(sockets), Ok(status)) => (sockets, status),
    };
    let ours = |s: &Socket| status.resources.values().any(|r| r.endpoint.as_deref() == Some(&s.name));
    let gpus = |s: &&Socket| s.accepts && (s.name.starts_with("nvidia") || s.name.contains("gpu"));
    let rivals: Vec<&str> =
        sockets.iter().filter(gpus).filter(|s| !ours(s)).map(|s| s.name.as_str()).collect();
    if rivals.is_empty() {
        return Finding::ok(CHECK, "none serves GPUs");
    }
    let fix = "remove the other device plugin from this node: two would hand out the same GPUs twice";
    Finding::failed(CHECK, format!("another plugin listens on {}", rivals.join(", ")), fix)
}

/// The last good configuration can be kept.
pub(super) fn state_dir(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "state directory";
    match &facts.state_dir {
        Ok(()) => Finding::ok(CHECK, "it can be written"),
        Err(why) => Finding::warning(
            CHECK,
            format!("{why}: a restart with a bad configuration would serve nothing"),
            "mount a hostPath (DirectoryOrCreate) at --state-dir",
        ),
    }
}

/// The MPS root is there when MPS is used.
pub(super) fn mps_root(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "MPS root";
    let Ok(status) = &facts.plugin else {
        return Finding::skipped(CHECK, "without the plugin's answer it is not known whether MPS is used");
    };
    if !status.gpus.iter().any(|gpu| gpu.strategy == Some(Strategy::Mps)) {
        return Finding::skipped(CHECK, "no GPU is shared by MPS");
    }
    match &facts.mps_root {
        Err(why) => Finding::failed(
            CHECK,
            why.clone(),
            "mount the same hostPath at --mps-root in the containers of `run` and `mps`",
        ),
        Ok(()) if !facts.supervisor_alive => Finding::failed(
            CHECK,
            "no MPS supervisor runs: a control daemon that ends is not started again",
            "deploy the DaemonSet of `tandem-device-plugin mps`, scheduled by nvidia.com/mps.capable=true",
        ),
        Ok(()) => Finding::ok(CHECK, "it can be written, and a supervisor runs"),
    }
}

/// NVML tells of processes that no pod is.
pub(super) fn processes(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "host processes";
    match &facts.host_processes {
        Err(why) => Finding::skipped(CHECK, why.clone()),
        Ok(true) => Finding::ok(CHECK, "those of the whole machine are seen"),
        Ok(false) => Finding::warning(
            CHECK,
            "only those of this container are seen: NVML hides the others, and a GPU counts as free while one that is of no \
             pod computes on it",
            "set `hostPID: true` in the DaemonSet; where the node is itself a container nothing is amiss",
        ),
    }
}

/// Running containers keep their GPUs when systemd reloads.
pub(super) fn device_cgroups(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "device cgroups";
    let driver = match &facts.cgroup_driver {
        Ok(driver) => driver,
        Err(why) => return Finding::skipped(CHECK, why.clone()),
    };
    if driver != "systemd" {
        return Finding::ok(CHECK, format!("the kubelet's cgroup driver is `{driver}`"));
    }
    let unlinked: Vec<&str> =
        facts.device_nodes.iter().filter(|n| n.exists && !n.linked).map(|n| n.path.as_str()).collect();
    if unlinked.is_empty() {
        return Finding::ok(CHECK, "systemd can resolve every device node");
    }
    Finding::warning(
        CHECK,
        format!(
            "`systemctl daemon-reload` takes GPUs from running containers; no /dev/char link to {}",
            unlinked.join(", ")
        ),
        "run `nvidia-ctk system create-dev-char-symlinks --create-all` at every boot, or pass GPUs on by CDI",
    )
}
