//! The steps of continuous integration and the rules of the repository live here, so that a pull request is judged
//! by the same code on a laptop and on a build machine.
//!
//! [`steps`] is what `cargo ci <step>` does, one function per step; [`runner`] starts the programs and says how long
//! each took. [`tidy`] is the rules as plain functions from text to [`Finding`](tidy::Finding)s; `tests/tidy.rs`
//! applies them to this repository, and every rule has a unit test with a sample that breaks it. [`image`] makes the
//! plugin's container image, [`manifests`] checks what deploys it.

pub mod image;
pub mod manifests;
pub mod runner;
pub mod steps;
pub mod tidy;
