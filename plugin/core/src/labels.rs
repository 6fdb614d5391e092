//! What the Node object says about its GPUs: the labels of NVIDIA's gpu-feature-discovery, as a pure function.
//!
//! Keys and values are those of k8s-device-plugin v0.20. `nvidia.com/mps.capable=true` means "MPS control daemons are wanted
//! here": the supervisor's DaemonSet is scheduled by it.

mod mig;

use std::collections::BTreeMap;

use crate::config::{MigStrategy, ResourceName};
use crate::inventory::{Facts, GpuUuid};
use crate::resources::Role;
use crate::unit::Unit;
use crate::view::Strategy;

/// The label that schedules the MPS supervisor.
pub const MPS_CAPABLE: &str = "nvidia.com/mps.capable";

/// The keys that the plugin writes, besides those of MIG profiles ([`owns`]); others are never touched.
pub const OWNED: [&str; 26] = [
    "nvidia.com/cuda.driver-version.full",
    "nvidia.com/cuda.driver-version.major",
    "nvidia.com/cuda.driver-version.minor",
    "nvidia.com/cuda.driver-version.revision",
    "nvidia.com/cuda.runtime-version.full",
    "nvidia.com/cuda.runtime-version.major",
    "nvidia.com/cuda.runtime-version.minor",
    "nvidia.com/gpu.compute.major",
    "nvidia.com/gpu.compute.minor",
    "nvidia.com/gpu.count",
    "nvidia.com/gpu.engines.copy",
    "nvidia.com/gpu.engines.decoder",
    "nvidia.com/gpu.engines.encoder",
    "nvidia.com/gpu.engines.jpeg",
    "nvidia.com/gpu.engines.ofa",
    "nvidia.com/gpu.family",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.multiprocessors",
    "nvidia.com/gpu.product",
    "nvidia.com/gpu.replicas",
    "nvidia.com/gpu.sharing-strategy",
    "nvidia.com/gpu.slices.ci",
    "nvidia.com/gpu.slices.gi",
    "nvidia.com/mig.capable",
    "nvidia.com/mig.strategy",
    MPS_CAPABLE,
];

/// Whether the plugin writes this key.
pub fn owns(key: &str) -> bool {
    OWNED.contains(&key) || mig::is_of_profile(key)
}

/// A GPU or MIG device whose labels are written.
#[derive(Clone, Copy)]
struct Described<'a> {
    unit: Unit<'a>,
    /// Absent where it serves nothing.
    role: Option<&'a Role>,
    /// Its resource has another name than it would have unshared.
    renamed: bool,
}

/// The labels of a node whose GPUs play these roles. They describe the first shared GPU, or the first where none is
/// shared: a label that says `none` on a node that shares some would be wrong for whoever looks for shared GPUs. Under the
/// MIG strategy `mixed` the MIG devices of each profile have labels of their own.
pub fn of_roles(
    facts: &Facts,
    roles: &BTreeMap<GpuUuid, Role>,
    names: &BTreeMap<GpuUuid, ResourceName>,
    strategy: MigStrategy,
    mps_wanted: bool,
) -> BTreeMap<String, String> {
    let played = facts.units().filter_map(|unit| {
        let role = roles.get(unit.uuid())?;
        let renamed = names.get(unit.uuid()) != Some(&role.resource);
        Some(Described { unit, role: Some(role), renamed })
    });
    let played: Vec<Described<'_>> = played.collect();
    let apart = strategy == MigStrategy::Mixed;
    let as_gpus = played.iter().copied().filter(|one| !apart || one.unit.mig.is_none());
    let idle = facts.gpus.first().map(|gpu| Described { unit: Unit::whole(gpu), role: None, renamed: false });
    let Some(first) = first_shared(as_gpus).or(idle) else {
        return BTreeMap::new();
    };
    let alike = |one: &&Described<'_>| one.unit.name() == first.unit.name();
    let count = match first.unit.mig {
        None => facts.gpus.iter().filter(|gpu| gpu.name == first.unit.gpu.name).count(),
        Some(_) => played.iter().filter(alike).count(),
    };
    let mut labels = labels(facts, first, count, mps_wanted);
    if apart {
        labels.extend(mig::of_profiles(&played));
    }
    if strategy != MigStrategy::None {
        labels.insert("nvidia.com/mig.strategy".to_owned(), strategy.to_string());
    }
    labels
}

