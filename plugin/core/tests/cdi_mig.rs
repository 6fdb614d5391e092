//! CDI names of MIG devices: each opens its GPU and its own two capability nodes, and no other part.

#![allow(clippy::unwrap_used)]

mod shell;

use plugin_core::cdi::{CdiSettings, Found, Spec, files};
use plugin_core::config::{Effective, Overrides, Strictness, read};
use plugin_core::inventory::{Facts, GpuUuid};
use plugin_core::mig::{MigEngines, MigFacts, MigSlices};
use shell::facts;

const GPU_FILE: &str = "k8s.device-plugin.nvidia.com-gpu.json";

/// Two GPUs, the second in MIG mode with the parts 1:0 and 1:3, of which the latter can draw.
fn in_mig_mode() -> Facts {
    let mut facts = facts(2);
    let part = |index: u32, profile: &str| MigFacts {
        uuid: GpuUuid::new(format!("MIG-{index}")),
        index,
        gpu_instance: index,
        compute_instance: 0,
        profile: profile.into(),
        slices: MigSlices { gpu: 1, compute: 1 },
        memory_bytes: 5 << 30,
        engines: MigEngines::default(),
        nodes: [1, 2].map(|n| format!("/dev/nvidia-caps/nvidia-cap{}", 10 * index + n)).to_vec(),
    };
    facts.gpus[1].mig_enabled = true;
    facts.gpus[1].mig = vec![part(0, "1g.5gb"), part(3, "1g.5gb+gfx")];
    facts
}

/// Name and device nodes of every device, for naming by UUID or by index.
fn devices(by: &str) -> Vec<(String, Vec<String>)> {
    let text = format!(
        "version: v1\nflags: {{migStrategy: mixed, nvidiaDevRoot: /run/driver, plugin: {{deviceListStrategy: cdi-cri, deviceIDStrategy: {by}}}}}"
    );
    let flags =
        Effective::resolve(&Overrides::default(), &read("c", &text, Strictness::Strict).unwrap().config);
    let drm = [("0000:00:01.0".to_owned(), vec!["/dev/dri/card7".to_owned()])].into();
    let found = Found { drm, ..Found::default() };
    let texts = files(&flags, &CdiSettings::default(), &in_mig_mode(), &found);
    let spec: Spec = serde_json::from_str(&texts[GPU_FILE]).unwrap();
    let nodes = |device: &plugin_core::cdi::Device| {
        let nodes = &device.container_edits.device_nodes;
        assert!(nodes.iter().all(|n| n.host_path.as_ref() == Some(&format!("/run/driver{}", n.path))));
        nodes.iter().map(|node| node.path.clone()).collect()
    };
    spec.devices.iter().map(|device| (device.name.clone(), nodes(device))).collect()
}

#[test]
fn a_mig_device_is_its_gpu_and_its_own_two_nodes() {
    let own = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let caps = |ns: [u32; 2]| ns.map(|n| format!("/dev/nvidia-caps/nvidia-cap{n}"));
    let parts = [[own(&["/dev/nvidia1"]), caps([1, 2]).to_vec()].concat(), {
        [own(&["/dev/nvidia1"]), caps([31, 32]).to_vec(), own(&["/dev/dri/card7"])].concat()
    }];
    let whole = [own(&["/dev/nvidia1"]), [caps([1, 2]), caps([31, 32])].concat(), own(&["/dev/dri/card7"])];
    let all = [own(&["/dev/nvidia0"]), whole.concat()].concat();
    for (by, names) in [("uuid", ["GPU-0", "GPU-1", "MIG-0", "MIG-3"]), ("index", ["0", "1", "1:0", "1:3"])] {
        let found = devices(by);
        let of = |name: &str| found.iter().find(|(n, _)| n == name).map(|(_, nodes)| nodes.clone()).unwrap();
        assert_eq!(found.len(), names.len() + 1, "{found:?}");
        assert_eq!(of(names[0]), own(&["/dev/nvidia0"]));
        assert_eq!(of(names[1]), whole.concat());
        assert_eq!([of(names[2]), of(names[3])], parts);
        assert_eq!(of("all"), all);
    }
}
