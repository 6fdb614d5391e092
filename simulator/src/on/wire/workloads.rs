//! What pods do on their GPUs on the wire stage: a simulated process per pod takes memory from the node's fake driver as
//! its curve says, through the MPS daemon of its container's pipe directory if it has one, and ends as told or when it
//! asks for too much; its container then ends and starts again with the kubelet's back-off.

mod process;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fake_cluster::api::Key;

use self::process::{go_on, start};
use super::{WireStage, refused};
use crate::on::work::{self, BACK_OFF_MAX, ENDS_MAX, End, Process};
use crate::on::{Done, StageError};
use crate::scenario::Workload;

/// First process id that is given out; above those that Linux uses by default.
const PID_FIRST: u32 = 5_000_000;

/// The work of all pods.
#[derive(Debug)]
pub(super) struct Workloads {
    jobs: Vec<Job>,
    back_off: Duration,
    next_pid: u32,
    ended: BTreeMap<String, Vec<String>>,
    /// By node, what was shown of how busy its processes are.
    shown: BTreeMap<String, Vec<(u32, u64)>>,
}

#[derive(Debug)]
struct Job {
    pod: Key,
    node: String,
    work: Workload,
    state: State,
    back_off: Duration,
}

#[derive(Debug)]
enum State {
    /// Its container does not run yet, or it backs off.
    Waits { until: Instant },
    /// Its process runs.
    Runs(Run),
    /// It is over.
    Over,
}

#[derive(Debug)]
struct Run {
    process: Process,
    began: Instant,
    /// Its container's devices were taken away.
    cut_off: bool,
}

impl Job {
    /// Its container has ended: it waits for the next, where the pod says that there is one.
    fn ends(&mut self, pod: &serde_json::Value, code: i32) {
        let policy = pod["spec"]["restartPolicy"].as_str().unwrap_or("Always");
        self.state = match work::starts_again(policy, code) {
            true => State::Waits { until: Instant::now() + self.back_off },
            false => State::Over,
        };
        self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
    }
}

