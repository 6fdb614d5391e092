//! What the program is asked to be: daemon, command line, or (hidden) one of its own children.

use super::daemon::BACKGROUND_WORD;
use super::server::SERVER_WORD;

/// What this run of the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No argument: commands from standard input.
    Commands,
    /// `-d`: start a daemon and leave it running.
    StartDaemon,
    /// `-f`: be the daemon.
    Foreground,
    /// Hidden: be the daemon that `-d` started.
    Background,
    /// Hidden: be a server that the daemon started.
    Server,
    /// `-v`: print the version.
    Version,
}

/// Arguments that the real program does not take either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown arguments `{0}`, usage: nvidia-cuda-mps-control [-d | -f | -v]")]
pub struct ModeError(String);

/// Reads the arguments after the program's name.
///
/// # Errors
/// Anything but one known word, or none.
pub fn mode(arguments: &[String]) -> Result<Mode, ModeError> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(Mode::Commands),
        ["-d"] => Ok(Mode::StartDaemon),
        ["-f"] => Ok(Mode::Foreground),
        ["-v"] => Ok(Mode::Version),
        [word] if *word == BACKGROUND_WORD => Ok(Mode::Background),
        [word] if *word == SERVER_WORD => Ok(Mode::Server),
        _ => Err(ModeError(words.join(" "))),
    }
}
