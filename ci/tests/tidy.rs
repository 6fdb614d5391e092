//! The repository's rules as tests: each name is the rule, each failure lists file, line and what to do.

#![allow(clippy::expect_used, reason = "a test that cannot read the repository has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cargo_metadata::{DependencyKind, MetadataCommand};
use ci::tidy::arrows::{self, Dependency, Package};
use ci::tidy::manifests::Duplicate;
use ci::tidy::size::{Ratchet, Turn};
use ci::tidy::tree::{File, Tree};
use ci::tidy::{Finding, documents, manifests, names, purity, size, words};

/// The files that may hold `unsafe`, each for a reason that safe Rust cannot serve.
const UNSAFE: &[&str] = &[
    // Exports the C functions of NVML.
    "fakes/nvml/",
    // One truth per node, mapped into every process that opens the library.
    "fakes/gpu/src/shared.rs",
    // A daemon leaves its session and waits for signals; the standard library offers neither.
    "fakes/gpu/src/mps/os.rs",
    // Children get a parent-death signal between fork and exec, so that none outlives the simulator.
    "simulator/src/on/wire/spawn.rs",
    // NVML tells whether a GPU's fabric is complete by a call that its safe binding lacks.
    "plugin/daemon/src/nvml_fabric.rs",
    // A process that is not a child is awaited through a pidfd, so that its id cannot be mistaken for a later one's.
    "plugin/daemon/src/process.rs",
    // The ids of MIG devices' instances; nvml-wrapper has no calls for them.
    "plugin/daemon/src/nvml_instances.rs",
];

/// Crates that are locked in more than one version.
const DUPLICATES: &[Duplicate] = &[
    ("base64", "tonic, tower-http and k8s-openapi are on 0.22, kube-client and serde-saphyr on 0.23"),
    ("itertools", "prost's code generator is on 0.15, criterion on 0.13; neither is in a shipped program"),
    ("foldhash", "comes with the hashbrowns"),
    ("getrandom", "ring is on 0.2, ahash (kube-runtime) on 0.3, tempfile and rand on 0.4"),
    (
        "hashbrown",
        "petgraph (code generation, tests only) is on 0.15, kube-runtime on 0.16, indexmap on 0.17",
    ),
    ("prettyplease", "tonic-build is on 0.2, prost-build on 0.3; code generation, tests only"),
    ("r-efi", "never built on Linux; comes with the getrandoms"),
    ("syn", "the authors of derive macros are moving from 2 to 3"),
    ("thiserror", "nvml-wrapper 0.13 is on 1"),
    ("thiserror-impl", "comes with thiserror"),
    ("unicode-width", "miette, which prints protox's errors, is on 0.1; tests only"),
    ("windows-sys", "never built on Linux; ring is on 0.52"),
];

/// Dependencies that work without being named in the crate's code.
const WITHOUT_A_NAME: &[&str] = &[
    // Chooses the version of the Kubernetes API for kube.
    "k8s-openapi",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ci/ has a parent").to_owned()
}

fn tree() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| Tree::read(&root()).expect("the repository can be read"))
}

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace");
    let package = |package: cargo_metadata::Package| {
        let directory = package.manifest_path.parent().expect("a manifest has a directory");
        let directory = directory.strip_prefix(root()).expect("a member is below the root");
        let dependencies = package.dependencies.iter().map(|d| Dependency {
            name: d.name.clone(),
            internal: d.path.is_some(),
            development: d.kind == DependencyKind::Development,
        });
        Package {
            name: package.name.to_string(),
            directory: directory.to_string(),
            manifest: fs::read_to_string(&package.manifest_path).expect("a manifest can be read"),
            dependencies: dependencies.collect(),
        }
    };
    metadata.packages.into_iter().map(package).collect()
}

fn each<'a>(files: impl Iterator<Item = &'a File>, rule: impl Fn(&File) -> Vec<Finding>) -> Vec<Finding> {
    let mut seen = 0;
    let findings = files.inspect(|_| seen += 1).flat_map(rule).collect();
    assert!(seen > 0, "the rule looked at no file at all");
    findings
}

#[track_caller]
fn none(findings: &[Finding]) {
    let list: String = findings.iter().map(|finding| format!("  {finding}\n")).collect();
    assert!(findings.is_empty(), "{} finding(s):\n{list}", findings.len());
}

fn member_manifests() -> impl Iterator<Item = &'static File> {
    tree().files.iter().filter(|f| f.name() == "Cargo.toml" && f.path != "Cargo.toml")
}

fn below(directory: &str) -> impl Iterator<Item = &'static File> + use<> {
    let directory = directory.to_owned();
    tree().production().filter(move |f| f.path.starts_with(&directory))
}

fn documents() -> impl Iterator<Item = &'static File> {
    tree().files.iter().filter(|f| f.path.ends_with(".md"))
}

