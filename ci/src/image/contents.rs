//! What stands where in the image: one program under three names, the loader and its libraries, and where others mount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::archive::{Entry, Image, Layer};

/// The image's name, without a tag.
pub const REPOSITORY: &str = "tandem/device-plugin";
/// The program.
pub const PROGRAM: &str = "tandem-device-plugin";
/// Its directory, without the leading slash.
pub const PROGRAM_DIRECTORY: &str = "usr/bin";
/// Other names of the program: those by which manifests made for NVIDIA's image start it.
pub const NAMES: [&str; 2] = ["nvidia-device-plugin", "mps-control-daemon"];
/// What the driver's own libraries and programs want beside them, and the program itself does not.
pub const LIBRARIES_OF_DRIVERS: &[&str] =
    &["libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"];
/// Where the loader is told to look for the driver's libraries, which every container runtime mounts elsewhere.
pub const LIBRARY_PATH: &str =
    "/usr/local/nvidia/lib64:/usr/lib64:/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu";
/// The environment of the first process, besides [`LIBRARY_PATH`]: it asks NVIDIA's container runtime for all GPUs, for
/// NVML and for MPS, whatever the driver's version.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/nvidia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("NVIDIA_VISIBLE_DEVICES", "all"),
    ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
    ("NVIDIA_DISABLE_REQUIRE", "true"),
];
/// Labels that do not change from build to build.
pub const LABELS: [(&str, &str); 4] = [
    ("org.opencontainers.image.title", "Tandem device plugin"),
    (
        "org.opencontainers.image.description",
        "A Kubernetes device plugin for NVIDIA GPUs that runs exclusive and shared GPUs side by side",
    ),
    ("org.opencontainers.image.licenses", "Apache-2.0"),
    ("org.opencontainers.image.vendor", "Tandem"),
];
/// When an image was made whose commit is not known.
const NO_DATE: &str = "1970-01-01T00:00:00Z";
/// What manifests mount something on; a read-only root has them already.
const MOUNT_POINTS: [&str; 10] = [
    "available-configs",
    "dev",
    "driver-root",
    "proc",
    "run/nvidia/mps",
    "sys",
    "var/lib/kubelet/device-plugins",
    "var/lib/kubelet/pod-resources",
    "var/lib/tandem",
    "var/run/cdi",
];

/// The commit that an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id; with `-dirty` when files differ from it.
    pub revision: String,
    /// Its time, as RFC 3339.
    pub date: String,
}

/// All bytes that an image is made of.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The program.
    pub program: Vec<u8>,
    /// The loader's path that the program names.
    pub loader: Option<String>,
    /// Name, path on the building machine, content.
    pub libraries: Vec<(String, PathBuf, Vec<u8>)>,
    /// The license.
    pub license: Vec<u8>,
    /// The list of what is inside.
    pub sbom: Vec<u8>,
    /// The version, which is also the tag.
    pub version: String,
    /// What it was built from.
    pub commit: Option<Commit>,
}

/// Puts them in their places. Three layers: the libraries change rarely, the program often.
pub fn image(sources: &Sources) -> Image {
    let mut labels: BTreeMap<String, String> =
        LABELS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    labels.insert("org.opencontainers.image.version".to_owned(), sources.version.clone());
    if let Some(commit) = &sources.commit {
        labels.insert("org.opencontainers.image.revision".to_owned(), commit.revision.clone());
    }
    let environment = ENVIRONMENT.iter().copied().chain([("LD_LIBRARY_PATH", LIBRARY_PATH)]);
    Image {
        reference: format!("{REPOSITORY}:{}", sources.version),
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        created: sources.commit.as_ref().map_or(NO_DATE, |commit| &commit.date).to_owned(),
        entrypoint: vec![format!("/{PROGRAM_DIRECTORY}/{PROGRAM}")],
        environment: environment.map(|(name, value)| format!("{name}={value}")).collect(),
        labels,
        layers: vec![base(), libraries(sources), program(sources)],
    }
}

/// Go's word for an architecture.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The directories of a Linux system, with `/lib` and `/bin` below `/usr` as every distribution has them today.
fn base() -> Layer {
    let mut entries: BTreeMap<String, Entry> =
        MOUNT_POINTS.iter().map(|path| ((*path).to_owned(), Entry::Directory(0o755))).collect();
    for name in ["bin", "lib", "lib64", "sbin"] {
        entries.insert(name.to_owned(), Entry::Link(format!("usr/{name}")));
        entries.insert(format!("usr/{name}"), Entry::Directory(0o755));
    }
    entries.insert("tmp".to_owned(), Entry::Directory(0o1777));
    let users = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
    let groups = "root:x:0:\nnobody:x:65534:\n";
    // for the cache that NVIDIA's container runtime makes when it mounts the driver
    let places = format!("{}\n", LIBRARY_PATH.replace(':', "\n"));
    for (path, text) in [("etc/passwd", users), ("etc/group", groups), ("etc/ld.so.conf", places.as_str())] {
        entries.insert(path.to_owned(), Entry::File(text.as_bytes().to_vec(), 0o644));
    }
    Layer { comment: "directories and users".to_owned(), entries }
}

