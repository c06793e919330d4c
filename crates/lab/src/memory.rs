//! The memory of the process, as reported by the system.

/// Peak memory of this process so far, in bytes; `None` where the system does not report it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Restarts the count of [`peak_memory`] where the system can; elsewhere the peak continues.
pub(crate) fn forget_peak_memory() {
    // Without permission, or outside Linux, the peak of the whole process remains.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
