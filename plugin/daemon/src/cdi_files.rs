//! Finds the driver's files for CDI specs, writes the specs, and removes them on `uninstall`. What to look for and what to
//! write is the core's; only files of the plugin's own vendor are touched.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use plugin_core::cdi::{Class, Found, NodeAccess, Search};

use crate::files;

/// Most files and device nodes of one search; a driver has some hundred.
const FOUND_MAX: usize = 4096;
/// A larger file is none of ours.
const SPEC_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Runtimes run as other users too.
const SPEC_MODE: u32 = 0o644;
/// Everyone may read and write.
const WORLD: u32 = 0o006;

/// Where specs are, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpecDir {
    /// The directory.
    pub(crate) path: PathBuf,
    /// The vendor whose files are ours.
    pub(crate) vendor: String,
    /// The sysfs mount.
    pub(crate) sysfs_root: PathBuf,
}

impl SpecDir {
    /// Everything that a search asks for and that is there. What cannot be read is not there.
    pub(crate) fn find(&self, search: &Search) -> Found {
        let root = Path::new(&search.root);
        let dev_root = dev_root(root);
        let mut found = Found { specs: self.ours(), ..Found::default() };
        let files = search.files.iter().flat_map(|pattern| matching(root, pattern));
        for path in files.take(FOUND_MAX) {
            found.files.insert(below(root, &path), leads_to(root, &path));
        }
        let nodes = search.nodes.iter().flat_map(|pattern| matching(&dev_root, pattern));
        for path in nodes.take(FOUND_MAX) {
            found.nodes.extend(access(&path).map(|access| (below(&dev_root, &path), access)));
        }
        for pci in &search.pci {
            let nodes = self.drm(pci).into_iter().filter(|node| found.nodes.contains_key(node));
            found.drm.insert(pci.clone(), nodes.collect());
        }
        found
    }

    /// Replaces files, each in one step. Containers that start meanwhile see the old or the new one.
    ///
    /// # Errors
    /// The path and the reason of the first that could not be written.
    pub(crate) fn write(&self, specs: &BTreeMap<String, String>) -> Result<(), String> {
        let failed = |path: &Path, e: &io::Error| format!("`{}`: {e}", path.display());
        fs::create_dir_all(&self.path).map_err(|e| failed(&self.path, &e))?;
        for (name, text) in specs {
            let path = self.path.join(name);
            let written = files::replace(&path, text.as_bytes());
            let written =
                written.and_then(|()| fs::set_permissions(&path, PermissionsExt::from_mode(SPEC_MODE)));
            written.map_err(|e| failed(&path, &e))?;
        }
        Ok(())
    }

    /// Removes every file of ours; the answer is what was removed.
    ///
    /// # Errors
    /// The path and the reason of the first that could not be removed.
    pub(crate) fn remove(&self) -> Result<Vec<PathBuf>, String> {
        let mut removed = Vec::new();
        for path in self.paths() {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(format!("`{}`: {e}", path.display())),
            }
        }
        Ok(removed)
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        Class::EVERY.into_iter().map(|class| self.path.join(class.file(&self.vendor)))
    }

    fn ours(&self) -> BTreeMap<String, String> {
        let read = |path: PathBuf| {
            let text = files::read_bounded(&path, SPEC_BYTES_MAX).unwrap_or_else(|e| {
                tracing::warn!(path = %path.display(), why = %e, "a CDI spec of ours cannot be read and is made anew");
                None
            });
            Some((path.file_name()?.to_str()?.to_owned(), text?))
        };
        self.paths().filter_map(read).collect()
    }

    /// A PCI device's DRM nodes, as sysfs names them.
    fn drm(&self, pci: &str) -> Vec<String> {
        let directory = self.sysfs_root.join("bus/pci/devices").join(pci).join("drm");
        let is_node = |name: &String| name.starts_with("card") || name.starts_with("renderD");
        let names = names(&directory).into_iter().filter(is_node);
        names.map(|name| format!("/dev/dri/{name}")).collect()
    }
}

/// The driver root when it holds device nodes, else the container's own root.
pub(crate) fn dev_root(driver_root: &Path) -> PathBuf {
    if driver_root.join("dev").is_dir() { driver_root.to_owned() } else { PathBuf::from("/") }
}

/// Whether a path leads to a character device.
pub(crate) fn is_device(path: &Path) -> bool {
    access(path).is_some()
}

fn access(path: &Path) -> Option<NodeAccess> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_char_device())?;
    Some(NodeAccess { world: metadata.mode() & WORLD == WORLD, gid: metadata.gid() })
}

