//! The command language of nvidia-cuda-mps-control (CUDA MPS guide, "MPS v2 interface").

use std::str::FromStr;
use std::time::Duration;

use super::usage::usage;

/// Highest active thread percentage.
const PERCENTAGE_MAX: f32 = 100.0;

/// A GPU as a command names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuName {
    /// CUDA ordinal among the GPUs the daemon sees.
    Ordinal(u32),
    /// `GPU-…`.
    Uuid(String),
}

/// One line to the control daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Pids of servers.
    ServerList,
    /// ACTIVE or FAULT.
    ServerStatus {
        /// Server.
        server: u32,
    },
    /// Starts a server for a user.
    StartServer {
        /// User id.
        uid: u32,
    },
    /// Ends a server; with force, even under its clients.
    ShutdownServer {
        /// Server.
        server: u32,
        /// Do not wait for clients.
        force: bool,
    },
    /// Pids of a server's clients.
    ClientList {
        /// Server.
        server: u32,
    },
    /// Clients by GPU, of one server or all.
    DeviceClientList {
        /// Server.
        server: Option<u32>,
    },
    /// Table of clients.
    Ps,
    /// Percentage for servers started later.
    SetDefaultThreadPercentage {
        /// 0 < value ≤ 100.
        percentage: f32,
    },
    /// Percentage that servers started now would get.
    GetDefaultThreadPercentage,
    /// Percentage for clients of a server that join later.
    SetThreadPercentage {
        /// Server.
        server: u32,
        /// 0 < value ≤ 100.
        percentage: f32,
    },
    /// Percentage that clients of a server would get.
    GetThreadPercentage {
        /// Server.
        server: u32,
    },
    /// Memory limit for servers started later.
    SetDefaultMemoryLimit {
        /// Where.
        gpu: GpuName,
        /// Bytes.
        bytes: u64,
    },
    /// Memory limit that servers started now would get.
    GetDefaultMemoryLimit {
        /// Where.
        gpu: GpuName,
    },
    /// Memory limit for clients of a server that join later.
    SetMemoryLimit {
        /// Server.
        server: u32,
        /// Where.
        gpu: GpuName,
        /// Bytes.
        bytes: u64,
    },
    /// Memory limit that clients of a server would get.
    GetMemoryLimit {
        /// Server.
        server: u32,
        /// Where.
        gpu: GpuName,
    },
    /// Ends a client.
    TerminateClient {
        /// Server.
        server: u32,
        /// Client.
        client: u32,
    },
    /// Ends the daemon once its clients are done, or after the timeout.
    Quit {
        /// How long clients may take.
        timeout: Option<Duration>,
    },
    /// Not in the language: what the CUDA driver says for a program. `@connect PID UID GPUS LIMIT[:PERCENTAGE] NAME`.
    Connect {
        /// Who joins.
        client: super::ClientSpec,
    },
}

/// Why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The first word.
    #[error("unknown command `{0}`")]
    Unknown(String),
    /// Missing, superfluous or unreadable words.
    #[error("wrong arguments: `{line}`, usage: {usage}")]
    Arguments {
        /// The line.
        line: String,
        /// How it should look.
        usage: &'static str,
    },
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, CommandError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, rest) = match words.split_first() {
            Some((name, rest)) => (*name, rest),
            None => ("", &[][..]),
        };
        let usage = usage(name).ok_or_else(|| CommandError::Unknown(name.to_owned()))?;
        parse(name, rest).ok_or_else(|| CommandError::Arguments { line: line.trim().to_owned(), usage })
    }
}

