//! The laboratory: plays scenarios against the real plugin, or a model of it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`scenario`] | the language: YAML to checked values, every mistake with its place |
//! | [`expect`] | patterns, the matcher, diffs, and mutants of patterns |
//! | [`world`] | the one view of a cluster that expectations and reports read |
//! | [`invariants`] | what must hold after every step whatever a scenario says |
//! | [`play`] | step by step: act, wait until true, judge, record |
//! | [`manifests`] | Kubernetes manifests, to be applied to a simulated cluster |
//! | [`on`] | the stages: [`on::wire`] |
//! | [`report`] | terminal, table, JSON, JUnit |
//! | [`run`], [`cli`] | one run from start to report; the command line |
//! | [`run_dir`] | where journals and logs stay |

pub mod boards;
pub mod cli;
pub mod expect;
pub mod explain;
pub mod faults;
pub mod fuzz;
pub mod invariants;
pub mod manifests;
pub mod on;
pub mod play;
pub mod replay;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod scenario;
mod signals;
pub mod timeline;
pub mod world;
