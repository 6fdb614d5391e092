//! The container tests need an engine, which not every machine has; this finds it, builds what the tests start, and says
//! what is missing where they cannot run.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use cargo_metadata::MetadataCommand;

use crate::image;
use crate::runner::Runner;

/// The package of the tests, which is a workspace of its own.
const MANIFEST: &str = "ci/container/Cargo.toml";
/// Where an engine listens that nobody names.
const USUAL_SOCKET: &str = "/var/run/docker.sock";
/// Set to 1, a machine without an engine fails.
const REQUIRE_VARIABLE: &str = "REQUIRE_DOCKER";
/// How long an engine may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What became of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The tests ran and passed.
    Passed,
    /// They cannot run here, and why.
    Skipped(String),
}

/// Builds the image and runs the tests on it.
///
/// # Errors
/// A test or a build fails; or there is no engine, and it is required.
pub fn test(runner: &Runner, require: bool) -> Result<Outcome> {
    let socket = match engine(&|name| std::env::var(name).ok()) {
        Ok(socket) => socket,
        Err(why) if require || std::env::var(REQUIRE_VARIABLE).is_ok_and(|value| value == "1") => {
            bail!("{why}")
        }
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    println!("ci: container engine: {}", socket.display());
    image::build(runner, None)?;
    runner.cargo(["build", "--package", "fake-nvml", "--package", "fake-gpu"])?;
    let manifest = runner.root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec()?;
    let target = metadata.target_directory.into_std_path_buf();
    let variables = [
        ("DOCKER_HOST", PathBuf::from(format!("unix://{}", socket.display()))),
        ("TANDEM_IMAGE_JSON", target.join("image/image.json")),
        ("TANDEM_BIN_DIR", target.join("debug")),
        ("CARGO_TARGET_DIR", target),
    ];
    runner
        .cargo_with(&variables, ["test", "--locked", "--manifest-path", MANIFEST, "--", "--show-output"])?;
    Ok(Outcome::Passed)
}

/// The socket of an engine that answers; `variable` reads the environment.
fn engine(variable: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    if let Some(host) = variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
        let Some(path) = host.strip_prefix("unix://") else {
            return Err(format!(
                "no container engine of this machine: DOCKER_HOST is `{host}` (hint: the tests mount files, name a `unix://` socket)"
            ));
        };
        return answers(Path::new(path))
            .map(|()| PathBuf::from(path))
            .map_err(|why| missing(&[(path.into(), why)]));
    }
    let own = variable("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join("docker.sock"));
    let mut tried = Vec::new();
    for path in [Some(PathBuf::from(USUAL_SOCKET)), own].into_iter().flatten() {
        match answers(&path) {
            Ok(()) => return Ok(path),
            Err(why) => tried.push((path, why)),
        }
    }
    Err(missing(&tried))
}

fn missing(tried: &[(PathBuf, String)]) -> String {
    let tried: Vec<String> = tried.iter().map(|(path, why)| format!("`{}`: {why}", path.display())).collect();
    format!(
        "no container engine: {} (hint: start one, as `.ci/run` does with Debian's docker.io, or set DOCKER_HOST)",
        tried.join("; ")
    )
}

/// Whether an engine answers on a socket.
///
/// # Errors
/// Why not.
fn answers(socket: &Path) -> Result<(), String> {
    let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    let mut exchange = || {
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 32];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned())
    };
    let answer = exchange().map_err(|error: std::io::Error| error.to_string())?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("it answers `{}`", answer.lines().next().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// An engine that gives one answer.
    fn engine_that_says(answer: &'static str) -> (PathBuf, std::thread::JoinHandle<String>) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tandem-engine-{}-{number}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 256];
            let read = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (path, serving)
    }

    #[test]
    fn an_engine_that_answers_is_found_where_the_variable_says() {
        let (path, serving) = engine_that_says("HTTP/1.1 200 OK\r\n\r\nOK");
        let host = format!("unix://{}", path.display());
        let found = engine(&|name| (name == "DOCKER_HOST").then(|| host.clone()));
        assert_eq!(found, Ok(path.clone()));
        assert!(serving.join().unwrap().starts_with("GET /_ping "));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_missing_is_named_with_the_reason() {
        let said = |host: &str| engine(&|name| (name == "DOCKER_HOST").then(|| host.to_owned())).unwrap_err();
        let why = said("unix:///nonexistent/docker.sock");
        assert!(why.contains("`/nonexistent/docker.sock`: No such file") && why.contains("hint"), "{why}");
        let why = said("tcp://elsewhere:2375");
        assert!(why.contains("`tcp://elsewhere:2375`"), "{why}");
        let (path, serving) = engine_that_says("HTTP/1.1 503 Busy\r\n\r\n");
        let why = said(&format!("unix://{}", path.display()));
        assert!(why.contains("HTTP/1.1 503 Busy"), "{why}");
        serving.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_own_engine_is_found_in_the_runtime_directory() {
        let directory = std::env::temp_dir().join(format!("tandem-runtime-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (path, serving) = engine_that_says("HTTP/1.1 200 OK\r\n\r\n");
        std::os::unix::fs::symlink(&path, directory.join("docker.sock")).unwrap();
        let text = directory.display().to_string();
        let found = engine(&|name| (name == "XDG_RUNTIME_DIR").then(|| text.clone()));
        // a machine with an engine at the usual place uses that
        let usual = answers(Path::new(USUAL_SOCKET)).is_ok();
        match usual {
            true => drop(UnixStream::connect(&path).and_then(|mut stream| stream.write_all(b"x"))),
            false => assert_eq!(found, Ok(directory.join("docker.sock"))),
        }
        serving.join().unwrap();
        std::fs::remove_file(path).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }
}
