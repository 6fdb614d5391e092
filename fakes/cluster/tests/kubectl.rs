//! The real kubectl against the fake API server: what a person does while a scenario is held open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fake_cluster::api::{ApiHandle, ApiServer, Resource, kubeconfig};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// A kubectl call takes longer only when something is broken.
const CALL_MAX: Duration = Duration::from_secs(30);

struct Cluster {
    handle: ApiHandle,
    _server: ApiServer,
    directory: tempfile::TempDir,
}

struct Output {
    ok: bool,
    text: String,
}

impl Cluster {
    /// `None` when this machine has no kubectl.
    async fn start() -> Option<Cluster> {
        if Command::new("kubectl").arg("version").arg("--client").output().await.is_err() {
            println!("SKIPPED: kubectl not found on this machine (Debian: kubernetes-client)");
            return None;
        }
        let handle = ApiHandle::empty_cluster().unwrap();
        for name in ["gpu-1", "gpu-2"] {
            let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "status": {"capacity": {"cpu": "8", "nvidia.com/gpu": "4"},
                    "nodeInfo": {"kubeletVersion": "v1.36.2"},
                    "conditions": [{"type": "Ready", "status": "True"}]}});
            handle.write(|store, now| store.create(Resource::Nodes, "", node, now)).unwrap();
        }
        let server = ApiServer::start(handle.clone(), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        kubeconfig::write(&directory.path().join("config"), &server.url()).unwrap();
        Some(Cluster { handle, _server: server, directory })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.directory.path().join("config"))
            .env("HOME", self.directory.path())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> Output {
        self.run_with_input(line, "").await
    }

    async fn run_with_input(&self, line: &str, input: &str) -> Output {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = tokio::time::timeout(CALL_MAX, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("`kubectl {line}` hangs")).unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Output { ok: output.status.success(), text }
    }

    /// Runs a call that must succeed.
    async fn must(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(output.ok, "kubectl {line}: {}", output.text);
        output.text
    }

    async fn apply(&self, path: &str, input: &str) -> PathBuf {
        let path = self.directory.path().join(path);
        std::fs::write(&path, input).unwrap();
        let output = self.run(&format!("apply -f {}", path.display())).await;
        assert!(output.ok, "apply: {}", output.text);
        path
    }
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: train, labels: {app: train}}
spec:
  containers:
  - name: main
    image: cuda
    env: [{name: A, value: '1'}]
    resources: {limits: {nvidia.com/gpu: 1}}
";

/// Lines with runs of spaces made one, as columns are padded.
fn words(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn nodes_are_listed_labelled_annotated_tainted_and_described() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let listed = words(&cluster.must("get nodes").await);
    assert_eq!(listed[0], "NAME STATUS ROLES AGE VERSION");
    assert!(listed[1].starts_with("gpu-1 Ready <none> ") && listed[1].ends_with("v1.36.2"), "{listed:?}");
    assert!(cluster.must("get nodes -o wide").await.contains("INTERNAL-IP"));

    cluster.must("label node gpu-2 nvidia.com/device-plugin.config=mps-config").await;
    let column = "get node gpu-2 -L nvidia.com/device-plugin.config --no-headers";
    assert!(cluster.must(column).await.contains("mps-config"));
    assert_eq!(
        cluster.must("get nodes -l nvidia.com/device-plugin.config=mps-config -o name").await.trim(),
        "node/gpu-2"
    );
    cluster.must("label node gpu-2 nvidia.com/device-plugin.config-").await;
    assert!(!cluster.must(column).await.contains("mps-config"));
    cluster.must("annotate node gpu-2 example.com/a=b").await;

    cluster.must("taint node gpu-2 shared=true:NoSchedule other=x:NoExecute").await;
    cluster.must("taint node gpu-2 shared-").await;
    let taints = cluster.must("get node gpu-2 -o jsonpath={.spec.taints}").await;
    assert_eq!(taints, "[{\"effect\":\"NoExecute\",\"key\":\"other\",\"value\":\"x\"}]");
    cluster.must("taint node gpu-2 other-").await;

    let described = cluster.must("describe node gpu-2").await;
    assert!(described.contains("nvidia.com/gpu") && described.contains("example.com/a: b"), "{described}");
    cluster.must("cordon gpu-2").await;
    assert!(cluster.must("get nodes").await.contains("SchedulingDisabled"));
    cluster.must("uncordon gpu-2").await;
}

