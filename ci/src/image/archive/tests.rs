//! An archive is read back as a container engine would: from the index or `manifest.json` down to the files.

use std::io::Read;

use flate2::read::GzDecoder;

use super::*;

fn image() -> Image {
    let layer = |comment: &str, entries: &[(&str, Entry)]| Layer {
        comment: comment.to_owned(),
        entries: entries.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect(),
    };
    Image {
        reference: "tandem/device-plugin:1.2.3".to_owned(),
        architecture: "amd64".to_owned(),
        created: "1970-01-01T00:00:00Z".to_owned(),
        entrypoint: vec!["/usr/bin/p".to_owned()],
        environment: vec!["A=b".to_owned()],
        labels: BTreeMap::from([("org.opencontainers.image.title".to_owned(), "p".to_owned())]),
        layers: vec![
            layer("libraries", &[("lib64", Entry::Link("usr/lib64".to_owned()))]),
            layer(
                "program",
                &[("usr/bin/p", Entry::File(b"program".to_vec(), 0o755)), ("tmp", Entry::Directory(0o1777))],
            ),
        ],
    }
}

/// Path, kind, mode, link or content.
type Read1 = (String, EntryType, u32, String);

fn unpack(bytes: &[u8]) -> Vec<Read1> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let text = link.unwrap_or_else(|| String::from_utf8_lossy(&content).into_owned());
        let path = entry.path().unwrap().display().to_string();
        found.push((path, header.entry_type(), header.mode().unwrap(), text));
    }
    found
}

fn blob(archive: &[u8], path: &str) -> Vec<u8> {
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().display().to_string() == path {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            return content;
        }
    }
    panic!("no `{path}` in the archive");
}

fn json_at(archive: &[u8], path: &str) -> Value {
    serde_json::from_slice(&blob(archive, path)).unwrap()
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).unwrap();
    content
}

#[test]
fn two_archives_of_the_same_image_are_the_same_bytes() {
    let (one, two) = (write(&image()).unwrap(), write(&image()).unwrap());
    assert_eq!(one.digest, two.digest);
    assert!(one.bytes == two.bytes);
}

#[test]
fn every_change_is_another_digest() {
    let original = write(&image()).unwrap().digest;
    let mut mode = image();
    mode.layers[1].entries.insert("usr/bin/p".to_owned(), Entry::File(b"program".to_vec(), 0o644));
    let mut content = image();
    content.layers[1].entries.insert("usr/bin/p".to_owned(), Entry::File(b"programme".to_vec(), 0o755));
    let mut entrypoint = image();
    entrypoint.entrypoint.push("run".to_owned());
    let mut order = image();
    order.layers.reverse();
    for changed in [mode, content, entrypoint, order] {
        assert_ne!(write(&changed).unwrap().digest, original, "{changed:?}");
    }
}

#[test]
fn files_stand_in_order_below_their_directories_and_are_roots() {
    let archive = write(&image()).unwrap();
    let manifest =
        json_at(&archive.bytes, &blob_path(&json_at(&archive.bytes, "index.json")["manifests"][0]));
    let layers: Vec<_> = manifest["layers"].as_array().unwrap().iter().map(blob_path).collect();
    let unpacked: Vec<_> = layers.iter().map(|path| unpack(&unzip(&blob(&archive.bytes, path)))).collect();
    assert_eq!(unpacked[0], [("lib64".to_owned(), EntryType::Symlink, 0o777, "usr/lib64".to_owned())]);
    let expected = [
        ("tmp/", EntryType::Directory, 0o1777, ""),
        ("usr/", EntryType::Directory, 0o755, ""),
        ("usr/bin/", EntryType::Directory, 0o755, ""),
        ("usr/bin/p", EntryType::Regular, 0o755, "program"),
    ];
    let expected = expected.map(|(path, kind, mode, text)| (path.to_owned(), kind, mode, text.to_owned()));
    assert_eq!(unpacked[1], expected);
}

#[test]
fn every_digest_and_size_is_that_of_the_blob_it_points_at() {
    let archive = write(&image()).unwrap();
    let index = json_at(&archive.bytes, "index.json");
    let pointed = &index["manifests"][0];
    assert_eq!(pointed["digest"], archive.digest.as_str());
    let manifest = json_at(&archive.bytes, &blob_path(pointed));
    assert_eq!(manifest["config"]["digest"], archive.config_digest.as_str());
    let layers = manifest["layers"].as_array().unwrap();
    for descriptor in [pointed, &manifest["config"]].into_iter().chain(layers) {
        let bytes = blob(&archive.bytes, &blob_path(descriptor));
        assert_eq!(descriptor["digest"], digest(&bytes).as_str());
        assert_eq!(descriptor["size"], bytes.len());
    }
    let config = json_at(&archive.bytes, &blob_path(&manifest["config"]));
    let diff_ids: Vec<_> =
        layers.iter().map(|l| Value::from(digest(&unzip(&blob(&archive.bytes, &blob_path(l)))))).collect();
    assert_eq!(config["rootfs"]["diff_ids"], Value::from(diff_ids));
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/p"]));
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
}

#[test]
fn docker_and_containerd_find_the_image_by_its_name() {
    let archive = write(&image()).unwrap();
    let of_docker = json_at(&archive.bytes, "manifest.json");
    assert_eq!(of_docker[0]["RepoTags"], json!(["tandem/device-plugin:1.2.3"]));
    assert_eq!(of_docker[0]["Config"], format!("blobs/{}", archive.config_digest.replace(':', "/")));
    assert_eq!(of_docker[0]["Layers"].as_array().unwrap().len(), 2);
    let annotations = json_at(&archive.bytes, "index.json")["manifests"][0]["annotations"].clone();
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/tandem/device-plugin:1.2.3");
    assert_eq!(json_at(&archive.bytes, "oci-layout")["imageLayoutVersion"], "1.0.0");
}

#[test]
fn a_reference_without_a_tag_is_refused() {
    let untagged = Image { reference: "tandem".to_owned(), ..image() };
    assert_eq!(write(&untagged).unwrap_err().to_string(), "reference `tandem` has no tag");
}
