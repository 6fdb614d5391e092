//! A headless Chromium, because only a browser can say whether a page works in a browser.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The names under which browsers of the Chromium family are installed.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long one page may take, with the browser's start on a busy machine.
const PAGE_WITHIN: Duration = Duration::from_secs(90);
/// The time that the page itself believes to have for its scripts, in milliseconds.
const VIRTUAL_TIME_MS: &str = "4000";

/// What the system prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// An installed browser.
pub(crate) struct Chromium {
    program: PathBuf,
}

impl Chromium {
    /// The browser in `PATH`; says so when there is none.
    pub(crate) fn find() -> Option<Chromium> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&paths)
            .flat_map(|directory| NAMES.map(|name| directory.join(name)))
            .find(|program| program.is_file());
        if program.is_none() {
            println!("SKIPPED: chromium not found (apt-get install chromium)");
        }
        program.map(|program| Chromium { program })
    }

    /// Loads the page and gives its DOM back after its scripts ran.
    pub(crate) fn dump(&self, page: &str, scheme: Scheme) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("report.html");
        let dom = directory.path().join("dom.html");
        std::fs::write(&file, page).unwrap();
        let preferred = if scheme == Scheme::Dark { 0 } else { 1 };
        let mut command = Command::new(&self.program);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
            ])
            .args(["--window-size=1500,1000", "--hide-scrollbars", "--dump-dom"])
            .arg(format!("--blink-settings=preferredColorScheme={preferred}"))
            .arg(format!("--virtual-time-budget={VIRTUAL_TIME_MS}"))
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .arg(format!("file://{}", file.display()))
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&dom).unwrap())
            .stderr(Stdio::null());
        let mut child = Ended(command.spawn().unwrap());
        let begun = Instant::now();
        let status = loop {
            match child.0.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > PAGE_WITHIN => panic!("`{}` took too long", self.program.display()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        assert!(status.success(), "`{}` ended with {status}", self.program.display());
        std::fs::read_to_string(dom).unwrap()
    }
}

/// A process that ends with the test, also with one that fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
