//! Device plugins that are not ours, because known bugs of the kubelet are about every plugin: who they are, and what a
//! step does to them.

use std::fmt;

/// The most devices of one; a list of so many does not fit into a message.
pub const OTHER_DEVICES_MAX: u64 = 100_000;

/// A device plugin that is not ours: the example plugin of the laboratory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPlugin {
    /// Its name on the node; its socket is called after it.
    pub name: String,
    /// The resource that it serves.
    pub resource: String,
    /// How many devices it has.
    pub devices: u64,
    /// Its naive ways, as `example-device-plugin --help` lists them.
    pub behaviour: Vec<String>,
    /// Whether it runs from the beginning.
    pub starts: bool,
}

/// What is done to a device plugin that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherAct {
    /// It is started.
    Start,
    /// SIGTERM, and its end.
    Stop,
    /// SIGKILL; its socket stays on disk.
    Kill,
    /// Stopped and started.
    Restart,
    /// SIGHUP.
    HangUp,
}

impl OtherAct {
    /// The names in scenario files.
    pub const NAMES: &'static [&'static str] = &["start", "stop", "kill", "restart", "hangUp"];

    /// The act of that name.
    pub fn parse(name: &str) -> Option<OtherAct> {
        let all = [OtherAct::Start, OtherAct::Stop, OtherAct::Kill, OtherAct::Restart, OtherAct::HangUp];
        all.into_iter().find(|act| act.to_string() == name)
    }
}

impl fmt::Display for OtherAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OtherAct::Start => "start",
            OtherAct::Stop => "stop",
            OtherAct::Kill => "kill",
            OtherAct::Restart => "restart",
            OtherAct::HangUp => "hangUp",
        })
    }
}
