//! What pods do on their GPUs on the model stage: a simulated process per pod works on the node's fake driver, through the
//! MPS daemon of its container's pipe directory if it has one; its container then ends and starts again as on the wire.

use std::sync::Arc;
use std::time::Duration;

use super::api::pods::StatusWrite;
use super::engine::Context;
use super::happening::{PodId, What};
use super::latency::{Latency, SECOND};
use super::node::Node;
use crate::on::work::{self, End, Process};
use crate::scenario::Workload;

/// How long until a container's end is told again to a kubelet that did not listen.
const TELL_AGAIN: Latency = Latency { least: SECOND / 2, most: SECOND };

/// The work of one pod on this node.
#[derive(Debug)]
pub(super) struct Job {
    work: Arc<Workload>,
    /// What was planned for an earlier turn is void.
    turn: u64,
    process: Option<Process>,
    began: u64,
    back_off: Duration,
    /// The process has ended, and the kubelet does not know yet.
    end: Option<End>,
}

impl Node {
    /// A pod on this node is given something to do, or its container has started: its process begins.
    pub(super) fn work_begins(&mut self, cx: &mut Context<'_>, id: PodId) {
        if self.is_closing {
            return;
        }
        let Some(work) = cx.api.pods.get(&id).and_then(|pod| pod.work.clone()) else {
            return;
        };
        let before = self.works.remove(&id);
        let is_the_same = before.as_ref().is_some_and(|before| Arc::ptr_eq(&before.work, &work));
        let (turn, back_off) = before.as_ref().map_or((0, self.crash_back_off), |before| {
            (before.turn + 1, if is_the_same { before.back_off } else { self.crash_back_off })
        });
        if let Some(process) = before.and_then(|before| before.process) {
            self.process_ends(&process);
        }
        let job = Job { work, turn, process: None, began: 0, back_off, end: None };
        self.works.insert(id, job);
        cx.at(cx.now(), What::WorkGoesOn(id, turn));
    }

    /// The process of a pod does what its time has come for.
    pub(super) fn work_goes_on(&mut self, cx: &mut Context<'_>, id: PodId, turn: u64) {
        if self.works.get(&id).is_none_or(|job| job.turn != turn) {
            return;
        }
        // it starts with its container
        if !self.kubelet.runs(id) {
            return;
        }
        let Some(mut job) = self.works.remove(&id) else { return };
        let end = match job.end.take() {
            Some(end) => Some(end),
            None => self.process_works(cx, id, &mut job),
        };
        job.turn += 1;
        match end {
            None => {
                let age = Duration::from_nanos(cx.now() - job.began);
                if let Some(next) = job.work.next_change(age) {
                    cx.at(job.began + nanos(next), What::WorkGoesOn(id, job.turn));
                }
                self.works.insert(id, job);
            }
            Some(end) => {
                if let Some(process) = job.process.take() {
                    self.process_ends(&process);
                }
                self.job_ends(cx, id, job, end);
            }
        }
        self.show_busy();
        cx.show();
    }

    fn process_works(&mut self, cx: &Context<'_>, id: PodId, job: &mut Job) -> Option<End> {
        if job.process.is_none() {
            match self.process_starts(cx, id) {
                Ok(process) => (job.process, job.began) = (Some(process), cx.now()),
                Err(why) => return Some(End::refused(why)),
            }
        }
        let age = Duration::from_nanos(cx.now() - job.began);
        let gpus = self.host.gpus.as_mut()?;
        job.process.as_mut()?.go_on(gpus, &job.work, age)
    }

    /// Makes a context on each GPU that the pod's container sees.
    fn process_starts(&mut self, cx: &Context<'_>, id: PodId) -> Result<Process, String> {
        let pod = cx.api.pods.get(&id).ok_or("the pod is gone")?;
        let given = self.kubelet.given(id).ok_or("the pod has no container")?;
        let first = pod.template.app_containers().min().unwrap_or_default();
        let container = given.containers.get(first).cloned().unwrap_or_default();
        let name = pod.name.as_ref();
        let gpus = self.host.gpus.as_ref().ok_or("CUDA_ERROR_NO_DEVICE: no driver")?;
        let gpus = work::visible(gpus, &container)?;
        let pid = self.host.new_pid();
        if let Some(pipe) = work::pipe_directory(&container) {
            let joined = self.host.join_mps(&pipe, pid, &gpus, &container, name);
            joined.map_err(|error| format!("CUDA_ERROR_MPS_CONNECTION_FAILED: {error}"))?;
        } else if let Some(driver) = self.host.gpus.as_mut() {
            for gpu in &gpus {
                let spec = work::program(driver, pid, gpu, name);
                driver.start_process(&spec).map_err(|error| error.to_string())?;
            }
        }
        Ok(Process::new(pid, gpus.into_iter().map(|(index, _)| index).collect()))
    }

