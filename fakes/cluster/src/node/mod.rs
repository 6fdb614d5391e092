//! The rest of a node around the kubelet's device manager, because a plugin's work shows only in pods that run with it.
//!
//! * [`agent`]: one node; [`settings`] is what it is made with, [`runtime`] what its containers look like. Inside,
//!   `pods` admits and ends pods, `status` writes the Node object; `podstatus` and `nodestatus` are their pure parts.
//! * [`cdi`]: how names of devices are looked up in spec files when a container is created.
//! * [`config_volume`]: config maps as files.
//! * [`daemonsets`]: programs that run on nodes by label.
//!
//! Not here: leases and heartbeats, eviction, admission by CPU, memory, taints or affinity, static pods, probes, images,
//! back-off of crashing containers.

pub mod agent;
pub mod cdi;
pub mod config_volume;
pub mod daemonsets;
mod nodestatus;
mod pods;
mod podstatus;
pub mod runtime;
pub mod settings;
mod shared;
mod status;

pub use agent::NodeAgent;
pub use runtime::ContainerSnapshot;
pub use settings::NodeSettings;
