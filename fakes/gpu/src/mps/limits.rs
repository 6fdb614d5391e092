//! What clients of an MPS server get, and when which limit counts.

use std::collections::BTreeMap;

use crate::process::{ProcessKind, ProcessSpec};

use super::client::ClientSpec;

/// Active thread percentage when none was set.
const PERCENTAGE_DEFAULT: f32 = 100.0;

/// What clients of a server get.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) thread_percentage: f32,
    /// Bytes by NVML index.
    pub(crate) memory: BTreeMap<u32, u64>,
}

impl Limits {
    /// No limits: a fresh daemon's.
    pub(crate) fn none() -> Self {
        Self { thread_percentage: PERCENTAGE_DEFAULT, memory: BTreeMap::new() }
    }

    /// A client of a server on one GPU, as these limits make it.
    pub(crate) fn process(&self, client: &ClientSpec, server: u32, gpu: u32) -> ProcessSpec {
        let server_limit = self.memory.get(&gpu).copied().unwrap_or(0);
        let limit_bytes = match (server_limit, client.limit_bytes) {
            (0, own) => own,
            (server, 0) => server,
            (server, own) => server.min(own),
        };
        let server_percentage = (self.thread_percentage * 10.0).round() as u32;
        let thread_percentage_tenths = match client.thread_percentage {
            0 => server_percentage,
            own => server_percentage.min(own * 10),
        };
        ProcessSpec {
            uid: client.uid,
            server_pid: server,
            limit_bytes,
            thread_percentage_tenths,
            ..ProcessSpec::new(client.pid, gpu, ProcessKind::MpsClient, &client.name)
        }
    }
}

/// Memory limits are shown in MiB.
pub(crate) fn size(bytes: Option<&u64>) -> String {
    bytes.map_or_else(|| "unset".to_owned(), |bytes| format!("{}M", bytes >> 20))
}