fn parse(name: &str, words: &[&str]) -> Option<Command> {
    Some(match (name, words) {
        ("get_server_list", []) => Command::ServerList,
        ("get_server_status", [pid]) => Command::ServerStatus { server: number(pid)? },
        ("start_server", ["-uid", uid]) => Command::StartServer { uid: number(uid)? },
        ("shutdown_server", [pid]) => Command::ShutdownServer { server: number(pid)?, force: false },
        ("shutdown_server", [pid, "-f"]) => Command::ShutdownServer { server: number(pid)?, force: true },
        ("get_client_list", [pid]) => Command::ClientList { server: number(pid)? },
        ("get_device_client_list", []) => Command::DeviceClientList { server: None },
        ("get_device_client_list", [pid]) => Command::DeviceClientList { server: Some(number(pid)?) },
        ("ps", []) => Command::Ps,
        ("set_default_active_thread_percentage", [value]) => {
            Command::SetDefaultThreadPercentage { percentage: percentage(value)? }
        }
        ("get_default_active_thread_percentage", []) => Command::GetDefaultThreadPercentage,
        ("set_active_thread_percentage", [pid, value]) => {
            Command::SetThreadPercentage { server: number(pid)?, percentage: percentage(value)? }
        }
        ("get_active_thread_percentage", [pid]) => Command::GetThreadPercentage { server: number(pid)? },
        ("set_default_device_pinned_mem_limit", [gpu, value]) => {
            Command::SetDefaultMemoryLimit { gpu: gpu_name(gpu)?, bytes: memory(value)? }
        }
        ("get_default_device_pinned_mem_limit", [gpu]) => {
            Command::GetDefaultMemoryLimit { gpu: gpu_name(gpu)? }
        }
        ("set_device_pinned_mem_limit", [pid, gpu, value]) => {
            Command::SetMemoryLimit { server: number(pid)?, gpu: gpu_name(gpu)?, bytes: memory(value)? }
        }
        ("get_device_pinned_mem_limit", [pid, gpu]) => {
            Command::GetMemoryLimit { server: number(pid)?, gpu: gpu_name(gpu)? }
        }
        ("terminate_client", [server, client]) => {
            Command::TerminateClient { server: number(server)?, client: number(client)? }
        }
        ("quit", []) => Command::Quit { timeout: None },
        ("quit", ["-t", seconds]) => {
            Command::Quit { timeout: Some(Duration::from_secs(u64::from(number(seconds)?))) }
        }
        ("@connect", words) => Command::Connect { client: super::ClientSpec::from_words(words)? },
        _ => return None,
    })
}

fn number(word: &str) -> Option<u32> {
    word.parse().ok()
}

fn percentage(word: &str) -> Option<f32> {
    word.parse().ok().filter(|value| *value > 0.0 && *value <= PERCENTAGE_MAX)
}

fn gpu_name(word: &str) -> Option<GpuName> {
    if word.starts_with("GPU-") {
        return Some(GpuName::Uuid(word.to_owned()));
    }
    number(word).map(GpuName::Ordinal)
}

/// `512M` or `2G`.
fn memory(word: &str) -> Option<u64> {
    let (digits, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
    let shift = match unit {
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return None,
    };
    digits.parse::<u32>().ok().map(|value| u64::from(value) << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_language_is_understood() {
        let server = 12;
        let zero = GpuName::Ordinal(0);
        let cases = [
            ("get_server_list", Command::ServerList),
            ("get_server_status 12", Command::ServerStatus { server }),
            ("start_server -uid 1000", Command::StartServer { uid: 1000 }),
            ("shutdown_server 12 -f", Command::ShutdownServer { server, force: true }),
            ("get_client_list 12", Command::ClientList { server }),
            ("get_device_client_list", Command::DeviceClientList { server: None }),
            ("get_device_client_list 12", Command::DeviceClientList { server: Some(12) }),
            ("  ps \n", Command::Ps),
            (
                "set_default_active_thread_percentage 25",
                Command::SetDefaultThreadPercentage { percentage: 25.0 },
            ),
            ("get_default_active_thread_percentage", Command::GetDefaultThreadPercentage),
            (
                "set_active_thread_percentage 12 12.5",
                Command::SetThreadPercentage { server, percentage: 12.5 },
            ),
            ("get_active_thread_percentage 12", Command::GetThreadPercentage { server }),
            (
                "set_default_device_pinned_mem_limit 0 3840M",
                Command::SetDefaultMemoryLimit { gpu: zero.clone(), bytes: 3840 << 20 },
            ),
            (
                "get_default_device_pinned_mem_limit GPU-a",
                Command::GetDefaultMemoryLimit { gpu: GpuName::Uuid("GPU-a".into()) },
            ),
            (
                "set_device_pinned_mem_limit 12 0 2G",
                Command::SetMemoryLimit { server, gpu: zero.clone(), bytes: 2 << 30 },
            ),
            ("get_device_pinned_mem_limit 12 0", Command::GetMemoryLimit { server, gpu: zero }),
            ("terminate_client 12 34", Command::TerminateClient { server, client: 34 }),
            ("quit", Command::Quit { timeout: None }),
            ("quit -t 10", Command::Quit { timeout: Some(Duration::from_secs(10)) }),
        ];
        for (line, command) in cases {
            assert_eq!(line.parse(), Ok(command), "{line}");
        }
    }

    #[test]
    fn an_unknown_word_and_wrong_arguments_are_told_apart() {
        assert_eq!("help".parse::<Command>(), Err(CommandError::Unknown("help".into())));
        let wrong = [
            "quit -t",
            "quit now",
            "set_default_active_thread_percentage 0",
            "set_default_active_thread_percentage 101",
            "set_default_device_pinned_mem_limit 0 3840",
            "set_default_device_pinned_mem_limit x 1G",
            "set_default_device_pinned_mem_limit 0 -1G",
            "get_client_list",
        ];
        for line in wrong {
            let refused = line.parse::<Command>();
            assert!(matches!(refused, Err(CommandError::Arguments { .. })), "{line}: {refused:?}");
        }
    }
}
