//! What the program is asked to be: daemon, command line, or (hidden) one of its own children.

use super::daemon::BACKGROUND_WORD;
use super::server::SERVER_WORD;

/// What this run of the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No argument: commands from standard input.
    Commands,
    /// `-d`: start a daemon and leave it running.
    StartDaemon(Users),
    /// `-f`: be the daemon.
    Foreground(Users),
    /// Hidden: be the daemon that `-d` started.
    Background(Users),
    /// Hidden: be a server that the daemon started.
    Server,
    /// `-v`: print the version.
    Version,
}

/// Whose clients a daemon's server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// Those of one user at a time.
    One,
    /// `-multiuser-server`: those of all.
    All,
}

/// Word of [`Users::All`].
pub(crate) const MULTI_USER_WORD: &str = "-multiuser-server";

/// Arguments that the real program does not take either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown arguments `{0}`, usage: nvidia-cuda-mps-control [-d | -f | -v] [-multiuser-server]")]
pub struct ModeError(String);

/// Reads the arguments after the program's name.
///
/// # Errors
/// Anything but one known word, or none.
pub fn mode(arguments: &[String]) -> Result<Mode, ModeError> {
    let all = arguments.iter().any(|word| word == MULTI_USER_WORD);
    let users = if all { Users::All } else { Users::One };
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| *word != MULTI_USER_WORD).collect();
    match words.as_slice() {
        [] | ["-v"] if all => Err(ModeError(arguments.join(" "))),
        [] => Ok(Mode::Commands),
        ["-d"] => Ok(Mode::StartDaemon(users)),
        ["-f"] => Ok(Mode::Foreground(users)),
        ["-v"] => Ok(Mode::Version),
        [word] if *word == BACKGROUND_WORD => Ok(Mode::Background(users)),
        [word] if *word == SERVER_WORD => Ok(Mode::Server),
        _ => Err(ModeError(words.join(" "))),
    }
}
