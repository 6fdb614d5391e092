//! The plugin's image is made here, from nothing but the program and the parts of the C library that it needs: no base
//! image, no container engine, and the same bytes from the same source.
//!
//! [`archive`] writes the image, [`libraries`] finds what the program needs, [`sbom`] lists what is inside,
//! [`contents`] says what stands where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use serde_json::json;

use crate::runner::Runner;

pub mod archive;
pub mod contents;
pub mod libraries;
pub mod sbom;

use contents::{PROGRAM, Sources};

/// The crate that the image carries.
const PACKAGE: &str = "plugin-daemon";
/// The archive's file name.
const ARCHIVE: &str = "tandem-device-plugin.tar";
/// The file name of the list of what is inside.
const SBOM: &str = "sbom.cdx.json";

/// Builds the program and writes the archive, `image.json` and the SBOM into `out` (default: `target/image`).
///
/// # Errors
/// Whatever fails first, with its file or program.
pub fn build(runner: &Runner, out: Option<&Path>) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(runner.root().join("Cargo.toml"))
        .other_options(["--locked".to_owned(), "--filter-platform".to_owned(), platform()])
        .exec()
        .context("cargo metadata does not read the workspace")?;
    let target = PathBuf::from(&metadata.target_directory);
    let out = out.map_or_else(|| target.join("image"), |out| runner.root().join(out));
    runner.cargo(arguments(runner.root()))?;
    let binary = target.join("release").join(PROGRAM);
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read `{}`", path.display()));
    let program = read(&binary)?;
    let directories = libraries::directories(std::env::consts::ARCH);
    let found = libraries::closure(&program, contents::LIBRARIES_OF_DRIVERS, &directories)?;
    let version = metadata.packages.iter().find(|package| package.name == PACKAGE);
    let version = version.with_context(|| format!("no package `{PACKAGE}`"))?.version.to_string();
    let mut sources = Sources {
        loader: libraries::needs(&program)?.loader,
        program,
        libraries: Vec::new(),
        license: read(&runner.root().join("LICENSE"))?,
        sbom: Vec::new(),
        version,
        commit: commit(runner.root()),
    };
    for (name, path) in found {
        sources.libraries.push((name, path.clone(), read(&path)?));
    }
    let file = |(name, path, bytes): &(String, PathBuf, Vec<u8>)| sbom::SystemFile {
        path: contents::library_path(name, path),
        digest: archive::digest(bytes),
        package: owner(path),
    };
    let files: Vec<_> = sources.libraries.iter().map(file).collect();
    let lock = String::from_utf8_lossy(&read(&runner.root().join("Cargo.lock"))?).into_owned();
    let listed = sbom::document(&metadata, PACKAGE, &lock, &distribution(), &files);
    let listed = listed.context("cargo metadata tells no dependencies")?;
    sources.sbom = serde_json::to_vec_pretty(&listed)?;
    let image = contents::image(&sources);
    let written = archive::write(&image).context("the image cannot be written as tar")?;
    keep(&out, &image.reference, &written, &sources.sbom)
}

/// The program is built for every machine alike: paths of this one are replaced.
fn arguments(root: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let replaced = [(home, "/cargo"), (Some(root.to_owned()), "/tandem")];
    let flags: Vec<String> = replaced
        .iter()
        .filter_map(|(path, name)| Some(format!("'--remap-path-prefix={}={name}'", path.as_ref()?.display())))
        .collect();
    let fixed = ["build", "--release", "--locked", "--package", PACKAGE, "--bin", PROGRAM, "--config"];
    let flags = format!("build.rustflags=[{}]", flags.join(","));
    fixed.map(str::to_owned).into_iter().chain([flags]).collect()
}

fn platform() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Writes the files, and says what was written.
fn keep(out: &Path, reference: &str, archive: &archive::Archive, sbom: &[u8]) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create `{}`", out.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        anyhow::Ok(path)
    };
    let path = write(ARCHIVE, &archive.bytes)?;
    write(SBOM, sbom)?;
    let described = json!({
        "reference": reference,
        "digest": archive.digest,
        "config_digest": archive.config_digest,
        "size_bytes": archive.bytes.len(),
        "unpacked_bytes": archive.unpacked_bytes,
        "archive": path,
    });
    write("image.json", &serde_json::to_vec_pretty(&described)?)?;
    println!(
        "ci: image {reference} {}: {} bytes, {} unpacked: {}",
        archive.digest,
        archive.bytes.len(),
        archive.unpacked_bytes,
        path.display()
    );
    Ok(())
}

/// What a program prints, if it is there and ends with 0.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The commit that is built; `None` outside of a checkout.
fn commit(root: &Path) -> Option<contents::Commit> {
    let root = root.display().to_string();
    let git = |arguments: &[&str]| said("git", &[&["-C", &root], arguments].concat());
    let head = git(&["show", "--no-patch", "--format=%H %cI", "HEAD"])?;
    let (id, date) = head.split_once(' ')?;
    let changed = git(&["status", "--porcelain"]).is_some_and(|list| !list.is_empty());
    let revision = if changed { format!("{id}-dirty") } else { id.to_owned() };
    Some(contents::Commit { revision, date: date.to_owned() })
}

/// The distribution's package that a file belongs to, and its version, where `dpkg` knows.
fn owner(path: &Path) -> Option<(String, String)> {
    // directories that were merged into /usr are still known by their old names
    let merged = path.strip_prefix("/usr").map_or(path.to_owned(), |rest| Path::new("/").join(rest));
    let known = |path: &Path| said("dpkg-query", &["--search", &path.display().to_string()]);
    let line = known(path).or_else(|| known(&merged))?;
    let package = line.split(": ").next()?.to_owned();
    let version = said("dpkg-query", &["--show", "--showformat=${Version}", &package])?;
    Some((package.split(':').next()?.to_owned(), version))
}

/// This machine's distribution, as package URLs name it.
fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("ID="));
    id.map_or("linux", |id| id.trim_matches('"')).to_owned()
}
