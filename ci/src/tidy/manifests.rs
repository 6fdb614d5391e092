//! Versions are chosen in one place and nothing unused is built; this reads the manifests and the lock file for strays.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::code;
use super::tree::{File, Tree};

/// Where a workspace chooses versions; `ci/container` is one of its own.
const CHOSEN_IN: &str = "workspace.dependencies";

/// A line `name = value` (or `name.workspace = true`) below a `[..dependencies]` section.
struct Entry<'a> {
    section: &'a str,
    line: usize,
    name: &'a str,
    key: &'a str,
    value: &'a str,
}

fn dependencies(manifest: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    manifest.lines().enumerate().filter_map(move |(index, raw)| {
        let line = raw.trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            return None;
        }
        let is_entry = section.ends_with("dependencies") && !line.starts_with('#');
        let (key, value) = line.split_once('=').filter(|_| is_entry)?;
        let key = key.trim();
        Some(Entry {
            section,
            line: index + 1,
            name: key.split('.').next().unwrap_or(key),
            key,
            value: value.trim(),
        })
    })
}

/// A dependency of a crate that does not take its version from the workspace.
pub fn own_versions(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate().filter(|(_, line)| line.starts_with('[')) {
        if let Some((_, name)) = line.trim_end_matches(']').split_once("dependencies.") {
            let what =
                format!("dependency `{name}` has a section of its own; write `{name}.workspace = true`");
            findings.push(Finding::at(&file.path, index + 1, what));
        }
    }
    for Entry { section, line, name, key, value } in dependencies(&file.text) {
        if section == CHOSEN_IN {
            continue;
        }
        let packed: String = value.split_whitespace().collect();
        if !(key.ends_with(".workspace") && packed == "true" || packed.contains("workspace=true")) {
            let what =
                format!("`{name}` chooses its own version; put it in [workspace.dependencies] of the root");
            findings.push(Finding::at(&file.path, line, what));
        }
    }
    findings
}

/// Dependencies of a crate that none of its Rust files names. `without_a_name` are those that work without being named.
pub fn unused(tree: &Tree, manifest: &File, without_a_name: &[&str]) -> Vec<Finding> {
    let directory = manifest.path.trim_end_matches("Cargo.toml");
    let sources = tree.files.iter().filter(|file| file.is_rust() && file.path.starts_with(directory));
    let code: Vec<String> = sources.map(|file| code::without_comments_and_strings(&file.text)).collect();
    let named: BTreeSet<&str> =
        code.iter().flat_map(|code| code::words(code)).map(|(_, word)| word).collect();
    dependencies(&manifest.text)
        .filter(|entry| {
            !named.contains(entry.name.replace('-', "_").as_str()) && !without_a_name.contains(&entry.name)
        })
        .map(|entry| {
            Finding::at(
                &manifest.path,
                entry.line,
                format!("no file of the crate names `{}`; remove it", entry.name),
            )
        })
        .collect()
}

/// Versions chosen in the root's manifest that no crate takes.
pub fn unclaimed(root: &File, members: &[&File]) -> Vec<Finding> {
    let claimed: BTreeSet<&str> =
        members.iter().flat_map(|m| dependencies(&m.text)).map(|entry| entry.name).collect();
    dependencies(&root.text)
        .filter(|entry| !claimed.contains(entry.name))
        .map(|entry| {
            Finding::at(&root.path, entry.line, format!("no crate depends on `{}`; remove it", entry.name))
        })
        .collect()
}

/// The lines that every crate's manifest must have: the lints of the workspace, its edition, no publishing by accident.
const INHERITED: &[&str] =
    &["[lints]\nworkspace = true", "edition.workspace = true", "publish.workspace = true"];

/// What a crate's manifest should inherit from the workspace and does not.
pub fn not_inherited(file: &File) -> Vec<Finding> {
    let missing = INHERITED.iter().filter(|lines| !file.text.contains(**lines));
    missing
        .map(|lines| Finding::file(&file.path, format!("must contain `{}`", lines.replace('\n', " "))))
        .collect()
}

/// A crate that the lock file may hold in several versions, and the reason.
pub type Duplicate = (&'static str, &'static str);

