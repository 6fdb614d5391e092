//! What is missing is named, and what is done on a cluster is done in its order: tried with programs that only write down how
//! they were called.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tandem-kind-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("bin")).unwrap();
        Scratch(path)
    }

    /// A program that writes down how it was called, and then does what the shell is told.
    fn program(&self, name: &str, does: &str) {
        let path = self.0.join("bin").join(name);
        let script = format!("#!/bin/sh\necho \"{name} $*\" >> {}/called\n{does}\n", self.0.display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn tools(&self) -> Result<Tools> {
        let path = format!("{}:/usr/bin:/bin", self.0.join("bin").display());
        Tools::find(&|name| (name == "PATH").then(|| path.clone().into()))
    }

    fn called(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("called")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let scratch = Scratch::new("missing");
    let nowhere = scratch.0.join("bin").into_os_string();
    let why = Tools::find(&|name| (name == "PATH").then(|| nowhere.clone())).unwrap_err().to_string();
    for part in ["missing: `docker` (", "`kind` (https://kind.sigs.k8s.io", "`kubectl` ("] {
        assert!(why.contains(part), "{why}");
    }
    for name in ["docker", "kind", "kubectl"] {
        scratch.program(name, "exit 0");
    }
    scratch.tools().unwrap();
    scratch.program("docker", "echo no daemon here >&2; exit 1");
    let why = scratch.tools().unwrap_err().to_string();
    assert!(
        why.contains("container engine") && why.contains("no daemon here") && !why.contains("`kind`"),
        "{why}"
    );
}

#[test]
fn a_node_image_that_is_not_there_is_pulled_or_named() {
    let scratch = Scratch::new("images");
    scratch.program("kind", "exit 0");
    scratch.program("kubectl", "exit 0");
    scratch.program("docker", "case \"$*\" in version*) exit 0;; *inspect*old*) exit 0;; *) exit 1;; esac");
    let tools = scratch.tools().unwrap();
    tools.has_node_images("- role: worker\n  image: node:old\n").unwrap();
    let why = format!("{:#}", tools.has_node_images("  image: node:old\n  image: node:new\n").unwrap_err());
    assert!(why.contains("node image `node:new`") && why.contains("docker pull node:new"), "{why}");
}

#[test]
fn the_clusters_configuration_mounts_a_driver_root_of_every_worker() {
    let here = files::Files::of(&repository());
    let config = here.cluster_config().unwrap();
    assert!(!config.contains("@ROOT@"), "{config}");
    assert!(config.contains(&format!("\nname: {CLUSTER}\n")));
    let count = |what: &str| config.matches(what).count();
    assert_eq!(count("- role:"), deploy::NODES.len());
    assert_eq!(count("story-role: gpu"), files::GPU_NODES.len());
    assert_eq!(count("- role: worker"), files::GPU_NODES.len());
    assert_eq!(count("nvidia.com/gpu.present"), deploy::NODES.len());
}

/// The overlay's file: everything in it that must be in the manifests by the same name.
#[test]
fn what_differs_on_kind_names_containers_of_the_manifests() {
    let here = files::Files::of(&repository());
    let manifests: BTreeMap<String, String> = fs::read_dir(here.manifests())
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_string_lossy().into_owned(), fs::read_to_string(&path).ok()?))
        })
        .collect();
    let of = |name: &str| {
        let found = manifests.iter().find(|(file, _)| file.ends_with(name));
        found.unwrap_or_else(|| panic!("no manifest `{name}`")).1
    };
    for (file, patch) in [("plugin.yaml", "plugin.yaml"), ("mps.yaml", "mps.yaml")] {
        let patch = fs::read_to_string(here.overlay(patch)).unwrap();
        let container = patch.lines().find_map(|line| line.trim().strip_prefix("- name: ")).unwrap();
        assert!(
            of(file).contains(&format!("- name: {container}\n")),
            "`{file}` has no container `{container}`"
        );
    }
    let (namespace, label) = PLUGIN_PODS.split_once('/').unwrap();
    let (key, value) = label.split_once('=').unwrap();
    assert!(of("plugin.yaml").contains(&format!("namespace: {namespace}\n")));
    assert!(of("plugin.yaml").contains(&format!("{key}: {value}\n")));
    let (_, value) = MPS_PODS.split_once('=').unwrap();
    assert!(of("mps.yaml").contains(&format!("{key}: {value}\n")));
    let class = fs::read_to_string(here.overlay("runtime-class.yaml")).unwrap();
    assert!(class.contains("\n  name: nvidia\n") && of("plugin.yaml").contains("runtimeClassName: nvidia\n"));
}