impl Workloads {
    pub(super) fn new(back_off: Duration) -> Workloads {
        Workloads {
            jobs: Vec::new(),
            back_off,
            next_pid: PID_FIRST,
            ended: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Whether any pod has something to do.
    pub(super) fn are_active(&self) -> bool {
        self.jobs.iter().any(|job| !matches!(job.state, State::Over))
    }

    /// How the containers of a pod ended so far.
    pub(super) fn ended(&self, pod: &str) -> Vec<String> {
        self.ended.get(pod).cloned().unwrap_or_default()
    }

    /// The processes on a node lose their GPUs; how many there are.
    pub(super) fn cut_off(&mut self, node: &str) -> usize {
        let jobs = self.jobs.iter_mut().filter(|job| job.node == node);
        let runs = jobs.filter_map(|job| match &mut job.state {
            State::Runs(run) => Some(run),
            State::Waits { .. } | State::Over => None,
        });
        runs.map(|run| run.cut_off = true).count()
    }

    fn note_end(&mut self, pod: &str, why: &str) {
        let ends = self.ended.entry(pod.to_owned()).or_default();
        if ends.len() < ENDS_MAX {
            ends.push(why.to_owned());
        }
    }
}

impl WireStage {
    /// Gives pods something to do.
    ///
    /// # Errors
    /// No pod is selected.
    pub(super) fn work(&mut self, work: &Workload) -> Result<Done, StageError> {
        for pod in self.chosen("give work to", &work.pods)? {
            let jobs = self.workloads.jobs.iter_mut();
            for job in jobs.filter(|job| job.pod == pod) {
                stop(&self.nodes, job);
            }
            let back_off = self.workloads.back_off;
            self.workloads.jobs.push(Job {
                pod,
                node: String::new(),
                work: work.clone(),
                state: State::Waits { until: Instant::now() },
                back_off,
            });
        }
        self.workloads.jobs.retain(|job| !matches!(job.state, State::Over));
        Ok(Done::Did)
    }

    /// Lets every process do what its time has come for.
    pub(super) async fn tend_workloads(&mut self) {
        let mut jobs = std::mem::take(&mut self.workloads.jobs);
        for job in &mut jobs {
            if let Some(end) = self.tend_job(job) {
                self.job_ends(job, &end).await;
            }
        }
        jobs.retain(|job| !matches!(job.state, State::Over));
        self.workloads.jobs = jobs;
        self.show_busy();
    }

    /// Shows on each node how busy its GPUs are, when that has changed.
    fn show_busy(&mut self) {
        for node in &self.nodes {
            let Some(driver) = &node.driver else { continue };
            let here = self.workloads.jobs.iter().filter(|job| job.node == node.name);
            let processes = here.filter_map(|job| match &job.state {
                State::Runs(run) => Some(&run.process),
                State::Waits { .. } | State::Over => None,
            });
            let busy: Vec<&Process> = processes.collect();
            let shown = work::busy_of(&busy);
            if self.workloads.shown.get(&node.name) == Some(&shown) {
                continue;
            }
            let done = driver.state().change(|driver| {
                work::show_busy(driver, busy.iter().copied());
                Ok(())
            });
            match done {
                Ok(()) => {
                    self.workloads.shown.insert(node.name.clone(), shown);
                }
                Err(error) => self.programs.complain(error.to_string()),
            }
        }
    }

    /// A pod's containers end because somebody said so: its process goes with them.
    ///
    /// # Errors
    /// The pod does not run.
    pub(super) async fn finish_work(&mut self, pod: &Key, code: i32) -> Result<(), StageError> {
        self.end_containers(pod, code, &format!("exit code {code}")).await?;
        let Ok(object) = self.api.read(|store| store.get(pod)) else { return Ok(()) };
        for job in self.workloads.jobs.iter_mut().filter(|job| job.pod == *pod) {
            stop(&self.nodes, job);
            job.ends(&object, code);
        }
        Ok(())
    }

    /// Ends every process.
    pub(super) fn end_workloads(&mut self) {
        for mut job in std::mem::take(&mut self.workloads.jobs) {
            stop(&self.nodes, &mut job);
        }
    }

    /// Ends a pod's containers, and remembers why.
    ///
    /// # Errors
    /// The pod does not run.
    pub(super) async fn end_containers(&mut self, pod: &Key, code: i32, why: &str) -> Result<(), StageError> {
        let what = || format!("end the containers of pod `{}`", pod.name);
        let found = self.api.read(|store| store.get(pod));
        let object = found.map_err(|error| refused(what(), &error))?;
        let name = object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        self.workloads.note_end(&pod.name, why);
        let finished = self.node(&name)?.finish(pod, code).await;
        finished.map_err(|error| refused(what(), &error))
    }

    /// One turn of a job; the answer is how its process ended, if it did.
    fn tend_job(&mut self, job: &mut Job) -> Option<End> {
        let object = self.api.read(|store| store.get(&job.pod)).ok();
        let is_alive = object.as_ref().is_some_and(|pod| {
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            !pod["metadata"]["deletionTimestamp"].is_string() && phase != "Failed" && phase != "Succeeded"
        });
        let Some(object) = object.filter(|_| is_alive) else {
            stop(&self.nodes, job);
            return None;
        };
        job.node = object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        match &mut job.state {
            State::Waits { until } if *until > Instant::now() => None,
            State::Waits { .. } => {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                let node = self.nodes.iter().find(|node| node.name == job.node)?;
                let container = node.running_container(uid)?;
                let pid = self.workloads.next_pid;
                self.workloads.next_pid += 1;
                match start(node, &job.pod.name, &container, pid) {
                    Ok(process) => {
                        job.state = State::Runs(Run { process, began: Instant::now(), cut_off: false });
                        None
                    }
                    Err(why) => Some(End::refused(why)),
                }
            }
            State::Runs(run) => {
                let node = self.nodes.iter().find(|node| node.name == job.node)?;
                let end = if run.cut_off { Some(no_device()) } else { go_on(node, run, &job.work) };
                if end.is_some() {
                    stop(&self.nodes, job);
                }
                end
            }
            State::Over => None,
        }
    }

    /// A process ended: its container ends with it, and starts again where the pod says so.
    async fn job_ends(&mut self, job: &mut Job, end: &End) {
        let found = self.api.read(|store| store.get(&job.pod));
        let Ok(object) = found else { return };
        job.ends(&object, end.code);
        if let Err(error) = self.end_containers(&job.pod.clone(), end.code, &end.told()).await {
            self.programs.complain(error.to_string());
        }
    }
}

/// How a process ends that may not open its GPU any more.
fn no_device() -> End {
    End::refused("no CUDA-capable device is detected (Operation not permitted)".to_owned())
}

/// Ends a job's process; its memory is free again.
fn stop(nodes: &[super::Node], job: &mut Job) {
    if let State::Runs(run) = &job.state {
        let node = nodes.iter().find(|node| node.name == job.node);
        if let Some(state) = node.and_then(|node| node.driver.as_ref()) {
            // a process that the driver has taken off its list already is gone as well
            let _gone = state.state().stop_process(run.process.pid);
        }
    }
    job.state = State::Over;
}
