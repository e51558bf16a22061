//! Sleeping until a 32-bit word changes: the system's futex where there is one.

pub(crate) use system::{wait, wake_all};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::ptr::null;
    use std::sync::atomic::AtomicU32;

    /// Sleeps while `word` holds `value`; may return early.
    pub(crate) fn wait(word: &AtomicU32, value: u32) {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word is alive during the call; no timeout. Errors (the word has changed, a
        // signal came) are early returns, which callers expect.
        unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, null::<libc::timespec>());
        }
    }

    /// Wakes every thread that sleeps on `word`.
    pub(crate) fn wake_all(word: &AtomicU32) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: only the address matters to the kernel, it does not touch the word.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i32::MAX) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use portable as system;

/// One mutex and condition variable for all words: correct, and slow only where threads sleep.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod portable {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Condvar, Mutex, PoisonError};

    static LOCK: Mutex<()> = Mutex::new(());
    static CHANGED: Condvar = Condvar::new();

    /// Sleeps while `word` holds `value`; may return early.
    pub(crate) fn wait(word: &AtomicU32, value: u32) {
        let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock orders this look at the word before or after a whole `wake_all`.
        if word.load(Ordering::SeqCst) == value {
            drop(CHANGED.wait(guard).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Wakes every thread that sleeps on any word.
    pub(crate) fn wake_all(_word: &AtomicU32) {
        drop(LOCK.lock().unwrap_or_else(PoisonError::into_inner));
        CHANGED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Two threads hand a counter back and forth, each sleeping until it is its turn.
    fn ping_pong(wait: fn(&AtomicU32, u32), wake: fn(&AtomicU32)) {
        let word = AtomicU32::new(0);
        let play = |parity: u32| {
            for _ in 0..500 {
                loop {
                    let value = word.load(Ordering::SeqCst);
                    if value % 2 == parity {
                        break;
                    }
                    wait(&word, value);
                }
                word.fetch_add(1, Ordering::SeqCst);
                wake(&word);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(0));
            play(1);
        });
        assert_eq!(word.load(Ordering::SeqCst), 1000);
    }

    #[test]
    fn the_system_wakes() {
        ping_pong(super::wait, super::wake_all);
    }

    #[test]
    fn the_portable_form_wakes() {
        ping_pong(super::portable::wait, super::portable::wake_all);
    }
}