#[tokio::test]
async fn a_label_value_that_is_too_long_is_refused() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let patch = format!("{{\"metadata\":{{\"labels\":{{\"a\":\"{}\"}}}}}}", "x".repeat(64));
    let output = cluster.run(&format!("patch node gpu-1 --type merge -p {patch}")).await;
    assert!(!output.ok && output.text.contains("must be no more than 63 bytes"), "{}", output.text);
}

#[tokio::test]
async fn a_pod_is_created_applied_again_described_waited_for_and_deleted() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let path = cluster.apply("pod.yaml", POD).await;
    let listed = words(&cluster.must("get pods").await);
    assert_eq!(listed[0], "NAME READY STATUS RESTARTS AGE");
    assert!(listed[1].starts_with("train 0/1 Pending 0 "), "{listed:?}");
    cluster.apply("pod.yaml", &POD.replace("app: train", "app: other")).await;
    assert_eq!(cluster.must("get pod train -o jsonpath={.metadata.labels.app}").await, "other");
    let changed = POD.replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 2");
    std::fs::write(&path, changed).unwrap();
    let refused = cluster.run(&format!("apply -f {}", path.display())).await;
    assert!(!refused.ok && refused.text.contains("pod updates may not change fields"), "{}", refused.text);

    cluster.must("describe pod train").await;
    cluster.handle.write(|store, now| {
        let key = fake_cluster::api::Key::pod("default", "train");
        let mut pod = store.get(&key).unwrap().as_ref().clone();
        fake_cluster::api::set_condition(&mut pod, "Ready", true, "", "", now);
        store.update(&key, pod, fake_cluster::api::Part::Status).unwrap();
    });
    cluster.must("wait --for=condition=Ready pod/train --timeout=10s").await;
    let deleted = cluster.must("delete pod train").await;
    assert!(deleted.contains("deleted"), "{deleted}");
    assert!(cluster.must("get pods").await.contains("No resources found"));
    let missing = cluster.run("get pod train").await;
    assert!(!missing.ok && missing.text.contains("pods \"train\" not found"), "{}", missing.text);
}

#[tokio::test]
async fn a_watch_prints_each_change_as_it_happens() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let mut command = cluster.command("get nodes --watch -L role --no-headers");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let next = async |lines: &mut tokio::io::Lines<_>| {
        tokio::time::timeout(CALL_MAX, lines.next_line()).await.unwrap().unwrap().unwrap()
    };
    assert!(next(&mut lines).await.starts_with("gpu-1"));
    assert!(next(&mut lines).await.starts_with("gpu-2"));
    cluster.must("label node gpu-1 role=exclusive").await;
    let line = next(&mut lines).await;
    assert!(line.starts_with("gpu-1") && line.trim_end().ends_with("exclusive"), "{line}");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn config_maps_daemon_sets_and_deployments_are_kept_as_applied() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let config =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: configs}\ndata: {default: 'version: v1'}\n";
    cluster.apply("config.yaml", config).await;
    cluster.apply("config.yaml", &config.replace("version: v1", "version: v2")).await;
    assert_eq!(cluster.must("get configmap configs -o jsonpath={.data.default}").await, "version: v2");
    let template = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}";
    for (kind, short) in [("DaemonSet", "ds"), ("Deployment", "deploy")] {
        let object = format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: w}}\nspec: {{selector: {{matchLabels: {{a: b}}}}, {template}}}\n"
        );
        cluster.apply("workload.yaml", &object).await;
        assert!(cluster.must(&format!("get {short}")).await.contains('w'));
        cluster.must(&format!("delete {short} w")).await;
    }
    cluster.must("create namespace team").await;
    cluster.must("create configmap x --from-literal=a=b -n team").await;
    assert!(cluster.must("get cm -A").await.contains("team"));
    cluster.must("delete namespace team").await;
    assert!(!cluster.must("get cm -A").await.contains("team"));
    assert!(cluster.must("version").await.contains("Server Version: v1.36.2"));
    assert!(cluster.must("get events").await.contains("No resources found"));
    cluster.must("api-resources").await;
}
