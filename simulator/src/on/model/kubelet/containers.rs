//! Containers of admitted pods: what the plugins' answers make of them, and how they start.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::kubelet::ledger::RunOptions;
use fake_cluster::node::cdi::{self, Injected};

use super::super::api::pods::{Fate, StatusWrite, uid};
use super::super::engine::Context;
use super::super::happening::{PodId, What};
use super::super::latency::SECOND;
use super::Kubelet;
use super::admission::Turn;
use super::pods::{Stage, nanos};
use crate::on::wire::objects;
use crate::world::ContainerView;

/// How long until a container that could not be created is tried again (Kubernetes' first back-off).
const CONTAINER_AGAIN: u64 = 10 * SECOND;

impl Kubelet {
    /// The pod's containers are created. The answer is why the kubelet died, if it did.
    pub(in super::super) fn containers_start(
        &mut self,
        cx: &mut Context<'_>,
        life: u32,
        id: PodId,
        specs: &BTreeMap<String, String>,
    ) -> Option<String> {
        let template = cx.api.pods.get(&id).map(|pod| pod.template.clone())?;
        let local = self.pods.get(&id).filter(|local| local.stage == Stage::Starting && !local.deleting)?;
        let mut containers = local.given.containers.as_ref().clone();
        let complete = local.allocated_again;
        let running = self.living(life)?;
        for container in &template.containers {
            let options = running.ledger.run_options(&uid(id), &container.name);
            let asks = container.limits.values().any(|count| *count > 0);
            if options.is_none() && asks && !complete {
                running.queue.push_back(Turn { pod: id, container: Some(container.name.clone()) });
                return self.admit_next(cx);
            }
            let options = options.unwrap_or_default();
            let injected = cdi::inject(specs, &cdi::names(&options));
            if let Some(pod) = cx.api.pods.get_mut(&id) {
                pod.tell(match &injected {
                    Ok(_) => format!("Started: Started container {}", container.name),
                    Err(why) => format!("Failed: Error: {why}"),
                });
            }
            let Ok(injected) = injected else {
                cx.at(cx.now() + CONTAINER_AGAIN, What::ContainersStart(life, id));
                return None;
            };
            containers.insert(container.name.clone(), view(&options, &injected));
        }
        if complete {
            self.note_devices(id);
        }
        if let Some(local) = self.pods.get_mut(&id) {
            local.given.containers = Arc::new(containers);
            local.stage = Stage::Running;
        }
        if let Some((fate, works)) = cx.api.pods.get(&id).map(|pod| (pod.fate, pod.work.is_some())) {
            if let Fate::EndsAfter(time) = fate {
                cx.at(cx.now() + nanos(time), What::PodFinishes(id));
            }
            if works {
                cx.at(cx.now(), What::WorkBegins(id));
            }
        }
        cx.api.write_status(cx.engine, StatusWrite::Running(id));
        None
    }

    /// A container that had no record has its devices now, or must wait.
    pub(super) fn container_allocated(&mut self, cx: &mut Context<'_>, id: PodId, ok: bool) {
        if let Some(local) = self.pods.get_mut(&id) {
            local.allocated_again = ok;
        }
        let pause = if ok { 0 } else { CONTAINER_AGAIN };
        cx.at(cx.now() + pause, What::ContainersStart(self.life, id));
    }
}

fn view(options: &RunOptions, injected: &Injected) -> ContainerView {
    let mount = |(host, container, read_only): (&str, &str, bool)| {
        let mark = if read_only { " (ro)" } else { "" };
        format!("{host} -> {container}{mark}")
    };
    let mounts = options.mounts.iter().map(|m| mount((&m.host_path, &m.container_path, m.read_only)));
    let devices = options
        .devices
        .iter()
        .map(|d| format!("{} -> {} ({})", d.host_path, d.container_path, d.permissions));
    ContainerView {
        env: options.envs.clone(),
        mounts: mounts.collect(),
        devices: devices.collect(),
        cdi: cdi::names(options),
        cdi_nodes: objects::cdi_nodes(injected),
    }
}
