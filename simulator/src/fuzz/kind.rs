//! The kinds of faults that the fuzzer draws, before it is known which nodes and GPUs there are.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::faults::Fault;

/// A fault that may not know its GPU yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Plain(Fault),
    MpsDaemons { all: bool },
    MpsDaemonsHang { all: bool },
    MpsFault,
    GpuLost,
    GpuUnplugged,
    Xid(u32),
    Ecc,
    NvmlError { all: bool, code: u32 },
    Uninvited,
    ProcessesUnreadable(u32),
}

impl Kind {
    /// The fault of a kind that names a GPU, or all of its node.
    pub(super) fn of_gpu(self, gpu: u32, or_all: impl Fn(bool) -> Option<u32>) -> Fault {
        match self {
            Kind::Plain(fault) => fault,
            Kind::MpsDaemons { all } => Fault::MpsDaemonCrash { gpu: or_all(all) },
            Kind::MpsDaemonsHang { all } => Fault::MpsDaemonHang { gpu: or_all(all) },
            Kind::MpsFault => Fault::MpsFault { gpu },
            Kind::GpuLost => Fault::GpuLost { gpu },
            Kind::GpuUnplugged => Fault::GpuUnplugged { gpu },
            Kind::Xid(code) => Fault::Xid { gpu, code },
            Kind::Ecc => Fault::EccError { gpu },
            Kind::NvmlError { all, code } => Fault::NvmlError { gpu: or_all(all), code },
            Kind::Uninvited => Fault::UninvitedProcess { gpu },
            Kind::ProcessesUnreadable(code) => Fault::ProcessesUnreadable { gpu, code },
        }
    }
}

/// Every kind that is drawn, by its word in scenarios.
pub(super) const DRAWN: [&str; 48] = [
    "pluginCrash",
    "pluginRestart",
    "pluginUpgrade",
    "pluginOomKilled",
    "mpsDaemonCrash",
    "mpsDaemonHang",
    "mpsFault",
    "mpsOomKilled",
    "supervisorCrash",
    "mpsControlMissing",
    "mpsControlHang",
    "mpsControlGarbage",
    "mpsControlFails",
    "nvidiaSmiMissing",
    "nvidiaSmiHang",
    "nvidiaSmiFails",
    "mpsDirectoryBlocked",
    "kubeletRestart",
    "kubeletHang",
    "kubeletSocketRace",
    "podResourcesUnavailable",
    "podResourcesEmpty",
    "podResourcesSlow",
    "podResourcesLimited",
    "podResourcesStale",
    "pluginDirectoryRecreated",
    "checkpointLost",
    "apiServerDown",
    "apiServerSlow",
    "apiServerRefuses",
    "watchDrop",
    "watchExpired",
    "nodeRecreated",
    "gpuLost",
    "gpuUnplugged",
    "xid",
    "eccError",
    "nvmlError",
    "uninvitedProcess",
    "processesUnreadable",
    "nvmlSlow",
    "nvmlHang",
    "driverUpgrade",
    "lateDeviceNodes",
    "diskFull",
    "suspend",
    "inotifyExhausted",
    "nodeReboot",
];

/// Any kind.
pub(super) fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![5 => process_faults(), 4 => kubelet_faults(), 3 => api_faults(), 4 => machine_faults()]
}

fn plain(fault: Fault) -> Just<Kind> {
    Just(Kind::Plain(fault))
}

/// Of the plugin's programs, the MPS control daemons and their program.
fn process_faults() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => plain(Fault::PluginCrash),
        2 => plain(Fault::PluginRestart),
        1 => plain(Fault::PluginUpgrade),
        1 => plain(Fault::PluginOomKilled),
        2 => plain(Fault::SupervisorCrash),
        1 => control_faults(),
        2 => any::<bool>().prop_map(|all| Kind::MpsDaemons { all }),
        1 => any::<bool>().prop_map(|all| Kind::MpsDaemonsHang { all }),
        1 => Just(Kind::MpsFault),
        1 => plain(Fault::MpsOomKilled),
    ]
}

fn control_faults() -> impl Strategy<Value = Kind> {
    prop_oneof![
        plain(Fault::MpsControlMissing),
        plain(Fault::MpsControlHang),
        plain(Fault::MpsControlGarbage),
        plain(Fault::MpsControlFails),
        plain(Fault::MpsDirectoryBlocked),
        plain(Fault::NvidiaSmiMissing),
        plain(Fault::NvidiaSmiHang),
        plain(Fault::NvidiaSmiFails),
    ]
}

fn kubelet_faults() -> impl Strategy<Value = Kind> {
    let slow = (1_u64..=15_000).prop_map(|ms| Fault::PodResourcesSlow { delay: Duration::from_millis(ms) });
    prop_oneof![
        3 => plain(Fault::KubeletRestart),
        1 => plain(Fault::KubeletHang),
        1 => plain(Fault::KubeletSocketRace),
        1 => plain(Fault::PodResourcesUnavailable),
        1 => plain(Fault::PodResourcesEmpty),
        1 => slow.prop_map(Kind::Plain),
        1 => plain(Fault::PodResourcesLimited),
        1 => plain(Fault::PodResourcesStale),
        1 => plain(Fault::PluginDirectoryRecreated),
        1 => plain(Fault::CheckpointLost),
    ]
}

fn api_faults() -> impl Strategy<Value = Kind> {
    let slow = (1_u64..=15_000).prop_map(|ms| Fault::ApiServerSlow { delay: Duration::from_millis(ms) });
    let codes = prop_oneof![Just(401_u32), Just(403), Just(429), Just(500), Just(503)];
    prop_oneof![
        2 => plain(Fault::ApiServerDown),
        1 => slow.prop_map(Kind::Plain),
        1 => codes.prop_map(|code| Kind::Plain(Fault::ApiServerRefuses { code })),
        1 => plain(Fault::WatchDrop),
        1 => plain(Fault::WatchExpired),
        1 => plain(Fault::NodeRecreated),
    ]
}

/// Of GPUs, driver and machine.
fn machine_faults() -> impl Strategy<Value = Kind> {
    let codes = || prop_oneof![Just(10_u32), Just(15), Just(18), Just(999)];
    let slow = (1_u64..=2_000).prop_map(|ms| Fault::NvmlSlow { delay: Duration::from_millis(ms) });
    prop_oneof![
        2 => Just(Kind::GpuLost),
        2 => Just(Kind::GpuUnplugged),
        2 => prop_oneof![Just(13_u32), Just(48), Just(79)].prop_map(Kind::Xid),
        1 => Just(Kind::Ecc),
        1 => (any::<bool>(), codes()).prop_map(|(all, code)| Kind::NvmlError { all, code }),
        1 => Just(Kind::Uninvited),
        1 => codes().prop_map(Kind::ProcessesUnreadable),
        1 => slow.prop_map(Kind::Plain),
        1 => plain(Fault::NvmlHang),
        1 => plain(Fault::DriverUpgrade),
        1 => plain(Fault::LateDeviceNodes),
        1 => plain(Fault::DiskFull),
        1 => plain(Fault::Suspend),
        1 => plain(Fault::InotifyExhausted),
        2 => plain(Fault::NodeReboot),
    ]
}
