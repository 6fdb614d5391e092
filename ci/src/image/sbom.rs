//! Who scans an image asks what is in it; this answers with the crates that are linked and the system files that are
//! copied, as CycloneDX. Without a time and without a random number, so that it is the same for the same content.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId, TargetKind};
use serde_json::{Value, json};

/// A file that was copied from the machine that built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemFile {
    /// Where it stands in the image.
    pub path: String,
    /// `sha256:…`
    pub digest: String,
    /// The distribution's package and its version, where a package manager knows.
    pub package: Option<(String, String)>,
}

/// The document: `program` is the workspace's package that the image carries.
///
/// # Errors
/// `None` when the metadata does not know `program`, or was read without its dependencies.
pub fn document(
    metadata: &Metadata,
    program: &str,
    lock: &str,
    distribution: &str,
    files: &[SystemFile],
) -> Option<Value> {
    let root = metadata.packages.iter().find(|package| package.name == program)?;
    let checksums = checksums(lock);
    let crates = linked(metadata, &root.id)?;
    let crates = crates.into_iter().filter(|package| package.id != root.id).map(|package| {
        let key = (package.name.to_string(), package.version.to_string());
        component(package, checksums.get(&key).map(String::as_str))
    });
    let components: Vec<Value> =
        crates.chain(files.iter().map(|file| system_file(file, distribution))).collect();
    Some(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, None)},
        "components": components,
    }))
}

/// The packages that end up in the program: normal dependencies all the way down; macros run in the compiler alone.
fn linked<'a>(metadata: &'a Metadata, root: &PackageId) -> Option<Vec<&'a Package>> {
    let resolve = metadata.resolve.as_ref()?;
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: BTreeMap<&PackageId, &Package> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let package = packages.get(id)?;
        let is_macro = package.targets.iter().any(|target| target.kind.contains(&TargetKind::ProcMacro));
        if is_macro || !seen.insert(id) {
            continue;
        }
        let normal =
            nodes.get(id)?.deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
        open.extend(normal.map(|dependency| &dependency.pkg));
    }
    let mut found: Vec<&Package> = seen.into_iter().filter_map(|id| packages.get(id).copied()).collect();
    found.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Some(found)
}

fn component(package: &Package, checksum: Option<&str>) -> Value {
    let url = format!("pkg:cargo/{}@{}", package.name, package.version);
    let mut component = json!({
        "type": if checksum.is_some() { "library" } else { "application" },
        "bom-ref": url,
        "name": package.name,
        "version": package.version.to_string(),
        "purl": url,
    });
    if let Some(license) = &package.license {
        // an old way of writing OR, which is not SPDX
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

fn system_file(file: &SystemFile, distribution: &str) -> Value {
    let digest = file.digest.trim_start_matches("sha256:");
    let mut component = json!({
        "type": "file",
        "bom-ref": format!("file:/{}", file.path),
        "name": format!("/{}", file.path),
        "hashes": [{"alg": "SHA-256", "content": digest}],
    });
    if let Some((name, version)) = &file.package {
        component["version"] = json!(version);
        component["purl"] = json!(format!("pkg:deb/{distribution}/{name}@{version}"));
    }
    component
}

/// Name and version to the checksum of the package's file, from `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    let value = |line: &str, key: &str| {
        line.strip_prefix(key).map(|rest| rest.trim_matches([' ', '=', '"']).to_owned())
    };
    let (mut name, mut version) = (String::new(), String::new());
    for line in lock.lines() {
        if let Some(found) = value(line, "name = ") {
            name = found;
        } else if let Some(found) = value(line, "version = ") {
            version = found;
        } else if let Some(checksum) = value(line, "checksum = ") {
            found.insert((name.clone(), version.clone()), checksum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> (Metadata, String) {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(["--locked".to_owned(), "--offline".to_owned()])
            .exec()
            .unwrap();
        (metadata, std::fs::read_to_string(root.join("Cargo.lock")).unwrap())
    }

    fn names(document: &Value) -> Vec<String> {
        let components = document["components"].as_array().unwrap().iter();
        components.map(|component| component["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let (metadata, lock) = here();
        let document = document(&metadata, "plugin-daemon", &lock, "debian", &[]).unwrap();
        let names = names(&document);
        for linked in ["plugin-core", "tonic", "tokio", "kube", "nvml-wrapper"] {
            assert!(names.iter().any(|name| name == linked), "{linked} is missing");
        }
        for other in ["mockall", "clap_derive", "criterion", "simulator", "fake-gpu", "plugin-daemon"] {
            assert!(!names.iter().any(|name| name == other), "{other} is not in the image");
        }
        assert_eq!(document["metadata"]["component"]["name"], "plugin-daemon");
    }

    #[test]
    fn crates_from_a_registry_have_a_checksum_and_every_component_a_name_of_its_own() {
        let (metadata, lock) = here();
        let document = document(&metadata, "plugin-daemon", &lock, "debian", &[]).unwrap();
        let components = document["components"].as_array().unwrap();
        for component in components.iter().filter(|c| c["type"] == "library") {
            let checksum = component["hashes"][0]["content"].as_str().unwrap();
            assert_eq!(checksum.len(), 64, "{component}");
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        }
        let references: BTreeSet<_> =
            components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(references.len(), components.len());
    }

    #[test]
    fn a_copied_file_is_listed_with_its_digest_and_its_package() {
        let (metadata, lock) = here();
        let file = SystemFile {
            path: "usr/lib/libc.so.6".to_owned(),
            digest: "sha256:ab".to_owned(),
            package: Some(("libc6".to_owned(), "2.36-9".to_owned())),
        };
        let document = document(&metadata, "plugin-daemon", &lock, "debian", &[file]).unwrap();
        let listed = document["components"].as_array().unwrap().last().unwrap();
        assert_eq!(listed["name"], "/usr/lib/libc.so.6");
        assert_eq!(listed["purl"], "pkg:deb/debian/libc6@2.36-9");
        assert_eq!(listed["hashes"][0]["content"], "ab");
    }

    #[test]
    fn a_package_that_is_not_there_has_no_document() {
        let (metadata, lock) = here();
        assert!(document(&metadata, "nobody", &lock, "debian", &[]).is_none());
    }
}
