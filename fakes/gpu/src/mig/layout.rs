//! Where MIG devices go on a GPU, as the driver decides it: `1g.5gb`, `3g.20gb:4` (from slice 4 on), `1c.3g.20gb` (a
//! compute instance of one slice).

use std::collections::BTreeSet;

use super::profile::MigProfile;
use super::record::{MIG_DEVICES_MAX, MigRecord};
use crate::profile::BoardProfile;

/// Memory slices of a board with MIG.
const MEMORY_SLICES: u32 = 8;

/// Why a GPU cannot be cut as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigError {
    /// The board has no MIG.
    #[error("the board has no MIG")]
    NoMig,
    /// The board has no such profile.
    #[error("unknown MIG profile `{name}`, expected one of {known}")]
    UnknownProfile {
        /// As written.
        name: String,
        /// All names.
        known: String,
    },
    /// An instance of this size does not begin there.
    #[error("`{name}` cannot begin at memory slice {start}, expected one of {starts:?}")]
    NoSuchPlacement {
        /// As written.
        name: String,
        /// Asked for.
        start: u32,
        /// Where it can.
        starts: Vec<u32>,
    },
    /// Other instances are in the way, or there are as many as can be.
    #[error("no room for `{name}` beside the other MIG devices")]
    NoRoom {
        /// As written.
        name: String,
    },
}

/// One entry of a layout, understood.
#[derive(Debug)]
struct Ask {
    /// Which entry.
    entry: usize,
    profile: usize,
    compute_slices: u32,
    start: Option<u32>,
}

/// Whether a board can be cut into these MIG devices; the error says which of them is at fault.
///
/// # Errors
/// The number of the entry and why it cannot be.
pub fn check_layout(board: &BoardProfile, layout: &[String]) -> Result<(), (usize, MigError)> {
    lay_out(&board.mig_profiles, layout).map(|_| ())
}

/// Places a whole layout, the largest first; indexes follow the instances' numbers.
pub(crate) fn lay_out(
    profiles: &[MigProfile],
    layout: &[String],
) -> Result<[MigRecord; MIG_DEVICES_MAX], (usize, MigError)> {
    if profiles.is_empty() {
        return Err((0, MigError::NoMig));
    }
    let mut asks = Vec::new();
    for (entry, text) in layout.iter().enumerate() {
        asks.push(understand(profiles, entry, text).map_err(|error| (entry, error))?);
    }
    let size = |ask: &Ask| profiles.get(ask.profile).map_or((0, 0), |p| (p.size, p.slices));
    asks.sort_by_key(|ask| std::cmp::Reverse((ask.start.is_some(), size(ask), ask.compute_slices)));
    let mut records = [MigRecord::NONE; MIG_DEVICES_MAX];
    for ask in &asks {
        let name = layout.get(ask.entry).map_or("", String::as_str);
        place(profiles, &mut records, ask, name).map_err(|error| (ask.entry, error))?;
    }
    records.sort_by_key(|r| (!r.is_there(), r.gpu_instance, r.compute_instance));
    Ok(records)
}

/// Adds one device at the lowest free index.
pub(crate) fn add(
    profiles: &[MigProfile],
    records: &mut [MigRecord; MIG_DEVICES_MAX],
    text: &str,
) -> Result<MigRecord, MigError> {
    if profiles.is_empty() {
        return Err(MigError::NoMig);
    }
    let ask = understand(profiles, 0, text)?;
    place(profiles, records, &ask, text)
}

