//! The programs that a runtime starts for a container with a GPU: subcommands of NVIDIA's `nvidia-cdi-hook`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::str::FromStr;
use thiserror::Error;

use super::spec::HookCall;

/// When most run: in the container's namespaces, its root is not changed yet.
const CREATE_CONTAINER: &str = "createContainer";
/// When that one runs which needs the host's control groups and driver.
const CREATE_RUNTIME: &str = "createRuntime";

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Links beside mounted files.
    CreateSymlinks,
    /// Libraries of a newer CUDA in the container work with an older driver.
    EnableCudaCompat,
    /// The container's loader finds mounted libraries.
    UpdateLdcache,
    /// The driver's tools make no device nodes in the container.
    DisableDeviceNodeModification,
    /// Restricts graphics to the container's GPUs; never written here, so leaving it out is always obeyed.
    UpdateApplicationProfile,
    /// The driver holds the container to its budget of memory.
    ApplyCudaMemoryLimits,
}

impl Hook {
    /// Every hook.
    pub const EVERY: [Hook; 6] = [
        Hook::CreateSymlinks,
        Hook::EnableCudaCompat,
        Hook::UpdateLdcache,
        Hook::DisableDeviceNodeModification,
        Hook::UpdateApplicationProfile,
        Hook::ApplyCudaMemoryLimits,
    ];

    /// Its word on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::CreateSymlinks => "create-symlinks",
            Hook::EnableCudaCompat => "enable-cuda-compat",
            Hook::UpdateLdcache => "update-ldcache",
            Hook::DisableDeviceNodeModification => "disable-device-node-modification",
            Hook::UpdateApplicationProfile => "update-application-profile",
            Hook::ApplyCudaMemoryLimits => "apply-cuda-memory-limits",
        }
    }

    fn when(self) -> &'static str {
        match self {
            Hook::CreateSymlinks
            | Hook::EnableCudaCompat
            | Hook::UpdateLdcache
            | Hook::DisableDeviceNodeModification
            | Hook::UpdateApplicationProfile => CREATE_CONTAINER,
            Hook::ApplyCudaMemoryLimits => CREATE_RUNTIME,
        }
    }

    /// The hooks that a word of `--cdi-disable-hooks` means.
    ///
    /// # Errors
    /// The word names none.
    pub fn named(word: &str) -> Result<BTreeSet<Hook>, HookError> {
        if word == super::ALL { Ok(Self::EVERY.into()) } else { Ok([word.parse()?].into()) }
    }
}

/// A word that names no hook.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a CDI hook is one of `all`, {}, but is `{word}`", Hook::EVERY.map(|h| format!("`{}`", h.as_str())).join(", "))]
pub struct HookError {
    /// The word.
    pub word: String,
}

impl FromStr for Hook {
    type Err = HookError;

    fn from_str(word: &str) -> Result<Self, HookError> {
        let hook = Self::EVERY.into_iter().find(|hook| hook.as_str() == word);
        hook.ok_or_else(|| HookError { word: word.to_owned() })
    }
}

/// Makes calls of one program.
pub(super) struct Hooks<'a> {
    /// The program on the host.
    pub(super) program: &'a str,
    /// Hooks that are left out.
    pub(super) disabled: &'a BTreeSet<Hook>,
}

impl Hooks<'_> {
    /// The call of a hook; `None` when it is left out.
    pub(super) fn call(&self, hook: Hook, more: impl IntoIterator<Item = String>) -> Option<HookCall> {
        if self.disabled.contains(&hook) {
            return None;
        }
        let base = self.program.rsplit('/').next().unwrap_or_default();
        let mut args = vec![base.to_owned()];
        // the large program has the hooks below a subcommand
        args.extend((base == "nvidia-ctk").then(|| "hook".to_owned()));
        args.push(hook.as_str().to_owned());
        args.extend(more);
        Some(HookCall { hook_name: hook.when().to_owned(), path: self.program.to_owned(), args })
    }

    /// The call that makes links: target, then where the link is; `None` without links.
    pub(super) fn links(&self, links: &[(String, String)]) -> Option<HookCall> {
        let arguments =
            links.iter().flat_map(|(target, link)| ["--link".to_owned(), format!("{target}::{link}")]);
        if links.is_empty() { None } else { self.call(Hook::CreateSymlinks, arguments) }
    }
}
