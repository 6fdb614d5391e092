//! `sharing.timeSlicing.resources[].interval`: how long each of the pods that take turns keeps its GPU (ours). The words are
//! those of NVIDIA's DRA driver, which writes them with capital letters; both spellings are read.

use super::choice::{Choice as _, choice};
use super::findings::Findings;
use super::object::{Field, exact_choice, exact_text};

choice! {
    /// How long one process keeps a GPU before it is another's turn.
    TimeSlice, "the interval of time-slicing" {
        /// As the driver has it by itself.
        Default = "default",
        /// Turns change often.
        Short = "short",
        /// In between.
        Medium = "medium",
        /// Turns change seldom.
        Long = "long",
    }
}

/// Reads one of the words, as it is or with a capital letter.
pub(super) fn time_slice(found: &mut Findings, field: &Field<'_>) -> Option<TimeSlice> {
    let text = exact_text(found, field)?;
    let is_it = |word: &&&str| text.eq_ignore_ascii_case(word) && text[1..] == word[1..];
    match TimeSlice::WORDS.iter().find(is_it) {
        Some(word) => TimeSlice::of(word),
        None => exact_choice(found, field),
    }
}
