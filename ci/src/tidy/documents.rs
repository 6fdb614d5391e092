//! A document that points at a file which is gone misleads; this follows the links and paths in the documents.

use super::Finding;
use super::tree::{File, Tree};

/// The longest that the front page may be, in lines.
const README_LINES_MAX: usize = 150;

/// The sections that a release in the changelog may have (Keep a Changelog 1.1).
const CHANGE_KINDS: &[&str] = &["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// Relative links, and paths in backticks, that lead nowhere.
pub fn dead_paths(tree: &Tree, file: &File) -> Vec<Finding> {
    let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for target in links(line) {
            let path = resolve(directory, target);
            if !path.is_empty() && !tree.has(&path) {
                findings.push(Finding::at(
                    &file.path,
                    index + 1,
                    format!("the link to `{target}` leads nowhere"),
                ));
            }
        }
        for path in line.split('`').skip(1).step_by(2).filter(|text| looks_like_our_path(tree, text)) {
            let path = path.trim_end_matches('/');
            if !tree.has(path) && !tree.has(&resolve(directory, path)) {
                findings.push(Finding::at(&file.path, index + 1, format!("`{path}` does not exist")));
            }
        }
    }
    findings
}

/// The relative targets of `[text](target)`, without their anchors.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|t| t.split('#').next().unwrap_or(t))
        .filter(|target| {
            !target.is_empty()
                && !target.contains("://")
                && !target.starts_with("mailto:")
                && !target.contains(' ')
        })
}

/// Resolves `.` and `..` against a directory of the repository.
fn resolve(directory: &str, target: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a text in backticks means a file of this repository: it begins with one of its directories, and its last
/// part has an extension that source has.
fn looks_like_our_path(tree: &Tree, text: &str) -> bool {
    let Some((first, _)) = text.split_once('/') else {
        return false;
    };
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.".contains(c));
    let source =
        [".rs", ".yaml", ".md", ".toml", ".proto", ".txt", "/"].iter().any(|end| text.ends_with(end));
    plain && source && !first.is_empty() && tree.has(first) && !text.starts_with("target/")
}

/// What is wrong with the changelog's shape.
pub fn changelog(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.text.starts_with("# Changelog\n") {
        findings.push(Finding::at(&file.path, 1, "must begin with `# Changelog`"));
    }
    if !file.text.lines().any(|line| line == "## [Unreleased]") {
        findings.push(Finding::file(&file.path, "has no `## [Unreleased]`"));
    }
    for (index, line) in file.text.lines().enumerate() {
        let kind = line.strip_prefix("### ");
        if let Some(kind) = kind.filter(|kind| !CHANGE_KINDS.contains(kind)) {
            let what = format!("`{kind}` is not a kind of change; it is one of {}", CHANGE_KINDS.join(", "));
            findings.push(Finding::at(&file.path, index + 1, what));
        }
    }
    findings
}

/// A front page that is too long to be one.
pub fn long_readme(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if lines <= README_LINES_MAX {
        return Vec::new();
    }
    vec![Finding::file(
        &file.path,
        format!("{lines} lines; at most {README_LINES_MAX}: move details to where they belong"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree {
            files: vec![
                File::new("README.md", ""),
                File::new("plugin/README.md", ""),
                File::new("plugin/core/src/a.rs", ""),
            ],
        }
    }

    #[test]
    fn a_link_or_path_that_leads_nowhere_is_found() {
        let text = "[a](core/src/a.rs#L1) [b](../README.md) [c](https://x.y/z) [d](#here)\n[e](core/src/gone.rs)\n\
                    `plugin/core/src/a.rs` `plugin/core/` `core/src/a.rs` `nvidia.com/gpu` `a/b.rs`\n`plugin/core/src/gone.rs`\n";
        let found = dead_paths(&tree(), &File::new("plugin/README.md", text));
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 4], "{found:?}");
    }

    #[test]
    fn a_changelog_without_its_shape_is_found() {
        let good = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- x\n";
        assert_eq!(changelog(&File::new("CHANGELOG.md", good)), []);
        for (from, to) in [("# Changelog", "# Changes"), ("[Unreleased]", "Next"), ("### Added", "### New")] {
            assert_eq!(changelog(&File::new("CHANGELOG.md", &good.replace(from, to))).len(), 1, "{to}");
        }
    }

    #[test]
    fn a_front_page_that_is_a_manual_is_found() {
        assert_eq!(long_readme(&File::new("README.md", &"x\n".repeat(README_LINES_MAX))), []);
        assert_eq!(long_readme(&File::new("README.md", &"x\n".repeat(README_LINES_MAX + 1))).len(), 1);
    }
}
