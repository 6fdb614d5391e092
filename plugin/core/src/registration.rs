//! One resource's way to the kubelet, and back to it after every restart of either side.
//!
//! ```text
//!            wanted           Listening            Registered
//!   Down ───────────► Opening ─────────► Registering ─────────► Serving
//!    ▲                 ▲  │ ListenFailed     │ RegisterFailed     │ StreamClosed, Unseen
//!    │ not wanted,     │  ▼                  ▼    StreamClosed    ▼
//!    │ in any state    └─ Unopened        Refused ───────────► Dropped
//!    └──────────────      (backoff)       (backoff, the       (backoff, a new
//!                                          same socket)        socket)
//! ```
//!
//! `StreamClosed` also tells that somebody has removed the socket's file, which can happen in any state that has one.
//! `KubeletAppeared` leads from every state but Down to Opening: a starting kubelet removes all sockets of its directory. What
//! was registered since that kubelet began to listen stays as it is ([`Registration::met`]).
//! While an earlier socket's Register has no answer, Opening leads to *Waiting* first: where two overlap, a kubelet up to 1.36
//! takes the failure of the one for the end of the other, and never withdraws its devices. The new socket has the same name
//! then, so that a kubelet that dials back finds it: its Yes leads to Serving, its No to Registering.

mod state;

use std::time::Duration;

use crate::backoff::Backoff;
use crate::config::ResourceName;
use crate::time::Time;

pub use state::{Demand, Input, State};

/// A stream that lasted for so long was no accident of a take-over: its end is the first of a new row.
const STEADY_AFTER: Duration = Duration::from_secs(600);
/// By how much the time of a file may lag behind the clock.
const FILE_TIME_LAGS: Duration = Duration::from_millis(50);

/// One resource's registration.
#[derive(Clone, Debug)]
pub struct Registration {
    resource: ResourceName,
    state: State,
    backoff: Backoff,
    /// For a new socket after a lost one.
    lost: Backoff,
    losses: u32,
    sockets: u32,
    attempt: u64,
    /// When the newest `Register` was sent.
    sent: Option<Time>,
    /// The attempt whose `Register` has no answer yet, and which of the sockets' names it gave.
    unanswered: Option<(u64, u32)>,
    successes: u64,
}

