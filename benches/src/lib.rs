//! What every bench needs: a node whose neighbours cost nothing, so that only the plugin's own work is measured.
//!
//! The promised numbers, and which bench shows which, are in `BUDGETS.md` beside this crate's manifest.

pub mod churn;
pub mod node;
