//! MPS: a control daemon that speaks the real one's command language, and what its clients need.
//!
//! One process per GPU set runs [`daemon::run`]; programs reach it through its pipe directory.
//! Commands are lines (`get_server_list`, `quit`, …), parsed by [`Command`]. A simulated CUDA program
//! joins with [`connect`], which does what `cuInit` does in a container that has
//! `CUDA_MPS_PIPE_DIRECTORY`; it leaves when its process is stopped on the node's state.
//!
//! Who the clients are is in the node's state, not here: a client that dies is gone from both.

mod arguments;
mod claim;
mod client;
mod command;
mod control;
pub mod daemon;
mod lifecycle;
mod limits;
mod log;
mod os;
mod pipe;
mod reports;
mod server;
mod settings;
mod usage;

pub use arguments::{Mode, ModeError, Users, mode};
pub use client::{ClientError, ClientSpec, connect, run_commands};
pub use command::{Command, CommandError, GpuName};
pub use daemon::{DaemonError, start_in_background};
pub use pipe::{CONTROL_SOCKET, PID_FILE};
pub use server::serve;
pub use settings::Settings;
