//! From facts and what was found on disk to the text of the spec files. Nothing here depends on when it is called.

use std::collections::{BTreeMap, BTreeSet};

use super::hooks::{Hook, Hooks};
use super::names::is_device;
use super::search::{self, CONTROL_NODES, GDS_FILES, SOCKETS};
use super::spec::{BindMount, Device, Edits, HookCall, Node, Spec};
use super::{ALL, CdiSettings, Class, Found, IMEX_CHANNELS};
use crate::config::{DeviceIdStrategy, Effective};
use crate::inventory::{Facts, GpuFacts};
use crate::mig::MigFacts;
use crate::unit::Unit;

/// Tells a NVIDIA runtime that is the default runtime to add nothing by itself.
const VOID: &str = "NVIDIA_VISIBLE_DEVICES=void";
/// How files of the driver are mounted.
const READ_ONLY: [&str; 5] = ["ro", "nosuid", "nodev", "rbind", "rprivate"];
/// How sockets are mounted.
const SOCKET: [&str; 5] = ["nosuid", "nodev", "rbind", "rprivate", "noexec"];
/// The library whose directory the hooks need to know.
const CUDA: &str = "libcuda.so.";
/// Libraries that programs also open without a version; the links that lead to them.
const LINKED: [&str; 2] = ["libcuda.so", "libnvidia-opticalflow.so"];

/// What the files are made from.
pub(crate) struct Wanted<'a> {
    /// Every setting that a configuration file has.
    pub flags: &'a Effective,
    /// The others.
    pub settings: &'a CdiSettings,
    /// The GPUs.
    pub facts: &'a Facts,
    /// What is on disk.
    pub found: &'a Found,
    /// The names that GPUs have.
    pub names: BTreeSet<DeviceIdStrategy>,
    /// Whether containers are told budgets of memory, to which a hook then holds them.
    pub budgets: bool,
}

/// The files: name → text. A class without devices has none.
pub fn files(
    flags: &Effective,
    settings: &CdiSettings,
    facts: &Facts,
    found: &Found,
) -> BTreeMap<String, String> {
    let names = [flags.plugin.device_id_strategy].into();
    let specs = Wanted { flags, settings, facts, found, names, budgets: false }.specs();
    specs.iter().map(|(class, spec)| (class.file(settings.vendor()), spec.text())).collect()
}

/// What a GPU or a MIG device is called.
fn name(unit: Unit<'_>, by: DeviceIdStrategy) -> String {
    match by {
        DeviceIdStrategy::Uuid => unit.uuid().to_string(),
        DeviceIdStrategy::Index => unit.index(),
    }
}

