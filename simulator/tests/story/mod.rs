//! Records of runs that show everything a report can show.

use std::time::Duration;

use serde_json::{Map, Value, json};
use simulator::timeline::{Failure, Header, Kind, Marker, Recorder, Timeline, Verdict};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// The time between two looks at the cluster.
const LOOK_MS: u64 = 25;

fn uuid(node: &str, gpu: u32) -> String {
    let tail = node
        .bytes()
        .fold(u64::from(gpu) + 1, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(byte)));
    format!("GPU-{:08x}-4c0a-9b1d-0000-{gpu:012x}", tail & 0xffff_ffff)
}

/// The holders of a GPU: pod and replica.
type Holders = Vec<(String, u32)>;

fn gpu(node: &str, index: u32, shared: bool, state: &str, holders: &Holders, used: f64) -> Value {
    let names: Vec<&String> = holders.iter().map(|(pod, _)| pod).collect();
    let (role, strategy) =
        if shared { ("nvidia.com/gpu.shared", "mps") } else { ("nvidia.com/gpu", "exclusive") };
    json!({
        "uuid": uuid(node, index), "index": index, "role": role, "state": state, "holders": names,
        "computeMode": if shared { "Exclusive_Process" } else { "Default" },
        "mpsDaemon": if shared { "running" } else { "absent" },
        "plugin": {"strategy": strategy},
        "memory": {"used": used * GIB, "total": 15.0 * GIB},
    })
}

fn whole(mut gpu: Value) -> Value {
    for key in ["used", "total"] {
        let bytes = gpu["memory"][key].as_f64().unwrap();
        gpu["memory"][key] = json!(bytes as u64);
    }
    gpu
}

fn node(gpus: Vec<Value>, config: &str, switch: &str, replicas: u32) -> Value {
    let none = gpus.is_empty();
    json!({
        "ready": true, "gpus": gpus,
        "labels": {"nvidia.com/gpu.replicas": replicas.to_string()},
        "allocatable": if none { json!({}) } else { json!({"nvidia.com/gpu": 4}) },
        "plugin": {"running": true, "ready": !none,
                   "state": if none { Value::Null } else { json!({"config_applied": config, "switch": switch}) }},
    })
}

fn pod(node: Option<&str>, resource: &str, ids: Vec<String>) -> Value {
    json!({
        "phase": "Running", "node": node, "resources": {resource: 1}, "ids": {resource: ids},
    })
}

/// One look at the story's cluster.
fn look(ms: u64) -> Value {
    let mut pods = Map::new();
    let shared_now = (1200..6000).contains(&ms);
    let draining = (4200..6000).contains(&ms);
    let mut on = vec![Holders::new(); 4];
    if (1800..5600).contains(&ms) {
        for number in 1..=10_u32 {
            let (gpu, replica) = ((number - 1) % 4, (number - 1) / 4);
            if ms < 1800 + u64::from(number) * 40 {
                continue;
            }
            let name = format!("shared-{number}");
            let id = format!("{}::{replica}", uuid("gpu-2", gpu));
            pods.insert(name.clone(), pod(Some("gpu-2"), "nvidia.com/gpu.shared", vec![id]));
            on[gpu as usize].push((name, replica));
        }
    }
    let mut whole_gpus = vec![Holders::new(); 4];
    if ms >= 1800 {
        for (name, gpus) in [("exclusive-1", vec![0]), ("exclusive-2", vec![1]), ("pair", vec![2, 3])] {
            let ids = gpus.iter().map(|gpu| uuid("gpu-1", *gpu)).collect();
            pods.insert(name.to_owned(), pod(Some("gpu-1"), "nvidia.com/gpu", ids));
            for gpu in gpus {
                whole_gpus[gpu as usize].push((name.to_owned(), 0));
            }
        }
        pods.insert(
            "too-big".into(),
            json!({"phase": "Pending", "resources": {"nvidia.com/gpu": 5},
            "scheduled": {"status": "False", "reason": "Unschedulable",
                          "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu <b>bold</b>"}}),
        );
        pods.insert("greedy".into(), json!({"phase": "Failed", "node": "gpu-2", "reason": "UnexpectedAdmissionError",
            "message": "maximum request size for shared resources is 1; found 2", "resources": {"nvidia.com/gpu.shared": 2}}));
    }
    let memory = |holders: &Holders, each: f64| {
        let since = ms.saturating_sub(1900) as f64 / 1000.0;
        0.4 + holders.len() as f64 * each * (1.0 - (-since / 0.7).exp())
    };
    let state = |ms: u64| match ms {
        1000..1200 => "converting",
        6000..6150 => "converting",
        _ if draining => "draining",
        _ => "settled",
    };
    let second = (0..4).map(|index| {
        let holders = &on[index as usize];
        whole(gpu("gpu-2", index, shared_now, state(ms), holders, memory(holders, 3.2)))
    });
    let first = (0..4).filter(|index| *index != 3 || !(6900..7500).contains(&ms)).map(|index| {
        let holders = &whole_gpus[index as usize];
        let mut gpu = whole(gpu("gpu-1", index, false, "settled", holders, memory(holders, 11.0)));
        if index == 2 && (6700..7600).contains(&ms) {
            gpu["plugin"]["health"] = json!("Xid 79: fallen off the bus");
        }
        gpu
    });
    let config = if (1200..4200).contains(&ms) { "mps-config" } else { "default" };
    let switch = if draining { "applying" } else { "settled" };
    json!({
        "nodes": {
            "gpu-1": node(first.collect(), "default", "settled", 1),
            "gpu-2": node(second.collect(), config, switch, if shared_now { 4 } else { 1 }),
            "cpu-1": node(vec![], "", "", 0),
        },
        "pods": pods,
    })
}

