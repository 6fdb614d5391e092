//! Reads the logs of processes, because a scenario may expect a warning once and a failure shows a log's end.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

/// The part of a log that is read: its last bytes.
const TAIL_BYTES_MAX: u64 = 256 << 10;

/// The messages at level warn or error of a JSON log, in order.
pub(super) fn warnings(log: &Path) -> Vec<String> {
    tail(log).lines().filter_map(warning).collect()
}

/// The last lines of a log.
pub(super) fn end(log: &Path, lines: usize) -> String {
    let text = tail(log);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

fn warning(line: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let level = entry.get("level")?.as_str()?;
    if !level.eq_ignore_ascii_case("warn") && !level.eq_ignore_ascii_case("error") {
        return None;
    }
    let message =
        entry.pointer("/fields/message").or_else(|| entry.get("message")).or_else(|| entry.get("msg"));
    message?.as_str().map(str::to_owned)
}

fn tail(log: &Path) -> String {
    let Ok(mut file) = std::fs::File::open(log) else {
        return String::new();
    };
    let length = file.metadata().map_or(0, |data| data.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))
        .and_then(|_| file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_found_in_json_logs_and_other_lines_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("plugin.log");
        let lines = [
            r#"{"level":"INFO","fields":{"message":"started"}}"#,
            r#"{"level":"WARN","fields":{"message":"no driver library"}}"#,
            "plain text",
            r#"{"level":"ERROR","message":"flat"}"#,
        ];
        std::fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(warnings(&log), ["no driver library", "flat"]);
        assert_eq!(end(&log, 1), lines[3]);
        assert_eq!(warnings(&dir.path().join("missing")), Vec::<String>::new());
    }
}
