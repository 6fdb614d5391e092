//! An image is a few tar files that point at each other by digest; this writes them so that the same content always
//! gives the same bytes.
//!
//! The archive follows the OCI image layout and also holds the `manifest.json` of `docker save`, so that Docker,
//! containerd and kind load the same file.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// gzip's number for "unknown": the operating system that wrote a file is not a property of its content.
const GZIP_SYSTEM_UNKNOWN: u8 = 255;
/// The registry that a reference without one means.
const DEFAULT_REGISTRY: &str = "docker.io";

/// What stands at a path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory with this mode.
    Directory(u32),
    /// A file with this content and mode.
    File(Vec<u8>, u32),
    /// A symbolic link to this target.
    Link(String),
}

/// A part of the root file system: what changes together is transferred together.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What it is, for `docker history`.
    pub comment: String,
    /// By path, without a leading slash; parents are made where they are missing.
    pub entries: BTreeMap<String, Entry>,
}

/// All that an image is.
#[derive(Debug, Clone)]
pub struct Image {
    /// Repository and tag, such as `tandem/device-plugin:0.1.0`.
    pub reference: String,
    /// In Go's words: amd64, arm64.
    pub architecture: String,
    /// When, as RFC 3339: an input, because a clock would make every build another image.
    pub created: String,
    /// Command line of the first process.
    pub entrypoint: Vec<String>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<String>,
    /// What registries and tools show.
    pub labels: BTreeMap<String, String>,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

/// The file, and what identifies it.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The tar file.
    pub bytes: Vec<u8>,
    /// Of the image's manifest: what registries and containerd call the image's digest.
    pub digest: String,
    /// Of the image's configuration: what Docker calls the image's id.
    pub config_digest: String,
    /// The size of the unpacked layers.
    pub unpacked_bytes: u64,
}

/// `sha256:` and the digest in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes the archive.
///
/// # Errors
/// A path or link that tar cannot hold, or a reference without a tag.
pub fn write(image: &Image) -> io::Result<Archive> {
    let (repository, tag) = image
        .reference
        .rsplit_once(':')
        .ok_or_else(|| io::Error::other(format!("reference `{}` has no tag", image.reference)))?;
    let mut blobs = BTreeMap::new();
    let (mut diff_ids, mut layers, mut unpacked_bytes) = (Vec::new(), Vec::new(), 0);
    for layer in &image.layers {
        let unpacked = tar(&layer.entries)?;
        diff_ids.push(digest(&unpacked));
        unpacked_bytes += unpacked.len() as u64;
        layers.push(store(&mut blobs, "application/vnd.oci.image.layer.v1.tar+gzip", gzip(&unpacked)?));
    }
    let config =
        store_json(&mut blobs, "application/vnd.oci.image.config.v1+json", &config(image, &diff_ids));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
        "annotations": image.labels,
    });
    let mut manifest = store_json(&mut blobs, "application/vnd.oci.image.manifest.v1+json", &manifest);
    manifest["platform"] = json!({"architecture": image.architecture, "os": "linux"});
    manifest["annotations"] = json!({
        "io.containerd.image.name": format!("{DEFAULT_REGISTRY}/{repository}:{tag}"),
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let of_docker = json!([{
        "Config": blob_path(&config),
        "RepoTags": [image.reference],
        "Layers": layers.iter().map(blob_path).collect::<Vec<_>>(),
    }]);
    let mut files: BTreeMap<String, Entry> =
        blobs.into_iter().map(|(path, bytes)| (path, Entry::File(bytes, 0o644))).collect();
    for (name, value) in [
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index),
        ("manifest.json", of_docker),
    ] {
        files.insert(name.to_owned(), Entry::File(value.to_string().into_bytes(), 0o644));
    }
    Ok(Archive {
        bytes: tar(&files)?,
        digest: text(&manifest["digest"]),
        config_digest: text(&config["digest"]),
        unpacked_bytes,
    })
}

fn config(image: &Image, diff_ids: &[String]) -> Value {
    let history = |layer: &Layer| json!({"created": image.created, "created_by": layer.comment});
    json!({
        "architecture": image.architecture,
        "os": "linux",
        "created": image.created,
        "config": {
            "User": "0:0",
            "WorkingDir": "/",
            "Entrypoint": image.entrypoint,
            "Env": image.environment,
            "Labels": image.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": image.layers.iter().map(history).collect::<Vec<_>>(),
    })
}

fn store_json(blobs: &mut BTreeMap<String, Vec<u8>>, media_type: &str, value: &Value) -> Value {
    store(blobs, media_type, value.to_string().into_bytes())
}

/// Keeps a blob under its digest; the answer is what others point at it with.
fn store(blobs: &mut BTreeMap<String, Vec<u8>>, media_type: &str, bytes: Vec<u8>) -> Value {
    let descriptor = json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len()});
    blobs.insert(blob_path(&descriptor), bytes);
    descriptor
}

fn blob_path(descriptor: &Value) -> String {
    format!("blobs/{}", text(&descriptor["digest"]).replace(':', "/"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// In path order, owned by root, without times: only names, modes and content count.
fn tar(entries: &BTreeMap<String, Entry>) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (path, entry) in with_parents(entries) {
        let mut header = Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match entry {
            Entry::Directory(mode) => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(mode);
                header.set_size(0);
                builder.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Entry::File(bytes, mode) => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(mode);
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())?;
            }
            Entry::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                builder.append_link(&mut header, path, target)?;
            }
        }
    }
    builder.into_inner()
}

/// The entries and every directory above them.
fn with_parents(entries: &BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    let mut all = BTreeMap::new();
    for path in entries.keys() {
        for (at, _) in path.match_indices('/') {
            all.entry(path[..at].to_owned()).or_insert(Entry::Directory(0o755));
        }
    }
    all.extend(entries.clone());
    all
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let builder = GzBuilder::new().mtime(0).operating_system(GZIP_SYSTEM_UNKNOWN);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
