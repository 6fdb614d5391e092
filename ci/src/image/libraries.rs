//! A dynamic program runs in an empty root only beside the libraries that it names; this reads their names from the
//! program and finds the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// A program that needs more libraries than this is not ours.
const LIBRARIES_MAX: usize = 64;

/// What a program or library says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The loader's path, of a program.
    pub loader: Option<String>,
    /// File names of the libraries, as the loader looks for them.
    pub libraries: Vec<String>,
}

/// Reads the needs of an ELF file.
///
/// # Errors
/// When the bytes are not a 64-bit ELF file.
pub fn needs(bytes: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, bytes)? {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            needs.loader = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let table = header.sections(endian, bytes)?.dynamic_table(endian, bytes)?;
    for entry in table.iter().filter(|entry| entry.tag == DT_NEEDED) {
        needs.libraries.push(String::from_utf8_lossy(table.string(entry)?).into_owned());
    }
    Ok(needs)
}

/// The directories where the loader of this machine looks without being told.
pub fn directories(architecture: &str) -> Vec<PathBuf> {
    let multiarch = format!("{architecture}-linux-gnu");
    ["/lib", "/usr/lib"]
        .iter()
        .map(|parent| Path::new(parent).join(&multiarch))
        .chain(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from))
        .collect()
}

/// The libraries of a program and theirs, by file name, each with its real path; the loader is among them.
///
/// `more` are names that others will want: a driver's library finds the C library's parts already there.
///
/// # Errors
/// When a library is not in the directories, or is none.
pub fn closure(program: &[u8], more: &[&str], directories: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let own = needs(program)?;
    let mut found = BTreeMap::new();
    if let Some(loader) = &own.loader {
        let name = loader.rsplit('/').next().unwrap_or(loader);
        found.insert(name.to_owned(), fs::canonicalize(loader).with_context(|| format!("no `{loader}`"))?);
    }
    let mut open: Vec<String> = own.libraries;
    open.extend(more.iter().map(|&name| name.to_owned()));
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        if found.len() == LIBRARIES_MAX {
            bail!("more than {LIBRARIES_MAX} libraries are needed, the last is `{name}`");
        }
        let path = find(&name, directories)?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        open.extend(needs(&bytes).with_context(|| format!("`{}`", path.display()))?.libraries);
        found.insert(name, path);
    }
    Ok(found)
}

fn find(name: &str, directories: &[PathBuf]) -> Result<PathBuf> {
    let found = directories.iter().map(|d| d.join(name)).find_map(|path| fs::canonicalize(path).ok());
    found.with_context(|| {
        let list: Vec<_> = directories.iter().map(|d| d.display().to_string()).collect();
        io::Error::other(format!("library `{name}` is in none of {}", list.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_program() -> Vec<u8> {
        fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn a_program_names_its_loader_and_the_c_library() {
        let needs = needs(&own_program()).unwrap();
        assert!(needs.loader.is_some_and(|loader| loader.contains("ld-linux")));
        assert!(needs.libraries.iter().any(|name| name == "libc.so.6"), "{:?}", needs.libraries);
    }

    #[test]
    fn the_closure_holds_the_loader_and_what_was_asked_for_beyond_it() {
        let directories = directories(std::env::consts::ARCH);
        let found = closure(&own_program(), &["libdl.so.2"], &directories).unwrap();
        assert!(found.keys().any(|name| name.starts_with("ld-linux")), "{found:?}");
        assert!(found.contains_key("libc.so.6") && found.contains_key("libdl.so.2"), "{found:?}");
        assert!(found.values().all(|path| path.is_file()), "{found:?}");
    }

    #[test]
    fn a_library_that_is_nowhere_is_named_with_where_it_was_looked_for() {
        let error = closure(&own_program(), &[], &["/nonexistent".into()]).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("library `") && error.ends_with("is in none of /nonexistent"), "{error}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(needs(b"#!/bin/sh\n").is_err());
    }
}
