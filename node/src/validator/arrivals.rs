//! The core's inbox: what has arrived and waits for its next turn.
//!
//! To put something here and to wake the core are two things: a turn costs about the same for one input as for many, so
//! who puts several wakes it once, behind the last. It must never hold what nobody will wake the core for.
//!
//! It has no bound of its own: what peers send is bounded by the network's credits, what clients send is counted by the
//! core, and the network's own events come at the rate of handshakes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The side of those who fill it. Cheap to clone.
#[derive(Debug)]
pub(super) struct Arrivals<T>(Arc<Shared<T>>);

/// The side of the core. Once it is dropped, so is what waits and what comes.
#[derive(Debug)]
pub(super) struct Taker<T> {
    shared: Arc<Shared<T>>,
    /// More than was asked for; they came before all that wait.
    left: VecDeque<T>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: Vec<T>,
    /// The core waits for something.
    idle: bool,
    /// Nobody takes any more.
    closed: bool,
}

/// Nobody takes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Both sides.
pub(super) fn arrivals<T>() -> (Arrivals<T>, Taker<T>) {
    let state = State {
        waiting: Vec::new(),
        idle: false,
        closed: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        arrived: Condvar::new(),
    });
    let taker = Taker {
        shared: Arc::clone(&shared),
        left: VecDeque::new(),
    };
    (Arrivals(shared), taker)
}

impl<T> Arrivals<T> {
    /// Adds an item. [`Arrivals::wake`] must follow.
    ///
    /// # Errors
    /// [`Closed`]: it was dropped.
    pub(super) fn put(&self, item: T) -> Result<(), Closed> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Closed);
        }
        state.waiting.push(item);
        Ok(())
    }

    /// Wakes the core, if it waits and there is something.
    pub(super) fn wake(&self) {
        let mut state = self.0.lock();
        if state.idle && !state.waiting.is_empty() {
            state.idle = false;
            drop(state);
            self.0.arrived.notify_one();
        }
    }
}

impl<T> Clone for Arrivals<T> {
    fn clone(&self) -> Arrivals<T> {
        Arrivals(Arc::clone(&self.0))
    }
}

impl<T> Taker<T> {
    /// Takes what is there, in the order in which it came, at most `most`. Waits for something for `patience` at most.
    pub(super) fn take(&mut self, most: usize, patience: Duration) -> Vec<T> {
        if self.left.is_empty() {
            self.left = self.shared.wait(patience).into();
        } else if self.left.len() < most {
            self.left
                .append(&mut self.shared.wait(Duration::ZERO).into());
        }
        let count = self.left.len().min(most);
        let rest = self.left.split_off(count);
        std::mem::replace(&mut self.left, rest).into()
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        // Behind the lock: what is dropped may want to put something.
        drop(state);
        drop(dropped);
    }
}

impl<T> Shared<T> {
    /// All that is there; waits for something for `patience` at most.
    fn wait(&self, patience: Duration) -> Vec<T> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.idle = true;
            let woken = self.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.idle = false;
        std::mem::take(&mut state.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_was_put_together_is_taken_together_and_in_order() {
        let (arrivals, mut taker) = arrivals();
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
    fn a_wake_ends_the_wait_if_there_is_something() {
        let (arrivals, mut taker) = arrivals();
        let taken = thread::spawn(move || {
            let begun = Instant::now();
            (taker.take(3, LONG), begun.elapsed())
        });
        while !arrivals.0.lock().idle {
            thread::yield_now();
        }
        arrivals.wake();
        assert!(arrivals.0.lock().idle, "for nothing nobody is woken");
        arrivals.put(1).unwrap();
        arrivals.wake();
        let (items, waited) = taken.join().unwrap();
        assert_eq!(items, [1]);
        assert!(waited < LONG);
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
