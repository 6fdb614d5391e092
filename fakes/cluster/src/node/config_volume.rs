//! A config map as files, because the plugin under test learns of a changed configuration by a swapped symbolic link.
//!
//! Layout and order of steps are the kubelet's (Kubernetes 1.36): the files lie in a directory of their own, `..data`
//! points at it, each key is a link through `..data`, and a change swaps `..data` in one rename.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::api::{ApiHandle, Key, Timestamp};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// A running projection of one config map; ends when dropped. The files stay.
#[derive(Debug)]
pub struct ConfigVolume {
    task: JoinHandle<()>,
}

impl ConfigVolume {
    /// Projects the config map at `key` into `directory`, at once when it exists and `delay` after each change. A deleted
    /// config map leaves the files as they were. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The directory or the first files cannot be written.
    pub fn start(
        handle: ApiHandle,
        key: Key,
        directory: PathBuf,
        delay: Duration,
    ) -> io::Result<ConfigVolume> {
        std::fs::create_dir_all(&directory)?;
        let mut shown = None;
        if let Some(files) = current(&handle, &key) {
            project(&directory, &files, Timestamp::now())?;
            shown = Some(files);
        }
        Ok(ConfigVolume { task: tokio::spawn(follow(handle, key, directory, delay, shown)) })
    }
}

impl Drop for ConfigVolume {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Files = BTreeMap<String, Vec<u8>>;

async fn follow(handle: ApiHandle, key: Key, directory: PathBuf, delay: Duration, mut shown: Option<Files>) {
    loop {
        handle
            .wait_for(|store| {
                store.get(&key).ok().map(|map| files(&map)).filter(|f| Some(f) != shown.as_ref())
            })
            .await;
        if shown.is_some() {
            tokio::time::sleep(delay).await;
        }
        let Some(files) = current(&handle, &key) else {
            continue;
        };
        if let Err(why) = project(&directory, &files, Timestamp::now()) {
            tracing::error!(directory = %directory.display(), %why, "config map not projected");
        }
        shown = Some(files);
    }
}

fn current(handle: &ApiHandle, key: &Key) -> Option<Files> {
    handle.read(|store| store.get(key)).ok().map(|map| files(&map))
}

fn files(map: &Value) -> Files {
    let text = map["data"].as_object().into_iter().flatten();
    let text = text.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.as_bytes().to_vec())));
    let coded = map["binaryData"].as_object().into_iter().flatten();
    let coded = coded.filter_map(|(key, value)| Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?)));
    text.chain(coded).collect()
}

/// Shows exactly `files` in `directory`, swapped in at once; returns false when they are shown already.
///
/// # Errors
/// Files or links cannot be written; what was shown before stays.
pub fn project(directory: &Path, files: &BTreeMap<String, Vec<u8>>, now: Timestamp) -> io::Result<bool> {
    let old = std::fs::read_link(directory.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| is_same(&directory.join(old), files)) {
        return Ok(false);
    }
    let fresh = new_directory(directory, now)?;
    for (name, content) in files {
        std::fs::write(directory.join(&fresh).join(name), content)?;
    }
    let next = directory.join(DATA_NEXT);
    if next.symlink_metadata().is_ok() {
        std::fs::remove_file(&next)?;
    }
    symlink(&fresh, &next)?;
    std::fs::rename(&next, directory.join(DATA))?;
    for name in files.keys() {
        let link = directory.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    remove_stale(directory, files)?;
    if let Some(old) = old {
        std::fs::remove_dir_all(directory.join(old))?;
    }
    Ok(true)
}

fn is_same(shown: &Path, files: &Files) -> bool {
    let Ok(entries) = std::fs::read_dir(shown) else {
        return false;
    };
    entries.count() == files.len()
        && files
            .iter()
            .all(|(name, content)| std::fs::read(shown.join(name)).is_ok_and(|seen| seen == *content))
}

/// A fresh directory named after the time, as the kubelet names it.
fn new_directory(directory: &Path, now: Timestamp) -> io::Result<String> {
    const TRIES_MAX: u32 = 1000;
    let stamp = now.rfc3339_micros().replace(['-', ':', 'T'], "_").replace('Z', "");
    for attempt in 0..TRIES_MAX {
        let name = format!("..{stamp}{attempt:03}");
        match std::fs::create_dir(directory.join(&name)) {
            Ok(()) => return Ok(name),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("no free name for `{stamp}`")))
}

fn remove_stale(directory: &Path, files: &Files) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !files.contains_key(&name) && entry.file_type()?.is_symlink() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Part, PatchKind, Resource};
    use serde_json::json;

    fn files(pairs: &[(&str, &str)]) -> Files {
        pairs.iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec())).collect()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("..2"));
        names.sort();
        names
    }

    #[test]
    fn keys_are_links_through_data_and_a_change_swaps_data() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let now = Timestamp::from_seconds(1_800_000_000);
        assert!(project(dir, &files(&[("default", "a"), ("old", "x")]), now).unwrap());
        assert_eq!(std::fs::read_link(dir.join("default")).unwrap(), Path::new("..data/default"));
        let before = std::fs::read_link(dir.join(DATA)).unwrap();
        assert!(project(dir, &files(&[("default", "b"), ("new", "y")]), now).unwrap());
        assert_eq!(names(dir), ["..data", "default", "new"]);
        assert_eq!(std::fs::read_to_string(dir.join("default")).unwrap(), "b");
        assert!(!dir.join(&before).exists() && std::fs::read_link(dir.join(DATA)).unwrap() != before);
    }

    #[test]
    fn the_same_files_again_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_seconds(1);
        assert!(project(dir.path(), &files(&[("a", "1")]), now).unwrap());
        assert!(!project(dir.path(), &files(&[("a", "1")]), now).unwrap());
    }

    #[tokio::test]
    async fn a_config_map_created_later_and_then_changed_is_projected() {
        let dir = tempfile::tempdir().unwrap();
        let handle = ApiHandle::empty_cluster().unwrap();
        let key = Key::new(Resource::ConfigMaps, "default", "configs");
        let _volume = ConfigVolume::start(
            handle.clone(),
            key.clone(),
            dir.path().to_path_buf(),
            Duration::from_millis(1),
        )
        .unwrap();
        let map = json!({"metadata": {"name": "configs"}, "data": {"default": "v1"}});
        handle.write(|store, now| store.create(Resource::ConfigMaps, "default", map, now)).unwrap();
        until(|| std::fs::read_to_string(dir.path().join("default")).is_ok_and(|text| text == "v1")).await;
        let patch = json!({"data": {"default": "v2"}, "binaryData": {"blob": "AAE="}});
        handle.write(|store, now| store.patch(&key, PatchKind::Merge, &patch, Part::Main, now)).unwrap();
        until(|| std::fs::read_to_string(dir.path().join("default")).is_ok_and(|text| text == "v2")).await;
        assert_eq!(std::fs::read(dir.path().join("blob")).unwrap(), [0, 1]);
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        for _ in 0..5000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it never came true");
    }
}