fn marker(step: usize, from: f64, until: f64, kind: Kind, node: Option<&str>, text: &str) -> Marker {
    Marker {
        at: from,
        until: Some(until),
        node: node.map(str::to_owned),
        kind,
        text: text.to_owned(),
        ok: Some(true),
        step: Some(step),
        details: None,
    }
}

/// The mixed cluster: a flip to shared and back, faults at the end, and an expectation that does not come true.
pub(crate) fn mixed() -> Timeline {
    let mut recorder = Recorder::default();
    for ms in (0..=8400).step_by(LOOK_MS as usize) {
        recorder.see(Duration::from_millis(ms), &look(ms));
    }
    let evidence = "not true within 1.20s:\n\
        pods.pair.phase   (scenarios/sharing/mixed-cluster.yaml:212:16)\n  - expected  \"Running\"\n  + found     \"Failed\"\n\
        nodes.gpu-1.gpus.3.state   (scenarios/sharing/mixed-cluster.yaml:218:40)\n  - expected  \"settled\"\n  + found     \"lost\"";
    let mut last = marker(
        12,
        7.2,
        8.4,
        Kind::Expect,
        None,
        "the lost GPU comes back and its pod never noticed  [expect within 1.20s]",
    );
    last.ok = Some(false);
    last.details = Some(evidence.to_owned());
    let label = "nvidia.com/device-plugin.config";
    for marker in [
        marker(1, 0.0, 0.62, Kind::Expect, None, "both GPU nodes serve whole GPUs  [expect within 10.0s]"),
        marker(2, 0.98, 0.99, Kind::Label, Some("gpu-2"), &format!("label gpu-2 {label}=mps-config")),
        marker(3, 0.99, 1.5, Kind::Expect, None, "gpu-2 shares its GPUs through MPS  [expect within 10.0s]"),
        marker(
            4,
            1.72,
            1.78,
            Kind::Apply,
            None,
            "apply pods exclusive-1…exclusive-2, pair, shared-1…shared-10, too-big, greedy",
        ),
        marker(5, 1.78, 2.5, Kind::Expect, None, "every pod has its place  [expect within 10.0s]"),
        marker(6, 4.18, 4.2, Kind::Label, Some("gpu-2"), &format!("label gpu-2 {label}-")),
        marker(7, 4.2, 4.9, Kind::Expect, None, "gpu-2 drains  [expect within 10.0s]"),
        marker(8, 5.5, 5.51, Kind::Delete, None, "delete pods with app=shared"),
        marker(9, 5.51, 6.3, Kind::Expect, None, "gpu-2 is exclusive again  [expect within 15.0s]"),
        marker(10, 6.4, 6.45, Kind::Restart, Some("gpu-1"), "restart the kubelet of gpu-1"),
        marker(11, 6.7, 6.71, Kind::Fault, Some("gpu-1"), "fault: Xid 79 on GPU 2 of gpu-1, for 900ms"),
        last,
    ] {
        recorder.mark(marker);
    }
    let header = Header {
        scenario: "mixed-cluster".into(),
        file: "scenarios/sharing/mixed-cluster.yaml".into(),
        story: "A mixed cluster: exclusive GPUs on one node, MPS-shared GPUs on another, no GPU on a third. One label turns a node\n\
                from exclusive to shared while the cluster works; taking the label away turns it back once its pods are gone."
            .into(),
        stage: "wire".into(),
        seed: 7,
        commit: Some("0d3e7aa".into()),
        timers_scaled: vec!["nodeStatusUpdate 10s→200ms".into(), "endpointGrace 300s→2s".into()],
        verdict: Verdict::Failed,
        wall_seconds: 8.9,
        not_reached: vec!["13  nothing is left".into()],
        replay: Some("cargo sim run scenarios/sharing/mixed-cluster.yaml --seed 7".into()),
    };
    let failure = Failure {
        from: 7.2,
        at: 8.4,
        step: Some(12),
        text: "the lost GPU comes back and its pod never noticed  [expect within 1.20s]".into(),
        evidence: evidence.lines().map(str::to_owned).collect(),
        ..Failure::default()
    };
    recorder.finish(header, Some(failure))
}

