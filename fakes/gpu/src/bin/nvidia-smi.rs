//! A stand-in for NVIDIA's program of this name, as far as compute policies go.

use std::process::ExitCode;
use std::time::Duration;

use fake_gpu::mps::Settings;
use fake_gpu::smi::{Request, SmiError};
use fake_gpu::{ControlTrouble, NodeFile};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::from(error.status())
        }
    }
}

fn run(arguments: &[String]) -> Result<String, SmiError> {
    let request = Request::read(arguments)?;
    let file = NodeFile::open(&Settings::from_environment().state).map_err(|_| SmiError::NoDriver)?;
    let look = |node: &fake_gpu::Node| (node.smi_trouble(), node.smi_hangs(), node.nvml_delay_ms);
    let (trouble, hangs, delay) = file.read(look).map_err(|_| SmiError::NoDriver)?;
    match trouble {
        Some(ControlTrouble::Hangs) => hang(),
        Some(ControlTrouble::Garbage) => return Ok("\u{1b}[31m0x7f3a SMI??\u{1b}[0m\n".to_owned()),
        Some(ControlTrouble::Fails | ControlTrouble::Missing) => return Err(SmiError::Nvml(1)),
        None if hangs => hang(),
        None => {}
    }
    std::thread::sleep(Duration::from_millis(u64::from(delay)));
    file.change(|node| Ok(node.nvidia_smi(&request))).map_err(|_| SmiError::NoDriver)?
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
