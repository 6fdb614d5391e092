//! The scheduler: why a pending pod gets a node or is told, in the real scheduler's words, why not.
//!
//! * [`fit`]: does one pod fit on one node; pure.
//! * [`pick`]: the decision over all nodes, with the message of a refusal; pure.
//! * [`replicas`]: the pods of Deployments, which must be there before they can be scheduled; pure.
//! * [`pass`]: one pass over the store, pure; and [`run`], which repeats both after each change.
//!
//! Not here: preemption, priorities, volumes, ports, pod affinity, preferred node affinity, topology spread.

pub mod fit;
pub mod pass;
pub mod pick;
pub mod replicas;

pub use pass::{pass, run};
pub use pick::{Decision, decide};
