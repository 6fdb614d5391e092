//! control.log and server.log, in the shape the CUDA MPS guide documents.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The two logs; a directory that cannot be written costs the logs, not the daemon.
#[derive(Debug)]
pub(crate) struct Logs {
    control: Option<File>,
    server: Option<File>,
    pid: u32,
}

impl Logs {
    pub(crate) fn open(directory: Option<&Path>, pid: u32) -> Self {
        let open = |name: &str| {
            let directory = directory?;
            std::fs::create_dir_all(directory).ok()?;
            OpenOptions::new().create(true).append(true).open(directory.join(name)).ok()
        };
        Self { control: open("control.log"), server: open("server.log"), pid }
    }

    /// A line of the control daemon.
    pub(crate) fn control(&mut self, text: &str) {
        write(self.control.as_mut(), "Control", self.pid, text);
    }

    /// A line of a server.
    pub(crate) fn server(&mut self, pid: u32, text: &str) {
        write(self.server.as_mut(), "Server", pid, text);
    }
}

fn write(file: Option<&mut File>, who: &str, pid: u32, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = timestamp(now.as_secs(), now.subsec_millis());
    if let Some(file) = file {
        // A full disk must not end the daemon.
        let _ = writeln!(file, "[{stamp} {who} {pid:5}] {text}");
    }
}

/// `2026-02-06 09:34:17.770`, in UTC.
fn timestamp(seconds: u64, millis: u32) -> String {
    let (days, in_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years, so that leap days end a year.
    let shifted = days + 719_468;
    let (era, in_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}")
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_calendar_dates() {
        assert_eq!(timestamp(0, 0), "1970-01-01 00:00:00.000");
        assert_eq!(timestamp(951_782_399, 7), "2000-02-28 23:59:59.007");
        assert_eq!(timestamp(951_782_400, 0), "2000-02-29 00:00:00.000");
        assert_eq!(timestamp(1_770_370_457, 770), "2026-02-06 09:34:17.770");
    }
}
