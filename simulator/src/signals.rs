//! Ctrl-C and SIGTERM, because an interrupted run must clean up after itself like any other.

use std::io::Write as _;

use crate::play::Stop;

/// What was asked for from outside so far.
pub(crate) struct Signals {
    /// True once SIGINT or SIGTERM came: what runs is to end in order.
    pub(crate) stop: Stop,
    leave: Stop,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> Signals {
        let (stops, stop) = tokio::sync::watch::channel(false);
        let (leaves, leave) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            signal().await;
            // whoever closed the error output still wants the run to end
            let _untold = writeln!(std::io::stderr(), "\nstopping; once more to leave at once");
            // With no receiver left there is nothing to stop.
            let _nobody = stops.send(true);
            signal().await;
            let _nobody = leaves.send(true);
        });
        Signals { stop, leave }
    }

    /// Returns once a second signal came: whatever runs is to be dropped where it is, and removes what it made.
    pub(crate) async fn leave(&self) {
        let mut leave = self.leave.clone();
        if leave.wait_for(|leave| *leave).await.is_err() {
            // nobody listens to signals any more
            std::future::pending::<()>().await;
        }
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        // Without a SIGTERM handler Ctrl-C still works.
        Err(_) => {
            let _asked = interrupt.await;
        }
    }
}
