//! The image for registries is made by `plugin/deploy/image/Dockerfile`, the other one by `cargo ci image`: what a manifest
//! or a person sees of them must not differ.

#![allow(clippy::expect_used, reason = "a test that cannot read the repository has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ci::image::contents::{ENVIRONMENT, LABELS, LIBRARY_PATH, NAMES, PROGRAM, PROGRAM_DIRECTORY, REPOSITORY};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ci/ has a parent").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("the file can be read")
}

/// The lines of the last stage.
fn last_stage() -> Vec<String> {
    let text = read("plugin/deploy/image/Dockerfile");
    let stages: Vec<&str> = text.split("\nFROM ").collect();
    stages.last().expect("a Dockerfile has a stage").lines().map(str::to_owned).collect()
}

/// `KEYWORD name=value`, one a line.
fn pairs(keyword: &str) -> BTreeMap<String, String> {
    let pair = |line: &String| {
        let (name, value) = line.strip_prefix(keyword)?.trim().split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    last_stage().iter().filter_map(pair).collect()
}

#[test]
fn both_images_start_the_same_program_as_the_same_user() {
    let stage = last_stage();
    let entrypoint = format!("ENTRYPOINT [\"/{PROGRAM_DIRECTORY}/{PROGRAM}\"]");
    assert!(stage.contains(&entrypoint), "{stage:#?}");
    assert!(stage.contains(&"USER 0:0".to_owned()));
}

#[test]
fn both_images_have_the_same_environment() {
    let mut expected: BTreeMap<_, _> =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    expected.insert("LD_LIBRARY_PATH".to_owned(), LIBRARY_PATH.to_owned());
    assert_eq!(pairs("ENV "), expected);
}

#[test]
fn both_images_have_the_same_labels() {
    let mut labels = pairs("LABEL ");
    assert_eq!(labels.remove("org.opencontainers.image.version").as_deref(), Some("${VERSION}"));
    assert_eq!(labels.remove("org.opencontainers.image.revision").as_deref(), Some("${REVISION}"));
    let expected: BTreeMap<_, _> =
        LABELS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(labels, expected);
    let version = format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"));
    assert!(last_stage().contains(&version), "the Dockerfile's VERSION is not `{version}`");
}

#[test]
fn both_images_have_the_program_under_all_its_names() {
    let text = read("plugin/deploy/image/Dockerfile");
    for name in NAMES {
        let link = format!("ln -s {PROGRAM} /rootfs/{PROGRAM_DIRECTORY}/{name}\n");
        assert!(text.contains(&link), "the Dockerfile does not say `{}`", link.trim());
    }
}

#[test]
fn the_manifests_name_the_image_of_this_version() {
    let image = format!("image: {REPOSITORY}:{}", env!("CARGO_PKG_VERSION"));
    for file in ["50-plugin.yaml", "60-mps.yaml"] {
        let text = read(&format!("plugin/deploy/manifests/{file}"));
        let named: Vec<&str> =
            text.lines().map(str::trim).filter(|line| line.starts_with("image:")).collect();
        assert_eq!(named, [image.as_str()], "{file}");
    }
}
