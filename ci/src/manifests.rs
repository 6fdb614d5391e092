//! The step `manifests`: every manifest against the schemas of every Kubernetes that is supported, and the admission
//! policy evaluated case by case. Both are Python packages, installed into a directory of their own below `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::runner::Runner;

/// The versions of Kubernetes whose schemas are tried.
const VERSIONS: [&str; 5] = ["1.33", "1.34", "1.35", "1.36", "1.37"];
/// What is installed, with versions: another one would be another check.
const PACKAGES: [&str; 3] = ["kubernetes-validate==1.37.0", "cel-python==0.5.0", "PyYAML==6.0.4"];
/// From the repository's root.
const DIRECTORIES: [&str; 2] = ["plugin/deploy/manifests", "plugin/deploy/manifests/examples"];
const POLICY: &str = "plugin/deploy/manifests/30-own-node.yaml";
const POLICY_CASES: &str = "ci/manifests/own_node.py";
/// A manifest that no version accepts: a validator that lets it pass checks nothing.
const WRONG: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec: {container: []}\n";

/// How the step ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was checked.
    Checked,
    /// Nothing was, and why.
    Skipped(String),
}

/// Checks the manifests.
///
/// # Errors
/// A manifest that a version refuses, or a policy that decides wrongly.
pub fn check(runner: &Runner) -> Result<Outcome> {
    let venv = runner.root().join("target/ci/manifests");
    if let Err(why) = install(&venv) {
        return Ok(Outcome::Skipped(format!("{why:#}")));
    }
    let files = files(runner.root())?;
    let wrong = venv.join("wrong.yaml");
    fs::write(&wrong, WRONG).with_context(|| format!("cannot write `{}`", wrong.display()))?;
    for version in VERSIONS {
        let validate = |files: &[PathBuf]| {
            let mut command = Command::new(venv.join("bin/kubernetes-validate"));
            command.args(["--strict", "--quiet", "-k", version]).args(files);
            command
        };
        if validate(std::slice::from_ref(&wrong)).output()?.status.success() {
            bail!("kubernetes-validate lets a wrong manifest pass against Kubernetes {version}");
        }
        run(validate(&files), &format!("kubernetes-validate -k {version}"), runner.root())?;
        println!("ci: {} manifests are valid in Kubernetes {version}", files.len());
    }
    let mut policy = Command::new(venv.join("bin/python"));
    policy.args([POLICY_CASES, POLICY]);
    run(policy, &format!("python {POLICY_CASES} {POLICY}"), runner.root())?;
    Ok(Outcome::Checked)
}

/// Every manifest, in order.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in DIRECTORIES.map(|directory| root.join(directory)) {
        let entries: io::Result<Vec<_>> = fs::read_dir(&directory).and_then(Iterator::collect);
        let entries = entries.with_context(|| format!("cannot read `{}`", directory.display()))?;
        let paths = entries.into_iter().map(|entry| entry.path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")));
    }
    if files.is_empty() {
        bail!("no manifest in {}", DIRECTORIES.join(", "));
    }
    files.sort();
    Ok(files)
}

/// Installs the packages, unless these very ones are there.
fn install(venv: &Path) -> Result<()> {
    let (mark, wanted) = (venv.join("installed"), PACKAGES.join(" "));
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(venv);
    run(make, "python3 -m venv", Path::new("."))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(pip, &format!("pip install {wanted}"), Path::new("."))?;
    fs::write(&mark, wanted).with_context(|| format!("cannot write `{}`", mark.display()))
}

fn run(mut command: Command, line: &str, directory: &Path) -> Result<()> {
    println!("ci: {line}");
    let status = command
        .current_dir(directory)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{line}` (python3 with venv and pip is needed)"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` failed: {status}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    #[test]
    fn manifests_and_examples_are_found() {
        let files = files(&root()).unwrap();
        for name in ["50-plugin.yaml", "60-mps.yaml", "examples/shared.yaml"] {
            assert!(files.iter().any(|file| file.ends_with(name)), "{name}: {files:?}");
        }
    }

    #[test]
    fn a_repository_without_manifests_is_an_error() {
        let error = files(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/plugin/deploy/manifests"), "{error}");
    }

    #[test]
    fn the_policy_and_its_cases_exist() {
        for path in [POLICY, POLICY_CASES] {
            assert!(root().join(path).is_file(), "{path}");
        }
    }
}
