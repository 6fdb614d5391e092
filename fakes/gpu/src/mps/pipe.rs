//! The pipe directory: the control socket, the pid file, and the few bytes that are spoken over the socket.
//!
//! A request is one line. An answer is `ok LENGTH` or `error LENGTH`, a line feed, and that many bytes.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The control daemon's socket in its pipe directory.
pub const CONTROL_SOCKET: &str = "control";
/// The file with the control daemon's pid in its pipe directory.
pub const PID_FILE: &str = "nvidia-cuda-mps-control.pid";
/// Longest request line, bytes.
pub(crate) const LINE_MAX: u64 = 4096;
/// Longest answer, bytes.
const ANSWER_MAX: usize = 1 << 20;

/// An answer to one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self { ok: true, text: text.into() }
    }

    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self { ok: false, text: text.into() }
    }

    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let word = if self.ok { "ok" } else { "error" };
        write!(to, "{word} {}\n{}", self.text.len(), self.text)?;
        to.flush()
    }

    pub(crate) fn read(mut from: impl BufRead) -> io::Result<Self> {
        let unreadable = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let head = read_line(&mut from)?.ok_or_else(|| unreadable("no answer"))?;
        let (ok, length) = match head.split_once(' ') {
            Some(("ok", length)) => (true, length),
            Some(("error", length)) => (false, length),
            _ => return Err(unreadable("answer without a head")),
        };
        let length = length.parse::<usize>().ok().filter(|length| *length <= ANSWER_MAX);
        let mut bytes = vec![0; length.ok_or_else(|| unreadable("answer of no length"))?];
        from.read_exact(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("answer is not text"))?;
        Ok(Self { ok, text })
    }
}

/// Reads one line without its end, at most [`LINE_MAX`] bytes; None at the end of input.
pub(crate) fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.take(LINE_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    if !line.ends_with('\n') && line.len() as u64 >= LINE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line is longer than {LINE_MAX} bytes"),
        ));
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Runs `work` with a path to the control socket that is short enough for a Unix socket, however long
/// the directory's own path is.
fn with_socket_path<T>(directory: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let opened = File::open(directory)?;
    work(Path::new(&format!("/proc/self/fd/{}/{CONTROL_SOCKET}", opened.as_raw_fd())))
}

pub(crate) fn dial(directory: &Path) -> io::Result<UnixStream> {
    with_socket_path(directory, |path| UnixStream::connect(path))
}

/// Listens, replacing the socket that a dead daemon has left. The caller holds the pid file's lock.
pub(crate) fn listen(directory: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(directory.join(CONTROL_SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    with_socket_path(directory, |path| UnixListener::bind(path))
}
