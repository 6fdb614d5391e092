//! What can be wrong with PodResources List while its kubelet runs.

use plugin_core::event::Holding;

use super::super::faults::nanos;
use super::super::latency;
use super::{Kubelet, Running};
use crate::faults::Fault;

/// See the module.
#[derive(Debug, Default)]
pub(super) enum ListTrouble {
    /// Nothing.
    #[default]
    None,
    /// PodResources accepts no connection.
    Silent,
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
            ListTrouble::None | ListTrouble::Silent => {}
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
            ListTrouble::None | ListTrouble::Silent | ListTrouble::Limited | ListTrouble::Stale(_) => 0,
        }
    }
}

impl Kubelet {
    /// A fault of PodResources begins; `false` for any other one.
    pub(in super::super) fn troubles_list(&mut self, fault: Fault) -> bool {
        self.list_trouble = match fault {
            Fault::PodResourcesUnavailable => ListTrouble::Silent,
            Fault::PodResourcesSlow { delay } => ListTrouble::Slow(nanos(delay)),
            Fault::PodResourcesLimited => ListTrouble::Limited,
            Fault::PodResourcesStale => {
                ListTrouble::Stale(self.running.as_mut().map(Running::holdings).unwrap_or_default())
            }
            _ => return false,
        };
        true
    }

    /// It is over.
    pub(in super::super) fn is_well_again(&mut self) {
        self.list_trouble = ListTrouble::None;
    }
}
