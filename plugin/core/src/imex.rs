//! IMEX channels: device nodes by which GPUs of several machines share memory. A channel that this node lacks is given to
//! nobody.

use thiserror::Error;

use crate::cdi::IMEX_CHANNELS;
use crate::config::Effective;
use crate::inventory::Facts;

/// A channel that is configured and not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("IMEX channel {channel} is configured, but this node has no `{IMEX_CHANNELS}{channel}`")]
pub struct MissingChannel {
    /// Its number.
    pub channel: u32,
}

impl MissingChannel {
    /// What to do about it.
    pub(crate) const HINT: &str = "load the driver with NVreg_CreateImexChannel0=1, or configure no channel";
}

/// The configured channels that this node has.
pub(crate) fn channels(flags: &Effective, facts: &Facts) -> Vec<u32> {
    flags.imex_channel_ids.iter().copied().filter(|id| is_there(facts, *id)).collect()
}

/// The first configured channel that this node lacks.
pub(crate) fn missing(flags: &Effective, facts: &Facts) -> Option<MissingChannel> {
    let mut ids = flags.imex_channel_ids.iter();
    ids.find(|id| !is_there(facts, **id)).map(|id| MissingChannel { channel: *id })
}

fn is_there(facts: &Facts, channel: u32) -> bool {
    facts.control_nodes.contains(&format!("{IMEX_CHANNELS}{channel}"))
}