/// Crates locked in several versions without a reason, and reasons that are no longer needed.
pub fn duplicate_versions(lock: &File, known: &[Duplicate]) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    let mut name = None;
    for (index, line) in lock.text.lines().enumerate() {
        if let Some(value) = quoted(line, "name = ") {
            name = Some((index + 1, value));
        } else if let (Some(value), Some((line, name))) = (quoted(line, "version = "), name.take()) {
            versions.entry(name).or_default().push((line, value));
        }
    }
    let mut findings = Vec::new();
    let repeated: BTreeMap<_, _> = versions.into_iter().filter(|(_, found)| found.len() > 1).collect();
    for (name, found) in repeated.iter().filter(|(name, _)| !known.iter().any(|(k, _)| k == *name)) {
        let all: Vec<_> = found.iter().map(|(_, version)| *version).collect();
        let line = found.last().map_or(0, |(line, _)| *line);
        let what = format!(
            "`{name}` is locked as {}; find out who asks for the old one, or list the reason",
            all.join(" and ")
        );
        findings.push(Finding::at(&lock.path, line, what));
    }
    for (name, _) in known.iter().filter(|(name, _)| !repeated.contains_key(name)) {
        findings.push(Finding::file(
            &lock.path,
            format!("`{name}` is locked once; take it off the list of duplicates"),
        ));
    }
    findings
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_outside_the_workspace_is_found() {
        let text = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\nb = \"1\"\nc = { workspace = true, features = [\"x\"] }\n\
                    # d = \"1\"\n[dev-dependencies]\ne = { path = \"../e\" }\n[dependencies.f]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\ng = \"1\"\n[features]\nh = []\n[workspace.dependencies]\ni = \"1\"\n";
        let found = own_versions(&File::new("a/Cargo.toml", text));
        let mut lines: Vec<_> = found.iter().map(|f| f.line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [5, 9, 10, 13]);
    }

    #[test]
    fn a_dependency_that_nothing_names_is_found() {
        let text = "[dependencies]\na.workspace = true\nb-c.workspace = true\nd.workspace = true\n\
                    [dev-dependencies]\ne = { workspace = true }\nquiet.workspace = true\n";
        let manifest = File::new("x/Cargo.toml", text);
        let files = vec![
            manifest.clone(),
            File::new("x/src/lib.rs", "//! Not d.\nuse a::B;\nb_c::f(\"e\");"),
            File::new("y/src/lib.rs", "use d::e;"),
        ];
        let found = unused(&Tree { files }, &manifest, &["quiet"]);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [4, 6]);
    }

    #[test]
    fn a_version_that_no_crate_takes_is_found() {
        let root = File::new(
            "Cargo.toml",
            "[workspace.dependencies]\na = \"1\"\nb = { version = \"1\" }\n[profile.dev]\nc = 1\n",
        );
        let member = File::new("x/Cargo.toml", "[dependencies]\na.workspace = true\n");
        let found = unclaimed(&root, &[&member]);
        assert_eq!(found, [Finding::at("Cargo.toml", 3, "no crate depends on `b`; remove it")]);
    }

    #[test]
    fn a_manifest_that_does_not_inherit_is_found() {
        let good = INHERITED.join("\n");
        assert_eq!(not_inherited(&File::new("a/Cargo.toml", &good)), []);
        for lines in INHERITED {
            assert_eq!(
                not_inherited(&File::new("a/Cargo.toml", &good.replace(lines, ""))).len(),
                1,
                "{lines}"
            );
        }
    }

    #[test]
    fn a_second_version_needs_a_reason_and_a_reason_needs_a_second_version() {
        let text = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"1.0.0\"\n";
        let lock = File::new("Cargo.lock", text);
        let found = duplicate_versions(&lock, &[]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].to_string().starts_with("Cargo.lock:6: `a` is locked as 1.0.0 and 2.0.0"),
            "{}",
            found[0]
        );
        assert_eq!(duplicate_versions(&lock, &[("a", "why")]), []);
        assert_eq!(duplicate_versions(&lock, &[("a", "why"), ("b", "why")]).len(), 1);
    }
}
