//! Reads what stands under each verb of a step.

mod apply;
mod fault;
mod nodes;
mod other_plugin;
mod pods;
mod watch;
mod workload;

pub(super) use apply::apply;
pub(super) use fault::TABLE as FAULTS;
pub(super) use fault::fault;
pub(super) use nodes::{edit, install_driver, label, process, unlabel};
pub(super) use other_plugin::{other_plugin, other_plugins};
pub(super) use pods::{Asked, delete, finish, has_room, scale};
pub(super) use watch::{expect, watch};
pub(super) use workload::workload;
