//! A stand-in for NVIDIA's program of this name: MPS control daemon and its command line.

use std::io::{stdin, stdout};
use std::process::ExitCode;

use fake_gpu::ControlTrouble;
use fake_gpu::mps::{self, Mode, Settings, daemon};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let settings = Settings::from_environment();
    let mode = mps::mode(&arguments);
    if let Some(trouble) = mode.as_ref().ok().and_then(|mode| settings.trouble(*mode)) {
        return suffer(trouble);
    }
    let done = match mode {
        Ok(Mode::Commands) => {
            match mps::run_commands(&settings.pipe_directory, stdin().lock(), stdout().lock()) {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error.to_string()),
            }
        }
        Ok(Mode::StartDaemon(users)) => mps::start_in_background(users).map_err(|error| error.to_string()),
        Ok(Mode::Foreground(users)) => {
            daemon::run(&settings, users, || {}).map_err(|error| error.to_string())
        }
        Ok(Mode::Background(users)) => {
            daemon::run_detached(&settings, users).map_err(|error| error.to_string())
        }
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

fn suffer(trouble: ControlTrouble) -> ExitCode {
    match trouble {
        ControlTrouble::Hangs => loop {
            std::thread::park();
        },
        ControlTrouble::Garbage => {
            println!("\u{1b}[31m0x7f3a MPS??\u{1b}[0m");
            ExitCode::SUCCESS
        }
        ControlTrouble::Fails | ControlTrouble::Missing => {
            eprintln!("cuInit failed");
            ExitCode::FAILURE
        }
    }
}
