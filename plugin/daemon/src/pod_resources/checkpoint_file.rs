//! The kubelet's checkpoint, read as the facts that it is: it also names the plain init containers that PodResources leaves
//! out. Nothing here judges an entry, and a file that cannot be read stops nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use plugin_core::event::{Checkpoint, CheckpointEntry};
use serde::Deserialize;

/// The file's name, beside the kubelet's socket; it is written with the first list of any plugin.
pub(crate) const FILE: &str = "kubelet_internal_checkpoint";
/// Largest file that is read, in bytes: eight device lists of the longest that a kubelet takes are half of it.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most allocations that are read: a node runs 110 pods unless it is told otherwise.
const ENTRIES_MAX: usize = 4096;

/// The parts that are read; the checksum is the kubelet's own business.
#[derive(Deserialize)]
struct Text {
    #[serde(rename = "Data")]
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "PodDeviceEntries", default)]
    entries: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "PodUID")]
    pod_uid: String,
    #[serde(rename = "ContainerName")]
    container: String,
    #[serde(rename = "ResourceName")]
    resource: String,
    /// By NUMA node; a device on two nodes stands under both.
    #[serde(rename = "DeviceIDs", default)]
    devices: Option<BTreeMap<String, Option<Vec<String>>>>,
}

/// Reads the file in the kubelet's device plugin directory, on another thread: a disk that hangs must not hold up an Allocate.
pub(crate) async fn read(directory: &Path) -> Checkpoint {
    let path = directory.join(FILE);
    let shown = path.display().to_string();
    let found = tokio::task::spawn_blocking(move || look(&path)).await;
    match found.map_err(io::Error::other).and_then(|found| found) {
        Ok(None) => Checkpoint::Missing,
        Ok(Some(entries)) => Checkpoint::Read { entries },
        Err(why) => Checkpoint::Damaged { why: format!("`{shown}`: {why}") },
    }
}

fn look(path: &Path) -> io::Result<Option<Vec<CheckpointEntry>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {BYTES_MAX} bytes")));
    }
    let entries = serde_json::from_slice::<Text>(&text)?.data.entries.unwrap_or_default();
    if entries.len() > ENTRIES_MAX {
        return Err(io::Error::other(format!("it has {} entries, more than {ENTRIES_MAX}", entries.len())));
    }
    Ok(Some(entries.into_iter().map(entry).collect()))
}

fn entry(entry: Entry) -> CheckpointEntry {
    let Entry { pod_uid, container, resource, devices } = entry;
    let mut ids: Vec<String> =
        devices.into_iter().flatten().flat_map(|(_, ids)| ids.unwrap_or_default()).collect();
    ids.sort();
    ids.dedup();
    CheckpointEntry { pod_uid, container, resource, ids }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as kubelet 1.36 writes it.
    const GOOD: &str = r#"{"Data":{"PodDeviceEntries":[{"PodUID":"u1","ContainerName":"init","ResourceName":"nvidia.com/gpu","DeviceIDs":{"0":["GPU-b","GPU-a"],"1":["GPU-a"]},"AllocResp":"CgD/"},{"PodUID":"u2","ContainerName":"c","ResourceName":"nvidia.com/gpu","DeviceIDs":null,"AllocResp":null}],"RegisteredDevices":{"nvidia.com/gpu":["GPU-a","GPU-b"]}},"Checksum":1}"#;

    async fn of(text: &[u8]) -> Checkpoint {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), text).unwrap();
        read(directory.path()).await
    }

    #[tokio::test]
    async fn an_entry_has_each_id_once_whatever_the_checksum() {
        let entry = |uid: &str, container: &str, ids: &[&str]| CheckpointEntry {
            pod_uid: uid.into(),
            container: container.into(),
            resource: "nvidia.com/gpu".into(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let entries = vec![entry("u1", "init", &["GPU-a", "GPU-b"]), entry("u2", "c", &[])];
        assert_eq!(of(GOOD.as_bytes()).await, Checkpoint::Read { entries });
        let none = r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3467439661}"#;
        assert_eq!(of(none.as_bytes()).await, Checkpoint::Read { entries: Vec::new() });
    }

    #[tokio::test]
    async fn what_is_not_there_is_missing_and_what_is_not_a_checkpoint_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).await, Checkpoint::Missing);
        let halves = [
            b"".as_slice(),
            b"{",
            b"[]",
            br#"{"Data":{"PodDeviceEntries":[{}]}}"#,
            &GOOD.as_bytes()[..99],
            &[0xff],
        ];
        for text in halves {
            assert!(matches!(of(text).await, Checkpoint::Damaged { why } if why.contains(FILE)), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_file_with_too_many_entries_is_damaged() {
        let one = r#"{"PodUID":"u","ContainerName":"c","ResourceName":"r","DeviceIDs":null},"#;
        let all = one.repeat(ENTRIES_MAX + 1);
        let text = format!(r#"{{"Data":{{"PodDeviceEntries":[{}]}}}}"#, all.trim_end_matches(','));
        assert!(matches!(of(text.as_bytes()).await, Checkpoint::Damaged { why } if why.contains("4097")));
    }
}
