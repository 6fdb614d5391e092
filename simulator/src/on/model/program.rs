//! One of the plugin's two programs on one node, as its DaemonSet and the operating system see it.

/// Where a program is, as the DaemonSet controller believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is not wanted here.
    Absent,
    /// It is being started.
    Starting,
    /// It was started; that it may have ended by itself since, the controller does not know.
    Running,
    /// It was asked to stop.
    Stopping,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Program<T> {
    /// The process, while it lives.
    pub(super) process: Option<T>,
    /// Which of its processes is the newest.
    pub(super) life: u32,
    /// How often it was started.
    pub(super) starts: u64,
    /// What the controller believes.
    pub(super) state: State,
    /// It is started again as soon as it has stopped.
    pub(super) restarts: bool,
    /// How long after its end it does, in nanoseconds.
    pub(super) pause: u64,
}

impl<T> Program<T> {
    /// Never started.
    pub(super) fn new() -> Program<T> {
        Program { process: None, life: 0, starts: 0, state: State::Absent, restarts: false, pause: 0 }
    }

    /// A new process begins; its life.
    pub(super) fn begin(&mut self) -> u32 {
        self.life += 1;
        self.starts += 1;
        self.state = State::Running;
        self.restarts = false;
        self.life
    }

    /// The process of this life, if it lives.
    pub(super) fn living(&mut self, life: u32) -> Option<&mut T> {
        if self.life == life { self.process.as_mut() } else { None }
    }

    /// The process has ended after it was asked to; `true` when it is to start again.
    pub(super) fn stopped(&mut self) -> bool {
        self.state = State::Absent;
        let again = std::mem::take(&mut self.restarts);
        if again {
            self.state = State::Starting;
        }
        again
    }
}
