//! Which configuration a node gets: the label on its Node object, else the default, else the fallbacks
//! (the rules of NVIDIA's config-manager v0.20).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::choice::choice;
use super::nearest::nearest;

/// The file that the fallback `named` looks for.
const NAMED: &str = "default";

choice! {
    /// What to try when neither a label nor a default names a configuration.
    Fallback, "a fallback strategy" {
        /// The file called `default`.
        Named = "named",
        /// The only file, if there is just one.
        Single = "single",
        /// An empty configuration.
        Empty = "empty",
    }
}

/// The configuration that was selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selected {
    /// This file.
    File(String),
    /// No file: flags, environment and defaults alone.
    Empty,
}

/// Why no configuration could be selected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectError {
    /// The label names a file that is not there.
    #[error("the node's config label names an unknown config `{requested}`{}", hint(.nearest.as_deref(), .available))]
    UnknownRequested {
        /// The label's value.
        requested: String,
        /// The files that there are.
        available: BTreeSet<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The default names a file that is not there.
    #[error("the default config names an unknown config `{default_config}`{}", hint(.nearest.as_deref(), .available))]
    UnknownDefault {
        /// The default's value.
        default_config: String,
        /// The files that there are.
        available: BTreeSet<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// Nothing was asked for, and no fallback found a file.
    #[error(
        "the node has no config label, there is no default config, and no fallback strategy of [{}] applies{}",
        words(.tried),
        hint(None, .available)
    )]
    NoFallback {
        /// The fallbacks, in the order in which they were tried.
        tried: Vec<Fallback>,
        /// The files that there are.
        available: BTreeSet<String>,
    },
    /// There is no file at all.
    #[error("there is no config to select from")]
    NothingAvailable,
}

/// Selects. An empty `requested` or `default_config` counts as none, as an absent label does.
///
/// # Errors
///
/// When what is asked for is not there, or nothing is asked for and no fallback applies.
pub fn select(
    requested: Option<&str>,
    default_config: Option<&str>,
    fallback: &[Fallback],
    available: &BTreeSet<String>,
) -> Result<Selected, SelectError> {
    if available.is_empty() {
        return Err(SelectError::NothingAvailable);
    }
    let near = |name: &str| nearest(name, available.iter().map(String::as_str)).map(str::to_owned);
    if let Some(name) = requested.filter(|name| !name.is_empty()) {
        return file(name, available).ok_or_else(|| SelectError::UnknownRequested {
            requested: name.to_owned(),
            available: available.clone(),
            nearest: near(name),
        });
    }
    if let Some(name) = default_config.filter(|name| !name.is_empty()) {
        return file(name, available).ok_or_else(|| SelectError::UnknownDefault {
            default_config: name.to_owned(),
            available: available.clone(),
            nearest: near(name),
        });
    }
    let attempt = |fallback: &Fallback| match fallback {
        Fallback::Named => file(NAMED, available),
        Fallback::Single if available.len() == 1 => {
            available.first().map(|name| Selected::File(name.clone()))
        }
        Fallback::Single => None,
        Fallback::Empty => Some(Selected::Empty),
    };
    fallback
        .iter()
        .find_map(attempt)
        .ok_or_else(|| SelectError::NoFallback { tried: fallback.to_vec(), available: available.clone() })
}

fn file(name: &str, available: &BTreeSet<String>) -> Option<Selected> {
    available.contains(name).then(|| Selected::File(name.to_owned()))
}

fn hint(nearest: Option<&str>, available: &BTreeSet<String>) -> String {
    let names: Vec<String> = available.iter().map(|name| format!("`{name}`")).collect();
    let meant = nearest.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
    format!(" (hint: {meant}available: {})", names.join(", "))
}

fn words(tried: &[Fallback]) -> String {
    tried.iter().map(|fallback| fallback.as_str()).collect::<Vec<_>>().join(", ")
}
