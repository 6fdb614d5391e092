//! Every rule wants the repository's text; this reads it once, leaving out what is built or belongs to git.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// More files than this is not this repository: something was unpacked into it.
const FILES_MAX: usize = 20_000;
/// Directories that are never part of the source.
const SKIPPED: [&str; 2] = ["target", ".git"];
/// Directories beginning with a dot that are part of the source.
const DOTTED: [&str; 4] = [".ci", ".cargo", ".config", ".github"];

/// One text file.
#[derive(Debug, Clone)]
pub struct File {
    /// From the repository's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// A file made of its parts; rules are tested with these.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether it is Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether a generator wrote it.
    pub fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }
}

/// The text files of a repository, in path order.
#[derive(Debug, Default)]
pub struct Tree {
    /// All files whose content is UTF-8.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads every text file below `root`. Fails when a directory or file cannot be read or there are too many.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        read_directory(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// Hand-written Rust source that ends up in a crate: below a `src/`, neither generated nor test code.
    pub fn production(&self) -> impl Iterator<Item = &File> {
        let tests = self.test_files();
        self.files.iter().filter(move |file| {
            file.is_rust()
                && file.path.contains("src/")
                && !file.is_generated()
                && !tests.contains(&file.path)
        })
    }

    /// Hand-written Rust source, tests included.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust() && !file.is_generated())
    }

    /// The file at a path.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or a directory of that path exists.
    pub fn has(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&directory))
    }

    /// The Rust files that are compiled for tests only: below `tests/` or `benches/`, or declared by
    /// `#[cfg(test)] mod name;`.
    fn test_files(&self) -> BTreeSet<String> {
        let mut tests = BTreeSet::new();
        for file in self.rust() {
            let (directory, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
            if directory.split('/').any(|part| part == "tests" || part == "benches") {
                tests.insert(file.path.clone());
            }
            let stem = name.trim_end_matches(".rs");
            for module in test_modules(&file.text) {
                tests.insert(format!("{directory}/{module}.rs"));
                tests.insert(format!("{directory}/{stem}/{module}.rs"));
                tests.insert(format!("{directory}/{module}/mod.rs"));
            }
        }
        tests
    }
}

/// The names in `#[cfg(test)] mod name;`.
fn test_modules(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, attribute) in text.match_indices("#[cfg(test)]") {
        let item = text[at + attribute.len()..].split([';', '{']).next().unwrap_or_default();
        let ends_with_semicolon = text[at + attribute.len() + item.len()..].starts_with(';');
        let mut words = item.split_whitespace().rev();
        if let (Some(name), Some("mod"), true) = (words.next(), words.next(), ends_with_semicolon) {
            names.push(name.to_owned());
        }
    }
    names
}

fn read_directory(directory: &Path, prefix: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let hidden = name.starts_with('.') && !DOTTED.contains(&name.as_str());
            if !hidden && !SKIPPED.contains(&name.as_str()) {
                read_directory(&entry.path(), &format!("{prefix}{name}/"), files)?;
            }
        } else if kind.is_file() {
            if files.len() >= FILES_MAX {
                return Err(io::Error::other(format!(
                    "more than {FILES_MAX} files below the repository's root"
                )));
            }
            match fs::read_to_string(entry.path()) {
                Ok(text) => files.push(File { path: format!("{prefix}{name}"), text }),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_leaves_out_tests_and_generated_code() {
        let tree = Tree {
            files: vec![
                File::new("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod cases;\n#[cfg(test)]\nmod inline { }\n"),
                File::new("a/src/b.rs", "#[cfg(test)]\n#[path = \"x\"]\nmod table;\n"),
                File::new("a/src/b/table.rs", ""),
                File::new("a/src/cases.rs", ""),
                File::new("a/src/inline.rs", ""),
                File::new("a/src/generated/v1.rs", ""),
                File::new("a/tests/whole.rs", ""),
                File::new("a/src/notes.md", ""),
            ],
        };
        let production: Vec<_> = tree.production().map(|f| f.path.as_str()).collect();
        assert_eq!(production, ["a/src/lib.rs", "a/src/b.rs", "a/src/inline.rs"]);
    }

    #[test]
    fn a_directory_counts_as_existing() {
        let tree = Tree { files: vec![File::new("a/src/lib.rs", "")] };
        assert!(tree.has("a/src") && tree.has("a/src/lib.rs"));
        assert!(!tree.has("a/sr") && !tree.has("b"));
    }
}
