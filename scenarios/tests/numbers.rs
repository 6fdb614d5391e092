//! The known bugs of kubelets and device plugins have numbers (`S1` …), and each has a story that plays on real sockets: one
//! that nobody tells is one that nobody tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use libtest_mimic::Failed;
use simulator::scenario::{Choice, Scenario, StageName, Verb, read_chosen};

use super::scenario_files;

/// Every number that a device plugin's registration and life are judged by.
const NUMBERS: [u32; 21] = [1, 2, 3, 15, 16, 17, 18, 22, 23, 24, 25, 30, 31, 32, 35, 36, 37, 38, 39, 40, 41];
/// Those that are about a plugin's own conduct: there is a story in which ours is the plugin.
const OURS: [u32; 11] = [1, 2, 16, 17, 22, 35, 36, 37, 39, 40, 41];

pub(crate) fn each_has_a_story_on_the_wire() -> Result<(), Failed> {
    let (mut told, mut ours) = (BTreeMap::new(), BTreeSet::new());
    for (name, path) in scenario_files(Path::new(env!("CARGO_MANIFEST_DIR")))? {
        for scenario in read_chosen(&path, &Choice::default())? {
            if scenario.refuses(StageName::Wire).is_some() || !expects_something(&scenario) {
                continue;
            }
            for number in numbers(&scenario.story) {
                told.entry(number).or_insert_with(Vec::new).push(name.clone());
                if scenario.nodes.iter().any(|node| node.gpus.is_some()) {
                    ours.insert(number);
                }
            }
        }
    }
    let untold = NUMBERS.iter().filter(|number| !told.contains_key(number));
    let without_ours = OURS.iter().filter(|number| !ours.contains(number));
    let missing: Vec<String> = untold
        .map(|number| format!("no story on the wire stage names S{number}"))
        .chain(without_ours.map(|number| format!("no story of S{number} has a node with our plugin")))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n").into()) }
}

fn expects_something(scenario: &Scenario) -> bool {
    scenario.steps.iter().any(|step| matches!(step.verb, Verb::Expect(_)))
}

/// The numbers that a text names.
fn numbers(text: &str) -> BTreeSet<u32> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.strip_prefix('S')?.parse().ok()).collect()
}
