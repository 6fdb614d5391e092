//! The scenario language: one YAML file is one story, checked completely before anything is started.
//!
//! `yaml` gives a tree with places, `variants` puts parameters in, `read` with `nodes`, `steps` and `verbs` makes values
//! of it by the tables in [`grammar`], `resolve` counts, [`check`] compares the parts; [`limits`] bounds all of it and
//! [`json_schema`] tells editors.

mod beside;
pub mod check;
pub mod decode;
mod fields;
pub mod grammar;
#[cfg(test)]
mod hostile_tests;
pub mod json_schema;
pub mod limits;
mod mig;
mod nodes;
mod other_plugin;
pub mod problem;
pub mod read;
mod resolve;
pub mod schema;
mod seen;
mod steps;
mod top;
pub mod variants;
pub mod verb;
mod verbs;
pub mod yaml;

pub use other_plugin::{OtherAct, OtherPlugin};
pub use problem::{Place, Problem, Problems};
pub use read::{ReadError, read_chosen, read_file, read_text};
pub use schema::{GpuNode, KubeletProfile, NodeSpec, PluginSettings, Scenario, StageName, Timers};
pub use variants::Choice;
pub use verb::{
    Apply, CONFIG_MAP, Change, Expectation, Object, Process, Selection, Step, Verb, Watch, Workload,
};
