//! A plugin at rest is woken by the timers that its README names, and by nothing else: a node has better things to do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::Failed;
use simulator::on::wire::Binaries;
use simulator::run::{Held, Leave, Place, RunOptions, run};
use simulator::run_dir;
use simulator::scenario::read_text;

use super::{Silent, runtime, told};

/// Both processes at work: a GPU is shared by MPS beside whole ones.
const STORY: &str = "
story: a node at rest
timers: {nodeStatusUpdate: 1m, termination: 100ms}
plugin: {env: {RETIRE_AFTER: 500ms}}
nodes:
- {name: gpu-1, gpus: {board: tesla-t4, count: 4}}
configs:
  default: |-
    version: v1
    sharing:
      mps:
        resources:
        - {name: nvidia.com/gpu, rename: nvidia.com/gpu.mps, devices: [0], replicas: 4}
steps:
- expect: {within: 30s, nodes: {gpu-1: {plugin: {ready: true, registered: {exactly: {nvidia.com/gpu: 3, nvidia.com/gpu.mps: 4}}}}}}
";
/// What follows a start is over then, and the timers of half a minute are due in the window.
const SETTLE: Duration = Duration::from_secs(18);
/// How long nobody asks the plugin anything.
const WINDOW: Duration = Duration::from_secs(20);
/// What the system and the API server may add. A look every two seconds that nobody named would add twenty.
const OTHER_WAKES: u64 = 6;
/// The story is held open once.
const MEASUREMENTS_MAX: usize = 1;
/// Timers that are further apart are not due so soon after the start.
const PERIOD_MAX: Duration = Duration::from_secs(60);

/// One row of the README's table.
struct Timer {
    process: String,
    every: Duration,
    /// How often the process is woken each time, at most: on the way to a time that is far off tokio wakes up to three
    /// times, and what a look asks is answered.
    wakes: u64,
}

pub(crate) fn wakes_by_named_timers_alone() -> Result<(), Failed> {
    let timers = named_timers()?;
    let woken = measured()?;
    for (process, woken) in [("run", woken.0), ("mps", woken.1)] {
        let named = timers.iter().filter(|t| t.process == process && t.every <= PERIOD_MAX);
        let wakes = named.map(|timer| (WINDOW.as_secs() / timer.every.as_secs() + 1) * timer.wakes);
        let allowed = wakes.sum::<u64>() + OTHER_WAKES;
        if woken == 0 {
            return Err(
                format!("`{process}` looked at nothing in {WINDOW:?}: the wrong thing is counted").into()
            );
        }
        if woken > allowed {
            return Err(format!(
                "`{process}` was woken {woken} times in {WINDOW:?}, its named timers account for {allowed} at most"
            )
            .into());
        }
        println!("`{process}` was woken {woken} times in {WINDOW:?}, at most {allowed}");
    }
    Ok(())
}

/// The table of timers in the plugin's README.
fn named_timers() -> Result<Vec<Timer>, Failed> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin/README.md");
    let text = fs::read_to_string(readme)?;
    let rows = text.lines().skip_while(|line| !line.starts_with("| process | timer | every | wakes |"));
    let mut timers = Vec::new();
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let seconds = cells.get(2).and_then(|every| every.strip_suffix(" s")?.parse().ok());
        let wakes = cells.get(3).and_then(|wakes| wakes.parse().ok());
        let (Some(process), Some(seconds), Some(wakes)) = (cells.first(), seconds, wakes) else {
            return Err(format!("not a row of timers: {row}").into());
        };
        let process = process.trim_matches('`').to_owned();
        timers.push(Timer { process, every: Duration::from_secs(seconds), wakes });
    }
    for process in ["run", "mps"] {
        if !timers.iter().any(|timer| timer.process == process) {
            return Err(format!("plugin/README.md names no timer of `{process}`").into());
        }
    }
    Ok(timers)
}

/// How often `run` and `mps` were woken in [`WINDOW`].
fn measured() -> Result<(u64, u64), Failed> {
    let scenario = read_text("a-node-at-rest.yaml", STORY)?;
    let binaries = Binaries::find_or_build()?;
    let workspace = simulator::on::wire::binaries::workspace().ok();
    let options = RunOptions {
        seed: 1,
        keep: false,
        runs_root: run_dir::default_root(workspace.as_deref()),
        leave: Leave::WhenFailed,
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (measured, measurements) = mpsc::sync_channel(MEASUREMENTS_MAX);
    let hold = |held: &Held| {
        let (directory, passed) = (held.kubeconfig.with_file_name(""), held.passed);
        let (stop, measured) = (stop.clone(), measured.clone());
        std::thread::spawn(move || {
            if passed {
                // nobody may ask the plugin meanwhile whether it rests
                let woken = ["run", "mps"].map(|process| Woken::begin(&directory, process));
                std::thread::sleep(WINDOW);
                let woken = woken.map(|woken| woken.and_then(|woken| woken.end()));
                // an error means that the test is over
                let _ = measured.send(woken);
            }
            stop.send_replace(true);
        });
    };
    let report = runtime()?.block_on(run(
        &scenario,
        Place::Wire(&binaries),
        &options,
        &mut Silent,
        stopped,
        Some(&hold),
    ))?;
    match measurements.try_recv() {
        Ok([run, mps]) => Ok((run?, mps?)),
        Err(_) => Err(told(&report).into()),
    }
}

/// The processes of one command, and how often their threads had given up the processor of their own accord.
struct Woken(Vec<(u32, BTreeMap<OsString, u64>)>);

impl Woken {
    /// After [`SETTLE`], of the processes that were started with this command in this directory.
    fn begin(directory: &Path, command: &str) -> Result<Woken, String> {
        std::thread::sleep(if command == "run" { SETTLE } else { Duration::ZERO });
        let processes = processes_of(directory, command);
        if processes.is_empty() {
            return Err(format!("no process of `{}` is `{command}`", directory.display()));
        }
        let before = processes.into_iter().map(|process| Ok((process, switches(process)?)));
        Ok(Woken(before.collect::<Result<_, String>>()?))
    }

    /// A thread that has ended meanwhile takes its count with it, one that was begun brings its own.
    fn end(&self) -> Result<u64, String> {
        let mut woken = 0;
        for (process, before) in &self.0 {
            let before = |thread: &OsString| before.get(thread).copied().unwrap_or(0);
            woken += switches(*process)?
                .iter()
                .map(|(thread, now)| now.saturating_sub(before(thread)))
                .sum::<u64>();
        }
        Ok(woken)
    }
}

/// The supervisor is started by another process of the same command.
fn processes_of(directory: &Path, command: &str) -> Vec<u32> {
    let directory = directory.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.retain(|number| {
        let line = fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let words: Vec<&str> = line.split('\0').collect();
        words.get(1) == Some(&command) && words.iter().any(|word| word.starts_with(&directory))
    });
    numbers
}

/// Voluntary context switches by thread.
fn switches(process: u32) -> Result<BTreeMap<OsString, u64>, String> {
    let unreadable = |e: std::io::Error| format!("process {process} cannot be looked at: {e}");
    let mut found = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).map_err(unreadable)?.flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let number = line.and_then(|number| number.trim().parse::<u64>().ok());
        found.extend(number.map(|number| (task.file_name(), number)));
    }
    Ok(found)
}