/// The first that is shared, or the first.
fn first_shared<'a>(all: impl Iterator<Item = Described<'a>> + Clone) -> Option<Described<'a>> {
    let is_shared = |one: &Described<'_>| one.role.is_some_and(|role| role.strategy != Strategy::Exclusive);
    all.clone().find(is_shared).or_else(|| all.clone().next())
}

fn labels(facts: &Facts, first: Described<'_>, count: usize, mps_wanted: bool) -> BTreeMap<String, String> {
    let (cuda_major, cuda_minor) = facts.cuda_version;
    let mut driver = facts.driver_version.splitn(3, '.');
    let mut part = || driver.next().unwrap_or_default().to_owned();
    let (major, minor, revision) = (part(), part(), part());
    let capability = first.unit.gpu.compute_capability;
    let pairs = [
        ("cuda.driver-version.full", facts.driver_version.clone()),
        ("cuda.driver-version.major", major),
        ("cuda.driver-version.minor", minor),
        ("cuda.driver-version.revision", revision),
        ("cuda.runtime-version.full", format!("{cuda_major}.{cuda_minor}")),
        ("cuda.runtime-version.major", cuda_major.to_string()),
        ("cuda.runtime-version.minor", cuda_minor.to_string()),
        ("gpu.compute.major", capability.0.to_string()),
        ("gpu.compute.minor", capability.1.to_string()),
        ("gpu.family", family(capability).to_owned()),
        ("mig.capable", facts.gpus.iter().any(|g| g.mig_capable).to_string()),
        ("mps.capable", mps_wanted.to_string()),
    ];
    let of_gpu =
        sharing_labels(first, count).into_iter().chain(first.unit.mig.into_iter().flat_map(mig::attributes));
    let of_gpu = of_gpu.map(|(key, value)| (format!("nvidia.com/gpu.{key}"), value));
    pairs.into_iter().map(|(key, value)| (format!("nvidia.com/{key}"), value)).chain(of_gpu).collect()
}

/// What a resource offers, without what its keys begin with.
fn sharing_labels(described: Described<'_>, count: usize) -> [(&'static str, String); 5] {
    let Described { unit, role, .. } = described;
    [
        ("count", count.to_string()),
        ("memory", (unit.memory_bytes() / 1024 / 1024).to_string()),
        ("product", product(described)),
        ("replicas", role.map_or(0, |role| role.replicas).to_string()),
        ("sharing-strategy", sharing_strategy(role.map_or(Strategy::Exclusive, |r| r.strategy)).to_owned()),
    ]
}

fn sharing_strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Exclusive => "none",
        Strategy::TimeSlicing => "time-slicing",
        Strategy::Mps => "mps",
    }
}

/// The product name as a label value; `-SHARED` tells that the replicas go under the name of whole GPUs.
fn product(Described { unit, role, renamed }: Described<'_>) -> String {
    let name = unit
        .mig
        .map_or_else(|| unit.gpu.name.clone(), |mig| format!("{}-MIG-{}", unit.gpu.name, mig.profile));
    let kept: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ')).collect();
    let name = kept.split_whitespace().collect::<Vec<_>>().join("-");
    let is_shared = role.is_some_and(|role| role.strategy != Strategy::Exclusive);
    if is_shared && !renamed { format!("{name}-SHARED") } else { name }
}

/// The architecture's name by compute capability (gpu-feature-discovery v0.20).
fn family((major, minor): (u32, u32)) -> &'static str {
    match (major, minor) {
        (1, _) => "tesla",
        (2, _) => "fermi",
        (3, _) => "kepler",
        (5, _) => "maxwell",
        (6, _) => "pascal",
        (7, 0..=4) => "volta",
        (7, _) => "turing",
        (8, 0..=8) => "ampere",
        (8, _) => "ada-lovelace",
        (9, _) => "hopper",
        (10 | 12, _) => "blackwell",
        (13, _) => "rubin",
        _ => "undefined",
    }
}

