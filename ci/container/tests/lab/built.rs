//! What `cargo ci container` has built for these tests, found through two variables that it sets.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The image's description, as `cargo ci image` leaves it.
const IMAGE_VARIABLE: &str = "TANDEM_IMAGE_JSON";
/// The directory of the workspace's programs.
const BINARIES_VARIABLE: &str = "TANDEM_BIN_DIR";

/// Paths and names.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The image's name and tag.
    pub(crate) reference: String,
    /// The image as an archive.
    pub(crate) archive: PathBuf,
    /// Its size in bytes.
    pub(crate) size_bytes: u64,
    /// The fake driver library.
    pub(crate) nvml: PathBuf,
    /// The fake MPS control program.
    pub(crate) mps_control: PathBuf,
}

impl Built {
    /// Finds them.
    pub(crate) fn find() -> Result<Built> {
        let variable = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).with_context(|| {
                format!("`{name}` is not set; `cargo ci container` sets it and starts these tests")
            })
        };
        let description = variable(IMAGE_VARIABLE)?;
        let text = std::fs::read_to_string(&description)
            .with_context(|| format!("cannot read `{}`", description.display()))?;
        let image: Value = serde_json::from_str(&text)?;
        let field = |name: &str| {
            let value = image.get(name).and_then(Value::as_str).map(str::to_owned);
            value.with_context(|| format!("`{}` has no `{name}`", description.display()))
        };
        let directory = variable(BINARIES_VARIABLE)?;
        let beside = description.parent().map(PathBuf::from).unwrap_or_default();
        Ok(Built {
            reference: field("reference")?,
            archive: beside.join(field("archive")?),
            size_bytes: image.get("size_bytes").and_then(Value::as_u64).unwrap_or_default(),
            nvml: directory.join("libfake_nvml.so"),
            mps_control: directory.join("nvidia-cuda-mps-control"),
        })
    }
}
