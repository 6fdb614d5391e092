//! What MIG does on an A100 and an H100, by the examples of NVIDIA's MIG user guide.

use proptest::prelude::*;

use crate::*;

const A100: &str = "a100-sxm4-40gb";

fn a100s(count: usize) -> Box<Node> {
    Node::new(&NodeSpec::uniform("gpu-1", A100, count)).unwrap()
}

fn names(layout: &[&str]) -> Vec<String> {
    layout.iter().map(|name| (*name).to_owned()).collect()
}

fn laid_out(layout: &[&str]) -> Box<Node> {
    let mut node = a100s(2);
    node.lay_out_mig(0, &names(layout)).unwrap();
    node
}

/// Name, GPU instance, compute instance and first slice of each MIG device.
fn devices(node: &Node, gpu: u32) -> Vec<(String, u32, u32, u32)> {
    let devices = node.gpu(gpu).unwrap().mig_devices();
    devices
        .map(|device| {
            let MigInstance { gpu_instance, compute_instance } = device.instance;
            (device.name(), gpu_instance, compute_instance, device.start)
        })
        .collect()
}

fn instance(gpu_instance: u32, compute_instance: u32) -> MigInstance {
    MigInstance { gpu_instance, compute_instance }
}

fn on(pid: u32, instance: MigInstance) -> ProcessSpec {
    ProcessSpec { instance: Some(instance), ..ProcessSpec::new(pid, 0, ProcessKind::Plain, "train") }
}

#[test]
fn every_board_that_can_have_mig_devices_has_profiles_and_no_other() {
    for name in profile_names() {
        let board = BoardProfile::load(name).unwrap();
        assert_eq!(board.mig_devices_max > 0, !board.mig_profiles.is_empty(), "{name}");
        assert!(board.mig_devices_max as usize <= MIG_DEVICES_MAX);
        for profile in &board.mig_profiles {
            assert!(check_layout(&board, &vec![profile.name.clone(); profile.instances as usize]).is_ok());
            assert!(
                check_layout(&board, &vec![profile.name.clone(); profile.instances as usize + 1]).is_err()
            );
            assert!(u64::from(profile.instances) * profile.memory_mib <= board.memory.total_mib);
            assert_eq!(name_by_memory(profile, board.memory.total_mib), profile.name, "{name}");
        }
    }
}

/// NVIDIA's rule for the gigabytes in a name: the share of the memory in whole eighths.
fn name_by_memory(profile: &MigProfile, total_mib: u64) -> String {
    let eighths = (profile.memory_mib * 8).div_ceil(total_mib);
    let gigabytes = eighths * total_mib.div_ceil(1024) / 8;
    let suffix = profile.name.split_once('+').map_or(String::new(), |(_, suffix)| format!("+{suffix}"));
    format!("{}g.{gigabytes}gb{suffix}", profile.slices)
}

#[test]
fn devices_made_one_by_one_go_where_the_driver_puts_them() {
    /// GPU instance and first slice.
    type Places = &'static [(u32, u32)];
    let table: &[(&[&str], Places)] = &[
        (&["1g.5gb", "2g.10gb", "4g.20gb"], &[(13, 6), (5, 4), (1, 0)]),
        (&["3g.20gb", "1g.5gb", "2g.10gb", "1g.5gb"], &[(2, 4), (7, 0), (4, 2), (8, 1)]),
        (&["2g.10gb", "1g.5gb", "1g.5gb", "1g.5gb"], &[(5, 4), (13, 6), (7, 0), (8, 1)]),
        (&["1g.5gb", "1g.5gb", "2g.10gb"], &[(13, 6), (11, 4), (3, 0)]),
    ];
    for (asked, expected) in table {
        let mut node = laid_out(&[]);
        let made: Vec<(u32, u32)> = asked
            .iter()
            .map(|name| {
                let made = node.create_mig_device(0, name).unwrap();
                (made.gpu_instance, node.gpu(0).unwrap().mig_device(made).unwrap().start)
            })
            .collect();
        assert_eq!(made, *expected, "{asked:?}");
    }
}

