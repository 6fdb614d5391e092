//! The eight sums that a live kubelet's file and an independent implementation agree on.

use super::*;

type Registered<'a> = &'a [(&'a str, Option<&'a [&'a str]>)];

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn checkpoint(entries: Option<Vec<Entry>>, registered: Registered<'_>) -> Checkpoint {
    let registered = registered.iter().map(|(name, ids)| ((*name).to_owned(), ids.map(strings))).collect();
    Checkpoint { entries, registered: Some(registered) }
}

fn entry(pod: &str, container: &str, resource: &str, devices: &[(i64, &str)], response: &str) -> Entry {
    Entry {
        pod_uid: pod.to_owned(),
        container: container.to_owned(),
        resource: resource.to_owned(),
        devices: Some(devices.iter().map(|(node, id)| (*node, Some(strings(&[id])))).collect()),
        response: Some(BASE64.decode(response).unwrap()),
    }
}

fn golden() -> Vec<(Checkpoint, u64)> {
    let p1 = || Some(vec![entry("p1", "c", "vendor.test/dev", &[(-1, "b")], "CgYKAVgSAWI=")]);
    let uid1 = entry("uid-1", "c1", "nvidia.com/gpu", &[(-1, "GPU-a")], "CgD/");
    let three = [(0, "GPU-a"), (2, "GPU-b"), (10, "GPU-c")];
    let bare = Entry { devices: None, response: None, ..entry("uid-1", "c2", "nvidia.com/gpu", &[], "") };
    let two = vec![entry("uid-1", "c1", "nvidia.com/gpu", &three, ""), bare];
    let gpus: &[&str] = &["GPU-a", "GPU-b"];
    vec![
        (checkpoint(None, &[]), 3467439661),
        (checkpoint(None, &[("example.com/resource", Some(&[]))]), 625530563),
        (
            checkpoint(None, &[("vendor.test/dev", Some(&["a"])), ("vendor.test/nic", Some(&["x"]))]),
            1365247103,
        ),
        (checkpoint(None, &[("vendor.test/dev", Some(&["a"]))]), 549263578),
        (checkpoint(Some(vec![uid1]), &[("nvidia.com/gpu", Some(gpus)), ("a.com/x", None)]), 530695622),
        (checkpoint(p1(), &[("vendor.test/dev", Some(&["a", "b"]))]), 1346262969),
        (checkpoint(p1(), &[]), 1435108050),
        (checkpoint(Some(two), &[("nvidia.com/gpu", Some(gpus))]), 2948478247),
    ]
}

#[test]
fn all_eight_golden_checksums_are_met() {
    for (row, (checkpoint, sum)) in golden().into_iter().enumerate() {
        assert_eq!(checkpoint.checksum(), sum, "row {}: {}", row + 1, checkpoint.dump());
    }
}

#[test]
fn a_checkpoint_survives_being_written_and_read() {
    for (checkpoint, _) in golden() {
        let text = checkpoint.to_text().unwrap();
        assert!(!text.contains('\n'), "one line");
        assert_eq!(Checkpoint::from_text(&text).unwrap(), checkpoint);
    }
}

#[test]
fn the_fields_are_named_as_in_the_kubelets_file() {
    let (checkpoint, sum) = golden().remove(4);
    let text = checkpoint.to_text().unwrap();
    let expected = format!(
        "{{\"Data\":{{\"PodDeviceEntries\":[{{\"PodUID\":\"uid-1\",\"ContainerName\":\"c1\",\
         \"ResourceName\":\"nvidia.com/gpu\",\"DeviceIDs\":{{\"-1\":[\"GPU-a\"]}},\"AllocResp\":\"CgD/\"}}],\
         \"RegisteredDevices\":{{\"a.com/x\":null,\"nvidia.com/gpu\":[\"GPU-a\",\"GPU-b\"]}}}},\"Checksum\":{sum}}}"
    );
    assert_eq!(text, expected);
}

#[test]
fn a_changed_or_broken_checkpoint_is_refused() {
    let (checkpoint, _) = golden().remove(5);
    let changed = checkpoint.to_text().unwrap().replace("\"b\"", "\"c\"");
    assert!(matches!(Checkpoint::from_text(&changed), Err(CheckpointError::Corrupt { .. })));
    assert!(matches!(Checkpoint::from_text(""), Err(CheckpointError::Json(_))));
    assert!(matches!(Checkpoint::from_text("{}"), Err(CheckpointError::Json(_))));
    let node = checkpoint.to_text().unwrap().replace("\"-1\"", "\"x\"");
    assert!(matches!(Checkpoint::from_text(&node), Err(CheckpointError::Field { field: "DeviceIDs", .. })));
}
