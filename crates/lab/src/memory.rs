//! Memory that the process holds, as the system tells.

/// Most memory this process has held so far, in bytes; nothing where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Makes [`peak_memory`] count from now on, where the system can; elsewhere it goes on.
pub(crate) fn forget_peak_memory() {
    // Without the right to, as outside Linux, the peak of the whole process stands.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
