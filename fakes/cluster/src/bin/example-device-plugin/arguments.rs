//! The command line.

use std::path::PathBuf;

use super::behaviour::{Behaviour, WAYS};

/// Most devices that can be asked for.
const DEVICES_MAX: u32 = 100_000;

/// What is served, where and how.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The kubelet's device plugin directory.
    pub(crate) dir: PathBuf,
    pub(crate) resource: String,
    pub(crate) devices: u32,
    /// The file name of its own socket.
    pub(crate) socket: String,
    pub(crate) behaviour: Behaviour,
}

/// What a command line asks for.
pub(crate) enum Asked {
    Help,
    Serve(Settings),
}

/// Reads the words after the program's name.
pub(crate) fn read(words: &[String]) -> Result<Asked, String> {
    let mut settings = Settings {
        dir: PathBuf::from("/var/lib/kubelet/device-plugins"),
        resource: "example.com/device".to_owned(),
        devices: 2,
        socket: "example.sock".to_owned(),
        behaviour: Behaviour::default(),
    };
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        if flag == "--help" || flag == "-h" {
            return Ok(Asked::Help);
        }
        let value = words.next().ok_or_else(|| format!("no value after `{flag}`"))?;
        match flag.as_str() {
            "--dir" => settings.dir = PathBuf::from(value),
            "--resource" => settings.resource.clone_from(value),
            "--socket" => settings.socket.clone_from(value),
            "--devices" => {
                let number = value.parse().ok().filter(|number| *number <= DEVICES_MAX);
                settings.devices =
                    number.ok_or_else(|| format!("not a number from 0 to {DEVICES_MAX}: `{value}`"))?;
            }
            "--naive" => settings.behaviour.add(value)?,
            _ => return Err(format!("unknown flag `{flag}`")),
        }
    }
    Ok(Asked::Serve(settings))
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = "\
A device plugin (v1beta1) with made-up devices. By default it behaves well: it serves before it registers, tries again
until the kubelet answers, serves and registers anew when the kubelet's socket or its own is another one or when its
ListAndWatch ends. On SIGHUP its last device turns unhealthy, and on the next one it leaves the list.

Usage: example-device-plugin [FLAG VALUE]...

  --dir DIR        the kubelet's device plugin directory [/var/lib/kubelet/device-plugins]
  --resource NAME  the resource [example.com/device]
  --devices N      how many devices [2]
  --socket NAME    the file name of its socket [example.sock]
  --naive WAY      something that it does not do well, several times if need be:

"
    .to_owned();
    for row in WAYS {
        let word = match row.number {
            "" => row.word.to_owned(),
            number => format!("{}={}", row.word, number.to_uppercase()),
        };
        text.push_str(&format!("    {word:<26} {}\n", row.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Way;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_command_line_names_what_is_served_and_how() {
        let line = "--dir /d --resource a.b/c --devices 4 --naive gives-up --naive impatient=5";
        let Ok(Asked::Serve(settings)) = read(&words(line)) else { panic!("it is read") };
        assert_eq!((settings.resource.as_str(), settings.devices), ("a.b/c", 4));
        assert!(settings.behaviour.has(Way::GivesUp));
        for wrong in ["--devices", "--devices many", "--devices 100001", "--size 3", "--naive well"] {
            assert!(read(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn help_lists_every_way() {
        let help = help();
        assert!(WAYS.iter().all(|row| help.contains(row.word) && help.contains(row.about)));
        assert!(matches!(read(&words("--help")), Ok(Asked::Help)));
    }
}
