//! Settings that are one word of a short list, declared once so that file, flag, message and printed config agree.

use thiserror::Error;

/// A word that is not in the list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} is one of {}, but is `{word}`", listed(.words))]
pub struct ChoiceError {
    /// What the word chooses.
    pub what: &'static str,
    /// The words that it could be.
    pub words: &'static [&'static str],
    /// The word.
    pub word: String,
}

/// A closed list of words.
pub(super) trait Choice: Sized {
    /// What the word chooses, for messages.
    const WHAT: &'static str;
    /// The words, in the order of the documentation.
    const WORDS: &'static [&'static str];
    /// The value for a word.
    fn of(word: &str) -> Option<Self>;
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Declares an enum whose variants are words: documentation, `as_str`, `FromStr`, `Display` and serde from one list.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word for it in files and flags.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl $crate::config::choice::Choice for $name {
            const WHAT: &'static str = $what;
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn of(word: &str) -> Option<Self> {
                match word {
                    $($word => Some($name::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::config::choice::ChoiceError;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                use $crate::config::choice::{Choice, ChoiceError};
                Self::of(word).ok_or_else(|| ChoiceError {
                    what: Self::WHAT,
                    words: Self::WORDS,
                    word: word.to_owned(),
                })
            }
        }
    };
}
pub(super) use choice;