impl Wanted<'_> {
    /// The specs by class.
    pub(crate) fn specs(&self) -> BTreeMap<Class, Spec> {
        let feature = |on: bool, prefixes: &[&str], files: &[&str]| {
            if on { self.feature(prefixes, files) } else { Vec::new() }
        };
        let flags = self.flags;
        let all = [
            (Class::Gpu, self.gpus(), self.common()),
            (Class::ImexChannel, self.channels(), Edits::default()),
            (Class::Gdrcopy, feature(flags.gdrcopy_enabled, &["/dev/gdrdrv"], &[]), void()),
            (Class::Gds, feature(flags.gds_enabled, &["/dev/nvidia-fs"], &GDS_FILES), void()),
            (Class::Mofed, feature(flags.mofed_enabled, &["/dev/infiniband/"], &[]), void()),
        ];
        let kind = |class: Class| format!("{}/{}", self.settings.vendor(), class.as_str());
        all.into_iter()
            .filter_map(|(class, devices, edits)| {
                Spec::new(kind(class), devices, edits).map(|spec| (class, spec))
            })
            .collect()
    }

    /// Every GPU and MIG device under every name that is in use, and all of them.
    fn gpus(&self) -> Vec<Device> {
        let mut by_name: BTreeMap<String, Edits> = BTreeMap::new();
        let mut all = Edits::default();
        for unit in self.facts.units() {
            let edits = self.unit(unit);
            if unit.mig.is_none() {
                all.device_nodes.extend(edits.device_nodes.iter().cloned());
                all.hooks.extend(edits.hooks.iter().cloned());
                all.additional_gids.extend(&edits.additional_gids);
            }
            let names = self.names.iter().map(|by| name(unit, *by));
            by_name.extend(names.filter(|name| is_device(name)).map(|name| (name, edits.clone())));
        }
        all.additional_gids.sort_unstable();
        all.additional_gids.dedup();
        if !by_name.is_empty() {
            by_name.insert(ALL.to_owned(), all);
        }
        by_name.into_iter().map(|(name, container_edits)| Device { name, container_edits }).collect()
    }

    /// The GPU's own node, those of its MIG devices, its DRM nodes, and the links by which graphics finds them. Only MIG
    /// devices that can draw have the latter two.
    fn unit(&self, Unit { gpu, mig }: Unit<'_>) -> Edits {
        let pci = search::pci(gpu);
        let draws = mig.is_none_or(MigFacts::has_graphics);
        let drm = self.found.drm.get(&pci).filter(|_| draws).map_or(&[][..], Vec::as_slice);
        let mut nodes = vec![self.node(&format!("/dev/nvidia{}", gpu.minor))];
        let parts = gpu.mig.iter().filter(|part| mig.is_none_or(|mig| mig.uuid == part.uuid));
        let parts: BTreeSet<&String> = parts.flat_map(|part| &part.nodes).collect();
        nodes.extend(parts.into_iter().map(|path| self.node(path)));
        nodes.extend(drm.iter().map(|path| self.node(path)));
        let link = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let sort = if name.starts_with("card") { "card" } else { "render" };
            (format!("../{name}"), format!("/dev/dri/by-path/pci-{pci}-{sort}"))
        };
        let links: Vec<(String, String)> = drm.iter().map(link).collect();
        let limits = mig.is_none().then(|| self.memory_limits(gpu)).flatten();
        Edits {
            device_nodes: nodes,
            hooks: self.hooks().links(&links).into_iter().chain(limits).collect(),
            additional_gids: self.groups(drm),
            ..Edits::default()
        }
    }

    /// Holds a container to its budget on this GPU. A toolkit that does not know the hook may refuse to start containers, so
    /// it is left out where nobody has a budget.
    fn memory_limits(&self, gpu: &GpuFacts) -> Option<HookCall> {
        let root = self.flags.nvidia_driver_root.clone();
        let arguments = ["--driver-root".to_owned(), root, "--gpu-id".to_owned(), gpu.uuid.to_string()];
        self.hooks().call(Hook::ApplyCudaMemoryLimits, arguments).filter(|_| self.budgets && !gpu.mig_enabled)
    }

    /// The groups that may use nodes which not everyone may.
    fn groups(&self, nodes: &[String]) -> Vec<u32> {
        let access = nodes.iter().filter_map(|path| self.found.nodes.get(path));
        let groups = access.filter(|node| !node.world && node.gid != 0).map(|node| node.gid);
        let groups: BTreeSet<u32> = groups.filter(|_| !self.settings.no_additional_gids).collect();
        groups.into_iter().collect()
    }

    /// What every container with a GPU gets.
    fn common(&self) -> Edits {
        let found = &self.found.files;
        let skipped = |path: &str| GDS_FILES.contains(&path) || SOCKETS.contains(&path);
        // links lead to one file under several names
        let driver: BTreeSet<&String> =
            found.iter().filter(|(path, _)| !skipped(path)).map(|(_, leads_to)| leads_to).collect();
        let sockets = SOCKETS.iter().filter(|path| !self.settings.no_ipc && found.contains_key(**path));
        let mut mounts: Vec<BindMount> = driver.iter().map(|path| self.mount(path, &READ_ONLY)).collect();
        mounts.extend(sockets.map(|path| self.mount(path, &SOCKET)));
        let exists = |path: &&&str| self.found.nodes.contains_key(**path);
        let mut env = vec![VOID.to_owned()];
        env.extend(self.cuda_directory().map(|at| format!("NVIDIA_CTK_LIBCUDA_DIR={at}")));
        Edits {
            env,
            device_nodes: CONTROL_NODES.iter().filter(exists).map(|path| self.node(path)).collect(),
            mounts,
            hooks: self.common_hooks(),
            additional_gids: Vec::new(),
        }
    }

    fn common_hooks(&self) -> Vec<HookCall> {
        let hooks = self.hooks();
        let folders: BTreeSet<&str> = self.libraries().map(|(directory, _)| directory).collect();
        let folders = folders.into_iter().flat_map(|at| ["--folder".to_owned(), at.to_owned()]);
        let links: Vec<(String, String)> = self
            .libraries()
            .flat_map(|(directory, name)| {
                let linked = LINKED.iter().filter(move |link| name.starts_with(&format!("{link}.")));
                linked.map(move |link| (format!("{link}.1"), format!("{directory}/{link}")))
            })
            .collect();
        let version = format!("--host-driver-version={}", self.facts.driver_version);
        let calls = [
            hooks.links(&links),
            hooks.call(Hook::EnableCudaCompat, [version]),
            hooks.call(Hook::UpdateLdcache, folders),
            hooks.call(Hook::DisableDeviceNodeModification, []),
        ];
        calls.into_iter().flatten().collect()
    }

    /// Directory and name of every library of the driver's version.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = (&str, &str)> {
        let version = format!(".so.{}", self.facts.driver_version);
        let files: BTreeSet<&String> = self.found.files.values().collect();
        let libraries = files.into_iter().filter(move |path| path.ends_with(&version));
        libraries.filter_map(|path| path.rsplit_once('/'))
    }

    fn cuda_directory(&self) -> Option<&str> {
        self.libraries().find(|(_, name)| name.starts_with(CUDA)).map(|(directory, _)| directory)
    }

    /// IMEX channels that exist, each under its number.
    fn channels(&self) -> Vec<Device> {
        let ids: BTreeSet<u32> = self.flags.imex_channel_ids.iter().copied().collect();
        let path = |id: &u32| format!("{IMEX_CHANNELS}{id}");
        let there = ids.iter().filter(|id| self.found.nodes.contains_key(&path(id)));
        there
            .map(|id| Device {
                name: id.to_string(),
                container_edits: Edits { device_nodes: vec![self.node(&path(id))], ..Edits::default() },
            })
            .collect()
    }

    /// One device with every node of these that exists; none without.
    fn feature(&self, prefixes: &[&str], files: &[&str]) -> Vec<Device> {
        let wanted = |path: &&String| prefixes.iter().any(|prefix| path.starts_with(prefix));
        let device_nodes: Vec<Node> =
            self.found.nodes.keys().filter(wanted).map(|path| self.node(path)).collect();
        if device_nodes.is_empty() {
            return Vec::new();
        }
        let there = files.iter().filter(|path| self.found.files.contains_key(**path));
        let mounts = there.map(|path| self.mount(path, &READ_ONLY)).collect();
        let container_edits = Edits { device_nodes, mounts, ..Edits::default() };
        vec![Device { name: ALL.to_owned(), container_edits }]
    }

    /// A node below the host's dev root.
    fn node(&self, path: &str) -> Node {
        let root = self.flags.nvidia_dev_root.trim_end_matches('/');
        let host_path = (!root.is_empty()).then(|| format!("{root}{path}"));
        Node { path: path.to_owned(), host_path }
    }

    /// A file below the host's driver root.
    fn mount(&self, path: &str, options: &[&str]) -> BindMount {
        let root = self.flags.nvidia_driver_root.trim_end_matches('/');
        BindMount {
            host_path: format!("{root}{path}"),
            container_path: path.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    fn hooks(&self) -> Hooks<'_> {
        Hooks { program: &self.flags.plugin.nvidia_ctk_path, disabled: &self.settings.disabled_hooks }
    }
}

fn void() -> Edits {
    Edits { env: vec![VOID.to_owned()], ..Edits::default() }
}
