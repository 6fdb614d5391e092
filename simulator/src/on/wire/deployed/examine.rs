//! What an operator types into the containers once a story is told: `doctor`, and the command of each exec probe. What they
//! say is left beside the node's logs.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use super::Deployment;
use super::root::beside;
use crate::on::wire::layout::NodeLayout;
use crate::on::wire::process::{Launch, Process};
use crate::on::wire::programs::{Name, PLUGIN};

/// How long one of them may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What is typed into the plugin's container.
const DOCTOR: [&str; 2] = ["tandem-device-plugin", "doctor"];

/// The name of the log of what is typed into a program's container.
pub(in crate::on::wire) fn log_of(program: &str) -> String {
    if program == PLUGIN { "doctor".to_owned() } else { format!("{program}-probe") }
}

impl Deployment {
    /// Asks in every container that runs.
    pub(in crate::on::wire) async fn examine(&self) {
        let shared = &self.shared;
        let running: Vec<_> = shared.lock_probes().clone().into_iter().collect();
        for (name, probes) in running {
            let Some(place) = shared.places.get(&name.node) else { continue };
            let Some(launch) = shared.programs.launched(&name).filter(|_| shared.programs.status(&name).0)
            else {
                continue;
            };
            let doctor = (name.program == PLUGIN).then(|| DOCTOR.map(str::to_owned).to_vec());
            for command in doctor.into_iter().chain(probes) {
                ask(&launch, &command, &name, &place.layout).await;
            }
        }
    }
}

/// Runs one command beside a container's first process; its answer and its exit status are in the log.
async fn ask(launch: &Launch, command: &[String], name: &Name, layout: &NodeLayout) {
    let mut launch = beside(launch, command);
    launch.log = layout.log(&log_of(name.program));
    let ended = match Process::start(&launch) {
        Ok(mut process) => match process.wait(ANSWER_WITHIN).await {
            Some(status) => status.to_string(),
            None => format!("no answer within {ANSWER_WITHIN:?}"),
        },
        Err(error) => error.to_string(),
    };
    let log = OpenOptions::new().create(true).append(true).open(&launch.log);
    // a log that cannot be written lacks this line, which whoever reads it looks for
    let _ = log.and_then(|mut log| writeln!(log, "`{}`: {ended}", command.join(" ")));
}
