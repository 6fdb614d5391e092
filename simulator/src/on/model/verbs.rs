//! What the verbs of a scenario do on the model stage; each means what it means on the wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::api::pods::Fate;
use super::happening::{Changes, PodId, Which};
use super::program::State;
use super::{ModelStage, cluster, latency, refused};
use crate::expect::glob;
use crate::on::{Done, StageError};
use crate::scenario::{Apply, GpuNode, Object, Process, Selection, Verb, Workload};

/// How long a restart may take until the step counts as failed.
const RESTART_MAX: Duration = Duration::from_secs(60);

impl ModelStage {
    pub(super) fn perform(&mut self, verb: &Verb) -> Result<Done, StageError> {
        match verb {
            Verb::Label { node, set } => {
                let labels = set.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
                self.label(node, &labels.collect())
            }
            Verb::Unlabel { node, keys } => {
                self.label(node, &keys.iter().map(|key| (key.clone(), None)).collect())
            }
            Verb::Apply(all) => self.apply(all),
            Verb::ApplyAll(objects) => self.apply_all(objects),
            Verb::DeleteDeployments(names) => self
                .deployments(names, |cluster, name| cluster.api.delete_deployment(&mut cluster.engine, name)),
            Verb::ScaleDeployment { name, count } => self
                .deployments(std::slice::from_ref(name), |cluster, name| {
                    cluster.api.scale_deployment(&mut cluster.engine, name, *count)
                }),
            Verb::Delete(selection) => self.delete(selection),
            Verb::Restart { process: Process::Kubelet, node } => self.restart_kubelet(node),
            Verb::Restart { process, node } => self.restart(node, which(*process)),
            Verb::Kill { process: Process::Kubelet, .. } => Ok(Done::Skipped(
                "the simulated kubelet has no process to kill; restart it instead".to_owned(),
            )),
            Verb::Kill { process, node } => self.kill(node, which(*process)),
            Verb::OtherPlugin { .. } => Ok(Done::Skipped("other plugins are processes".to_owned())),
            Verb::InstallDriver { node, gpus } => self.install_driver(node, gpus),
            Verb::Mig { node, gpu, layout } => self.lay_out_mig(node, *gpu, layout.as_deref()),
            Verb::Edit { config, text } => self.edit(config, text.as_ref()),
            Verb::Fault { spec, .. } => self.fault(spec),
            Verb::Finish { pods, exit_code } => self.finish_pods(pods, *exit_code),
            Verb::Workload(work) => self.work(work),
            Verb::Wait(_)
            | Verb::Advance(_)
            | Verb::Expect(_)
            | Verb::Never(_)
            | Verb::Sometimes(_)
            | Verb::Scale { .. }
            | Verb::Parallel(_) => Ok(Done::Skipped("the player does this itself".to_owned())),
        }
    }

    /// The number of a node.
    pub(super) fn number(&self, name: &str) -> Result<usize, StageError> {
        let number = self.cluster.number(name);
        number.ok_or_else(|| refused(format!("find node `{name}`"), &"there is none"))
    }

    fn label(&mut self, node: &str, labels: &Changes) -> Result<Done, StageError> {
        let number = self.number(node)?;
        let what = || format!("label node `{node}`");
        let cluster = &mut self.cluster;
        if !cluster.api.is_up() {
            return Err(refused(what(), &"the API server is down"));
        }
        cluster
            .api
            .patch_labels(&mut cluster.engine, number, labels)
            .map_err(|error| refused(what(), &error))?;
        Ok(Done::Did)
    }

    fn apply(&mut self, all: &[Apply]) -> Result<Done, StageError> {
        for apply in all {
            let cluster = &mut self.cluster;
            let what = || format!("create pod `{}`", apply.names.first().map_or("", String::as_str));
            let template = cluster
                .api
                .template(&cluster.engine, &apply.manifest)
                .map_err(|error| refused(what(), &error))?;
            for name in &apply.names {
                cluster
                    .api
                    .create_pod(&mut cluster.engine, &template, name, Fate::Stays)
                    .map_err(|error| refused(format!("create pod `{name}`"), &error))?;
            }
        }
        Ok(Done::Did)
    }

