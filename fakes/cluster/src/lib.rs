//! A fake cluster: what stands around a device plugin in a Kubernetes cluster, at the real protocols, so that the
//! unmodified production binary can be tried without one.
//!
//! * [`api`]: the objects (pure) and the API server over HTTP that kubectl can talk to.
//! * [`kubelet`]: the kubelet's device manager: its books (pure), and its sockets.
//! * [`scheduler`]: which node a pod fits on (pure) and the loop that binds pods.
//! * [`node`]: the rest of a node around the kubelet's device manager: pods' lives, the Node object, projected config
//!   maps, and programs that run on nodes by label.

pub mod api;
pub mod kubelet;
pub mod node;
pub mod scheduler;
