//! A small device plugin that is not ours, because a kubelet's known bugs are about every plugin: its made-up devices
//! are served well, or in one of the naive ways that plugins in the field are known for.

mod arguments;
mod behaviour;
mod devices;
mod life;
mod register;
mod service;

use std::process::ExitCode;

use arguments::Asked;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let settings = match arguments::read(&words) {
        Ok(Asked::Serve(settings)) => settings,
        Ok(Asked::Help) => {
            print!("{}", arguments::help());
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong} (hint: `--help` lists what there is)");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lived = runtime.map_err(|error| format!("cannot start a runtime: {error}"));
    match lived.and_then(|runtime| runtime.block_on(life::live(settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
