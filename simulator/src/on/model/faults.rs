//! How faults happen in the model: each is a change of some part's state, and a happening for its end.
//!
//! Here are those of the API server and the choice of nodes; [`on_node`] are those of a node, [`of_driver`] those of its
//! GPUs and driver, [`of_programs`] those of the plugin's two programs and the MPS daemons, [`endings`] how they end.

mod endings;
mod of_driver;
mod of_programs;
mod on_node;

use std::time::Duration;

use super::happening::{ApiEnding, Happening, What};
use super::{ModelStage, latency, refused};
use crate::expect::glob;
use crate::faults::{Fault, FaultSpec};
use crate::on::{Done, StageError};

/// How long a fault lasts that needs a duration and has none.
const LASTS_DEFAULT: Duration = Duration::from_secs(5);

impl ModelStage {
    /// Makes a fault happen now; what follows from it takes its time.
    ///
    /// # Errors
    /// No node or GPU is selected.
    pub fn fault(&mut self, spec: &FaultSpec) -> Result<Done, StageError> {
        if spec.fault.is_of_cluster() {
            self.api_suffers(spec.fault, nanos(spec.lasts.unwrap_or(LASTS_DEFAULT)));
            return Ok(Done::Did);
        }
        let names = self.cluster.nodes.iter().enumerate();
        let chosen: Vec<usize> =
            names.filter(|(_, node)| glob(&spec.node, &node.name)).map(|(number, _)| number).collect();
        if chosen.is_empty() {
            return Err(refused(
                format!("make `{}` happen on `{}`", spec.fault.tag(), spec.node),
                &"there is no such node",
            ));
        }
        let mut skipped = Vec::new();
        for number in chosen {
            let why = self.cluster.on(number, |node, cx| {
                if node.is_off {
                    return Some(format!("node `{}` is down", node.name));
                }
                if node.still.until > cx.now() {
                    return Some(format!("node `{}` stands still", node.name));
                }
                cx.show();
                node.suffer(cx, spec)
            });
            skipped.extend(why.flatten());
        }
        match skipped.is_empty() {
            true => Ok(Done::Did),
            false => Ok(Done::Skipped(skipped.join("; "))),
        }
    }

    fn api_suffers(&mut self, fault: Fault, lasts: u64) {
        let cluster = &mut self.cluster;
        let ending = match fault {
            Fault::ApiServerSlow { delay } => {
                cluster.api.trouble.delay = nanos(delay);
                ApiEnding::Slow
            }
            Fault::ApiServerRefuses { code } => {
                cluster.api.trouble.refuses = Some(code);
                ApiEnding::Refuses
            }
            Fault::WatchExpired => {
                cluster.api.trouble.expired = true;
                ApiEnding::WatchExpired
            }
            _ => {
                cluster.api.go_down();
                ApiEnding::Down
            }
        };
        let ends = cluster.engine.now().saturating_add(lasts);
        cluster.engine.at(ends, Happening::ApiFaultEnds(ending));
        if matches!(ending, ApiEnding::Down | ApiEnding::WatchExpired) {
            for node in 0..cluster.nodes.len() {
                cluster.happens_on(node, latency::API_REFUSED, What::NodeWatchBreaks);
            }
        }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
