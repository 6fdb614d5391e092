//! Names of extended resources, because a wrong one is refused by the kubelet long after it was configured.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The only domain that NVIDIA's plugin serves.
const PREFIX: &str = "nvidia.com/";
/// Longest name in a file, prefix included (k8s-device-plugin v0.20).
const LENGTH_MAX: usize = 63;
/// What `renameByDefault` appends.
const SHARED_SUFFIX: &str = ".shared";

/// The name of an extended resource, such as `nvidia.com/gpu`. Always begins with `nvidia.com/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);

/// Why a text is not a resource name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResourceNameError {
    /// Longer than 63 characters with its prefix.
    #[error("a resource name has at most {LENGTH_MAX} characters with its prefix, but `{name}` has {length}")]
    TooLong {
        /// The name with its prefix.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// What follows `nvidia.com/` is not a DNS-1123 subdomain.
    #[error(
        "a resource name is `{PREFIX}` and a DNS subdomain (lower case letters, digits, `-` and `.`), but is `{name}`"
    )]
    NotADnsSubdomain {
        /// The name with its prefix.
        name: String,
    },
}

impl ResourceName {
    /// Reads a name; `nvidia.com/` is added if it is missing.
    ///
    /// # Errors
    ///
    /// When it is too long or not a DNS subdomain (the rules of k8s-device-plugin v0.20).
    pub fn parse(text: &str) -> Result<Self, ResourceNameError> {
        let name = match text.strip_prefix(PREFIX) {
            Some(_) => text.to_owned(),
            None => format!("{PREFIX}{text}"),
        };
        let length = name.chars().count();
        if length > LENGTH_MAX {
            return Err(ResourceNameError::TooLong { name, length });
        }
        if !is_dns_subdomain(&name[PREFIX.len()..]) {
            return Err(ResourceNameError::NotADnsSubdomain { name });
        }
        Ok(ResourceName(name))
    }

    /// `nvidia.com/gpu`, the name of whole GPUs.
    pub fn gpu() -> Self {
        ResourceName(format!("{PREFIX}gpu"))
    }

    /// The name under which `renameByDefault` advertises the replicas. May exceed the 63 characters that a file may
    /// give by the suffix: the kubelet does not count the prefix.
    #[must_use]
    pub fn shared(&self) -> Self {
        ResourceName(format!("{}{SHARED_SUFFIX}", self.0))
    }

    /// The whole name, prefix included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without `nvidia.com/`.
    pub fn without_prefix(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or(&self.0)
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> Self {
        name.0
    }
}

impl TryFrom<String> for ResourceName {
    type Error = ResourceNameError;

    /// As [`ResourceName::parse`], but what [`ResourceName::shared`] makes is accepted too: journals hold it.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_suffix(SHARED_SUFFIX) {
            Some(name) => Ok(ResourceName::parse(name)?.shared()),
            None => ResourceName::parse(&text),
        }
    }
}

/// DNS-1123 subdomain: labels of lower case letters, digits and inner `-`, joined by `.`.
fn is_dns_subdomain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    })
}
