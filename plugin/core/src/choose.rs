//! Which configuration should hold: label → name → file → checked roles for this node's GPUs. Any problem keeps the last good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::budget::Budget;
use crate::config::{
    self, AllocationPolicy, Config, Effective, Interval, Overrides, Problem, Read, ResourceName, Selected,
    Strictness, TimeSlice,
};
use crate::imex::{self, MissingChannel};
use crate::inventory::{Facts, GpuUuid};
use crate::kept_gpus::{self, Chosen, KeptGpus};
use crate::plugin::{ConfigSource, Settings};
use crate::resources::Role;
use crate::sharing::{self, Assignment};
use crate::taints::Taint;

/// The name shown for a configuration that no file gave.
pub(crate) const BUILT_IN: &str = "(flags and defaults)";

/// The host directory of MPS where nobody names one: the default of NVIDIA's chart.
const MPS_ROOT_DEFAULT: &str = "/run/nvidia/mps";

/// What is known about configuration so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Name → text, or why it cannot be read; `None` until the first answer.
    pub(crate) files: Option<Result<BTreeMap<String, String>, String>>,
    /// The Node's labels; `None` until the first answer.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// The Node cannot be read at present: the last good configuration may stand in.
    pub(crate) node_silent: bool,
}

/// A configuration that has been checked against this node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Applied {
    /// The file's name.
    pub(crate) name: String,
    /// Every flag, resolved.
    pub(crate) effective: Effective,
    /// The role of every GPU.
    pub(crate) roles: BTreeMap<GpuUuid, Role>,
    /// What each GPU is called where it is not shared.
    pub(crate) names: BTreeMap<GpuUuid, ResourceName>,
    /// Resources whose requests for more than one device are refused.
    pub(crate) one_at_most: BTreeSet<ResourceName>,
    /// How the replicas of each shared resource are spread over GPUs.
    pub(crate) policies: BTreeMap<ResourceName, AllocationPolicy>,
    /// What its counts chose.
    pub(crate) chosen: Chosen,
    /// How long a drain may take until that is announced.
    pub(crate) drain_deadline: Option<Duration>,
    /// The taint of the Node while it shares and serves no whole GPU.
    pub(crate) taint: Option<Taint>,
    /// The memory of each replica of a shared resource, where the driver holds containers to it.
    pub(crate) budgets: BTreeMap<ResourceName, Budget>,
    /// The interval of time-sliced GPUs, where one is given.
    pub(crate) time_slices: BTreeMap<GpuUuid, TimeSlice>,
    /// What was ignored in it.
    pub(crate) warnings: Vec<Problem>,
}

