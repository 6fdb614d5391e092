//! The Container Device Interface: files in which container runtimes look up what a device name means.
//!
//! The plugin writes them itself, with NVIDIA's vendor and file names unless told otherwise. [`Search`] says what to look
//! for on disk, [`Found`] what is there, [`files`](generate::files) turns both into text, [`keep`] decides when it is
//! written. A name in use keeps its meaning: see [`keep`].

pub(crate) mod answer;
mod generate;
mod hooks;
mod keep;
mod names;
mod search;
mod spec;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::answer::CdiEdits;
pub use self::generate::files;
pub use self::hooks::{Hook, HookError};
pub(crate) use self::keep::{Specs, is_wanted};
pub use self::names::{VendorError, annotation_key, check_vendor, is_class, is_device, is_vendor, qualified};
pub use self::search::{Found, NodeAccess, Search};
pub use self::spec::{BindMount, Device, Edits, HookCall, Node, Spec};

/// NVIDIA's vendor (k8s-device-plugin v0.20): annotations and files of its plugin stay valid.
pub const VENDOR: &str = "k8s.device-plugin.nvidia.com";
/// The device that stands for all of a class.
pub const ALL: &str = "all";
/// The device node directory of IMEX channels.
pub const IMEX_CHANNELS: &str = "/dev/nvidia-caps-imex-channels/channel";

/// A kind of device; each has its own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// GPUs.
    Gpu,
    /// IMEX channels.
    ImexChannel,
    /// GDRCopy.
    Gdrcopy,
    /// GPUDirect Storage.
    Gds,
    /// Mellanox's network driver.
    Mofed,
}

impl Class {
    /// Every class.
    pub const EVERY: [Class; 5] = [Class::Gpu, Class::ImexChannel, Class::Gdrcopy, Class::Gds, Class::Mofed];

    /// Its name in kinds and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Gpu => "gpu",
            Class::ImexChannel => "imex-channel",
            Class::Gdrcopy => "gdrcopy",
            Class::Gds => "gds",
            Class::Mofed => "mofed",
        }
    }

    /// The file that describes this vendor's devices of the class.
    pub fn file(self, vendor: &str) -> String {
        format!("{vendor}-{}.json", self.as_str())
    }
}

/// How specs are made; constant over the life of a process. The configuration file has no equivalent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdiSettings {
    /// Whose devices; empty means [`VENDOR`].
    pub vendor: String,
    /// Hooks that are left out (`--cdi-disable-hooks`).
    pub disabled_hooks: BTreeSet<Hook>,
    /// Groups of device nodes are not passed (`no-additional-gids-for-device-nodes`).
    pub no_additional_gids: bool,
    /// Sockets of the driver's daemons are not passed (`disable-ipc-discoverer`).
    pub no_ipc: bool,
}

impl CdiSettings {
    /// Whose devices.
    pub fn vendor(&self) -> &str {
        if self.vendor.is_empty() { VENDOR } else { &self.vendor }
    }

    /// Takes one word of `--cdi-feature-flags`. A word that is already true has no effect.
    ///
    /// # Errors
    /// Why the word cannot be obeyed.
    pub fn add_feature(&mut self, word: &str) -> Result<(), FeatureError> {
        match word {
            "no-additional-gids-for-device-nodes" => self.no_additional_gids = true,
            "disable-ipc-discoverer" => self.no_ipc = true,
            // neither libnvsandboxutils nor Tegra's lists are ever used
            "disable-nvsandboxutils" | "disable-multiple-csv-devices" => {}
            "enable-explicit-driver-libraries" | "enable-coherent-annotations" => {
                return Err(FeatureError::NotBuilt { word: word.to_owned() });
            }
            _ => return Err(FeatureError::Unknown { word: word.to_owned() }),
        }
        Ok(())
    }
}

/// A feature flag that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// NVIDIA's generator knows it, ours does not.
    #[error(
        "the CDI feature `{word}` is not built: every library of the driver's version is passed, without annotations"
    )]
    NotBuilt {
        /// The word.
        word: String,
    },
    /// Nobody knows it.
    #[error(
        "a CDI feature is one of `no-additional-gids-for-device-nodes`, `disable-ipc-discoverer`, `disable-nvsandboxutils`, \
         `disable-multiple-csv-devices`, but is `{word}`"
    )]
    Unknown {
        /// The word.
        word: String,
    },
}