fn libraries(sources: &Sources) -> Layer {
    let mut entries = BTreeMap::new();
    for (name, path, bytes) in &sources.libraries {
        let mode = if name.starts_with("ld-") { 0o755 } else { 0o644 };
        let place = library_path(name, path);
        let named = sources.loader.iter().map(|loader| usr(loader)).find(|loader| loader.ends_with(name));
        if let Some(loader) = named.filter(|loader| *loader != place) {
            entries.insert(loader, Entry::Link(format!("/{place}")));
        }
        entries.insert(place, Entry::File(bytes.clone(), mode));
    }
    Layer { comment: "the loader and the C library".to_owned(), entries }
}

fn program(sources: &Sources) -> Layer {
    let at = |name: &str| format!("{PROGRAM_DIRECTORY}/{name}");
    let mut entries: BTreeMap<String, Entry> =
        NAMES.iter().map(|name| (at(name), Entry::Link(PROGRAM.to_owned()))).collect();
    entries.insert(at(PROGRAM), Entry::File(sources.program.clone(), 0o755));
    entries.insert("licenses/LICENSE".to_owned(), Entry::File(sources.license.clone(), 0o644));
    entries.insert("usr/share/tandem/sbom.cdx.json".to_owned(), Entry::File(sources.sbom.clone(), 0o644));
    Layer { comment: format!("{PROGRAM} {}", sources.version), entries }
}

/// Where a library stands in the image: in the directory where the loader of the building machine looks for it.
pub fn library_path(name: &str, path: &Path) -> String {
    let directory = path.parent().map(|parent| parent.display().to_string()).unwrap_or_default();
    usr(&format!("{directory}/{name}"))
}

/// A path without its leading slash, and below `usr` if its directory was merged into that.
fn usr(path: &str) -> String {
    let path = path.trim_start_matches('/');
    if path.starts_with("usr/") { path.to_owned() } else { format!("usr/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive;

    fn sources() -> Sources {
        let library =
            |name: &str, path: &str| (name.to_owned(), PathBuf::from(path), name.as_bytes().to_vec());
        Sources {
            program: b"program".to_vec(),
            loader: Some("/lib64/ld-linux-x86-64.so.2".to_owned()),
            libraries: vec![
                library("ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
                library("libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
            ],
            license: Vec::new(),
            sbom: b"{}".to_vec(),
            version: "1.2.3".to_owned(),
            commit: Some(Commit { revision: "abc".to_owned(), date: "2026-01-01T00:00:00Z".to_owned() }),
        }
    }

    #[test]
    fn the_loader_is_found_under_the_path_that_the_program_names() {
        let layer = libraries(&sources());
        let target = Entry::Link("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2".to_owned());
        assert_eq!(layer.entries.get("usr/lib64/ld-linux-x86-64.so.2"), Some(&target));
        assert!(layer.entries.contains_key("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"));
        assert!(layer.entries.contains_key("usr/lib/x86_64-linux-gnu/libc.so.6"));
        assert_eq!(base().entries.get("lib64"), Some(&Entry::Link("usr/lib64".to_owned())));
    }

    #[test]
    fn the_program_has_the_names_of_the_one_that_it_replaces() {
        let layer = program(&sources());
        for name in NAMES {
            let link = layer.entries.get(&format!("usr/bin/{name}"));
            assert_eq!(link, Some(&Entry::Link(PROGRAM.to_owned())));
        }
        assert_eq!(image(&sources()).entrypoint, ["/usr/bin/tandem-device-plugin"]);
    }

    #[test]
    fn the_same_sources_are_the_same_image_and_another_program_is_another() {
        let digest = |sources: &Sources| archive::write(&image(sources)).unwrap().digest;
        assert_eq!(digest(&sources()), digest(&sources()));
        let mut turned = sources();
        turned.libraries.reverse();
        assert_eq!(digest(&turned), digest(&sources()));
        let other = Sources { program: b"another".to_vec(), ..sources() };
        assert_ne!(digest(&other), digest(&sources()));
    }

    #[test]
    fn the_commit_gives_label_and_date_and_none_gives_neither() {
        let made = image(&sources());
        assert_eq!(made.labels["org.opencontainers.image.revision"], "abc");
        assert_eq!(made.created, "2026-01-01T00:00:00Z");
        assert_eq!(made.reference, "tandem/device-plugin:1.2.3");
        let made = image(&Sources { commit: None, ..sources() });
        assert!(!made.labels.contains_key("org.opencontainers.image.revision"));
        assert_eq!(made.created, NO_DATE);
    }
}