/// The outcome of a choice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// Something is not known yet.
    NotYet(&'static str),
    /// The configuration that was asked for cannot hold.
    Refused {
        /// What was asked for.
        requested: String,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// This one.
    Candidate {
        /// What was asked for.
        requested: String,
        /// The checked result.
        applied: Box<Applied>,
    },
}

/// The flags and file of the configuration that was asked for, before the hardware is known.
pub(crate) enum Parsed {
    /// Something is not known yet.
    NotYet(&'static str),
    /// It cannot hold.
    Refused { requested: String, problems: Vec<String> },
    /// It is well-formed.
    Good { requested: String, name: String, read: Box<Read>, effective: Box<Effective> },
}

/// Reads and resolves what was asked for.
pub(crate) fn parse(settings: &Settings, sources: &Sources) -> Parsed {
    let (requested, file) = match pick(settings, sources) {
        Ok(picked) => picked,
        Err(parsed) => return parsed,
    };
    let (name, text) = match &file {
        Some((name, text)) => (name.clone(), text.as_str()),
        None => (BUILT_IN.to_owned(), ""),
    };
    let strictness = if settings.strict { Strictness::Strict } else { Strictness::Warn };
    let reader = if settings.nvidia_compat { config::read_compat } else { config::read };
    let read = match reader(&name, text, strictness) {
        Ok(read) => read,
        Err(problems) => {
            return Parsed::Refused { requested, problems: lines(&problems) };
        }
    };
    let effective = resolve(&settings.overrides, &read.config);
    let contradictions = effective.contradictions(&read.config);
    if !contradictions.is_empty() {
        let problems = contradictions.iter().map(|c| format!("{name}: {c}")).collect();
        return Parsed::Refused { requested, problems };
    }
    Parsed::Good { requested, name, read: Box::new(read), effective: Box::new(effective) }
}

/// Chooses and checks against the node's GPUs; counts choose what they chose before.
pub(crate) fn choose(
    settings: &Settings,
    sources: &Sources,
    facts: Option<&Facts>,
    kept: &KeptGpus,
) -> Choice {
    let (requested, name, read, effective) = match parse(settings, sources) {
        Parsed::NotYet(what) => return Choice::NotYet(what),
        Parsed::Refused { requested, problems } => return Choice::Refused { requested, problems },
        Parsed::Good { requested, name, read, effective } => (requested, name, read, *effective),
    };
    let Some(facts) = facts else {
        return Choice::NotYet("the node's GPUs are not known yet");
    };
    let key = kept_gpus::key(&read.config, effective.mig_strategy);
    match sharing::assign(&read, &effective, facts, &kept.picks(&key)) {
        Ok(assignment) => {
            let Assignment { roles, names, one_at_most, policies, budgets, time_slices, picks, warnings } =
                assignment;
            let mut warnings: Vec<Problem> = read.warnings.iter().chain(&warnings).cloned().collect();
            match imex::missing(&effective, facts) {
                Some(why) if effective.imex_required => {
                    return Choice::Refused {
                        requested,
                        problems: vec![format!("{name}: {why} (hint: {})", MissingChannel::HINT)],
                    };
                }
                why => warnings.extend(why.map(|why| {
                    let hint = Some(MissingChannel::HINT.to_owned());
                    read.places.warning("imex.channelIDs", why.to_string(), hint)
                })),
            }
            let chosen = Chosen { key, picks };
            let drain_deadline = read.config.sharing.drain_deadline.and_then(Interval::duration);
            let taint = read.config.sharing.taint.as_ref().map(Taint::of);
            let applied = Box::new(Applied {
                name,
                effective,
                roles,
                names,
                one_at_most,
                policies,
                chosen,
                drain_deadline,
                taint,
                budgets,
                time_slices,
                warnings,
            });
            Choice::Candidate { requested, applied }
        }
        Err(problems) => {
            let problems = problems.iter().map(ToString::to_string).collect();
            Choice::Refused { requested, problems }
        }
    }
}

/// Every setting of a config, and the MPS root of NVIDIA's chart where nobody names one.
pub(crate) fn resolve(overrides: &Overrides, config: &Config) -> Effective {
    let mut effective = Effective::resolve(overrides, config);
    if effective.mps_root.is_empty() {
        effective.mps_root = MPS_ROOT_DEFAULT.to_owned();
    }
    effective
}

type Picked = (String, Option<(String, String)>);

/// What was asked for, and the file that answers it; no file means flags and defaults only.
fn pick(settings: &Settings, sources: &Sources) -> Result<Picked, Parsed> {
    let files = match (&settings.config_source, &sources.files) {
        (ConfigSource::None, _) => return Ok((BUILT_IN.to_owned(), None)),
        (_, None) => return Err(Parsed::NotYet("the configuration has not been read yet")),
        (_, Some(Err(why))) => {
            let requested = "(unreadable)".to_owned();
            return Err(Parsed::Refused { requested, problems: vec![why.clone()] });
        }
        (_, Some(Ok(files))) => files,
    };
    let (default_config, fallback) = match &settings.config_source {
        ConfigSource::Directory { default_config, fallback } => (default_config, fallback),
        ConfigSource::None | ConfigSource::File => {
            let only = files.iter().next().map(|(name, text)| (name.clone(), text.clone()));
            return Ok((only.as_ref().map_or(BUILT_IN.to_owned(), |(name, _)| name.clone()), only));
        }
    };
    if settings.node_name.is_some() && sources.labels.is_none() {
        return Err(Parsed::NotYet("the Node's labels have not been read yet"));
    }
    let label = sources.labels.as_ref().and_then(|l| l.get(settings.label_key()));
    let requested = label.map(String::as_str).filter(|value| !value.is_empty());
    let available: BTreeSet<String> = files.keys().cloned().collect();
    let shown = requested.map_or_else(|| "(no label)".to_owned(), str::to_owned);
    match config::select(requested, default_config.as_deref(), fallback, &available) {
        Ok(Selected::Empty) => Ok((shown, None)),
        Ok(Selected::File(name)) => {
            let text = files.get(&name).cloned().unwrap_or_default();
            Ok((shown, Some((name, text))))
        }
        Err(problem) => Err(Parsed::Refused { requested: shown, problems: vec![problem.to_string()] }),
    }
}

fn lines(problems: &impl ToString) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}