fn named(path: &str) -> impl Iterator<Item = &'static File> {
    tree().get(path).into_iter()
}

#[test]
fn crates_depend_only_along_the_allowed_arrows() {
    let packages = packages();
    assert!(packages.len() >= 9, "cargo metadata names only {} crates", packages.len());
    none(&arrows::check(&packages, arrows::ARROWS));
}

#[test]
fn the_core_links_nothing_that_does_io() {
    none(&arrows::check_core_links(&packages(), arrows::CORE_MAY_LINK));
}

#[test]
fn the_core_touches_no_file_clock_thread_or_hash_order() {
    none(&each(below("plugin/core/src/"), purity::core));
}

#[test]
fn production_never_speaks_of_its_stand_ins() {
    let sources = tree().rust().filter(|f| f.path.starts_with("plugin/") && f.path.contains("/src/"));
    none(&each(sources, words::stand_ins));
}

#[test]
fn production_state_is_not_behind_a_lock() {
    none(&each(below("plugin/"), purity::locked_state));
}

#[test]
fn the_lints_against_crashes_stay_on() {
    none(&each(tree().production(), purity::lints_switched_off));
}

#[test]
fn unsafe_stands_only_in_the_files_that_need_it() {
    none(&each(tree().rust(), |file| purity::unsafe_code(file, UNSAFE)));
    none(&purity::unsafe_list_stale(&tree().rust().cloned().collect::<Vec<_>>(), UNSAFE));
}

#[test]
fn nothing_is_left_unfinished_or_commented_out() {
    none(&each(tree().rust(), purity::unfinished));
    none(&each(tree().rust(), purity::commented_out));
}

#[test]
fn every_module_says_why_it_exists() {
    none(&each(tree().rust(), names::missing_module_doc));
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    none(&each(tree().rust(), names::empty_module_names));
}

#[test]
fn the_top_level_holds_only_what_the_layout_names() {
    none(&names::unknown_top_level(tree()));
}

#[test]
fn every_story_is_in_a_known_folder_with_a_name_in_kebab_case() {
    none(&each(tree().files.iter(), |file| names::misplaced_story(file).into_iter().collect()));
}

#[test]
fn no_file_is_longer_than_the_hard_limit() {
    none(&each(tree().production(), size::hard_limits));
}

#[test]
fn long_files_and_functions_become_fewer_never_more() {
    let counts = [
        ("files_over_300_lines", each(tree().production(), size::long_files)),
        ("functions_over_70_lines", each(tree().production(), size::long_functions)),
    ];
    let path = root().join("ci/tests/ratchet.txt");
    let mut problems = String::new();
    for (name, findings) in counts {
        let ratchet = Ratchet::read(&fs::read_to_string(&path).expect("ci/tests/ratchet.txt can be read"));
        let list: String = findings.iter().map(|finding| format!("  {finding}\n")).collect();
        match ratchet.turn(name, findings.len()) {
            Turn::Same => {}
            Turn::Grew { from, to } => {
                problems += &format!("{name} grew from {from} to {to}; split one of\n{list}")
            }
            Turn::Shrank { .. } if std::env::var_os("TANDEM_LOWER_RATCHET").is_some() => {
                fs::write(&path, ratchet.lowered(name, findings.len()))
                    .expect("ci/tests/ratchet.txt can be written");
            }
            Turn::Shrank { from, to } => {
                problems += &format!(
                    "{name} shrank from {from} to {to}: keep it so with\n  TANDEM_LOWER_RATCHET=1 cargo test -p ci --test tidy\n"
                );
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn every_version_is_chosen_in_the_workspace_manifest() {
    none(&each(member_manifests(), manifests::own_versions));
}

#[test]
fn every_dependency_is_used() {
    none(&each(member_manifests(), |manifest| manifests::unused(tree(), manifest, WITHOUT_A_NAME)));
    let members: Vec<_> = member_manifests().collect();
    none(&each(named("Cargo.toml"), |root| manifests::unclaimed(root, &members)));
}

#[test]
fn every_crate_inherits_lints_edition_and_publishing() {
    none(&each(member_manifests(), manifests::not_inherited));
}

#[test]
fn a_crate_is_locked_in_one_version_or_has_a_reason() {
    none(&each(named("Cargo.lock"), |lock| manifests::duplicate_versions(lock, DUPLICATES)));
}

#[test]
fn the_text_speaks_of_the_product_alone() {
    none(&each(tree().files.iter().filter(|f| f.path != "Cargo.lock"), words::not_the_product));
}

#[test]
fn documents_point_at_what_exists() {
    none(&each(documents(), |file| documents::dead_paths(tree(), file)));
}

#[test]
fn the_changelog_keeps_its_shape() {
    none(&each(named("CHANGELOG.md"), documents::changelog));
}

#[test]
fn the_front_page_stays_a_page() {
    none(&each(named("README.md"), documents::long_readme));
}
