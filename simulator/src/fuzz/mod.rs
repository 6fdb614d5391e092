//! Looks for stories that nobody thought of: random clusters, label flips, pods and faults, judged by the invariants at every
//! change and by whether the cluster comes to rest once the faults have stopped.
//!
//! [`story`] is what is made up, with [`label`] and [`pod`]; [`generate`] makes it from a seed, [`run`] plays and judges it
//! on the model stage, [`wire`] on the wire stage; [`settle`] says what being at rest means for what was asked ([`wishes`]),
//! [`excuse`] which refusals are a fault's and not the plugin's, [`failure`] is how a run ends badly, [`shrink`] finds the
//! shortest story that still does in the same way, [`write`] makes a scenario file of it and [`again`] plays that, [`campaign`] does all of that on
//! every core with a [`progress`] line and a [`tally`], and [`command`] is the command line.
//!
//! The fuzzer is tested by planted mistakes: see the model stage's `Sabotage`.

pub mod again;
mod author;
pub mod campaign;
pub mod command;
mod division;
pub mod excuse;
pub mod failure;
pub mod generate;
mod ground;
mod held;
mod kind;
pub mod label;
pub mod pod;
pub mod progress;
pub mod run;
pub mod settle;
pub mod shrink;
mod simpler;
pub mod story;
pub mod tally;
pub mod wire;
pub mod wishes;
pub mod write;

#[cfg(test)]
mod tests;
