//! What a registration may say: the kubelet refuses versions and resource names that it does not support, in words
//! that plugins log.

use plugin_api::DEVICE_PLUGIN_VERSION;

/// Longest DNS prefix of a resource name: a qualified name's 253 less the quota prefix `requests.`.
const PREFIX_LENGTH_MAX: usize = 253 - "requests.".len();
/// Longest part after the slash.
const NAME_LENGTH_MAX: usize = 63;
/// Longest label between two dots of the prefix.
const LABEL_LENGTH_MAX: usize = 63;

/// Why a registration is refused before the plugin is dialled; the texts are kubelet 1.36's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterRefusal {
    /// The plugin speaks another version of the API.
    #[error(
        "requested API version {version:?} is not supported by kubelet. Supported version is [{DEVICE_PLUGIN_VERSION:?}]"
    )]
    Version {
        /// What the plugin asked for.
        version: String,
    },
    /// Not the name of an extended resource.
    #[error("the ResourceName {resource:?} is invalid")]
    ResourceName {
        /// What the plugin asked for.
        resource: String,
    },
    /// The plugin on this socket is connected already (kubelet 1.37).
    #[error("device plugin already connected: {socket}")]
    AlreadyConnected {
        /// The socket's file name.
        socket: String,
    },
    /// More plugins than the fake keeps track of.
    #[error("more than {max} plugins are connected")]
    TooMany {
        /// The bound.
        max: usize,
    },
}

/// Whether the kubelet may count `name`: a qualified name with a domain of its own.
pub fn is_extended_resource(name: &str) -> bool {
    let Some((prefix, base)) = name.split_once('/') else {
        return false;
    };
    !name.contains("kubernetes.io/") && !name.starts_with("requests.") && is_prefix(prefix) && is_base(base)
}

fn is_prefix(prefix: &str) -> bool {
    let label_ok = |label: &str| {
        label.len() <= LABEL_LENGTH_MAX
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    prefix.len() <= PREFIX_LENGTH_MAX && prefix.split('.').all(label_ok)
}

fn is_base(base: &str) -> bool {
    let edge_ok = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = base.as_bytes();
    bytes.len() <= NAME_LENGTH_MAX
        && edge_ok(bytes.first())
        && edge_ok(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Refuses a registration that names another version or something that is no extended resource.
pub(super) fn check(version: &str, resource: &str) -> Result<(), RegisterRefusal> {
    if version != DEVICE_PLUGIN_VERSION {
        return Err(RegisterRefusal::Version { version: version.to_owned() });
    }
    if !is_extended_resource(resource) {
        return Err(RegisterRefusal::ResourceName { resource: resource.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names_follow_the_rule_for_extended_resources() {
        let long_prefix = |length: usize| {
            let mut prefix = "a.".repeat(length / 2);
            prefix.truncate(length - 1);
            prefix.push('a');
            format!("{prefix}/dev")
        };
        for good in ["nvidia.com/gpu", "nvidia.com/gpu.shared", "vendor.test/Dev_1.x", &long_prefix(244)] {
            assert!(is_extended_resource(good), "{good}");
        }
        let long_base = format!("vendor.test/{}", "d".repeat(64));
        for bad in [
            "",
            "gpu",
            "/gpu",
            "nvidia.com/",
            "Vendor.test/Dev",
            "kubernetes.io/gpu",
            "a.kubernetes.io/gpu",
            "requests.nvidia.com/gpu",
            "a/b/c",
            "vendor.test/-dev",
            &long_prefix(245),
            &long_base,
        ] {
            assert!(!is_extended_resource(bad), "{bad}");
        }
    }

    #[test]
    fn a_refused_registration_reads_as_the_kubelet_writes_it() {
        assert_eq!(
            check("v1alpha1", "vendor.test/dev").unwrap_err().to_string(),
            "requested API version \"v1alpha1\" is not supported by kubelet. Supported version is [\"v1beta1\"]"
        );
        assert_eq!(check("v1beta1", "gpu").unwrap_err().to_string(), "the ResourceName \"gpu\" is invalid");
        assert_eq!(check("v1beta1", "vendor.test/dev"), Ok(()));
    }
}
