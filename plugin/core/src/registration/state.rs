//! Where a registration can be, what can happen to it, and what it can ask for.

use crate::time::Time;

/// Where one resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not served.
    Down,
    /// `Listen` is under way.
    Opening,
    /// The socket could not be made; next try at this time.
    Unopened {
        /// When to try again.
        retry_at: Time,
    },
    /// The socket accepts; the `Register` of an earlier one has no answer yet.
    Waiting,
    /// `Register` is under way.
    Registering,
    /// The kubelet refused or did not answer; the socket stays, next try at this time.
    Refused {
        /// When to try again.
        retry_at: Time,
    },
    /// The kubelet knows it.
    Serving {
        /// Since when.
        since: Time,
    },
    /// The kubelet ended its stream. A new socket name at this time: kubelets up to 1.36 can tear down a new connection on
    /// the old name.
    Dropped {
        /// When to try again.
        retry_at: Time,
    },
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It has devices to offer.
    Wanted,
    /// It has none, and nobody holds any.
    Unwanted,
    /// The socket accepts.
    Listening,
    /// The socket could not be made.
    ListenFailed,
    /// The kubelet took it.
    Registered,
    /// The kubelet refused or did not answer.
    RegisterFailed,
    /// The kubelet ended the last stream.
    StreamClosed,
    /// The kubelet shows its devices.
    Seen,
    /// The kubelet took it, but does not show its devices.
    Unseen,
    /// The kubelet (re)started.
    KubeletAppeared,
    /// Time has come to this.
    Timeout,
}

/// What the shell must do for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Make the socket named by [`Registration::endpoint`].
    Listen,
    /// Register that socket.
    Register,
    /// Stop serving.
    Close,
}

impl State {
    /// For people: `down`, `opening`, `unopened`, `waiting`, `registering`, `refused`, `serving` or `dropped`.
    pub fn tag(&self) -> &'static str {
        match self {
            State::Down => "down",
            State::Opening => "opening",
            State::Unopened { .. } => "unopened",
            State::Waiting => "waiting",
            State::Registering => "registering",
            State::Refused { .. } => "refused",
            State::Serving { .. } => "serving",
            State::Dropped { .. } => "dropped",
        }
    }
}
