//! A fake libnvidia-ml.so.1: NVML's C interface over fake-gpu.
//!
//! Programs load the built `libfake_nvml.so` as their NVML library. Its node's state file is named by
//! the environment variable `FAKE_GPU_STATE`, else it is `fake-gpu.state` beside the library as loaded,
//! so that one process can have several nodes through several copies. NVML's documentation (R580 and
//! NVML 13.0 headers) is the source of what each function answers; a function that is not exported is
//! what an old driver would lack.
//!
//! | module | what it answers |
//! |---|---|
//! | `call` | the frame of every export: panics stay inside, errors become NVML's codes |
//! | `session` | initialisation, the node behind it, event sets |
//! | `system` | init, shutdown, versions, error texts |
//! | `handle`, `identity`, `board` | finding a GPU; who it is; clocks, power, temperature, links |
//! | `memory`, `compute` | memory; compute mode and processes |
//! | `mig`, `mig_handle` | MIG mode and devices; handles of devices and instances |
//! | `instances`, `compute_instances` | the instances behind them and what they can be |
//! | `topology`, `nvlink` | NUMA and common ancestors; NVLinks |
//! | `health` | ECC, fields, fabric |
//! | `events` | event sets and waiting |
//! | `abi` | proves at compile time that every export has NVML's signature |
#![allow(unsafe_code)]

mod abi;
pub mod board;
mod call;
pub mod compute;
pub mod compute_instances;
pub mod events;
pub mod handle;
pub mod health;
pub mod identity;
pub mod instances;
pub mod memory;
pub mod mig;
mod mig_handle;
pub mod nvlink;
mod session;
pub mod system;
pub mod topology;
