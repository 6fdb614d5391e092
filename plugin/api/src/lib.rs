//! The kubelet's gRPC interfaces: device plugin v1beta1 and podresources v1.
//!
//! The message and field numbers in `proto/` are interface facts of Kubernetes 1.36/1.37. The Rust code in
//! `src/generated/` is made from them and checked in, so that building needs neither `protoc` nor a build script;
//! `tests/generated_code_is_current.rs` compares the two and, with `TANDEM_REGENERATE=1`, writes them anew.

/// `v1beta1`: [`Registration`](deviceplugin::registration_client) is served by the kubelet,
/// [`DevicePlugin`](deviceplugin::device_plugin_server) by a plugin.
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
#[path = "generated/v1beta1.rs"]
pub mod deviceplugin;

/// `v1`: who holds which device, as the kubelet sees it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
#[path = "generated/v1.rs"]
pub mod podresources;

/// The only device plugin version that the kubelet accepts.
pub const DEVICE_PLUGIN_VERSION: &str = "v1beta1";

/// The only text that the kubelet takes as healthy; every other text counts as unhealthy.
pub const HEALTHY: &str = "Healthy";

/// What plugins report for a device that must not be handed out.
pub const UNHEALTHY: &str = "Unhealthy";

/// The kubelet's socket in the device plugin directory, to which plugins register.
pub const KUBELET_SOCKET: &str = "kubelet.sock";
