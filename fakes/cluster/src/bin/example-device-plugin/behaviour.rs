//! The naive ways, one word each, in one table that the command line, its help and the code read.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a naive way does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    IgnoresKubeletRestart,
    IgnoresLostStream,
    GivesUp,
    Impatient,
    RegistersTimes,
    DelaysOptions,
    HangsInAllocate,
    HangsInPreferred,
    FailsPreferred,
    LatePreStart,
    DropsDuringAllocate,
    DuplicateIds,
    LongIds,
    EmptyTopology,
    UnknownNumaNode,
    HupRemovesOne,
    HupEndsStream,
    HupRegisters,
    HupTakesOver,
    HupStopsServing,
    HupRenames,
}

/// One row: the way, its word, what its number is, and what it does.
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) word: &'static str,
    /// `ms`, `n`, or nothing.
    pub(crate) number: &'static str,
    pub(crate) about: &'static str,
}

const fn row(way: Way, word: &'static str, number: &'static str, about: &'static str) -> Row {
    Row { way, word, number, about }
}

/// Every naive way.
pub(crate) const WAYS: &[Row] = &[
    row(
        Way::IgnoresKubeletRestart,
        "ignores-kubelet-restart",
        "",
        "does not look whether sockets are made anew",
    ),
    row(
        Way::IgnoresLostStream,
        "ignores-lost-stream",
        "",
        "does not mind that the kubelet ended its ListAndWatch",
    ),
    row(Way::GivesUp, "gives-up", "", "tries to register once, then lives on without"),
    row(Way::Impatient, "impatient", "ms", "waits so long for the answer to Register"),
    row(Way::RegistersTimes, "registers-times", "n", "registers so often at its start"),
    row(Way::DelaysOptions, "delays-options", "ms", "answers GetDevicePluginOptions late"),
    row(Way::HangsInAllocate, "hangs-in-allocate", "ms", "answers Allocate late"),
    row(Way::HangsInPreferred, "hangs-in-preferred", "ms", "answers GetPreferredAllocation late"),
    row(Way::FailsPreferred, "fails-preferred", "", "answers GetPreferredAllocation with an error"),
    row(Way::LatePreStart, "late-pre-start", "ms", "asks for PreStartContainer and answers it late"),
    row(
        Way::DropsDuringAllocate,
        "drops-during-allocate",
        "",
        "takes devices off its list while it allocates them",
    ),
    row(Way::DuplicateIds, "duplicate-ids", "", "lists every device twice, the second time unhealthy"),
    row(Way::LongIds, "long-ids", "", "pads every device ID to 63 characters"),
    row(Way::EmptyTopology, "empty-topology", "", "lists topology without a NUMA node"),
    row(Way::UnknownNumaNode, "unknown-numa-node", "", "lists a NUMA node that no machine has"),
    row(Way::HupRemovesOne, "hup-removes-one", "", "on SIGHUP its last device leaves the list at once"),
    row(Way::HupEndsStream, "hup-ends-stream", "", "on SIGHUP it ends its ListAndWatch streams"),
    row(Way::HupRegisters, "hup-registers", "", "on SIGHUP it registers once more"),
    row(
        Way::HupTakesOver,
        "hup-takes-over",
        "",
        "on SIGHUP it serves anew on the same socket, without a pause",
    ),
    row(Way::HupStopsServing, "hup-stops-serving", "", "on SIGHUP it closes its server and lives on"),
    row(
        Way::HupRenames,
        "hup-renames",
        "",
        "on SIGHUP it serves all devices as `<resource>.shared` and forgets who holds them",
    ),
];

/// The ways that one plugin was told to go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    ways: BTreeMap<&'static str, u64>,
}

impl Behaviour {
    /// Adds a way: `word` or `word=number`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let (word, number) = text.split_once('=').map_or((text, None), |(word, number)| (word, Some(number)));
        let row = WAYS.iter().find(|row| row.word == word);
        let row = row.ok_or_else(|| format!("there is no naive way `{word}`"))?;
        let number = match (row.number, number) {
            ("", None) => 0,
            ("", Some(_)) => return Err(format!("`{word}` takes no number: `{text}`")),
            (unit, number) => {
                let number = number.and_then(|number| number.parse().ok());
                number.ok_or_else(|| format!("`{word}` takes a number ({unit}): `{text}`"))?
            }
        };
        self.ways.insert(row.word, number);
        Ok(())
    }

    pub(crate) fn has(&self, way: Way) -> bool {
        self.number(way).is_some()
    }

    pub(crate) fn number(&self, way: Way) -> Option<u64> {
        let row = WAYS.iter().find(|row| row.way == way)?;
        self.ways.get(row.word).copied()
    }

    /// The number in milliseconds; no time without it.
    pub(crate) fn time(&self, way: Way) -> Duration {
        Duration::from_millis(self.number(way).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_a_word_with_its_number_and_nothing_else() {
        let mut behaviour = Behaviour::default();
        behaviour.add("gives-up").unwrap();
        behaviour.add("hangs-in-allocate=250").unwrap();
        assert!(behaviour.has(Way::GivesUp) && !behaviour.has(Way::LongIds));
        assert_eq!(behaviour.time(Way::HangsInAllocate), Duration::from_millis(250));
        for wrong in ["gives-in", "gives-up=1", "impatient", "impatient=soon"] {
            assert!(behaviour.add(wrong).unwrap_err().contains(wrong.split('=').next().unwrap()));
        }
    }

    #[test]
    fn every_way_has_a_word_of_its_own() {
        for (index, row) in WAYS.iter().enumerate() {
            assert!(WAYS.iter().skip(index + 1).all(|other| other.word != row.word && other.way != row.way));
        }
    }
}