#[test]
fn the_small_ones_first_leave_no_room_for_a_half_but_a_layout_puts_the_large_ones_first() {
    let mut node = laid_out(&[]);
    for name in ["1g.5gb", "1g.5gb", "2g.10gb"] {
        node.create_mig_device(0, name).unwrap();
    }
    let refused = node.create_mig_device(0, "3g.20gb").unwrap_err();
    assert!(refused.to_string().contains("no room for `3g.20gb`"), "{refused}");
    let node = laid_out(&["1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"]);
    let found: Vec<(String, u32, u32, u32)> = devices(&node, 0);
    let expected = [("3g.20gb", 2, 0, 4), ("2g.10gb", 3, 0, 0), ("1g.5gb", 9, 0, 2), ("1g.5gb", 10, 0, 3)];
    assert_eq!(found, expected.map(|(name, gi, ci, start)| (name.to_owned(), gi, ci, start)));
}

#[test]
fn compute_instances_share_a_gpu_instance_until_its_slices_are_taken() {
    let node = laid_out(&["2c.3g.20gb", "1c.3g.20gb", "1c.3g.20gb"]);
    let found: Vec<(String, u32, u32)> =
        devices(&node, 0).into_iter().map(|(name, gi, ci, _)| (name, gi, ci)).collect();
    let expected = [("1c.3g.20gb", 1, 0), ("2c.3g.20gb", 2, 0), ("1c.3g.20gb", 2, 1)];
    assert_eq!(found, expected.map(|(name, gi, ci)| (name.to_owned(), gi, ci)));
    let gpu = node.gpu(0).unwrap();
    assert_eq!(gpu.mig_device(instance(2, 0)).unwrap().multiprocessors(), 28);
}

#[test]
fn a_wrong_layout_names_its_entry_and_changes_nothing() {
    let board = BoardProfile::load(A100).unwrap();
    let table: &[(&[&str], usize, &str)] = &[
        (&["1g.5gb", "1g.10GB"], 1, "unknown MIG profile `1g.10GB`, expected one of 1g.5gb, 1g.5gb+me"),
        (&["3c.4g.20gb"], 0, "unknown MIG profile"),
        (&["3g.20gb:2"], 0, "`3g.20gb` cannot begin at memory slice 2, expected one of [0, 4]"),
        (&["3g.20gb:0", "4g.20gb"], 1, "no room for `4g.20gb`"),
        (&["7g.40gb", "1g.5gb"], 1, "no room for `1g.5gb`"),
        (&["1g.5gb+me", "1g.5gb+me"], 1, "no room"),
        (&["1g.5gb"; 8], 7, "no room"),
    ];
    for (layout, entry, expected) in table {
        let (found, why) = check_layout(&board, &names(layout)).unwrap_err();
        assert_eq!(found, *entry, "{layout:?}");
        assert!(why.to_string().contains(expected), "{why}");
        let mut node = laid_out(&["2g.10gb"]);
        assert!(node.lay_out_mig(0, &names(layout)).is_err());
        assert_eq!(devices(&node, 0), [("2g.10gb".to_owned(), 5, 0, 4)]);
    }
    let t4 = BoardProfile::load("tesla-t4").unwrap();
    assert_eq!(check_layout(&t4, &[]).unwrap_err(), (0, MigError::NoMig));
}

