//! Admission, one pod at a time: the ledger's step machine, with each call to a plugin as a message that takes its time.

use fake_cluster::kubelet::Rejection;
use fake_cluster::kubelet::ledger::{
    AllocationError, AwaitingAllocate, AwaitingPreferred, CallError, ClientId, Step,
};

use super::super::api::pods::{StatusWrite, uid};
use super::super::engine::Context;
use super::super::happening::{PodId, What};
use super::super::latency;
use super::super::message::{Answer, Call, Request};
use super::response::allocated;
use super::{Kubelet, Running};

/// Whose turn it is at the allocation of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// The pod.
    pub(super) pod: PodId,
    /// A container that starts again without a record; `None` is the pod's admission.
    pub(super) container: Option<String>,
}

/// The allocation that waits for a plugin.
#[derive(Debug)]
pub(super) struct Admitting {
    pub(super) turn: Turn,
    number: u64,
    awaiting: Awaiting,
}

#[derive(Debug)]
enum Awaiting {
    Preferred(AwaitingPreferred),
    Allocate(AwaitingAllocate),
}

/// What became of an allocation.
enum Progress {
    /// A plugin was asked.
    Waits,
    /// It is done.
    Done(Result<(), AllocationError>),
}

impl Kubelet {
    /// Begins with the next in the queue until one has to wait. The answer is why the kubelet died, if it did.
    pub(in super::super) fn admit_next(&mut self, cx: &mut Context<'_>) -> Option<String> {
        // ends with the queue: each round takes one out of it
        loop {
            let life = self.life;
            let running = self.running.as_mut()?;
            if running.admitting.is_some() {
                return None;
            }
            let Some(turn) = running.queue.pop_front() else {
                if running.listed && !running.sources_ready {
                    running.sources_ready = true;
                    running.ledger.sources_ready();
                }
                return None;
            };
            let Some(pod) = cx.api.pods.get(&turn.pod) else {
                continue;
            };
            let step = match &turn.container {
                None => running.ledger.begin_admission(&pod.request),
                Some(container) => {
                    let again = running.ledger.begin_missing_allocation(&uid(turn.pod), container);
                    again.unwrap_or(Step::Finished(Ok(())))
                }
            };
            if let Progress::Done(outcome) = running.go_on(cx, life, &turn, step)
                && let Some(why) = self.allocation_done(cx, &turn, outcome)
            {
                return Some(why);
            }
        }
    }

    /// A plugin answered, or could not be asked. The answer is why the kubelet died, if it did.
    pub(in super::super) fn call_answered(
        &mut self,
        cx: &mut Context<'_>,
        life: u32,
        number: u64,
        answer: Answer,
    ) -> Option<String> {
        let running = self.living(life)?;
        let Admitting { turn, awaiting, .. } = running.admitting.take_if(|waits| waits.number == number)?;
        let step = match (awaiting, answer) {
            (Awaiting::Preferred(awaiting), Answer::Preferred(answer)) => {
                running.ledger.preferred(awaiting, answer)
            }
            (Awaiting::Allocate(awaiting), Answer::Allocate(answer)) => {
                allocated(&mut running.ledger, awaiting, answer)
            }
            (Awaiting::Preferred(awaiting), Answer::Allocate(_)) => {
                running.ledger.preferred(awaiting, Err(closing()))
            }
            (Awaiting::Allocate(awaiting), Answer::Preferred(_)) => {
                running.ledger.allocated(awaiting, Err(closing()))
            }
        };
        match running.go_on(cx, life, &turn, step) {
            Progress::Waits => None,
            Progress::Done(outcome) => {
                let died = self.allocation_done(cx, &turn, outcome);
                died.or_else(|| self.admit_next(cx))
            }
        }
    }

    fn allocation_done(
        &mut self,
        cx: &mut Context<'_>,
        turn: &Turn,
        outcome: Result<(), AllocationError>,
    ) -> Option<String> {
        if let Some(error) = outcome.as_ref().err().filter(|error| error.kills_the_kubelet()) {
            return Some(error.to_string());
        }
        if turn.container.is_some() {
            self.container_allocated(cx, turn.pod, outcome.is_ok());
            return None;
        }
        let admitted = match outcome {
            Ok(()) => self.check_fit(cx, turn.pod),
            Err(error) => Err(Rejection {
                reason: "UnexpectedAdmissionError".to_owned(),
                message: format!("Pod was rejected: Allocate failed due to {error}, which is unexpected"),
            }),
        };
        match admitted {
            Ok(()) => self.admitted(cx, turn.pod),
            Err(rejection) => self.rejected(cx, turn.pod, rejection),
        }
        None
    }

    fn check_fit(&self, cx: &Context<'_>, id: PodId) -> Result<(), Rejection> {
        let node = cx.api.nodes.get(cx.node);
        match (&self.running, cx.api.pods.get(&id), node) {
            (Some(running), Some(pod), Some(node)) => running.ledger.check_fit(&pod.request, &node.extended),
            _ => Ok(()),
        }
    }

    fn rejected(&mut self, cx: &mut Context<'_>, id: PodId, rejection: Rejection) {
        if let Some(running) = &mut self.running {
            running.ledger.pod_terminated(&uid(id));
        }
        self.is_over(id);
        let Rejection { reason, message } = rejection;
        cx.api.write_status(cx.engine, StatusWrite::Failed(id, reason, message));
    }
}

impl Running {
    fn go_on(&mut self, cx: &mut Context<'_>, life: u32, turn: &Turn, mut step: Step) -> Progress {
        // a round without a connection ends the allocation, so this ends after one round per resource
        loop {
            let (client, request, awaiting) = match step {
                Step::Finished(outcome) => return Progress::Done(outcome),
                Step::AskPreferred(call, awaiting) => {
                    (call.client, Request::Preferred(call), Awaiting::Preferred(awaiting))
                }
                Step::CallAllocate(call, awaiting) => {
                    (call.client, Request::Allocate(call), Awaiting::Allocate(awaiting))
                }
            };
            if self.call(cx, life, client, request) {
                self.admitting = Some(Admitting { turn: turn.clone(), number: self.calls, awaiting });
                return Progress::Waits;
            }
            step = match awaiting {
                Awaiting::Preferred(awaiting) => self.ledger.preferred(awaiting, Err(closing())),
                Awaiting::Allocate(awaiting) => self.ledger.allocated(awaiting, Err(closing())),
            };
        }
    }

    fn call(&mut self, cx: &mut Context<'_>, life: u32, client: ClientId, request: Request) -> bool {
        let Some(connection) = self.connections.get(&client) else {
            return false;
        };
        self.calls += 1;
        let call = Call { kubelet: life, number: self.calls, server: connection.server, request };
        cx.after(latency::SOCKET, What::CallArrives(Box::new(call)));
        true
    }
}

/// What a call on a registration without a connection ends with.
fn closing() -> CallError {
    CallError { code: "Canceled".to_owned(), message: "grpc: the client connection is closing".to_owned() }
}
