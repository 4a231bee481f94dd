//! What waits to be sent to one connection: a bounded queue a class (I9). It never makes the sender wait.
//!
//! Full means: of [`Class::Consensus`] the oldest goes, since the protocol sends its latest again; of the others the new
//! one goes, since batches and answers are asked for again. Dies with its connection, so that a peer that comes back
//! gets nothing stale.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_types::message::Class;
use tokio::sync::Notify;

use super::config::PerClass;
use super::frame::Frame;

/// A bound on one queue.
#[derive(Clone, Copy, Debug)]
struct Bound {
    items: usize,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

struct Lane {
    bound: Bound,
    queue: Mutex<Queue>,
    ready: Notify,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues of one connection.
pub(crate) struct Outbox(PerClass<Lane>);

impl Outbox {
    pub(crate) fn new(items: &PerClass<usize>, bytes: &PerClass<usize>) -> Outbox {
        Outbox(PerClass::from_fn(|class| Lane {
            bound: Bound {
                items: *items.get(class),
                bytes: *bytes.get(class),
            },
            queue: Mutex::default(),
            ready: Notify::new(),
        }))
    }

    /// Queues a frame and says how many were dropped for it, itself included.
    #[must_use]
    pub(crate) fn push(&self, frame: Frame) -> u64 {
        let lane = self.0.get(frame.class);
        let length = frame.bytes.len();
        if length > lane.bound.bytes || lane.bound.items == 0 {
            return 1;
        }
        let mut dropped = 0;
        let mut queue = lane.lock();
        while queue.frames.len() >= lane.bound.items || queue.bytes > lane.bound.bytes - length {
            if frame.class != Class::Consensus {
                return 1;
            }
            if queue.pop().is_none() {
                break;
            }
            dropped += 1;
        }
        queue.bytes += length;
        queue.frames.push_back(frame.bytes);
        drop(queue);
        lane.ready.notify_one();
        dropped
    }

    /// The next frame of a class. One task a class may wait here.
    pub(crate) async fn next(&self, class: Class) -> Bytes {
        let lane = self.0.get(class);
        loop {
            let next = lane.lock().pop();
            match next {
                Some(frame) => return frame,
                None => lane.ready.notified().await,
            }
        }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self, class: Class) -> usize {
        self.0.get(class).lock().bytes
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(items: usize, bytes: usize) -> Outbox {
        Outbox::new(&PerClass::from_fn(|_| items), &PerClass::from_fn(|_| bytes))
    }

    fn frame(class: Class, byte: u8, length: usize) -> Frame {
        Frame {
            class,
            bytes: Bytes::from(vec![byte; length]),
        }
    }

    #[tokio::test]
    async fn consensus_drops_its_oldest() {
        let outbox = outbox(3, 100);
        for byte in 0..5 {
            let dropped = outbox.push(frame(Class::Consensus, byte, 10));
            assert_eq!(dropped, u64::from(byte >= 3));
        }
        assert_eq!(outbox.bytes(Class::Consensus), 30);
        assert_eq!(outbox.push(frame(Class::Consensus, 9, 90)), 2, "by bytes");
        assert_eq!(outbox.next(Class::Consensus).await[0], 4);
        assert_eq!(outbox.next(Class::Consensus).await[0], 9);
        assert_eq!(outbox.bytes(Class::Consensus), 0);
    }

    #[tokio::test]
    async fn bulk_drops_the_newest() {
        for class in [Class::Batches, Class::Sync] {
            let outbox = outbox(3, 100);
            assert_eq!(outbox.push(frame(class, 0, 60)), 0);
            assert_eq!(outbox.push(frame(class, 1, 60)), 1, "by bytes");
            assert_eq!(outbox.push(frame(class, 2, 1)), 0);
            assert_eq!(outbox.push(frame(class, 3, 1)), 0);
            assert_eq!(outbox.push(frame(class, 4, 1)), 1, "by items");
            assert_eq!(outbox.next(class).await[0], 0);
            assert_eq!(outbox.next(class).await[0], 2);
            assert_eq!(outbox.next(class).await[0], 3);
        }
    }

    #[tokio::test]
    async fn what_never_fits_displaces_nothing() {
        let outbox = outbox(3, 100);
        assert_eq!(outbox.push(frame(Class::Consensus, 0, 10)), 0);
        assert_eq!(outbox.push(frame(Class::Consensus, 1, 101)), 1);
        assert_eq!(outbox.next(Class::Consensus).await[0], 0);
    }
}