#[test]
fn mig_changes_only_while_no_process_is_there() {
    let mut node = laid_out(&["3g.20gb", "3g.20gb"]);
    node.start_process(&on(7, instance(1, 0))).unwrap();
    assert!(matches!(node.set_mig_mode(0, false), Err(GpuError::InUse { processes: 1, .. })));
    assert!(matches!(node.lay_out_mig(0, &[]), Err(GpuError::InUse { .. })));
    assert!(matches!(node.destroy_mig_device(0, instance(1, 0)), Err(GpuError::InUse { .. })));
    assert_eq!(node.ask_mig_mode(0, false), Ok(false));
    assert_eq!((node.gpu(0).unwrap().mig.mode, node.gpu(0).unwrap().mig.pending), (1, 0));
    node.destroy_mig_device(0, instance(2, 0)).unwrap();
    assert_eq!(node.gpu(0).unwrap().mig_devices().map(|device| device.index).collect::<Vec<_>>(), [0]);
    node.stop_process(7);
    assert_eq!(node.ask_mig_mode(0, false), Ok(true));
    assert!(!node.gpu(0).unwrap().has_mig_on() && devices(&node, 0).is_empty());
    assert!(matches!(node.create_mig_device(0, "1g.5gb"), Err(GpuError::MigIsOff { .. })));
}

#[test]
fn indexes_have_gaps_after_a_device_is_gone_and_the_next_one_fills_them() {
    let mut node = laid_out(&["1g.5gb"; 3]);
    let indexes = |node: &Node| {
        let devices = node.gpu(0).unwrap().mig_devices();
        devices.map(|device| (device.index, device.instance.gpu_instance)).collect::<Vec<_>>()
    };
    assert_eq!(indexes(&node), [(0, 11), (1, 12), (2, 13)]);
    node.destroy_mig_device(0, instance(12, 0)).unwrap();
    assert_eq!(indexes(&node), [(0, 11), (2, 13)]);
    node.create_mig_device(0, "2g.10gb").unwrap();
    assert_eq!(indexes(&node), [(0, 11), (1, 3), (2, 13)]);
}

#[test]
fn a_process_has_the_memory_of_its_mig_device_and_no_more() {
    let mut node = laid_out(&["1g.5gb", "1c.2g.10gb", "1c.2g.10gb"]);
    let whole = ProcessSpec::new(1, 0, ProcessKind::Plain, "train");
    assert!(matches!(node.start_process(&whole), Err(GpuError::MigIsOn { .. })));
    assert!(matches!(node.start_process(&on(1, instance(1, 0))), Err(GpuError::NoSuchMigDevice { .. })));
    for (pid, at) in [(1, instance(13, 0)), (2, instance(5, 0)), (3, instance(5, 1))] {
        node.start_process(&on(pid, at)).unwrap();
    }
    assert!(matches!(node.allocate(1, 0, 5 << 30), Err(GpuError::OutOfMemory { .. })));
    node.allocate(1, 0, 4 << 30).unwrap();
    node.allocate(2, 0, 9 << 30).unwrap();
    // the other compute instance of the same GPU instance feels it
    assert!(matches!(node.allocate(3, 0, 1 << 30), Err(GpuError::OutOfMemory { .. })));
    let snapshot = node.snapshot();
    let used: Vec<u64> = snapshot.gpus[0].mig_devices.iter().map(|d| d.memory.used_bytes >> 30).collect();
    assert_eq!((used, snapshot.gpus[0].memory.used_bytes >> 30), (vec![9, 9, 4], 13));
    assert_eq!(node.mig_memory(0, instance(13, 0)).unwrap().total_bytes >> 20, 4864);
}

#[test]
fn with_mig_the_compute_mode_is_default_and_stays_so() {
    let mut node = a100s(1);
    node.set_compute_mode(0, ComputeMode::ExclusiveProcess).unwrap();
    node.set_mig_mode(0, true).unwrap();
    assert_eq!(node.gpu(0).unwrap().mode(), ComputeMode::Default);
    let refused = node.set_compute_mode(0, ComputeMode::ExclusiveProcess);
    assert!(matches!(refused, Err(GpuError::MigIsOn { .. })));
}

