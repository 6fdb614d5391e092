//! MIG: GPUs cut into GPU instances with compute instances in them. Every GPU instance here has a compute instance at
//! least, as `nvidia-smi mig -cgi … -C` makes them.
//!
//! | module | what it holds |
//! |---|---|
//! | `profile` | what a board can be cut into |
//! | `record` | what a GPU is cut into |
//! | `layout` | where the pieces go |
//! | `change` | the operations |
//! | `minors` | the driver's device nodes for them |

mod change;
mod layout;
mod minors;
mod profile;
mod record;
#[cfg(test)]
mod tests;

pub use layout::{MigError, check_layout};
pub use minors::{mig_minors, mig_minors_file};
pub use profile::{MigEngines, MigProfile};
pub use record::{MIG_DEVICES_MAX, Mig, MigDevice, MigInstance};
