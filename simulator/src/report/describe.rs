//! A step in one line, because live views, reports and error messages name steps by what they do.

use super::seconds;
use crate::faults::FaultSpec;
use crate::scenario::{Apply, Object, Selection, Step, Verb, Watch, Workload};

/// A step in one line.
pub fn describe(step: &Step) -> String {
    let mut what = verb(&step.verb);
    if let Some((turn, times)) = step.turn {
        what.push_str(&format!(" ({turn} of {times})"));
    }
    match &step.name {
        Some(name) => format!("{name}  [{what}]"),
        None => what,
    }
}

fn verb(verb: &Verb) -> String {
    match verb {
        Verb::Label { node, set } => {
            let set: Vec<String> = set.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("label {node} {}", set.join(" "))
        }
        Verb::Unlabel { node, keys } => {
            let keys: Vec<String> = keys.iter().map(|key| format!("{key}-")).collect();
            format!("label {node} {}", keys.join(" "))
        }
        Verb::Apply(all) => {
            let pods: Vec<String> = all.iter().map(applied).collect();
            format!("apply pods {}", pods.join(", "))
        }
        Verb::ApplyAll(objects) => {
            let objects: Vec<String> = objects.iter().map(object).collect();
            format!("apply {}", objects.join(", "))
        }
        Verb::DeleteDeployments(names) => format!("delete deployments {}", names.join(", ")),
        Verb::ScaleDeployment { name, count } => format!("scale deployment {name} to {count} pods"),
        Verb::Delete(selection) => format!("delete {}", pods(selection)),
        Verb::Finish { pods: selection, exit_code } => {
            format!("{} end with exit code {exit_code}", pods(selection))
        }
        Verb::Scale { group, count, .. } => format!("scale {group} to {count} pods"),
        Verb::Edit { config, text: Some(_) } => format!("edit configuration {config}"),
        Verb::Edit { config, text: None } => format!("remove configuration {config}"),
        Verb::Workload(work) => workload(work),
        Verb::Fault { spec, probability } => fault(spec, *probability),
        Verb::Restart { process, node } => format!("restart the {process} of {node}"),
        Verb::Kill { process, node } => format!("kill the {process} of {node}"),
        Verb::OtherPlugin { node, name, act } => format!("{act} {name} of {node}"),
        Verb::InstallDriver { node, gpus } => {
            format!("install a driver on {node} ({} × {})", gpus.count, gpus.board)
        }
        Verb::Mig { node, gpu, layout } => match layout.as_deref() {
            None => format!("MIG off on GPU {gpu} of {node}"),
            Some([]) => format!("MIG on and no devices on GPU {gpu} of {node}"),
            Some(layout) => format!("cut GPU {gpu} of {node} into {}", layout.join(", ")),
        },
        Verb::Wait(duration) => format!("wait {}", seconds(*duration)),
        Verb::Advance(duration) => format!("advance {}", seconds(*duration)),
        Verb::Expect(expectation) => format!("expect within {}", seconds(expectation.within)),
        Verb::Never(watch) => format!("never{}", until(watch)),
        Verb::Sometimes(watch) => format!("sometimes{}", until(watch)),
        Verb::Parallel(steps) => {
            let steps: Vec<String> = steps.iter().map(describe).collect();
            format!("together: {}", steps.join(" · "))
        }
    }
}

fn object(object: &Object) -> String {
    match object {
        Object::Pods(apply) => format!("pods {}", applied(apply)),
        Object::Deployment { name, replicas, .. } => format!("deployment {name} with {replicas} pods"),
        Object::ConfigMap(configs) => {
            let names: Vec<&str> = configs.keys().map(String::as_str).collect();
            format!("config map with {}", names.join(", "))
        }
    }
}

fn applied(apply: &Apply) -> String {
    match apply.names.as_slice() {
        [one] => one.clone(),
        many => format!("{}…{}", many.first().map_or("", |name| name), many.last().map_or("", |name| name)),
    }
}

fn pods(selection: &Selection) -> String {
    match selection {
        Selection::Names(names) => format!("pods {}", names.join(", ")),
        Selection::Labels(labels) => {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("pods with {}", labels.join(","))
        }
    }
}

fn workload(work: &Workload) -> String {
    let mut what = format!("workload of {}:", pods(&work.pods));
    if let Some(most) = work.memory.iter().map(|(_, mib)| mib).max() {
        what.push_str(&format!(" up to {most} MiB"));
    }
    if let Some((at, code)) = work.ends {
        what.push_str(&format!(" exit code {code} after {}", seconds(at)));
    }
    what
}

fn fault(spec: &FaultSpec, probability: f64) -> String {
    let mut what = spec.fault.tag().to_owned();
    if let Some(code) = spec.fault.code() {
        what.push_str(&format!(" {code}"));
    }
    if let Some(gpu) = spec.fault.gpu() {
        what.push_str(&format!(" of GPU {gpu}"));
    }
    if let Some(delay) = spec.fault.delay() {
        what.push_str(&format!(" by {}", seconds(delay)));
    }
    if !spec.fault.is_of_cluster() {
        what.push_str(&format!(" on {}", spec.node));
    }
    if let Some(lasts) = spec.lasts {
        what.push_str(&format!(" for {}", seconds(lasts)));
    }
    if probability < 1.0 {
        what.push_str(&format!(" with probability {probability}"));
    }
    format!("fault {what}")
}

fn until(watch: &Watch) -> String {
    match &watch.until {
        Some(name) => format!(" until {name}"),
        None => String::new(),
    }
}
