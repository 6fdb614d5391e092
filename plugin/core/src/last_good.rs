//! The last configuration that was in force, kept across restarts: what a node serves when the one that is asked for is
//! missing or bad, or when nobody says which one is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Severity};
use crate::choose::{self, Applied, BUILT_IN, Choice, Sources};
use crate::inventory::Facts;
use crate::kept_gpus::KeptGpus;
use crate::plugin::{ConfigSource, Plugin, Settings};

/// The format's version; a file of another one is not read.
const VERSION: u32 = 1;

/// A configuration that was in force, as the file in the state directory holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    version: u32,
    /// The Node that it was in force on; none when the plugin had no node name.
    node: Option<String>,
    /// The file's name.
    pub name: String,
    /// [`fingerprint`] of the text.
    pub hash: String,
    /// The whole text.
    pub text: String,
}

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastGoods {
    /// As the state directory holds it.
    pub(crate) kept: Option<LastGood>,
    /// As an earlier process left it.
    found: Option<LastGood>,
    /// What is staged, with its text.
    pub(crate) staged: Option<LastGood>,
    /// What is in force, with its text.
    pub(crate) in_force: Option<LastGood>,
    /// It is staged or in force because what is asked for is not known or cannot be.
    pub(crate) stands_in: bool,
}

/// FNV-1a over the bytes, 64 bits as 16 hexadecimal digits: tells texts apart, proves nothing.
pub fn fingerprint(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

impl LastGood {
    /// A configuration by name and text.
    pub fn new(node: Option<&str>, name: &str, text: &str) -> Self {
        LastGood {
            version: VERSION,
            node: node.map(str::to_owned),
            name: name.to_owned(),
            hash: fingerprint(text),
            text: text.to_owned(),
        }
    }

    /// Reads the state file of this node.
    ///
    /// # Errors
    /// It was not written by this program, for this node, or not wholly.
    pub fn parse(file: &str, node: Option<&str>) -> Result<Self, String> {
        let read: LastGood = serde_json::from_str(file).map_err(|e| format!("it cannot be read: {e}"))?;
        if read.version != VERSION {
            return Err(format!("it has version {}, this program reads version {VERSION}", read.version));
        }
        if read.node.as_deref() != node {
            let shown =
                |name: Option<&str>| name.map_or_else(|| "no node".to_owned(), |n| format!("node `{n}`"));
            return Err(format!("it is of {}, this is {}", shown(read.node.as_deref()), shown(node)));
        }
        let hash = fingerprint(&read.text);
        if read.hash != hash {
            return Err(format!("it is damaged: its text has the hash {hash}, not {}", read.hash));
        }
        Ok(read)
    }

    /// Checks it against the node's GPUs, as if it were the only file. It served before, so what it warns of is no error.
    pub(crate) fn choose(&self, settings: &Settings, facts: Option<&Facts>, kept: &KeptGpus) -> Choice {
        let settings = Settings { config_source: ConfigSource::File, strict: false, ..settings.clone() };
        let file = (self.name != BUILT_IN).then(|| (self.name.clone(), self.text.clone()));
        let files: BTreeMap<String, String> = file.into_iter().collect();
        let sources = Sources { files: Some(Ok(files)), ..Sources::default() };
        choose::choose(&settings, &sources, facts, kept)
    }
}

impl LastGoods {
    /// Whether the configuration in force was also that of the process before this one.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.found.is_some() && self.found == self.in_force
    }
}

impl Plugin {
    /// The state file was read.
    pub(crate) fn last_good_read(&mut self, file: Option<&str>) {
        match file.map(|file| LastGood::parse(file, self.settings.node_name.as_deref())) {
            None => {}
            Some(Ok(last)) => {
                self.last_goods.found = Some(last.clone());
                self.last_goods.kept = Some(last);
            }
            Some(Err(why)) => self.last_good_ignored(&why),
        }
        self.choice_is_stale = true;
    }

    pub(crate) fn last_good_ignored(&mut self, why: &str) {
        let message = format!(
            "the last good configuration in the state directory is ignored: {why}; the next one that is applied replaces it"
        );
        self.say_once("last good", Severity::Warning, "LastGoodIgnored", message);
    }

    /// The state file could not be written: the next choice tries again.
    pub(crate) fn last_good_not_kept(&mut self, why: &str) {
        self.last_goods.kept = None;
        let message = format!(
            "the configuration in force cannot be kept for the next start: {why} (is --state-dir a writable hostPath?)"
        );
        self.say_once("last good", Severity::Warning, "LastGoodNotKept", message);
    }

