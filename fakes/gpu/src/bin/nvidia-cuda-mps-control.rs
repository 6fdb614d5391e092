//! A stand-in for NVIDIA's program of this name: MPS control daemon and its command line.

use std::io::{stdin, stdout};
use std::process::ExitCode;

use fake_gpu::mps::{self, Mode, Settings, daemon};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let settings = Settings::from_environment();
    let done = match mps::mode(&arguments) {
        Ok(Mode::Commands) => {
            match mps::run_commands(&settings.pipe_directory, stdin().lock(), stdout().lock()) {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error.to_string()),
            }
        }
        Ok(Mode::StartDaemon) => mps::start_in_background().map_err(|error| error.to_string()),
        Ok(Mode::Foreground) => daemon::run(&settings, || {}).map_err(|error| error.to_string()),
        Ok(Mode::Background) => daemon::run_detached(&settings).map_err(|error| error.to_string()),
        Ok(Mode::Server) => mps::serve().map_err(|error| error.to_string()),
        Ok(Mode::Version) => {
            println!("CUDA MPS Control binary version: 13020");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
