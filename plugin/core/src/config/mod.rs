//! Which configuration holds: NVIDIA's file format (`v1` of k8s-device-plugin v0.20), read with every problem in its
//! place, so that a file people already have means what they think it means.
//!
//! | question | where |
//! |---|---|
//! | What can a file say? | [`Config`] in `schema` |
//! | Text to config | [`read`](read()): `compose` → `tree` → `object` → `read_flags`, `read_sharing` → `check` |
//! | What is wrong with it? | [`Problem`], collected in `findings` |
//! | What is known but not built yet? | `not_built` |
//! | What does NVIDIA's plugin ignore? | `compat` |
//! | Which file does this node get? | [`select`](select()) |
//! | What holds in the end? | [`Effective`] in `settings` |

mod check;
mod choice;
mod compat;
mod compose;
mod devices;
mod findings;
mod interval;
mod keys;
mod memory;
mod name;
mod nearest;
mod not_built;
mod object;
mod places;
mod problem;
mod read;
mod read_flags;
mod read_sharing;
mod scalar;
mod schema;
mod select;
mod settings;
mod taint;
mod time_slice;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use check::OVERLAP_HINT;
pub use choice::ChoiceError;
pub use devices::{DeviceRef, Devices};
pub use findings::Strictness;
pub use interval::{Interval, IntervalError};
pub(crate) use memory::MIB;
pub use memory::{Memory, MemoryError};
pub use name::{ResourceName, ResourceNameError};
pub use places::Places;
pub use problem::{PROBLEMS_MAX, Problem, Problems, Severity};
pub use read::{Read, read, read_compat};
pub use schema::{
    AllocationPolicy, Config, DeviceIdStrategy, DeviceListStrategy, DiscoveryStrategy, Flags, GfdFlags, Imex,
    MigStrategy, PluginFlags, REPLICAS_MAX, REPLICAS_MIN, Replicas, ReplicatedResource, ReplicatedResources,
    ResourcePattern, Resources, Sharing, Version,
};
pub use select::{Fallback, SelectError, Selected, select};
pub use settings::{
    BooleanError, Contradiction, Effective, EffectiveGfd, EffectivePlugin, Overrides, parse_boolean,
};
pub use taint::{Taint, TaintEffect};
pub use time_slice::TimeSlice;