fn understand(profiles: &[MigProfile], entry: usize, text: &str) -> Result<Ask, MigError> {
    let unknown = || {
        let known: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        MigError::UnknownProfile { name: text.to_owned(), known: known.join(", ") }
    };
    let (name, start) = match text.split_once(':') {
        None => (text, None),
        Some((name, start)) => (name, Some(start.parse::<u32>().map_err(|_| unknown())?)),
    };
    let (compute, name) = match name.split_once("c.") {
        None => (None, name),
        Some((compute, name)) => (Some(compute.parse::<u32>().map_err(|_| unknown())?), name),
    };
    let found = profiles.iter().position(|profile| profile.name == name).ok_or_else(unknown)?;
    let profile = profiles.get(found).ok_or_else(unknown)?;
    let compute_slices = compute.unwrap_or(profile.slices);
    if !profile.has_compute(compute_slices) {
        return Err(unknown());
    }
    if let Some(start) = start
        && !profile.starts.contains(&start)
    {
        let mut starts = profile.starts.clone();
        starts.sort_unstable();
        return Err(MigError::NoSuchPlacement { name: name.to_owned(), start, starts });
    }
    Ok(Ask { entry, profile: found, compute_slices, start })
}

fn place(
    profiles: &[MigProfile],
    records: &mut [MigRecord; MIG_DEVICES_MAX],
    ask: &Ask,
    name: &str,
) -> Result<MigRecord, MigError> {
    let no_room = || MigError::NoRoom { name: name.to_owned() };
    let profile = profiles.get(ask.profile).ok_or_else(no_room)?;
    let record = beside(records, profile, ask).or_else(|| alone(profiles, records, profile, ask));
    let record = record.ok_or_else(no_room)?;
    let slot = records.iter_mut().find(|record| !record.is_there()).ok_or_else(no_room)?;
    *slot = record;
    Ok(record)
}

/// A compute instance in a GPU instance that has slices left; one that wants all slices never finds any.
fn beside(records: &[MigRecord], profile: &MigProfile, ask: &Ask) -> Option<MigRecord> {
    let of_profile = |r: &&MigRecord| r.is_there() && r.profile as usize == ask.profile;
    records.iter().filter(of_profile).find_map(|first| {
        let in_it = || records.iter().filter(|r| r.is_there() && r.gpu_instance == first.gpu_instance);
        let used: u32 = in_it().map(|r| r.compute_slices).sum();
        let fits = used + ask.compute_slices <= profile.slices && ask.start.is_none_or(|s| s == first.start);
        let compute_instance = (0..profile.slices).find(|id| in_it().all(|r| r.compute_instance != *id))?;
        fits.then_some(MigRecord { compute_instance, compute_slices: ask.compute_slices, ..*first })
    })
}

/// A compute instance in a new GPU instance at the first place that is free.
fn alone(
    profiles: &[MigProfile],
    records: &[MigRecord],
    profile: &MigProfile,
    ask: &Ask,
) -> Option<MigRecord> {
    let of_profile = records.iter().filter(|r| r.is_there() && r.profile as usize == ask.profile);
    let same: BTreeSet<u32> = of_profile.map(|record| record.gpu_instance).collect();
    if same.len() >= profile.instances as usize {
        return None;
    }
    let taken = records.iter().filter(|record| record.is_there()).fold(0, |taken, record| {
        taken | profiles.get(record.profile as usize).map_or(0, |p| slices(record.start, p.size))
    });
    let mut starts = profile.starts.iter().filter(|start| ask.start.is_none_or(|wanted| wanted == **start));
    let start = *starts.find(|start| taken & slices(**start, profile.size) == 0)?;
    Some(MigRecord {
        gpu_instance: instance_number(start, profile.size),
        compute_instance: 0,
        profile: u32::try_from(ask.profile).ok()?,
        start,
        compute_slices: ask.compute_slices,
    })
}

/// The memory slices of an instance, as bits.
fn slices(start: u32, size: u32) -> u32 {
    (start..start + size).fold(0, |bits, slice| bits | 1_u32.checked_shl(slice).unwrap_or(0))
}

/// The driver numbers instances by their place: the whole GPU is 0, its halves are 1 and 2, the quarters follow from 3
/// and the eighths from 7 on.
fn instance_number(start: u32, size: u32) -> u32 {
    let size = size.max(1);
    MEMORY_SLICES / size - 1 + start / size
}
