//! The core's inbox: what has arrived and waits for its next turn.
//!
//! To put something here and to wake the core are two things: a turn costs about the same for one input as for many, so
//! who puts several wakes it once, behind the last. It must never hold what nobody will wake the core for.
//!
//! It has no bound of its own: what peers send is bounded by the network's credits, what clients send is counted by the
//! core, and the network's own events come at the rate of handshakes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The side of those who fill it. Cheap to clone.
#[derive(Debug)]
pub(super) struct Arrivals<T>(Arc<Shared<T>>);

/// The side of the core. Once it is dropped, so is what waits and what comes.
#[derive(Debug)]
pub(super) struct Taker<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    /// None once nobody takes any more.
    waiting: Mutex<Option<Vec<T>>>,
    arrived: Condvar,
}

/// Nobody takes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Both sides.
pub(super) fn arrivals<T>() -> (Arrivals<T>, Taker<T>) {
    let shared = Arc::new(Shared {
        waiting: Mutex::new(Some(Vec::new())),
        arrived: Condvar::new(),
    });
    (Arrivals(Arc::clone(&shared)), Taker(shared))
}

impl<T> Arrivals<T> {
    /// Adds an item. [`Arrivals::wake`] must follow.
    ///
    /// # Errors
    /// [`Closed`]: it was dropped.
    pub(super) fn put(&self, item: T) -> Result<(), Closed> {
        match self.0.lock().as_mut() {
            Some(waiting) => {
                waiting.push(item);
                Ok(())
            }
            None => Err(Closed),
        }
    }

    /// Wakes the core, if it waits.
    pub(super) fn wake(&self) {
        self.0.arrived.notify_one();
    }
}

impl<T> Clone for Arrivals<T> {
    fn clone(&self) -> Arrivals<T> {
        Arrivals(Arc::clone(&self.0))
    }
}

impl<T> Taker<T> {
    /// Takes what is there, in the order in which it came, at most `most`. Waits for something for `patience` at most.
    pub(super) fn take(&self, most: usize, patience: Duration) -> Vec<T> {
        let until = Instant::now() + patience;
        let mut waiting = self.0.lock();
        loop {
            let items = waiting.as_mut().expect("it is open as long as this lives");
            if !items.is_empty() {
                let rest = items.split_off(items.len().min(most));
                return std::mem::replace(items, rest);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            let woken = self.0.arrived.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        // Behind the lock: what is dropped may want to put something.
        let dropped = self.0.lock().take();
        drop(dropped);
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_was_put_together_is_taken_together_and_in_order() {
        let (arrivals, taker) = arrivals();
        for item in 0..5 {
            assert_eq!(arrivals.put(item), Ok(()));
        }
        assert_eq!(taker.take(3, LONG), [0, 1, 2]);
        assert_eq!(arrivals.put(5), Ok(()));
        assert_eq!(taker.take(3, LONG), [3, 4, 5]);
        assert!(taker.take(3, Duration::ZERO).is_empty());
        assert!(taker.take(3, Duration::from_millis(1)).is_empty());
    }

    #[test]
    fn a_wake_ends_the_wait() {
        let (arrivals, taker) = arrivals();
        thread::scope(|scope| {
            let taken = scope.spawn(move || taker.take(3, LONG));
            let begun = Instant::now();
            arrivals.put(1).unwrap();
            arrivals.wake();
            assert_eq!(taken.join().unwrap(), [1]);
            assert!(begun.elapsed() < LONG);
        });
    }

    #[test]
    fn what_nobody_will_take_is_dropped() {
        let (arrivals, taker) = arrivals();
        let item = Arc::new(());
        arrivals.put(Arc::clone(&item)).unwrap();
        drop(taker);
        assert_eq!(arrivals.put(Arc::clone(&item)), Err(Closed));
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
