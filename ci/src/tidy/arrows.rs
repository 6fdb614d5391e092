//! A crate exists to enforce an arrow; this holds the arrows between the crates, development dependencies included.

use super::Finding;
use super::code::is_word;

/// A crate of the workspace, where it must live, and which other crates it may name.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// The package's name.
    pub name: &'static str,
    /// Its directory, from the root.
    pub directory: &'static str,
    /// The only workspace crates that it may depend on.
    pub may_use: &'static [&'static str],
}

const fn allowed(name: &'static str, directory: &'static str, may_use: &'static [&'static str]) -> Allowed {
    Allowed { name, directory, may_use }
}

/// Every arrow there is. Production stands above the stand-ins and names none of them; the stand-ins share with
/// production only the kubelet's wire format, so that one misunderstanding cannot sit on both sides of a test.
pub const ARROWS: &[Allowed] = &[
    allowed("plugin-api", "plugin/api", &[]),
    allowed("plugin-core", "plugin/core", &[]),
    allowed("plugin-daemon", "plugin/daemon", &["plugin-api", "plugin-core"]),
    allowed("fake-gpu", "fakes/gpu", &[]),
    allowed("fake-nvml", "fakes/nvml", &["fake-gpu"]),
    allowed("fake-cluster", "fakes/cluster", &["plugin-api"]),
    allowed("simulator", "simulator", &["plugin-core", "fake-gpu", "fake-cluster"]),
    allowed("scenarios", "scenarios", &["simulator"]),
    allowed("benches", "benches", &["plugin-api", "plugin-core", "fake-gpu", "fake-cluster", "simulator"]),
    allowed("ci", "ci", &[]),
];

/// The only outside crates that the deciding crate may link: none of them does IO on its own
/// (`granit-parser` is the parser under serde-saphyr: text in, events with positions out).
pub const CORE_MAY_LINK: &[&str] = &["granit-parser", "serde", "serde-saphyr", "serde_json", "thiserror"];

/// A member of the workspace, as `cargo metadata` tells it.
#[derive(Debug, Clone)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its directory, from the root.
    pub directory: String,
    /// The text of its manifest, for line numbers.
    pub manifest: String,
    /// Its dependencies of every kind.
    pub dependencies: Vec<Dependency>,
}

/// One dependency of a [`Package`].
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The package's name (not what it is renamed to).
    pub name: String,
    /// Whether it is a member of this workspace.
    pub internal: bool,
    /// Whether only tests and examples use it.
    pub development: bool,
}

/// Every arrow that the table does not have, and every crate that is missing from the table or lives elsewhere.
pub fn check(packages: &[Package], arrows: &[Allowed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let path = format!("{}/Cargo.toml", package.directory);
        let Some(rule) = arrows.iter().find(|a| a.name == package.name) else {
            findings.push(Finding::file(
                &path,
                format!("crate `{}` has no row in the table of arrows", package.name),
            ));
            continue;
        };
        if rule.directory != package.directory {
            let what = format!("crate `{}` must live in `{}`", package.name, rule.directory);
            findings.push(Finding::file(&path, what));
        }
        for dependency in package.dependencies.iter().filter(|d| d.internal) {
            if !rule.may_use.contains(&dependency.name.as_str()) {
                let line = line_of_dependency(&package.manifest, &dependency.name);
                let what = format!(
                    "`{}` must not depend on `{}`; it may name {}",
                    package.name,
                    dependency.name,
                    listed(rule.may_use)
                );
                findings.push(Finding::at(&path, line, what));
            }
        }
    }
    findings
}

/// The outside crates that the deciding crate links beyond `may_link` (its tests may use more).
pub fn check_core_links(packages: &[Package], may_link: &[&str]) -> Vec<Finding> {
    let core = packages.iter().filter(|p| p.name == "plugin-core");
    core.flat_map(|package| {
        package
            .dependencies
            .iter()
            .filter(|d| !d.internal && !d.development && !may_link.contains(&d.name.as_str()))
            .map(|d| {
                let path = format!("{}/Cargo.toml", package.directory);
                let line = line_of_dependency(&package.manifest, &d.name);
                Finding::at(
                    &path,
                    line,
                    format!("`plugin-core` must not link `{}`; it may link {}", d.name, listed(may_link)),
                )
            })
    })
    .collect()
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "no other crate".to_owned() } else { format!("only {}", names.join(", ")) }
}

fn line_of_dependency(manifest: &str, name: &str) -> usize {
    let starts = |line: &str| {
        line.trim_start().strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c| is_word(c) || c == '-'))
    };
    manifest.lines().position(starts).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, directory: &str, dependencies: &[(&str, bool, bool)]) -> Package {
        let manifest: String =
            dependencies.iter().map(|(name, ..)| format!("{name}.workspace = true\n")).collect();
        let dependencies = dependencies
            .iter()
            .map(|&(name, internal, development)| Dependency { name: name.to_owned(), internal, development })
            .collect();
        Package { name: name.to_owned(), directory: directory.to_owned(), manifest, dependencies }
    }

    #[test]
    fn an_arrow_from_production_to_a_fake_is_found_even_in_its_tests() {
        let daemon = package(
            "plugin-daemon",
            "plugin/daemon",
            &[("tokio", false, false), ("plugin-core", true, false), ("fake-gpu", true, true)],
        );
        let findings = check(&[daemon], ARROWS);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].to_string(),
            "plugin/daemon/Cargo.toml:3: `plugin-daemon` must not depend on `fake-gpu`; it may name only plugin-api, plugin-core"
        );
    }

    #[test]
    fn an_arrow_from_a_fake_to_the_core_is_found() {
        let cluster = package(
            "fake-cluster",
            "fakes/cluster",
            &[("plugin-api", true, false), ("plugin-core", true, false)],
        );
        assert_eq!(check(&[cluster], ARROWS).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_or_in_another_place_is_found() {
        let findings = check(&[package("extra", "extra", &[]), package("ci", "tools/ci", &[])], ARROWS);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].what.contains("no row") && findings[1].what.contains("must live in `ci`"));
    }

    #[test]
    fn a_runtime_in_the_core_is_found() {
        let core = package(
            "plugin-core",
            "plugin/core",
            &[("serde", false, false), ("tokio", false, false), ("proptest", false, true)],
        );
        let findings = check_core_links(&[core], CORE_MAY_LINK);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("must not link `tokio`"));
        assert_eq!(findings[0].line, 2);
    }
}
