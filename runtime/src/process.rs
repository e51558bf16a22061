//! How much memory this process holds, as the system counts it.

/// Bytes of this process that are in memory now; `None` where the system does not say (it is read
/// from Linux's `/proc/self/status`, `VmRSS`).
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// The most that [`resident_bytes`] has been so far (`VmHWM`).
pub fn peak_resident_bytes() -> Option<u64> {
    status("VmHWM:")
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted() {
        let bytes = std::hint::black_box(vec![1u8; 32 << 20]);
        let (now, peak) = (resident_bytes().expect("Linux"), peak_resident_bytes().expect("Linux"));
        assert!(now >= 32 << 20 && peak >= 32 << 20, "{now} {peak}");
        drop(bytes);
    }
}
