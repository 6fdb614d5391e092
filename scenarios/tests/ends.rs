//! A plugin that cannot do its job ends with a status other than zero and one line that says why: what a DaemonSet's events
//! and `kubectl logs` show at three in the morning.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;
use simulator::on::wire::Binaries;

/// Flags that are wrong for one reason each, the status, and what the line names.
struct Case {
    name: &'static str,
    args: Vec<String>,
    status: i32,
    names: Vec<String>,
}

pub(crate) fn with_a_status_and_one_line() -> Result<(), Failed> {
    let binaries = Binaries::find_or_build()?;
    let folder = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let file = folder.path().join("a-file");
    fs::write(&file, "not a directory")?;
    let mut wrong = Vec::new();
    for case in cases(folder.path(), &address, &file.display().to_string()) {
        let output =
            Command::new(&binaries.plugin).args(&case.args).env_clear().stdin(Stdio::null()).output()?;
        wrong.extend(problem(&case, &output));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn cases(folder: &Path, taken: &str, file: &str) -> Vec<Case> {
    let below = |name: &str| folder.join(name).display().to_string();
    let run = |more: &[&str]| {
        let kubelet = below("kubelet.sock");
        let common = ["run", "--kubelet-socket", &kubelet, "--log-level", "error"];
        common.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let free = ["--admin-address", "127.0.0.1:0"];
    let nowhere = format!("{file}/journal");
    vec![
        Case {
            name: "the admin address is taken",
            args: run(&["--admin-address", taken]),
            status: 1,
            names: vec![taken.to_owned(), "in use".to_owned()],
        },
        Case {
            name: "the journal's directory cannot be made",
            args: run(&[&free[..], &["--journal-dir", &nowhere]].concat()),
            status: 1,
            names: vec![nowhere.clone(), "--journal-dir".to_owned()],
        },
        Case {
            name: "the MPS root cannot be made",
            args: ["mps", "--mps-root", &nowhere, "--log-level", "error"].map(str::to_owned).to_vec(),
            status: 1,
            names: vec![nowhere.clone(), "--mps-root".to_owned()],
        },
        Case {
            name: "a flag is wrong",
            args: run(&[&free[..], &["--device-list-strategy", "telepathy"]].concat()),
            status: 2,
            names: vec!["telepathy".to_owned()],
        },
    ]
}

/// What is not as it should be.
fn problem(case: &Case, output: &Output) -> Option<String> {
    let told = String::from_utf8_lossy(&output.stderr);
    let all = format!("{}: status {:?}, standard error:\n{told}", case.name, output.status.code());
    let lines: Vec<&str> =
        told.lines().filter(|line| case.names.iter().all(|name| line.contains(name))).collect();
    // a usage error is explained by the command line's own help below its line
    let is_one_line = case.status == 2 || told.lines().count() == 1;
    (output.status.code() != Some(case.status) || lines.len() != 1 || !is_one_line).then_some(all)
}
