//! How much memory this process holds, and how much time a thread had, as the system counts them.

use std::time::Duration;

/// Bytes of this process that are in memory now; `None` where the system does not say (it is read
/// from Linux's `/proc/self/status`, `VmRSS`).
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// The most that [`resident_bytes`] has been so far (`VmHWM`).
pub fn peak_resident_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Time that the calling thread has been on a core. Unlike the time of day it leaves out what other programs took; so
/// does it what other threads of this program did. `None` where the system does not say.
pub fn thread_cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer leads to a value that lives as long as the call.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0;
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        if failed { None } else { Some(Duration::new(seconds, nanoseconds)) }
    }
    #[cfg(not(unix))]
    None
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
    fn time_on_a_core_is_counted() {
        let start = thread_cpu_time().expect("Linux");
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_cpu_time().expect("Linux");
        assert!(slept - start < Duration::from_millis(20), "{:?}", slept - start);
        while thread_cpu_time().expect("Linux") - slept < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn memory_is_counted() {
        let bytes = std::hint::black_box(vec![1u8; 32 << 20]);
        let (now, peak) = (resident_bytes().expect("Linux"), peak_resident_bytes().expect("Linux"));
        assert!(now >= 32 << 20 && peak >= 32 << 20, "{now} {peak}");
        drop(bytes);
    }
}
