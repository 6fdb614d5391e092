//! Whether a supervisor has done what is wished: what a readiness probe of its container asks.

use super::{Actual, DaemonStatus, Desired};

/// What is not done yet, one sentence each; empty when every daemon that is wished for serves. `desired` is `None` where the
/// supervisor decides by itself: then each daemon that it has must serve.
pub fn not_ready_because(desired: Option<&Desired>, actual: Option<&Actual>) -> Vec<String> {
    let Some(actual) = actual else {
        return vec!["it has not reported yet".to_owned()];
    };
    let Some(desired) = desired else {
        let told = actual.daemons.iter().map(|(gpu, status)| (gpu, Some(status)));
        return told.filter_map(|(gpu, status)| obstacle(gpu.as_str(), status)).collect();
    };
    if desired.generation != actual.generation {
        let (wished, answered) = (desired.generation, actual.generation);
        return vec![format!("it answers wish {answered}, the newest is {wished}")];
    }
    let wished = desired.daemons.keys().map(|gpu| (gpu, actual.daemons.get(gpu)));
    wished.filter_map(|(gpu, status)| obstacle(gpu.as_str(), status)).collect()
}

fn obstacle(gpu: &str, status: Option<&DaemonStatus>) -> Option<String> {
    let is = match status {
        Some(DaemonStatus::Ready) => return None,
        None => "has none".to_owned(),
        Some(DaemonStatus::Starting) => "is starting".to_owned(),
        Some(DaemonStatus::Stopping) => "is stopping".to_owned(),
        Some(DaemonStatus::Ill { why }) => format!("takes no new clients: {why}"),
        Some(DaemonStatus::Failed { why }) => format!("failed and is tried again: {why}"),
    };
    Some(format!("the control daemon of GPU `{gpu}` {is}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::DesiredDaemon;
    use super::*;
    use crate::config::ResourceName;
    use crate::inventory::GpuUuid;

    fn wish(generation: u64) -> Desired {
        let daemon = DesiredDaemon {
            resource: ResourceName::gpu(),
            replicas: 4,
            active_thread_percentage: 25,
            pinned_memory_limit_mib: None,
            client: Default::default(),
            gpus: Vec::new(),
        };
        Desired { generation, daemons: [(GpuUuid::new("GPU-a"), daemon)].into() }
    }

    fn report(generation: u64, status: Option<DaemonStatus>) -> Actual {
        let daemons: BTreeMap<_, _> = status.into_iter().map(|s| (GpuUuid::new("GPU-a"), s)).collect();
        Actual { generation, daemons }
    }

    #[test]
    fn a_supervisor_is_ready_when_every_daemon_serves_that_is_wished_for() {
        let failed = DaemonStatus::Failed { why: "no program".into() };
        let ill = DaemonStatus::Ill { why: "FAULT".into() };
        let rows = [
            (Some(wish(2)), None, "not reported"),
            (Some(wish(2)), Some(report(1, Some(DaemonStatus::Ready))), "answers wish 1, the newest is 2"),
            (Some(wish(2)), Some(report(2, None)), "`GPU-a` has none"),
            (Some(wish(2)), Some(report(2, Some(DaemonStatus::Starting))), "starting"),
            (Some(wish(2)), Some(report(2, Some(DaemonStatus::Stopping))), "stopping"),
            (Some(wish(2)), Some(report(2, Some(ill))), "no new clients: FAULT"),
            (Some(wish(2)), Some(report(2, Some(failed.clone()))), "no program"),
            (Some(wish(2)), Some(report(2, Some(DaemonStatus::Ready))), ""),
            (Some(Desired::default()), Some(report(0, Some(DaemonStatus::Stopping))), ""),
            (None, Some(report(0, Some(failed))), "no program"),
            (None, Some(report(0, Some(DaemonStatus::Ready))), ""),
        ];
        for (desired, actual, words) in rows {
            let told = not_ready_because(desired.as_ref(), actual.as_ref()).join("; ");
            assert!(told.contains(words) && told.is_empty() == words.is_empty(), "`{words}`: {told}");
        }
    }
}
