//! One child process of a node: its log file, its orderly end, and whether it died unasked.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::spawn::{self, Signal};

/// How long a process may take to end after SIGTERM before it is killed: a supervisor that cannot give a compute mode back takes 10 s.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Most processes of one family that are looked at.
const FAMILY_MAX: usize = 1024;

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The executable.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub(super) env: BTreeMap<String, String>,
    /// The file that standard output and standard error are appended to.
    pub(super) log: PathBuf,
}

/// A started process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: u32,
}

/// How a process came to its end when it was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this status.
    Orderly(ExitStatus),
    /// It did not end within [`STOP_WITHIN`] and was killed.
    Killed,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// The log file cannot be opened or the executable cannot be started.
    pub(super) fn start(launch: &Launch) -> io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&launch.log)?;
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.args)
            .env_clear()
            .envs(&launch.env)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log));
        let child = spawn::spawn(&mut command)?;
        let pid = child.id().unwrap_or(0);
        Ok(Process { child, pid })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status if it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGTERM, a bounded wait, SIGKILL for its group.
    pub(super) async fn stop(&mut self) -> Ended {
        spawn::signal_group(self.pid, Signal::Term);
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) => {
                spawn::signal_group(self.pid, Signal::Kill);
                Ended::Orderly(status)
            }
            _ => {
                self.kill().await;
                Ended::Killed
            }
        }
    }

    /// SIGKILL for the process below it with this argument alone; `false` when there is none.
    pub(super) fn kill_child(&self, argument: &str) -> bool {
        let mut family = vec![self.pid];
        let mut next = 0;
        while let Some(pid) = family.get(next).copied().filter(|_| family.len() < FAMILY_MAX) {
            next += 1;
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()) {
                spawn::signal_process(pid, Signal::Kill);
                return true;
            }
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            family.extend(
                children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        false
    }

    /// Waits for its end; one that takes longer is killed, and there is no status.
    pub(super) async fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        match tokio::time::timeout(at_most, self.child.wait()).await {
            Ok(ended) => ended.ok(),
            Err(_) => {
                self.kill().await;
                None
            }
        }
    }

    /// SIGHUP.
    pub(super) fn hang_up(&self) {
        spawn::signal_process(self.pid, Signal::HangUp);
    }

    /// SIGKILL for its group, and waits for its end.
    pub(super) async fn kill(&mut self) {
        spawn::signal_group(self.pid, Signal::Kill);
        // A child that was reaped already has nothing left to wait for.
        let _reaped = self.child.wait().await;
    }
}

/// The variable that every process of a run carries.
const MARK: &str = fake_gpu::STATE_VARIABLE;

/// A process found alive, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    /// Its process id.
    pub(super) pid: u32,
    /// Its command line.
    pub(super) command: String,
}

/// Processes whose GPU state file lies below the directory: everything that a run started, daemonised or not. Only this
/// variable counts, because a person's shell may well name the directory too: in `KUBECONFIG`.
pub(super) fn alive_with(directory: &Path) -> Vec<Leftover> {
    let mark = [MARK.as_bytes(), b"=", directory.as_os_str().as_encoded_bytes()].concat();
    let is_marked =
        |environment: &[u8]| environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(&mark));
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
            continue;
        };
        if pid == std::process::id() || !is_marked(&environment) {
            continue;
        }
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.is_empty() {
            continue;
        }
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
        found.push(Leftover { pid, command });
    }
    found
}

/// Kills what [`alive_with`] finds.
pub(super) fn kill_all_with(directory: &Path) {
    for leftover in alive_with(directory) {
        spawn::signal_process(leftover.pid, Signal::Kill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path, script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([
                ("PATH".to_owned(), "/bin:/usr/bin".to_owned()),
                (MARK.to_owned(), dir.join("state").display().to_string()),
            ]),
            log: dir.join("log"),
        }
    }

    #[test]
    fn a_shell_that_names_the_directory_is_nobody_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = std::process::Command::new("/bin/sleep")
            .arg("60")
            .env("KUBECONFIG", dir.path().join("kubeconfig"))
            .spawn()
            .unwrap();
        let found = alive_with(dir.path());
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(found, []);
    }

    #[tokio::test]
    async fn a_process_is_found_by_its_environment_and_gone_after_its_stop() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&sleeper(dir.path(), "echo hello; exec sleep 60")).unwrap();
        let pid = process.pid;
        wait_until(|| alive_with(dir.path()).iter().any(|left| left.pid == pid)).await;
        assert_eq!(process.ended(), None);
        assert!(matches!(process.stop().await, Ended::Orderly(_)));
        assert!(process.ended().is_some());
        wait_until(|| alive_with(dir.path()).is_empty()).await;
    }

    #[tokio::test]
    async fn the_whole_family_of_a_process_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&sleeper(dir.path(), "sleep 60 & echo started; wait")).unwrap();
        process.stop().await;
        wait_until(|| alive_with(dir.path()).is_empty()).await;
    }

    #[tokio::test]
    async fn a_daemonised_child_is_found_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&sleeper(dir.path(), "setsid sleep 60 & wait")).unwrap();
        let found = || alive_with(dir.path()).iter().any(|left| left.command == "sleep 60");
        wait_until(found).await;
        process.stop().await;
        kill_all_with(dir.path());
        wait_until(|| alive_with(dir.path()).is_empty()).await;
    }

    async fn wait_until(mut condition: impl FnMut() -> bool) {
        for _ in 0..500 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("condition not met in 5 s");
    }
}