    fn apply_all(&mut self, objects: &[Object]) -> Result<Done, StageError> {
        for object in objects {
            match object {
                Object::Pods(apply) => {
                    self.apply(std::slice::from_ref(apply))?;
                }
                Object::Deployment { name, manifest, .. } => {
                    let cluster = &mut self.cluster;
                    cluster
                        .api
                        .create_deployment(&mut cluster.engine, name, manifest)
                        .map_err(|error| refused(format!("create deployment `{name}`"), &error))?;
                }
                Object::ConfigMap(configs) => self.edit_configs(configs.clone()),
            }
        }
        Ok(Done::Did)
    }

    /// Does something to Deployments; `false` is the answer for one that is not there.
    fn deployments(
        &mut self,
        names: &[String],
        mut change: impl FnMut(&mut cluster::Cluster, &str) -> bool,
    ) -> Result<Done, StageError> {
        for name in names {
            if !change(&mut self.cluster, name) {
                return Err(refused(format!("find deployment `{name}`"), &"there is none"));
            }
        }
        Ok(Done::Did)
    }

    /// The pods that are selected and exist, by name, as a list of the API server is ordered.
    fn chosen(&self, what: &str, selection: &Selection) -> Result<Vec<(Arc<str>, PodId)>, StageError> {
        let chosen = |name: &str, labels: &BTreeMap<String, String>| match selection {
            Selection::Names(names) => names.iter().any(|pattern| glob(pattern, name)),
            Selection::Labels(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
        };
        let pods = &self.cluster.api.pods;
        let mut pods: Vec<(Arc<str>, PodId)> = pods
            .iter()
            .filter(|(_, pod)| chosen(&pod.name, &pod.template.labels))
            .map(|(id, pod)| (Arc::clone(&pod.name), *id))
            .collect();
        if pods.is_empty() {
            return Err(refused(format!("{what} pods"), &"no pod is selected"));
        }
        pods.sort();
        Ok(pods)
    }

    fn delete(&mut self, selection: &Selection) -> Result<Done, StageError> {
        for (_, id) in self.chosen("delete", selection)? {
            self.cluster.api.delete_pod(&mut self.cluster.engine, id);
        }
        Ok(Done::Did)
    }

    fn finish_pods(&mut self, selection: &Selection, code: i32) -> Result<Done, StageError> {
        for (name, id) in self.chosen("finish", selection)? {
            let cluster = &mut self.cluster;
            let node = cluster.api.pods.get(&id).and_then(|pod| pod.node);
            let ended = node.and_then(|node| cluster.on(node, |node, cx| node.finish(cx, id, code)));
            ended
                .unwrap_or_else(|| Err("it has no node".to_owned()))
                .map_err(|error| refused(format!("end the containers of pod `{name}`"), &error))?;
        }
        Ok(Done::Did)
    }

    /// Gives pods something to do; those that run begin at once.
    fn work(&mut self, work: &Workload) -> Result<Done, StageError> {
        let work = Arc::new(work.clone());
        for (_, id) in self.chosen("give work to", &work.pods)? {
            let cluster = &mut self.cluster;
            let Some(pod) = cluster.api.pods.get_mut(&id) else { continue };
            pod.work = Some(Arc::clone(&work));
            if let Some(node) = pod.node {
                cluster.on(node, |node, cx| node.work_begins(cx, id));
            }
        }
        Ok(Done::Did)
    }

    /// Changes the config map; each node's volume follows within the kubelet's sync period.
    fn edit(&mut self, config: &str, text: Option<&String>) -> Result<Done, StageError> {
        if !self.cluster.api.is_up() {
            return Err(refused(format!("edit configuration `{config}`"), &"the API server is down"));
        }
        for number in 0..self.cluster.nodes.len() {
            self.cluster.on(number, |node, cx| {
                let configs = Arc::make_mut(&mut node.host.config_map);
                match text {
                    Some(text) => configs.insert(config.to_owned(), text.clone()),
                    None => configs.remove(config),
                };
                let sync = node.kubelet.config_map_sync();
                let delay = cx.engine.draw_from(latency::Latency { least: 0, most: sync });
                cx.at(cx.now() + delay, super::happening::What::ConfigProjected);
            });
        }
        Ok(Done::Did)
    }

    fn restart_kubelet(&mut self, name: &str) -> Result<Done, StageError> {
        let number = self.number(name)?;
        self.cluster.on(number, |node, cx| node.kubelet.stop(cx));
        let start = super::happening::What::KubeletStarts;
        self.cluster.happens_on(number, latency::KUBELET_START, start);
        let is_up = move |cluster: &cluster::Cluster| {
            cluster.nodes.get(number).is_some_and(|node| node.kubelet.is_up())
        };
        if self.cluster.advance_until(RESTART_MAX, is_up) {
            Ok(Done::Did)
        } else {
            Err(refused(format!("restart the kubelet of node `{name}`"), &"it does not start"))
        }
    }

    fn restart(&mut self, name: &str, which: Which) -> Result<Done, StageError> {
        let number = self.running(name, which)?;
        let starts = starts(&self.cluster, number, which);
        self.cluster.on(number, |node, cx| {
            match which {
                Which::Plugin => node.plugin.restarts = true,
                Which::Mps => node.mps.restarts = true,
            }
            node.ask_to_stop(cx, which);
        });
        self.await_start(name, number, which, starts)
    }

    fn kill(&mut self, name: &str, which: Which) -> Result<Done, StageError> {
        let number = self.running(name, which)?;
        let starts = starts(&self.cluster, number, which);
        self.cluster.on(number, |node, cx| {
            node.kill(cx, which);
            node.start_again(cx, which);
        });
        self.await_start(name, number, which, starts)
    }

    fn running(&self, name: &str, which: Which) -> Result<usize, StageError> {
        let number = self.number(name)?;
        let node = self.cluster.nodes.get(number);
        let alive = node.is_some_and(|node| match which {
            Which::Plugin => node.plugin.process.is_some(),
            Which::Mps => node.mps.process.is_some(),
        });
        if alive && node.is_some_and(|node| node.state(which) == State::Running) {
            return Ok(number);
        }
        Err(refused(format!("stop `{which:?}` on node `{name}`").to_lowercase(), &"it does not run"))
    }

    fn await_start(
        &mut self,
        name: &str,
        number: usize,
        which: Which,
        before: u64,
    ) -> Result<Done, StageError> {
        let started = move |cluster: &cluster::Cluster| starts(cluster, number, which) > before;
        if self.cluster.advance_until(RESTART_MAX, started) {
            Ok(Done::Did)
        } else {
            Err(refused(format!("restart a program on node `{name}`"), &"it does not start"))
        }
    }

    fn install_driver(&mut self, name: &str, gpus: &GpuNode) -> Result<Done, StageError> {
        let number = self.number(name)?;
        let installed = cluster::install(name, gpus)?;
        let there = self.cluster.on(number, |node, cx| {
            let there = node.host.gpus.is_some();
            if !there {
                node.host.gpus = Some(installed);
                cx.show();
            }
            there
        });
        if there == Some(false) {
            return Ok(Done::Did);
        }
        Err(refused(format!("install a driver on node `{name}`"), &"there is one already"))
    }
}

fn starts(cluster: &cluster::Cluster, number: usize, which: Which) -> u64 {
    let node = cluster.nodes.get(number);
    node.map_or(0, |node| match which {
        Which::Plugin => node.plugin.starts,
        Which::Mps => node.mps.starts,
    })
}

fn which(process: Process) -> Which {
    match process {
        Process::Mps => Which::Mps,
        Process::Plugin | Process::Kubelet => Which::Plugin,
    }
}
