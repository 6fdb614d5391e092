//! What can be wrong with PodResources List while its kubelet runs.

use plugin_core::event::Holding;

use super::super::latency;
use super::Running;

/// See the module.
#[derive(Debug, Default)]
pub(in super::super) enum ListTrouble {
    /// Nothing.
    #[default]
    None,
    /// It answers so many nanoseconds later; a caller waits for ten seconds.
    Slow(u64),
    /// Every call is refused as by the rate limit.
    Limited,
    /// These stay listed when their pods have gone.
    Stale(Vec<Holding>),
}

impl ListTrouble {
    /// What List says, or why it says nothing.
    pub(super) fn list(&self, running: &mut Running) -> Result<Vec<Holding>, String> {
        let mut listed = running.holdings();
        match self {
            ListTrouble::None => {}
            ListTrouble::Slow(delay) if *delay < latency::CALL_TIME_MAX => {}
            ListTrouble::Slow(_) => return Err("the kubelet did not answer `List` within 10s".to_owned()),
            ListTrouble::Limited => {
                return Err(
                    "the kubelet refused `List`: ResourceExhausted: rejected by rate limit".to_owned()
                );
            }
            ListTrouble::Stale(holdings) => {
                let is_gone = |old: &&Holding| {
                    !listed.iter().any(|new| new.namespace == old.namespace && new.pod == old.pod)
                };
                let gone: Vec<Holding> = holdings.iter().filter(is_gone).cloned().collect();
                listed.extend(gone);
                listed.sort();
            }
        }
        Ok(listed)
    }

    /// By how many nanoseconds the answer is late.
    pub(super) fn delay(&self) -> u64 {
        match self {
            ListTrouble::Slow(delay) => (*delay).min(latency::CALL_TIME_MAX),
            ListTrouble::None | ListTrouble::Limited | ListTrouble::Stale(_) => 0,
        }
    }
}
