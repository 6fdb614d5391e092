//! The verb `mig` as a change of the fake driver's state, which is the same on all stages.

use fake_gpu::{GpuError, Node};

/// Cuts a GPU into these MIG devices; without a layout MIG mode is switched off.
///
/// # Errors
/// The fake driver's own: no such GPU, in use, impossible.
pub(in crate::on) fn lay_out(gpus: &mut Node, gpu: u32, layout: Option<&[String]>) -> Result<(), GpuError> {
    match layout {
        Some(layout) => gpus.lay_out_mig(gpu, layout),
        None => gpus.set_mig_mode(gpu, false),
    }
}
