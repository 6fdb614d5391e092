//! Ctrl-C and SIGTERM, because an interrupted run must clean up after itself like any other.

use crate::play::Stop;

/// True once SIGINT or SIGTERM came. A second one ends the program at once with this code; children get SIGTERM then.
pub(crate) fn stop_on_signals(code: u8) -> Stop {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        eprintln!("\nstopping; once more to leave at once");
        // With no receiver left there is nothing to stop.
        let _nobody = sender.send(true);
        signal().await;
        std::process::exit(i32::from(code));
    });
    receiver
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
