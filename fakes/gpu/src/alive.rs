//! Telling whether a real process still lives, so that the dead do not keep GPU memory.

/// When a process started, in clock ticks since boot; with the pid it names the process for good.
/// None if it is gone or a zombie.
pub fn started_ticks(pid: u32) -> Option<u64> {
    /// Fields of `/proc/<pid>/stat` counted after the name: state, and start time (proc(5) field 22).
    const STATE: usize = 0;
    const STARTED: usize = 19;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    if matches!(fields.get(STATE), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(STARTED)?.parse().ok()
}

/// Whether the process that started then still lives.
pub(crate) fn is_alive(pid: u32, started: u64) -> bool {
    started_ticks(pid) == Some(started)
}