/// A large cluster in virtual time: pods come and go, every fifth node is shared, some GPUs fall ill.
pub(crate) fn large(nodes: u32, gpus: u32, pods: u32) -> Timeline {
    let mut recorder = Recorder::default();
    for minute in 0..120_u32 {
        let mut all = Map::new();
        let mut named = Map::new();
        let mut held: Vec<Vec<Holders>> = vec![vec![Holders::new(); gpus as usize]; nodes as usize];
        for number in 0..pods {
            let begins = number * 110 / pods;
            if minute < begins || minute > begins + 6 + number % 9 {
                continue;
            }
            let (on, index) = (number * 7 % nodes, number / nodes % gpus);
            let holders = &mut held[on as usize][index as usize];
            let most = if on % 5 == 0 { 4 } else { 1 };
            if holders.len() >= most {
                continue;
            }
            let (name, host) = (format!("job-{number}"), format!("node-{on:02}"));
            let (resource, id) = if most == 1 {
                ("nvidia.com/gpu", uuid(&host, index))
            } else {
                ("nvidia.com/gpu.shared", format!("{}::{}", uuid(&host, index), holders.len()))
            };
            let replica = holders.len() as u32;
            holders.push((name.clone(), replica));
            named.insert(name, pod(Some(&host), resource, vec![id]));
        }
        for number in 0..pods {
            let begins = number * 110 / pods;
            let name = format!("job-{number}");
            if minute + 1 >= begins && minute < begins + 3 && !named.contains_key(&name) {
                named.insert(name, json!({"phase": "Pending", "resources": {"nvidia.com/gpu": 1}}));
            }
        }
        for on in 0..nodes {
            let host = format!("node-{on:02}");
            let list = (0..gpus).map(|index| {
                let holders = &held[on as usize][index as usize];
                let mut gpu =
                    whole(gpu(&host, index, on % 5 == 0, "settled", holders, holders.len() as f64 * 3.0));
                if on == 3 && index == 2 && (40..60).contains(&minute) {
                    gpu["plugin"]["health"] = json!("Xid 48");
                }
                gpu
            });
            let config = if on % 5 == 0 { "mps-config" } else { "default" };
            all.insert(
                host.clone(),
                node(list.collect(), config, "settled", if on % 5 == 0 { 4 } else { 1 }),
            );
        }
        recorder.see(Duration::from_secs(u64::from(minute) * 60), &json!({"nodes": all, "pods": named}));
    }
    let header = Header {
        scenario: "a-large-cluster".into(),
        file: "scenarios/incidents/large.yaml".into(),
        story: "Two hours of a cluster of 200 GPUs, with pods that come and go.".into(),
        stage: "model".into(),
        seed: 1,
        verdict: Verdict::Passed,
        wall_seconds: 1.2,
        ..Header::default()
    };
    recorder.mark(Marker {
        at: 2400.0,
        kind: Kind::Fault,
        node: Some("node-03".into()),
        text: "fault: Xid 48 on GPU 2 of node-03".into(),
        ..Marker::default()
    });
    recorder.finish(header, None)
}
