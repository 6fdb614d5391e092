//! Entry point of `tandem-sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One thread: children are bound to the thread that starts them and must not outlive it.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(simulator::cli::main())),
        Err(error) => {
            eprintln!("tandem-sim: cannot start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