/// What must change on a Node that carries `now` to carry `wanted`: only owned keys, `None` removes one.
pub fn difference(
    now: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<String>> {
    let keys = now.keys().chain(wanted.keys()).filter(|key| owns(key));
    keys.filter(|key| now.get(*key) != wanted.get(*key))
        .map(|key| (key.clone(), wanted.get(key).cloned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{ComputeMode, GpuFacts};

    fn t4() -> Facts {
        let gpu = |index| GpuFacts {
            uuid: GpuUuid::new(format!("GPU-{index}")),
            index,
            minor: index,
            name: "Tesla T4".into(),
            memory_bytes: 15_360 * 1024 * 1024,
            compute_capability: (7, 5),
            pci_bus_id: format!("00000000:00:{index:02X}.0"),
            numa_node: None,
            mig_capable: false,
            compute_mode: ComputeMode::Default,
            mig_enabled: false,
            mig: Vec::new(),
        };
        Facts {
            driver_version: "595.91.07".into(),
            cuda_version: (13, 2),
            gpus: vec![gpu(0), gpu(1)],
            links: Vec::new(),
            control_nodes: Vec::new(),
            ..Facts::default()
        }
    }

    fn of_first(facts: &Facts, role: &Role, renamed: bool, mps: bool) -> BTreeMap<String, String> {
        let first = Described { unit: Unit::whole(&facts.gpus[0]), role: Some(role), renamed };
        labels(facts, first, facts.gpus.len(), mps)
    }

    fn shared(resource: ResourceName, strategy: Strategy) -> Role {
        Role { strategy, ..Role::time_sliced(resource, 4) }
    }

    #[test]
    fn an_exclusive_and_an_mps_node_carry_nvidias_labels() {
        let exclusive = of_first(&t4(), &Role::exclusive(), false, false);
        let expected = [
            ("nvidia.com/gpu.product", "Tesla-T4"),
            ("nvidia.com/gpu.count", "2"),
            ("nvidia.com/gpu.replicas", "1"),
            ("nvidia.com/gpu.sharing-strategy", "none"),
            ("nvidia.com/gpu.memory", "15360"),
            ("nvidia.com/gpu.family", "turing"),
            ("nvidia.com/mps.capable", "false"),
            ("nvidia.com/cuda.driver-version.revision", "07"),
            ("nvidia.com/cuda.runtime-version.full", "13.2"),
        ];
        for (key, value) in expected {
            assert_eq!(exclusive.get(key).map(String::as_str), Some(value), "{key}");
        }
        let mps = of_first(&t4(), &shared(ResourceName::gpu().shared(), Strategy::Mps), true, true);
        assert_eq!(mps["nvidia.com/gpu.replicas"], "4");
        assert_eq!(mps["nvidia.com/gpu.sharing-strategy"], "mps");
        assert_eq!(mps["nvidia.com/mps.capable"], "true");
        assert_eq!(mps["nvidia.com/gpu.product"], "Tesla-T4", "a renamed resource is not marked as shared");
    }

    #[test]
    fn sharing_without_a_new_name_marks_the_product() {
        let role = shared(ResourceName::gpu(), Strategy::TimeSlicing);
        assert_eq!(of_first(&t4(), &role, false, false)["nvidia.com/gpu.product"], "Tesla-T4-SHARED");
    }

    #[test]
    fn a_node_that_shares_some_gpus_is_labelled_by_the_first_of_them() {
        let facts = t4();
        let [first, second] = facts.gpus.as_slice() else { panic!("two GPUs") };
        let role = shared(ResourceName::gpu().shared(), Strategy::Mps);
        let roles = [(first.uuid.clone(), Role::exclusive()), (second.uuid.clone(), role)].into();
        let names = facts.gpus.iter().map(|gpu| (gpu.uuid.clone(), ResourceName::gpu())).collect();
        let labels = of_roles(&facts, &roles, &names, MigStrategy::None, true);
        assert_eq!(labels["nvidia.com/gpu.sharing-strategy"], "mps");
        assert_eq!(labels["nvidia.com/gpu.replicas"], "4");
        assert_eq!(labels["nvidia.com/gpu.product"], "Tesla-T4");
        assert!(of_roles(&Facts::default(), &roles, &names, MigStrategy::None, true).is_empty());
    }

    #[test]
    fn every_label_that_is_written_is_owned_and_nothing_else_is_touched() {
        let wanted = of_first(&t4(), &Role::exclusive(), false, false);
        assert!(wanted.keys().all(|k| OWNED.contains(&k.as_str())));
        let mut now = wanted.clone();
        now.insert("kubernetes.io/hostname".into(), "n".into());
        now.remove("nvidia.com/gpu.count");
        let set: BTreeMap<_, _> = [("nvidia.com/gpu.count".to_owned(), Some("2".to_owned()))].into();
        assert_eq!(difference(&now, &wanted), set);
        let mut unwanted = wanted.clone();
        unwanted.remove("nvidia.com/gpu.count");
        let removed: BTreeMap<_, _> = [("nvidia.com/gpu.count".to_owned(), None)].into();
        assert_eq!(difference(&wanted, &unwanted), removed);
        assert!(difference(&wanted, &wanted).is_empty());
    }
}