/// What a pattern below a root names, sorted; only its last part may have a `*`.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let path = root.join(pattern.trim_start_matches('/'));
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    match name.split_once('*') {
        None => Vec::from_iter(path.exists().then_some(path)),
        Some((head, tail)) => {
            let fits = |name: &String| {
                name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
            };
            names(directory).into_iter().filter(fits).map(|name| directory.join(name)).collect()
        }
    }
}

/// The names in a directory, sorted; none when it cannot be read.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A path as seen from the root.
fn below(root: &Path, path: &Path) -> String {
    let rest = path.strip_prefix(root).unwrap_or(path);
    Path::new("/").join(rest).display().to_string()
}

/// Where a path's links lead, as seen from the root; the path itself when they leave the root.
fn leads_to(root: &Path, path: &Path) -> String {
    let real = fs::canonicalize(path).ok();
    let root_real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    match real.filter(|real| real.starts_with(&root_real)) {
        Some(real) => below(&root_real, &real),
        None => below(root, path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory() -> (tempfile::TempDir, SpecDir) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cdi");
        let dir = SpecDir { path, vendor: "example.com".into(), sysfs_root: root.path().join("sys") };
        (root, dir)
    }

    fn make(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn files_are_told_as_seen_from_the_driver_root_and_where_their_links_lead() {
        let (root, dir) = directory();
        let driver = root.path().join("driver");
        make(&driver.join("usr/lib64/libcuda.so.580.1"));
        make(&driver.join("usr/lib64/libcuda.so.470.9"));
        make(&driver.join("usr/bin/nvidia-smi"));
        symlink("usr/lib64", driver.join("lib64")).unwrap();
        let files = ["/usr/lib64/*.so.580.1", "/lib64/*.so.580.1", "/usr/bin/nvidia-smi", "/etc/absent"];
        let search = Search {
            root: driver.display().to_string(),
            files: files.map(str::to_owned).to_vec(),
            ..Search::default()
        };
        let found = dir.find(&search).files;
        let cuda = "/usr/lib64/libcuda.so.580.1".to_owned();
        assert_eq!(
            found,
            [
                ("/usr/lib64/libcuda.so.580.1".to_owned(), cuda.clone()),
                ("/lib64/libcuda.so.580.1".to_owned(), cuda),
                ("/usr/bin/nvidia-smi".to_owned(), "/usr/bin/nvidia-smi".to_owned()),
            ]
            .into()
        );
    }

    #[test]
    fn only_character_devices_are_nodes_and_drm_nodes_belong_to_their_gpu() {
        let (root, dir) = directory();
        let driver = root.path().join("driver");
        fs::create_dir_all(driver.join("dev/dri")).unwrap();
        for name in ["nvidiactl", "dri/card1", "dri/renderD129"] {
            symlink("/dev/null", driver.join("dev").join(name)).unwrap();
        }
        make(&driver.join("dev/nvidia-uvm"));
        make(&dir.sysfs_root.join("bus/pci/devices/0000:01:00.0/drm/card1"));
        make(&dir.sysfs_root.join("bus/pci/devices/0000:01:00.0/drm/card7"));
        let search = Search {
            root: driver.display().to_string(),
            nodes: ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/dri/card*"].map(str::to_owned).to_vec(),
            pci: vec!["0000:01:00.0".into()],
            ..Search::default()
        };
        let found = dir.find(&search);
        assert_eq!(found.nodes.keys().collect::<Vec<_>>(), ["/dev/dri/card1", "/dev/nvidiactl"]);
        assert!(found.nodes["/dev/nvidiactl"].world);
        assert_eq!(found.drm["0000:01:00.0"], ["/dev/dri/card1"], "a node that is not there is not passed");
    }

    #[test]
    fn specs_are_written_read_back_and_removed_and_others_are_left_alone() {
        let (_root, dir) = directory();
        let specs = BTreeMap::from([(Class::Gpu.file("example.com"), "{}".to_owned())]);
        dir.write(&specs).unwrap();
        let foreign = dir.path.join("nvidia.com-gpu.json");
        fs::write(&foreign, "theirs").unwrap();
        assert_eq!(dir.find(&Search::default()).specs, specs);
        let written = dir.path.join("example.com-gpu.json");
        assert_eq!(fs::metadata(&written).unwrap().mode() & 0o777, SPEC_MODE);
        assert_eq!(dir.remove().unwrap(), [written]);
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "theirs");
        assert_eq!(dir.remove().unwrap(), [] as [PathBuf; 0], "a second time there is nothing to do");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let (root, dir) = directory();
        fs::write(root.path().join("cdi"), "a file").unwrap();
        let why = dir.write(&BTreeMap::from([("a.json".to_owned(), String::new())])).unwrap_err();
        assert!(why.contains(&dir.path.display().to_string()), "{why}");
    }
}
