//! Why these GPUs and not others, as far as their use at that moment tells.

use std::collections::BTreeMap;

use super::history::History;
use crate::world::gpu_of;

/// One sentence on the GPUs behind `ids`; `usage` is UUID → (ids in use just before, ids in all).
pub fn choice(history: &History, ids: &[String], usage: &BTreeMap<String, (usize, usize)>) -> Option<String> {
    let gpu = gpu_of(ids.first()?);
    let (used, all) = usage.get(gpu)?;
    let mut others: Vec<_> =
        usage.iter().filter(|(uuid, _)| !ids.iter().any(|id| gpu_of(id) == *uuid)).collect();
    others.sort_by_key(|(uuid, _)| history.gpus.get(*uuid));
    let others: Vec<String> = others
        .into_iter()
        .map(|(uuid, (used, all))| format!("{} {used} of {all}", history.gpu(uuid)))
        .collect();
    if *all <= 1 {
        let free = usage.values().filter(|(used, _)| *used == 0).count();
        return Some(format!("{free} of {} whole GPUs were free then", usage.len()));
    }
    let least = usage.values().map(|(used, _)| used).min()?;
    let gpu = history.gpu(gpu);
    let ties = usage.values().filter(|(used, _)| used == least).count();
    let why = match (used == least, ties) {
        (true, 1) => format!("{gpu} was the least used: {used} of {all} replicas taken"),
        (true, _) => format!("{gpu} was among the least used: {used} of {all} replicas taken"),
        (false, _) => format!("{gpu} had {used} of {all} replicas taken, others fewer"),
    };
    Some(match others.as_slice() {
        [] => why,
        others => format!("{why} (others: {})", others.join(", ")),
    })
}
