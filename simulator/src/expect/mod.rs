//! What a scenario expects of the world: partial patterns, matched against one JSON view, with a diff that names
//! the path when something differs.

pub mod decode;
pub mod diff;
pub mod lookup;
pub mod matcher;
pub mod mutate;
pub mod narrow;
pub mod pattern;

pub use diff::{render, render_witness};
pub use lookup::glob;
pub use matcher::{Memory, Mismatch, check, witness};
pub use mutate::{Mutant, mutants};
pub use narrow::{Hidden, LeftOut, narrow};
pub use pattern::{OPERATORS, Op, Pattern, PatternKind};