    fn process_ends(&mut self, process: &Process) {
        if let Some(gpus) = self.host.gpus.as_mut() {
            gpus.stop_process(process.pid);
        }
    }

    /// A process ended: its container ends with it, and its work begins again after the back-off.
    fn job_ends(&mut self, cx: &mut Context<'_>, id: PodId, mut job: Job, end: End) {
        if !self.kubelet.listens(cx.now()) {
            job.end = Some(end);
            cx.after(TELL_AGAIN, What::WorkGoesOn(id, job.turn));
            self.works.insert(id, job);
            return;
        }
        if self.containers_end(cx, id, end.code, end.told()) {
            cx.at(cx.now() + nanos(job.back_off), What::WorkGoesOn(id, job.turn));
            job.back_off = (job.back_off * 2).min(work::BACK_OFF_MAX);
            self.works.insert(id, job);
        }
    }

    /// The app containers of a pod end: they start again at once, or the pod is over. `true` when they start again.
    fn containers_end(&mut self, cx: &mut Context<'_>, id: PodId, code: i32, why: String) -> bool {
        let Some(pod) = cx.api.pods.get_mut(&id) else { return false };
        if pod.ended.len() < work::ENDS_MAX {
            pod.ended.push(why);
        }
        let template = Arc::clone(&pod.template);
        let policy = template.object["spec"]["restartPolicy"].as_str().unwrap_or("Always");
        let again = work::starts_again(policy, code);
        if again {
            for container in template.app_containers() {
                pod.restarts += 1;
                pod.tell(format!("Started: Started container {container}"));
            }
            cx.api.changes.pod(id, Some(cx.node));
        } else {
            self.kubelet.containers_ended(id);
            let write = if code == 0 { StatusWrite::Succeeded(id) } else { StatusWrite::Ended(id) };
            cx.api.write_status(cx.engine, write);
        }
        cx.show();
        again
    }

    /// The containers of a pod end because somebody said so.
    ///
    /// # Errors
    /// They do not run, or the kubelet does not.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, id: PodId, code: i32) -> Result<(), String> {
        if !self.kubelet.listens(cx.now()) {
            return Err(format!("the kubelet of node `{}` does not answer", self.name));
        }
        if !self.kubelet.runs(id) {
            return Err(format!("it does not run on node `{}`", self.name));
        }
        let job = self.works.remove(&id);
        let again = self.containers_end(cx, id, code, format!("exit code {code}"));
        if let Some(mut job) = job {
            if let Some(process) = job.process.take() {
                self.process_ends(&process);
            }
            if again {
                job.turn += 1;
                cx.at(cx.now() + nanos(job.back_off), What::WorkGoesOn(id, job.turn));
                job.back_off = (job.back_off * 2).min(work::BACK_OFF_MAX);
                self.works.insert(id, job);
            }
            self.show_busy();
        }
        Ok(())
    }

    /// Pods whose containers were stopped: their processes went with them.
    pub(super) fn bury_work(&mut self, cx: &mut Context<'_>) {
        for id in std::mem::take(&mut self.kubelet.stopped) {
            let Some(job) = self.works.remove(&id) else { continue };
            if let Some(process) = job.process {
                self.process_ends(&process);
                self.show_busy();
                cx.show();
            }
        }
    }

    /// No process runs any more; work begins again with its container.
    pub(super) fn work_is_lost(&mut self) {
        let mut works = std::mem::take(&mut self.works);
        for job in works.values_mut() {
            job.turn += 1;
            job.end = None;
            if let Some(process) = job.process.take() {
                self.process_ends(&process);
            }
        }
        self.works = works;
        self.show_busy();
    }

    fn show_busy(&mut self) {
        if let Some(gpus) = self.host.gpus.as_mut() {
            work::show_busy(gpus, self.works.values().filter_map(|job| job.process.as_ref()));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