#[test]
fn uuids_are_of_their_gpu_and_instances_and_come_back_with_them() {
    let mut node = laid_out(&["1g.5gb"; 7]);
    node.lay_out_mig(1, &names(&["1g.5gb"; 7])).unwrap();
    let uuids = |node: &Node| {
        let gpus = node.gpus().iter();
        gpus.flat_map(|gpu| gpu.mig_devices().map(|device| device.uuid())).collect::<Vec<_>>()
    };
    let before = uuids(&node);
    assert_eq!(before.iter().collect::<std::collections::BTreeSet<_>>().len(), 14);
    assert!(before.iter().all(|uuid| uuid.starts_with("MIG-") && uuid.len() == 40), "{before:?}");
    for gpu in [0, 1] {
        node.set_mig_mode(gpu, false).unwrap();
        node.lay_out_mig(gpu, &names(&["1g.5gb"; 7])).unwrap();
    }
    assert_eq!(uuids(&node), before);
}

#[test]
fn an_xid_can_name_a_mig_device() {
    let mut node = laid_out(&["2g.10gb"]);
    let event = node.raise_mig_xid(0, instance(5, 0), 94).unwrap();
    assert_eq!((event.gpu_instance, event.compute_instance, event.data), (5, 0, 94));
}

#[test]
fn a_gpu_that_was_pulled_out_comes_back_with_mig_mode_and_without_devices() {
    let mut node = laid_out(&["2g.10gb"]);
    let uuid = node.unplug(0).unwrap();
    node.replug(uuid.as_str()).unwrap();
    assert!(node.gpu(0).unwrap().has_mig_on() && devices(&node, 0).is_empty());
}

#[test]
fn capability_numbers_are_those_of_the_driver() {
    // NVIDIA's MIG user guide, and files of real machines
    let table = [((0, 0, 0), (3, 4)), ((0, 2, 0), (21, 22)), ((0, 7, 0), (66, 67)), ((1, 7, 0), (201, 202))];
    for ((gpu, gi, ci), minors) in table {
        assert_eq!(mig_minors(gpu, instance(gi, ci)), Some(minors));
    }
    assert_eq!(mig_minors(31, instance(14, 7)).map(|(_, compute)| compute), Some(4322));
    assert_eq!(mig_minors(32, instance(0, 0)), None);
    let text = mig_minors_file();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["config 1", "monitor 2", "gpu0/gi0/access 3", "gpu0/gi0/ci0/access 4"]);
    assert_eq!((lines.len(), lines.last().copied()), (4322, Some("gpu31/gi14/ci7/access 4322")));
    assert_eq!(laid_out(&["2g.10gb", "1g.5gb"]).capability_minors(), [1, 2, 48, 49, 120, 121]);
}

proptest! {
    /// Whatever is made and destroyed, no memory slice belongs to two instances and no instance has too many slices.
    #[test]
    fn instances_never_overlap(steps in prop::collection::vec((any::<bool>(), 0_usize..9, 0_u32..15), 0..60)) {
        const NAMES: [&str; 9] =
            ["1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb", "1c.2g.10gb", "1c.4g.20gb"];
        let mut node = laid_out(&[]);
        for (make, name, gi) in steps {
            let _done = if make {
                node.create_mig_device(0, NAMES[name]).map(|_| ())
            } else {
                node.destroy_mig_device(0, instance(gi, 0))
            };
            let mut slices = [None; 8];
            let mut compute = std::collections::BTreeMap::new();
            for device in node.gpu(0).unwrap().mig_devices() {
                let gi = device.instance.gpu_instance;
                for slice in device.start..device.start + device.profile.size {
                    let owner = &mut slices[slice as usize];
                    prop_assert!(owner.is_none_or(|owner| owner == gi));
                    *owner = Some(gi);
                }
                *compute.entry(gi).or_insert(0) += device.compute_slices;
                prop_assert!(compute[&gi] <= device.profile.slices);
            }
        }
    }
}