#[test]
fn the_manifests_are_applied_then_changed_then_waited_for() {
    let scratch = Scratch::new("deploy");
    for name in ["docker", "kind", "kubectl"] {
        scratch.program(name, "exit 0");
    }
    let here = files::Files::of(&scratch.0);
    deploy::deploy(&scratch.tools().unwrap(), &here).unwrap();
    let called: Vec<String> =
        scratch.called().into_iter().filter(|line| line.starts_with("kubectl")).collect();
    let verbs = ["apply", "replace", "patch", "patch", "delete", "wait", "wait"];
    assert_eq!(called.len(), verbs.len(), "{called:?}");
    for (line, verb) in called.iter().zip(verbs) {
        assert!(
            line.contains(&format!(" {verb} ")) && line.contains("target/kind/kubeconfig"),
            "{verb}: {line}"
        );
    }
    scratch.program("kubectl", "case \"$*\" in *patch*) exit 3;; esac");
    let why = format!("{:#}", deploy::deploy(&scratch.tools().unwrap(), &here).unwrap_err());
    assert!(why.contains("patch daemonset/tandem-device-plugin") && why.contains("exit status: 3"), "{why}");
}

#[test]
fn what_a_failed_story_leaves_is_collected_from_every_node() {
    let scratch = Scratch::new("collect");
    scratch.program("docker", "exit 0");
    scratch.program("kubectl", "echo 'kind: List'");
    scratch.program("kind", &format!("mkdir -p {}/target/kind/logs", scratch.0.display()));
    let here = files::Files::of(&scratch.0);
    deploy::collect(&scratch.tools().unwrap(), &here).unwrap();
    let called = scratch.called().join("\n");
    for node in deploy::NODES {
        assert!(called.contains(&format!("docker cp {CLUSTER}-{node}:/var/lib/tandem ")), "{called}");
    }
    assert_eq!(fs::read_to_string(here.logs().join("events.yaml")).unwrap(), "kind: List\n");
    // one thing that fails does not keep the others from being collected
    scratch.program("docker", "case \"$*\" in *worker2*) exit 1;; esac");
    fs::remove_file(here.logs().join("events.yaml")).unwrap();
    assert!(deploy::collect(&scratch.tools().unwrap(), &here).is_err());
    assert!(here.logs().join("events.yaml").is_file());
}

#[test]
fn down_deletes_the_cluster_and_what_was_made() {
    let scratch = Scratch::new("down");
    for name in ["docker", "kind", "kubectl"] {
        scratch.program(name, "exit 0");
    }
    let here = files::Files::of(&scratch.0);
    here.write_cluster_config("kind: Cluster\n").unwrap();
    down(&scratch.tools().unwrap(), &here).unwrap();
    assert!(scratch.called().contains(&format!("kind delete cluster --name {CLUSTER}")));
    assert!(!here.written_config().exists());
}

#[test]
fn the_pause_image_is_taken_as_the_runtime_lists_it() {
    let listed =
        "IMAGE TAG IMAGE ID SIZE\ndocker.io/kindest/kindnetd v1 a 1MB\nregistry.k8s.io/pause 3.10 b 320kB\n";
    assert_eq!(pause_of(listed).as_deref(), Some("registry.k8s.io/pause:3.10"));
    assert_eq!(pause_of("IMAGE TAG"), None);
}
