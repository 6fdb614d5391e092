//! MPS servers: real processes, so that one can be killed and its GPU memory comes back.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::alive::started_ticks;

/// Word that makes the control program a server.
pub(crate) const SERVER_WORD: &str = "--mps-server";

/// Starts and ends the processes behind servers; the seam for unit tests.
pub(crate) trait Launcher: Send {
    /// Starts a server process; gives its pid and start time.
    fn launch(&mut self) -> io::Result<(u32, u64)>;
    /// Ends it and waits for its end.
    fn end(&mut self, pid: u32);
}

/// Servers are this very program, started again.
pub(crate) struct Children {
    program: PathBuf,
    children: Vec<Child>,
}

impl Children {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, children: Vec::new() }
    }
}

impl Launcher for Children {
    fn launch(&mut self) -> io::Result<(u32, u64)> {
        let child = Command::new(&self.program)
            .arg(SERVER_WORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = child.id();
        self.children.push(child);
        started_ticks(pid).map(|started| (pid, started)).ok_or_else(|| io::Error::other("server exited"))
    }

    fn end(&mut self, pid: u32) {
        if let Some(index) = self.children.iter().position(|child| child.id() == pid) {
            let mut child = self.children.swap_remove(index);
            // Closing its input ends it; a killed one has ended already, and then both calls fail.
            drop(child.stdin.take());
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a server process does: live until its daemon lets go of it or dies.
///
/// # Errors
/// Standard input cannot be read.
pub fn serve() -> io::Result<()> {
    let mut byte = [0];
    while io::stdin().read(&mut byte)? != 0 {}
    Ok(())
}
