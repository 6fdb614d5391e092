//! The scenario language: one YAML file is one story, checked completely before anything is started.

pub mod check;
pub mod decode;
pub mod problem;
pub mod read;
pub mod schema;
mod steps;
pub mod yaml;

pub use problem::{Place, Problem, Problems};
pub use read::{ReadError, read_file, read_text};
pub use schema::{
    Apply, Expectation, GpuNode, NodeSpec, PluginSettings, Process, Scenario, Selection, StageName, Step,
    Timers, Verb,
};