    /// The configuration of this name as it is asked for now, with its text.
    pub(crate) fn with_text(&self, name: &str) -> LastGood {
        let files = self.sources.files.as_ref().and_then(|files| files.as_ref().ok());
        let text = files.and_then(|files| files.get(name)).map_or("", String::as_str);
        LastGood::new(self.settings.node_name.as_deref(), name, text)
    }

    /// Stages the last good configuration when nothing better is in force. `true` when it stands in.
    pub(crate) fn stage_last_good(&mut self) -> bool {
        let serves = |applied: &Applied| !applied.roles.is_empty();
        if self.applied.as_deref().is_some_and(serves) && !self.last_goods.stands_in {
            return false;
        }
        let Some(last) = self.last_goods.kept.clone() else {
            return false;
        };
        if self.applied.is_some() && self.last_goods.in_force.as_ref() == Some(&last) {
            return self.last_goods.stands_in;
        }
        match last.choose(&self.settings, self.facts(), &self.kept.gpus) {
            Choice::NotYet(_) => false,
            Choice::Refused { problems, .. } => {
                let message = format!(
                    "the last good configuration `{}` does not fit any more: {}",
                    last.name,
                    problems.join("; ")
                );
                self.say_once("last good", Severity::Warning, "LastGoodRefused", message);
                false
            }
            Choice::Candidate { applied, .. } => {
                self.last_goods.stands_in = true;
                let known = [&self.applied, &self.next];
                if known.into_iter().flatten().any(|a| **a == *applied) {
                    return true;
                }
                let message =
                    format!("the last good configuration `{}` ({}) stands in", last.name, last.hash);
                self.say_once("last good", Severity::Warning, "LastGoodUsed", message);
                self.last_goods.staged = Some(last);
                self.staged_at = Some(self.now);
                self.next = Some(std::sync::Arc::new(*applied));
                true
            }
        }
    }

    /// This configuration is in force: it is written down unless it is already, or has proved nothing so far.
    pub(crate) fn remember(&mut self, in_force: LastGood) {
        if self.is_proved() && self.last_goods.kept.as_ref() != Some(&in_force) {
            // a value of ours always has a JSON form
            if let Ok(text) = serde_json::to_string(&in_force) {
                self.act(Action::KeepLastGood { text });
            }
            self.last_goods.kept = Some(in_force.clone());
        }
        self.last_goods.in_force = Some(in_force);
    }

    /// The configuration in force fits this node. While GPUs cannot be read, one that gives none of the others a role may turn out
    /// to be wrong for them, and is no reason to forget the one before it.
    fn is_proved(&self) -> bool {
        let all_read =
            self.facts().is_some_and(|facts| facts.unreadable.is_empty() && !facts.gpus.is_empty());
        all_read || self.applied.as_ref().is_some_and(|applied| !applied.roles.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(edit: impl Fn(&mut serde_json::Value)) -> String {
        let mut value = serde_json::to_value(LastGood::new(Some("n1"), "mps", "version: v1\n")).unwrap();
        edit(&mut value);
        value.to_string()
    }

    #[test]
    fn the_state_file_reads_back_as_it_was_written() {
        let last = LastGood::parse(&file(|_| {}), Some("n1")).unwrap();
        assert_eq!(last, LastGood::new(Some("n1"), "mps", "version: v1\n"));
        assert_eq!(last.hash.len(), 16);
    }

    #[test]
    fn a_state_file_that_is_foreign_damaged_or_cut_off_says_which() {
        let whole = file(|_| {});
        let cases = [
            (file(|v| v["version"] = 2.into()), Some("n1"), "version 2"),
            (whole.clone(), Some("n2"), "it is of node `n1`, this is node `n2`"),
            (whole.clone(), None, "this is no node"),
            (file(|v| v["text"] = "version: v2".into()), Some("n1"), "damaged"),
            (whole[..whole.len() / 2].to_owned(), Some("n1"), "cannot be read"),
            (String::new(), Some("n1"), "cannot be read"),
            ("[]".to_owned(), Some("n1"), "cannot be read"),
        ];
        for (file, node, part) in cases {
            let why = LastGood::parse(&file, node).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn texts_that_differ_have_different_hashes() {
        assert_eq!(fingerprint(""), "cbf29ce484222325");
        assert_ne!(fingerprint("replicas: 2"), fingerprint("replicas: 4"));
    }
}
