//! The configuration files, read whole and again whenever they change: a config map's volume is swapped by one symlink.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_core::event::Event;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use crate::dir_watch::DirWatch;
use crate::files;

/// Largest file in bytes; a whole config map holds 1 MiB.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Most files in a directory.
const FILES_MAX: usize = 1024;

/// Where configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigPath {
    /// One file.
    File(PathBuf),
    /// A directory with one file per configuration.
    Directory(PathBuf),
}

/// Why the configuration cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ConfigReadError {
    /// The system refused, or a file is not text, or too large.
    #[error("config `{path}` cannot be read: {why}")]
    Unreadable {
        /// The file or directory.
        path: String,
        /// The reason.
        #[source]
        why: std::io::Error,
    },
    /// The only file is not there.
    #[error("config file `{path}` does not exist")]
    Absent {
        /// The file.
        path: String,
    },
    /// More files than a config map could hold.
    #[error("config directory `{path}` has more than {FILES_MAX} files")]
    TooMany {
        /// The directory.
        path: String,
    },
}

impl ConfigPath {
    /// All files: name → text. Directories and names that begin with `..` are left out (NVIDIA config-manager v0.20).
    ///
    /// # Errors
    /// See [`ConfigReadError`].
    pub(crate) fn read(&self) -> Result<BTreeMap<String, String>, ConfigReadError> {
        match self {
            ConfigPath::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let absent = || ConfigReadError::Absent { path: path.display().to_string() };
                Ok(BTreeMap::from([(name, read_text(path)?.ok_or_else(absent)?)]))
            }
            ConfigPath::Directory(path) => read_directory(path),
        }
    }

    fn directory(&self) -> &Path {
        match self {
            ConfigPath::File(path) => files::directory_of(path),
            ConfigPath::Directory(path) => path,
        }
    }

    fn event(&self) -> Event {
        match self.read() {
            Ok(files) => Event::ConfigRead { files },
            Err(e) => Event::ConfigUnreadable { why: e.to_string() },
        }
    }
}

fn unreadable(path: &Path, why: std::io::Error) -> ConfigReadError {
    ConfigReadError::Unreadable { path: path.display().to_string(), why }
}

fn read_text(path: &Path) -> Result<Option<String>, ConfigReadError> {
    files::read_bounded(path, FILE_BYTES_MAX).map_err(|why| unreadable(path, why))
}

fn read_directory(path: &Path) -> Result<BTreeMap<String, String>, ConfigReadError> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(|why| unreadable(path, why))? {
        let entry = entry.map_err(|why| unreadable(path, why))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // follows symlinks: the files of a config map are symlinks
        if name.starts_with("..") || !entry.path().is_file() {
            continue;
        }
        if texts.len() == FILES_MAX {
            return Err(ConfigReadError::TooMany { path: path.display().to_string() });
        }
        // a file that vanished meanwhile is no file
        if let Some(text) = read_text(&entry.path())? {
            texts.insert(name, text);
        }
    }
    Ok(texts)
}

/// Tells the configuration at once, after every change, and whenever `asked` is notified.
pub(crate) async fn watch(path: ConfigPath, asked: Arc<Notify>, events: mpsc::Sender<Event>) {
    let mut directory = DirWatch::new(path.directory());
    let mut told: Option<Event> = None;
    let mut answer = false;
    loop {
        let event = path.event();
        if answer || told.as_ref() != Some(&event) {
            told = Some(event.clone());
            if events.send(event).await.is_err() {
                return;
            }
        }
        answer = tokio::select! {
            biased;
            () = asked.notified() => true,
            () = directory.changed() => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The layout of a mounted config map.
    fn publish(volume: &Path, generation: &str, files: &[(&str, &str)]) {
        let data = volume.join(format!("..{generation}"));
        fs::create_dir(&data).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
            let link = volume.join(name);
            if !link.exists() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        symlink(format!("..{generation}"), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    }

    #[test]
    fn directories_and_names_with_two_dots_are_left_out() {
        let volume = tempfile::tempdir().unwrap();
        publish(volume.path(), "2026_1", &[("default", "version: v1"), ("mps-config", "")]);
        fs::create_dir(volume.path().join("directory")).unwrap();
        let files = ConfigPath::Directory(volume.path().to_owned()).read().unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["default", "mps-config"]);
    }

    #[tokio::test]
    async fn a_swapped_config_map_is_read_again() {
        let volume = tempfile::tempdir().unwrap();
        publish(volume.path(), "2026_1", &[("default", "one")]);
        let (events, mut seen) = mpsc::channel(8);
        let path = ConfigPath::Directory(volume.path().to_owned());
        let task = tokio::spawn(watch(path, Arc::new(Notify::new()), events));
        let first = seen.recv().await.unwrap();
        assert_eq!(first, Event::ConfigRead { files: BTreeMap::from([("default".into(), "one".into())]) });
        publish(volume.path(), "2026_2", &[("default", "two")]);
        let second = seen.recv().await.unwrap();
        assert_eq!(second, Event::ConfigRead { files: BTreeMap::from([("default".into(), "two".into())]) });
        task.abort();
    }

    #[tokio::test]
    async fn asking_is_answered_even_without_a_change() {
        let volume = tempfile::tempdir().unwrap();
        let file = volume.path().join("config.yaml");
        let (events, mut seen) = mpsc::channel(8);
        let asked = Arc::new(Notify::new());
        let task = tokio::spawn(watch(ConfigPath::File(file.clone()), Arc::clone(&asked), events));
        let absent = seen.recv().await.unwrap();
        assert!(
            matches!(&absent, Event::ConfigUnreadable { why } if why.contains("does not exist")),
            "{absent:?}"
        );
        asked.notify_one();
        assert_eq!(seen.recv().await.unwrap(), absent);
        task.abort();
    }

    #[test]
    fn a_file_that_is_not_text_is_named() {
        let volume = tempfile::tempdir().unwrap();
        fs::write(volume.path().join("default"), [0xff, 0xfe]).unwrap();
        let error = ConfigPath::Directory(volume.path().to_owned()).read().unwrap_err();
        assert!(error.to_string().contains("default"), "{error}");
    }
}