impl Registration {
    /// Not served yet.
    pub fn new(resource: ResourceName) -> Self {
        Registration {
            resource,
            state: State::Down,
            backoff: Backoff::for_registrations(),
            lost: Backoff::for_lost_streams(),
            losses: 0,
            sockets: 1,
            attempt: 0,
            sent: None,
            unanswered: None,
            successes: 0,
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The socket's file name: NVIDIA's for the first, `nvidia-gpu-2.sock` and so on for later ones with the same kubelet.
    pub fn endpoint(&self) -> String {
        let name = self.resource.as_str();
        let short = name.split_once('/').map_or(name, |(_, short)| short);
        match self.sockets {
            1 => format!("nvidia-{short}.sock"),
            n => format!("nvidia-{short}-{n}.sock"),
        }
    }

    /// How many sockets were asked for so far: the number of the newest one.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// How often the kubelet took it.
    pub fn successes(&self) -> u64 {
        self.successes
    }

    /// How many streams the kubelet ended in a row, or did not make use of.
    pub fn losses(&self) -> u32 {
        self.losses
    }

    /// Whether the kubelet that has listened for so long is the one that serves it, or is being asked to. It is found late where its
    /// directory is not told of; what has registered meanwhile would register twice, and the end of the first stream is taken
    /// for the end of both by kubelets up to 1.36. Where the two times are too close to tell, a Yes decides: if it was an earlier
    /// kubelet's after all, its stream ends or its devices stay unseen, and either is told.
    pub fn met(&self, now: Time, kubelet_age: Duration) -> bool {
        let Some(ago) = self.sent.map(|sent| now.since(sent)) else { return false };
        match self.state {
            State::Serving { .. } => ago <= kubelet_age + FILE_TIME_LAGS,
            State::Registering => ago + FILE_TIME_LAGS <= kubelet_age,
            State::Down
            | State::Opening
            | State::Unopened { .. }
            | State::Waiting
            | State::Refused { .. }
            | State::Dropped { .. } => false,
        }
    }

    /// When to send `Timeout`.
    pub fn retry_at(&self) -> Option<Time> {
        match self.state {
            State::Unopened { retry_at } | State::Refused { retry_at } | State::Dropped { retry_at } => {
                Some(retry_at)
            }
            State::Down | State::Opening | State::Waiting | State::Registering | State::Serving { .. } => {
                None
            }
        }
    }

    /// Something happened to the socket of this attempt. An older one's news changes nothing: its server was closed, and a
    /// Register that was under way can still be answered long after; it is waited for at most.
    pub fn on_socket(&mut self, now: Time, attempt: u64, input: Input) -> Option<Demand> {
        if attempt == self.attempt {
            return self.on(now, input);
        }
        let (_, name) = self.unanswered.filter(|(unanswered, _)| *unanswered == attempt)?;
        if !matches!(input, Input::Registered | Input::RegisterFailed) {
            return None;
        }
        self.unanswered = None;
        if self.state != State::Waiting {
            return None;
        }
        self.state = State::Registering;
        match input {
            // the kubelet dialled the name and found the new socket
            Input::Registered if name == self.sockets => self.on(now, input),
            _ => self.register(now),
        }
    }

    /// Something happened; the answer is what to do now.
    pub fn on(&mut self, now: Time, input: Input) -> Option<Demand> {
        use Input as I;
        use State as S;
        if matches!(input, I::Registered | I::RegisterFailed) {
            self.unanswered = None;
        }
        match (&self.state, input) {
            (S::Down, I::Wanted) => self.listen(),
            (S::Down, _) => None,
            (_, I::Unwanted) => {
                self.state = S::Down;
                // the shell gives the call up with the server
                self.unanswered = None;
                self.sockets += 1;
                Some(Demand::Close)
            }
            (_, I::KubeletAppeared) => {
                self.meet_another_kubelet();
                self.listen()
            }
            (S::Opening, I::Listening) => self.listening(now),
            (S::Opening, I::ListenFailed) => {
                self.state = S::Unopened { retry_at: now + self.backoff.next_delay() };
                None
            }
            (S::Registering, I::Registered) => {
                self.state = S::Serving { since: now };
                self.successes += 1;
                self.backoff.reset();
                None
            }
            (S::Registering, I::RegisterFailed) => {
                self.state = S::Refused { retry_at: now + self.backoff.next_delay() };
                None
            }
            // the stream can end between the kubelet's dial-back and its answer, and the socket's file be removed at any time
            (S::Waiting | S::Registering | S::Refused { .. } | S::Serving { .. }, I::StreamClosed)
            | (S::Serving { .. }, I::Unseen) => self.lose(now),
            (S::Serving { .. }, I::Seen) => {
                self.forget_losses();
                None
            }
            (S::Unopened { retry_at }, I::Timeout) if *retry_at <= now => self.listen(),
            (S::Refused { retry_at }, I::Timeout) if *retry_at <= now => self.register(now),
            (S::Dropped { retry_at }, I::Timeout) if *retry_at <= now => {
                self.sockets += 1;
                self.listen()
            }
            // answers to what is no longer under way, wishes that are fulfilled, and nothing that is due
            (
                S::Opening
                | S::Unopened { .. }
                | S::Waiting
                | S::Registering
                | S::Refused { .. }
                | S::Serving { .. }
                | S::Dropped { .. },
                I::Wanted
                | I::Listening
                | I::ListenFailed
                | I::Registered
                | I::RegisterFailed
                | I::StreamClosed
                | I::Seen
                | I::Unseen
                | I::Timeout,
            ) => None,
        }
    }

    fn listen(&mut self) -> Option<Demand> {
        self.state = State::Opening;
        self.attempt += 1;
        Some(Demand::Listen)
    }

    fn meet_another_kubelet(&mut self) {
        self.sockets = self.unanswered.map_or(1, |(_, name)| name);
        self.backoff.reset();
        self.forget_losses();
    }

    fn listening(&mut self, now: Time) -> Option<Demand> {
        if self.unanswered.is_none() {
            return self.register(now);
        }
        self.state = State::Waiting;
        None
    }

    fn lose(&mut self, now: Time) -> Option<Demand> {
        if let State::Serving { since } = self.state
            && now.since(since) >= STEADY_AFTER
        {
            self.forget_losses();
        }
        self.losses += 1;
        self.state = State::Dropped { retry_at: now + self.lost.next_delay() };
        None
    }

    fn forget_losses(&mut self) {
        self.losses = 0;
        self.lost.reset();
    }

    fn register(&mut self, now: Time) -> Option<Demand> {
        self.state = State::Registering;
        self.sent = Some(now);
        self.unanswered = Some((self.attempt, self.sockets));
        Some(Demand::Register)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Time = Time::from_millis(60_000);

    /// A registration brought into a state by the inputs that lead there.
    fn brought_to(state: &str) -> Registration {
        let path: &[Input] = match state {
            "down" => &[],
            "opening" => &[Input::Wanted],
            "unopened" => &[Input::Wanted, Input::ListenFailed],
            "registering" => &[Input::Wanted, Input::Listening],
            "refused" => &[Input::Wanted, Input::Listening, Input::RegisterFailed],
            "serving" => &[Input::Wanted, Input::Listening, Input::Registered],
            "dropped" => &[Input::Wanted, Input::Listening, Input::Registered, Input::StreamClosed],
            other => panic!("no such state: {other}"),
        };
        let mut registration = Registration::new(ResourceName::gpu());
        for input in path {
            registration.on(Time::START, *input);
        }
        assert_eq!(registration.state().tag(), state);
        registration
    }

    #[test]
    fn every_input_in_every_state_leads_where_the_diagram_says() {
        use Input as I;
        let inputs = [
            I::Wanted,
            I::Unwanted,
            I::Listening,
            I::ListenFailed,
            I::Registered,
            I::RegisterFailed,
            I::StreamClosed,
            I::Seen,
            I::Unseen,
            I::KubeletAppeared,
            I::Timeout,
        ];
        // in the order of `inputs`
        let table: [(&str, [&str; 11]); 7] = [
            (
                "down",
                ["opening", "down", "down", "down", "down", "down", "down", "down", "down", "down", "down"],
            ),
            (
                "opening",
                [
                    "opening",
                    "down",
                    "registering",
                    "unopened",
                    "opening",
                    "opening",
                    "opening",
                    "opening",
                    "opening",
                    "opening",
                    "opening",
                ],
            ),
            (
                "unopened",
                [
                    "unopened", "down", "unopened", "unopened", "unopened", "unopened", "unopened",
                    "unopened", "unopened", "opening", "opening",
                ],
            ),
            (
                "registering",
                [
                    "registering",
                    "down",
                    "registering",
                    "registering",
                    "serving",
                    "refused",
                    "dropped",
                    "registering",
                    "registering",
                    "opening",
                    "registering",
                ],
            ),
            (
                "refused",
                [
                    "refused",
                    "down",
                    "refused",
                    "refused",
                    "refused",
                    "refused",
                    "dropped",
                    "refused",
                    "refused",
                    "opening",
                    "registering",
                ],
            ),
            (
                "serving",
                [
                    "serving", "down", "serving", "serving", "serving", "serving", "dropped", "serving",
                    "dropped", "opening", "serving",
                ],
            ),
            (
                "dropped",
                [
                    "dropped", "down", "dropped", "dropped", "dropped", "dropped", "dropped", "dropped",
                    "dropped", "opening", "opening",
                ],
            ),
        ];
        for (from, row) in table {
            for (input, to) in inputs.into_iter().zip(row) {
                let mut registration = brought_to(from);
                registration.on(LATER, input);
                assert_eq!(registration.state().tag(), to, "{from} on {input:?}");
            }
        }
    }

    #[test]
    fn news_of_an_older_socket_changes_nothing() {
        for input in [Input::Listening, Input::Registered, Input::RegisterFailed, Input::StreamClosed] {
            for state in ["opening", "registering", "serving"] {
                let mut registration = brought_to(state);
                registration.on(LATER, Input::KubeletAppeared);
                let before = registration.state().clone();
                assert_eq!(registration.on_socket(LATER, 1, input), None, "{state} on {input:?}");
                assert_eq!(
                    (registration.state(), registration.attempt()),
                    (&before, 2),
                    "{state} on {input:?}"
                );
            }
        }
    }

    #[test]
    fn a_socket_is_registered_once_the_register_of_the_one_before_has_an_answer() {
        for answer in [Input::Registered, Input::RegisterFailed] {
            for newer in [Input::KubeletAppeared, Input::StreamClosed] {
                let mut registration = brought_to("registering");
                registration.on(Time::START, newer);
                registration.on(LATER, Input::Timeout);
                let attempt = registration.attempt();
                registration.on_socket(LATER, attempt, Input::Listening);
                assert_eq!(registration.state(), &State::Waiting, "{newer:?}");
                // a kubelet that dials back finds the new socket under the old name
                let found = newer == Input::KubeletAppeared && answer == Input::Registered;
                let demand = (!found).then_some(Demand::Register);
                assert_eq!(registration.on_socket(LATER, 1, answer), demand, "{newer:?} {answer:?}");
                assert_eq!(registration.on_socket(LATER, 1, answer), None, "it is answered once");
                if !found {
                    registration.on(LATER, Input::Registered);
                }
                assert_eq!(registration.state().tag(), "serving");
                let name =
                    if newer == Input::KubeletAppeared { "nvidia-gpu.sock" } else { "nvidia-gpu-2.sock" };
                assert_eq!(registration.endpoint(), name);
            }
        }
    }

    #[test]
    fn what_waits_for_an_answer_can_be_unwanted_and_opened_anew() {
        let waiting = || {
            let mut registration = brought_to("registering");
            registration.on(LATER, Input::KubeletAppeared);
            registration.on(LATER, Input::Listening);
            assert_eq!(registration.state(), &State::Waiting);
            registration
        };
        assert_eq!(waiting().on(LATER, Input::Unwanted), Some(Demand::Close));
        assert_eq!(waiting().on(LATER, Input::KubeletAppeared), Some(Demand::Listen));
        let mut lost = waiting();
        lost.on(LATER, Input::StreamClosed);
        assert_eq!(lost.state().tag(), "dropped", "its socket was removed");
        let others = [Input::Wanted, Input::ListenFailed, Input::Seen, Input::Timeout];
        for input in others {
            let mut registration = waiting();
            assert_eq!(registration.on(LATER, input), None, "{input:?}");
            assert_eq!(registration.state(), &State::Waiting, "{input:?}");
        }
    }

    #[test]
    fn a_kubelet_that_is_older_than_the_registration_is_the_one_that_was_asked() {
        let now = Time::from_millis(1_000);
        let never = u64::MAX;
        // from which age in ms on: Register was sent a second ago
        let rows = [
            ("opening", never),
            ("registering", 1_050),
            ("serving", 950),
            ("refused", never),
            ("dropped", never),
        ];
        for (state, least) in rows {
            let registration = brought_to(state);
            for age in [0, 949, 950, 1_000, 1_049, 1_050, 60_000] {
                assert_eq!(registration.met(now, Duration::from_millis(age)), age >= least, "{state} {age}");
            }
        }
    }

    #[test]
    fn a_retry_waits_for_its_time() {
        for state in ["unopened", "refused", "dropped"] {
            let mut registration = brought_to(state);
            assert_eq!(registration.on(Time::START, Input::Timeout), None, "{state}");
            assert!(registration.retry_at().is_some_and(|t| t > Time::START), "{state}");
        }
    }

    #[test]
    fn losses_in_a_row_are_answered_later_and_later_up_to_a_bound_until_the_kubelet_shows_the_devices() {
        let mut registration = brought_to("serving");
        let mut now = LATER;
        let mut pauses = Vec::new();
        let mut lose = |registration: &mut Registration, input| {
            registration.on(now, input);
            let retry_at = registration.retry_at().unwrap();
            let pause = retry_at.since(now);
            now = retry_at;
            for input in [Input::Timeout, Input::Listening, Input::Registered] {
                registration.on(now, input);
            }
            pause
        };
        for n in 0..20 {
            let input = if n % 2 == 0 { Input::StreamClosed } else { Input::Unseen };
            pauses.push(lose(&mut registration, input));
        }
        assert!(pauses.is_sorted());
        assert_eq!(pauses.first(), Some(&Duration::from_millis(20)));
        assert_eq!(pauses.last(), Some(&Duration::from_secs(60)));
        assert_eq!(registration.losses(), 20);
        registration.on(LATER, Input::Seen);
        assert_eq!(lose(&mut registration, Input::StreamClosed), Duration::from_millis(20));
    }

    #[test]
    fn the_first_socket_is_named_as_nvidias_and_a_dropped_one_gets_a_new_name() {
        let mut registration = brought_to("dropped");
        assert_eq!(registration.endpoint(), "nvidia-gpu.sock");
        assert_eq!(registration.on(LATER, Input::Timeout), Some(Demand::Listen));
        assert_eq!(registration.endpoint(), "nvidia-gpu-2.sock");
        registration.on(LATER, Input::KubeletAppeared);
        assert_eq!(registration.endpoint(), "nvidia-gpu.sock", "a new kubelet knows no old name");
    }
}
