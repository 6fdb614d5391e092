//! Looks for stories that nobody thought of: random clusters, label flips, pods and faults on the model stage, judged by
//! the invariants at every change and by whether the cluster comes to rest once the faults have stopped.
//!
//! [`story`] is what is made up, [`generate`] makes it from a seed, [`run`] plays and judges it, [`settle`] says what being
//! at rest means for what was asked ([`wishes`]), [`excuse`] which refusals are a fault's and not the plugin's, [`failure`]
//! is how a run ends badly, [`shrink`] finds the shortest story that still does in the same way, [`write`] makes a scenario
//! file of it, [`campaign`] does all of that on every core with a [`progress`] line and a [`tally`], and [`command`] is the
//! command line.
//!
//! The fuzzer is tested by planted mistakes: see the model stage's `Sabotage`.

pub mod campaign;
pub mod command;
pub mod excuse;
pub mod failure;
pub mod generate;
mod kind;
pub mod progress;
pub mod run;
pub mod settle;
pub mod shrink;
pub mod story;
pub mod tally;
pub mod wishes;
pub mod write;

#[cfg(test)]
mod tests;
