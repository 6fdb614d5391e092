//! A name tells a newcomer where to look; this holds the names of modules, folders and scenario files.

use super::Finding;
use super::code;
use super::tree::{File, Tree};

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "types", "manager", "managers", "misc"];

/// The directories that the root may hold.
const TOP_LEVEL: &[&str] = &[
    "plugin",
    "simulator",
    "scenarios",
    "fakes",
    "benches",
    "kind-config",
    "ci",
    ".ci",
    ".cargo",
    ".config",
    ".github",
];

/// The folders that stories are sorted into.
const STORY_FOLDERS: &[&str] =
    &["sharing", "switch", "health", "memory", "mps", "mig", "kubelet", "allocate", "incidents"];

/// Folders below those, for what stories name as files: each with the endings that belong there.
const STORY_FILES: &[(&str, &str)] = &[("configs", ".yaml"), ("manifests", ".yaml"), ("curves", ".csv")];

/// Modules, as files, directories or inline, with a name that says nothing.
pub fn empty_module_names(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = file.path.trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| EMPTY_NAMES.contains(part)) {
        findings.push(Finding::file(
            &file.path,
            format!("a module named `{part}`; name it for what it is about"),
        ));
    }
    let code = code::without_comments_and_strings(&file.text);
    let words: Vec<_> = code::words(&code).collect();
    for pair in words.windows(2) {
        let ((_, keyword), (line, name)) = (pair[0], pair[1]);
        if keyword == "mod" && EMPTY_NAMES.contains(&name) {
            findings.push(Finding::at(
                &file.path,
                line,
                format!("a module named `{name}`; name it for what it is about"),
            ));
        }
    }
    findings
}

/// A Rust file whose first line does not say why the module exists.
pub fn missing_module_doc(file: &File) -> Vec<Finding> {
    let first = file.text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
    let says_something = first.strip_prefix("//! ").is_some_and(|rest| rest.split_whitespace().count() >= 3);
    if says_something {
        return Vec::new();
    }
    vec![Finding::at(&file.path, 1, "the file must begin with `//! ` and a sentence that says why it exists")]
}

/// Directories at the root that the layout does not know.
pub fn unknown_top_level(tree: &Tree) -> Vec<Finding> {
    let mut directories: Vec<_> =
        tree.files.iter().filter_map(|file| file.path.split_once('/')).map(|(d, _)| d).collect();
    directories.dedup();
    directories.retain(|directory| !TOP_LEVEL.contains(directory));
    directories
        .into_iter()
        .map(|d| {
            Finding::file(d, format!("not a directory of the layout; it is one of {}", TOP_LEVEL.join(", ")))
        })
        .collect()
}

/// Files below `scenarios/` that are not a story in a known folder, with a name in kebab-case.
pub fn misplaced_story(file: &File) -> Option<Finding> {
    let inside = file.path.strip_prefix("scenarios/")?;
    let (folder, name) = match inside.split_once('/') {
        None if ["Cargo.toml", "README.md", "schema.json"].contains(&inside) => return None,
        None => {
            return Some(Finding::file(&file.path, "a story lives in a folder of scenarios/"));
        }
        Some(("tests", _)) => return None,
        Some(parts) => parts,
    };
    if !STORY_FOLDERS.contains(&folder) {
        let what =
            format!("`{folder}` is not a folder for stories; it is one of {}", STORY_FOLDERS.join(", "));
        return Some(Finding::file(&file.path, what));
    }
    let named = name.split_once('/').and_then(|(inner, name)| {
        let (_, ending) = STORY_FILES.iter().find(|(folder, _)| *folder == inner)?;
        name.strip_suffix(ending)
    });
    let Some(stem) = named.or_else(|| name.strip_suffix(".yaml")) else {
        return Some(Finding::file(&file.path, "a story is one file that ends in `.yaml`"));
    };
    let kebab = stem
        .split('-')
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    (!kebab).then(|| Finding::file(&file.path, "the name of a story is its sentence in kebab-case"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_name_that_says_nothing_is_found_in_every_form() {
        for (path, text, line) in [
            ("a/src/utils.rs", "", 0),
            ("a/src/common/mod.rs", "", 0),
            ("a/src/lib.rs", "//! A.\npub mod helpers;", 2),
            ("a/src/lib.rs", "mod types { }", 1),
        ] {
            let findings = empty_module_names(&File::new(path, text));
            assert_eq!(findings.iter().map(|f| f.line).collect::<Vec<_>>(), [line], "{path} {text}");
        }
        assert_eq!(
            empty_module_names(&File::new("a/src/lib.rs", "mod resources; // mod utils\nuse manager_of_x;")),
            []
        );
    }

    #[test]
    fn a_module_without_a_sentence_is_found() {
        for text in ["", "use a;\n//! Late.", "//!\n", "// Not a module doc at all.", "//! Map."] {
            assert_eq!(missing_module_doc(&File::new("a.rs", text)).len(), 1, "{text:?}");
        }
        assert_eq!(missing_module_doc(&File::new("a.rs", "//! Why this exists.\n")), []);
        assert_eq!(missing_module_doc(&File::new("a.rs", "#![no_std]\n//! Why this exists.\n")), []);
    }

    #[test]
    fn a_new_directory_at_the_root_is_found() {
        let files = vec![
            File::new("README.md", ""),
            File::new("ci/a", ""),
            File::new("scripts/a", ""),
            File::new("scripts/b", ""),
        ];
        let findings = unknown_top_level(&Tree { files });
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "scripts");
    }

    #[test]
    fn a_story_in_the_wrong_place_or_with_a_wrong_name_is_found() {
        for path in [
            "a.yaml",
            "misc/a.yaml",
            "sharing/A-b.yaml",
            "sharing/a_b.yaml",
            "sharing/a--b.yaml",
            "sharing/a.yml",
            "mps/x/a.yaml",
            "memory/curves/a.yaml",
            "memory/curves/A.csv",
        ] {
            assert!(
                misplaced_story(&File::new(&format!("scenarios/{path}"), "")).is_some(),
                "not found: {path}"
            );
        }
        for path in [
            "scenarios/sharing/mixed-cluster.yaml",
            "scenarios/incidents/xid-1929.yaml",
            "scenarios/sharing/manifests/web.yaml",
            "scenarios/memory/curves/training.csv",
            "scenarios/Cargo.toml",
            "scenarios/tests/lib.rs",
            "ci/A_b.yaml",
        ] {
            assert_eq!(misplaced_story(&File::new(path, "")), None);
        }
    }
}
