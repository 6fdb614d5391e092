//! The ledger against the cases of Kubernetes 1.36's own device manager tests, without any socket.
//!
//! Devices are written as words: `a` healthy, `!a` not, `a@0,1` on NUMA nodes 0 and 1, `a@` with an empty topology.

mod allocation;
mod capacity;
mod containers;
mod defects;
mod preference;
mod properties;
mod registration;
mod restart;
mod several;

use super::*;
use crate::kubelet::pod::{ContainerKind, ContainerRequest};
use allocate::Affinity;
use plugin_api::deviceplugin::{CdiDevice, ContainerAllocateResponse, DeviceSpec, Mount};

const RES: &str = "vendor.test/dev";
const OTHER: &str = "vendor.test/nic";

type Prefer = Box<dyn FnMut(&mut Ledger, &PreferredCall) -> Result<Vec<String>, CallError>>;
type Answer =
    Box<dyn FnMut(&mut Ledger, &AllocateCall) -> Result<Option<ContainerAllocateResponse>, CallError>>;

/// The ledger and a scripted plugin behind it.
struct Bench {
    ledger: Ledger,
    prefer: Prefer,
    answer: Answer,
    asked: Vec<PreferredCall>,
    calls: Vec<AllocateCall>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(LedgerSettings::default())
    }

    fn with(settings: LedgerSettings) -> Bench {
        Bench::over(Ledger::new(settings))
    }

    fn fixed() -> Bench {
        Bench::with(LedgerSettings { profile: Profile::fixed(), ..LedgerSettings::default() })
    }

    fn over(ledger: Ledger) -> Bench {
        Bench {
            ledger,
            prefer: Box::new(|_, _| Ok(Vec::new())),
            answer: Box::new(|_, call| Ok(Some(response(&call.ids)))),
            asked: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// A bench whose plugin has registered `RES` and listed these devices.
    fn serving(list: &str) -> Bench {
        let mut bench = Bench::new();
        bench.serve(RES, list);
        bench
    }

    fn serve(&mut self, resource: &str, list: &str) -> ClientId {
        self.serve_with(resource, list, PluginOptions::default())
    }

    fn serve_with(&mut self, resource: &str, list: &str, options: PluginOptions) -> ClientId {
        let client = self.ledger.register("v1beta1", resource).unwrap();
        self.ledger.connected(client, resource, options);
        self.list(resource, list);
        client
    }

    fn list(&mut self, resource: &str, list: &str) {
        self.ledger.list_received(resource, &devices(list));
    }

    fn admit(&mut self, pod: &PodRequest) -> Result<(), AllocationError> {
        self.admit_aligned(pod, &[])
    }

    fn admit_aligned(&mut self, pod: &PodRequest, nodes: &[i64]) -> Result<(), AllocationError> {
        let mut affinity = Affinity::new();
        if !nodes.is_empty() {
            for container in &pod.containers {
                affinity.insert(container.name.clone(), nodes.iter().copied().collect());
            }
        }
        let step = self.ledger.begin_aligned(&Arc::new(pod.clone()), affinity);
        self.drive(step)
    }

    fn drive(&mut self, mut step: Step) -> Result<(), AllocationError> {
        loop {
            step = match step {
                Step::Finished(outcome) => return outcome,
                Step::AskPreferred(call, awaiting) => {
                    let answer = (self.prefer)(&mut self.ledger, &call);
                    self.asked.push(call);
                    self.ledger.preferred(awaiting, answer)
                }
                Step::CallAllocate(call, awaiting) => {
                    let answer = (self.answer)(&mut self.ledger, &call);
                    self.calls.push(call);
                    self.ledger.allocated(awaiting, answer)
                }
            };
        }
    }

    /// Admits a one-container pod and gives its device IDs.
    fn take(&mut self, uid: &str, count: u64) -> Result<BTreeSet<String>, AllocationError> {
        self.admit(&pod(uid, &[(RES, count)]))?;
        Ok(self.ids(uid, "app", RES))
    }

    fn ids(&self, uid: &str, container: &str, resource: &str) -> BTreeSet<String> {
        let devices = self.ledger.devices_of(uid);
        devices.get(container).and_then(|all| all.get(resource)).into_iter().flatten().cloned().collect()
    }

    /// Capacity and allocatable of a resource, if it is shown.
    fn counts(&mut self, resource: &str) -> Option<(u64, u64)> {
        let capacity = self.ledger.capacity(Duration::ZERO);
        capacity.resources.get(resource).map(|count| (count.capacity, count.allocatable))
    }
}

fn devices(list: &str) -> Vec<Device> {
    list.split_whitespace()
        .map(|word| {
            let healthy = !word.starts_with('!');
            let word = word.trim_start_matches('!');
            let (id, nodes) = match word.split_once('@') {
                Some((id, nodes)) => (id, Some(nodes.split(',').flat_map(str::parse).collect())),
                None => (word, None),
            };
            Device { id: id.to_owned(), healthy, numa_nodes: nodes }
        })
        .collect()
}

fn set(ids: &str) -> BTreeSet<String> {
    ids.split_whitespace().map(str::to_owned).collect()
}

fn as_set(ids: &[String]) -> BTreeSet<String> {
    ids.iter().cloned().collect()
}

fn limits(limits: &[(&str, u64)]) -> BTreeMap<String, u64> {
    limits.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn container(name: &str, kind: ContainerKind, of: &[(&str, u64)]) -> ContainerRequest {
    ContainerRequest { name: name.to_owned(), kind, limits: limits(of) }
}

fn pod_of(uid: &str, containers: Vec<ContainerRequest>) -> PodRequest {
    PodRequest { uid: uid.to_owned(), namespace: "default".to_owned(), name: uid.to_owned(), containers }
}

fn pod(uid: &str, of: &[(&str, u64)]) -> PodRequest {
    pod_of(uid, vec![container("app", ContainerKind::App, of)])
}

fn response(ids: &[String]) -> ContainerAllocateResponse {
    let mut sorted = ids.to_vec();
    sorted.sort();
    ContainerAllocateResponse {
        envs: [("DEVICES".to_owned(), sorted.join(","))].into(),
        devices: sorted.iter().map(|id| node(id)).collect(),
        ..ContainerAllocateResponse::default()
    }
}

fn node(id: &str) -> DeviceSpec {
    let path = format!("/dev/{id}");
    DeviceSpec { container_path: path.clone(), host_path: path, permissions: "mrw".to_owned() }
}

fn mount(path: &str, host: &str) -> Mount {
    Mount { container_path: path.to_owned(), host_path: host.to_owned(), read_only: true }
}

fn cdi(name: &str) -> CdiDevice {
    CdiDevice { name: name.to_owned() }
}

fn call_error() -> CallError {
    CallError { code: "Unknown".to_owned(), message: "out of order".to_owned() }
}

const PREFERRING: PluginOptions = PluginOptions { pre_start_required: false, preferred_allocation: true };
const PREPARING: PluginOptions = PluginOptions { pre_start_required: true, preferred_allocation: false };
