//! Items made by threads ahead of their use, and handed out in order.
//!
//! ```text
//!   thread 0: items 0, W,   2W, …  ─▶ queue 0 ─┐
//!   thread 1: items 1, W+1, …      ─▶ queue 1 ─┼─▶ item i comes from queue i mod W
//!   thread W−1: …                  ─▶ queue … ─┘
//! ```
//!
//! Each thread has its own bounded queue and a fixed share of the items, so order needs no sorting and nobody needs
//! a lock. A full queue stops its thread; a dropped consumer closes the queues, and with them the threads.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::error::DataError;

/// Makes item `i`.
pub(super) type Make<T> = Arc<dyn Fn(usize) -> Result<T, DataError> + Send + Sync>;

/// The items 0 to `count` − 1 in order; ends after the first error.
pub(super) struct Ordered<T> {
    make: Make<T>,
    next: usize,
    count: usize,
    /// Empty: items are made in `next`, by the caller's thread.
    queues: Vec<Receiver<Result<T, DataError>>>,
    threads: Vec<JoinHandle<()>>,
    /// A thread that could not be started: the first item is this error.
    failed: Option<DataError>,
}

impl<T> fmt::Debug for Ordered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered")
            .field("next", &self.next)
            .field("count", &self.count)
            .field("threads", &self.threads.len())
            .finish()
    }
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts `workers` threads, at most one an item, that make `count` items. Together they keep up to `ahead`
    /// items (rounded up to a multiple of the threads) in their queues, besides the one each is making. No workers:
    /// the caller makes each item when it asks for it.
    pub(super) fn new(count: usize, workers: usize, ahead: usize, make: Make<T>) -> Ordered<T> {
        let workers = workers.min(count);
        let mut items = Ordered {
            make,
            next: 0,
            count,
            queues: Vec::with_capacity(workers),
            threads: Vec::with_capacity(workers),
            failed: None,
        };
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(ahead.min(count).div_ceil(workers));
            let make = Arc::clone(&items.make);
            let thread = Builder::new()
                .name(format!("loader-{worker}"))
                .spawn(move || work(&make, (worker..count).step_by(workers), &sender));
            match thread {
                Ok(thread) => {
                    items.queues.push(receiver);
                    items.threads.push(thread);
                }
                Err(error) => {
                    items.failed = Some(DataError::Worker {
                        batch: 0,
                        reason: format!("cannot start thread {worker} of {workers}: {error}"),
                    });
                    break;
                }
            }
        }
        items
    }
}

fn work<T>(make: &Make<T>, share: impl Iterator<Item = usize>, queue: &SyncSender<Result<T, DataError>>) {
    for index in share {
        let item = guarded(make, index);
        let last = item.is_err();
        if queue.send(item).is_err() || last {
            return;
        }
    }
}

/// Makes an item; a panic becomes an error, so that it reaches whoever waits for the item.
fn guarded<T>(make: &Make<T>, index: usize) -> Result<T, DataError> {
    // Nothing of a half-made item is seen after a panic: it is dropped, and the iterator ends.
    catch_unwind(AssertUnwindSafe(|| make(index))).unwrap_or_else(|panic| {
        Err(DataError::Worker { batch: index, reason: format!("panic: {}", message(panic.as_ref())) })
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

impl<T> Iterator for Ordered<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.next = self.count;
            return Some(Err(error));
        }
        if self.next >= self.count {
            return None;
        }
        let index = self.next;
        let item = match self.queues.len() {
            0 => guarded(&self.make, index),
            workers => self.queues[index % workers]
                .recv()
                .unwrap_or_else(|_| Err(DataError::Worker { batch: index, reason: "its thread ended early".into() })),
        };
        self.next = if item.is_ok() { index + 1 } else { self.count };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.failed {
            Some(_) => (1, Some(1)),
            None => (0, Some(self.count - self.next)),
        }
    }
}

impl<T> Drop for Ordered<T> {
    /// Ends the threads and waits for them: at most for the item that each is making.
    fn drop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // Panics were caught and reported in their item.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn make<T>(f: impl Fn(usize) -> Result<T, DataError> + Send + Sync + 'static) -> Make<T> {
        Arc::new(f)
    }

    #[test]
    fn items_come_in_order_for_any_number_of_threads() {
        for workers in [0, 1, 2, 3, 7, 100] {
            for ahead in [0, 1, 5, usize::MAX] {
                let items = Ordered::new(23, workers, ahead, make(|i| Ok(i * i)));
                let all: Vec<usize> = items.map(Result::unwrap).collect();
                assert_eq!(all, (0..23).map(|i| i * i).collect::<Vec<_>>());
            }
            assert!(Ordered::new(0, workers, 1, make(Ok)).next().is_none());
        }
    }

    #[test]
    fn dropping_early_ends_the_threads() {
        for workers in [0, 1, 2, 4] {
            let alive = Arc::new(());
            let held = Arc::clone(&alive);
            let mut items = Ordered::new(
                1_000_000,
                workers,
                3,
                make(move |i| {
                    let _ = &held;
                    Ok(i)
                }),
            );
            assert_eq!(items.next().unwrap().unwrap(), 0);
            drop(items);
            assert_eq!(Arc::strong_count(&alive), 1, "{workers} workers");
        }
    }

    #[test]
    fn threads_do_not_run_ahead_of_their_queues() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let items = Ordered::new(
            1_000,
            2,
            4,
            make(move |i| {
                counter.fetch_add(1, Ordering::SeqCst);
                Ok(i)
            }),
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(items);
        assert!(made.load(Ordering::SeqCst) <= 6, "{made:?}");
    }

    #[test]
    fn a_panic_or_an_error_is_the_last_item() {
        for workers in [0, 1, 2, 4] {
            let items = Ordered::new(
                50,
                workers,
                4,
                make(|i| {
                    assert!(i != 9, "item nine");
                    Ok(i)
                }),
            );
            let all: Vec<_> = items.collect();
            assert_eq!(all.len(), 10);
            assert!(all[..9].iter().all(Result::is_ok));
            let error = all[9].as_ref().unwrap_err().to_string();
            assert_eq!(error, "the loader failed at batch 9: panic: item nine");

            let items = Ordered::new(50, workers, 4, make(|i| if i < 5 { Ok(i) } else { Err(DataError::NoCacheDir) }));
            let all: Vec<_> = items.collect();
            assert_eq!(all.len(), 6);
            assert!(matches!(all[5], Err(DataError::NoCacheDir)));
        }
    }
}
