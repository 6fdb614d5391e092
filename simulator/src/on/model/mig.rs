//! The verb `mig` on the model stage.

use super::{ModelStage, refused};
use crate::on::{Done, StageError, mig};

impl ModelStage {
    /// Cuts a GPU anew.
    ///
    /// # Errors
    /// No driver, no such GPU, it is in use, or it cannot be cut so.
    pub(super) fn lay_out_mig(
        &mut self,
        name: &str,
        gpu: u32,
        layout: Option<&[String]>,
    ) -> Result<Done, StageError> {
        let number = self.number(name)?;
        let what = || format!("cut GPU {gpu} of node `{name}` into MIG devices");
        let done = self.cluster.on(number, |node, cx| {
            let gpus = node.host.gpus.as_mut().ok_or_else(|| "the node has no driver".to_owned())?;
            mig::lay_out(gpus, gpu, layout).map_err(|error| error.to_string())?;
            cx.show();
            Ok::<(), String>(())
        });
        match done {
            Some(Ok(())) => Ok(Done::Did),
            Some(Err(why)) => Err(refused(what(), &why)),
            None => Err(refused(what(), &"there is no such node")),
        }
    }
}
