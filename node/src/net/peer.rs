//! What is kept of one validator while connections to it come and go: exactly one is current, the newest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Connection;
use quorate_types::ValidatorIndex;
use quorate_types::message::Class;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::config::{Limits, Peer, PerClass};
use super::event::{By, NetEvent, Reason};
use super::frame::{self, Frame};
use super::outbox::Outbox;

/// Where events go.
pub(crate) type Sink = dyn Fn(NetEvent) + Send + Sync;

/// A validator and its current connection.
pub(crate) struct Link {
    pub(crate) peer: Peer,
    /// What its messages may occupy here. Outlives connections: coming back does not double it.
    pub(crate) budgets: PerClass<Arc<Semaphore>>,
    pub(crate) counters: Counters,
    limits: Limits,
    slot: Mutex<Slot>,
}

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) dropped: PerClass<AtomicU64>,
    pub(crate) unsent: AtomicU64,
    pub(crate) sent_bytes: PerClass<AtomicU64>,
    pub(crate) received_bytes: PerClass<AtomicU64>,
}

#[derive(Default)]
struct Slot {
    /// Connections installed so far.
    generation: u64,
    current: Option<Current>,
    dialer: Option<AbortHandle>,
    retired: bool,
}

struct Current {
    connection: Connection,
    outbox: Arc<Outbox>,
    software: String,
}

/// What became of what was sent over one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// Sent.
    pub sent: u64,
    /// Held to be lost, of those.
    pub lost: u64,
}

/// How one peer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// Who.
    pub index: ValidatorIndex,
    /// Whether it has said hello and was not lost since.
    pub connected: bool,
    /// Round-trip time, if connected.
    pub rtt: Option<Duration>,
    /// Packets of this connection, if there is one.
    pub packets: Option<Packets>,
    /// The largest datagram that its path is known to carry, in bytes, if connected.
    pub datagram_bytes: Option<u16>,
    /// The software version that it names, if connected.
    pub software: Option<String>,
    /// Bytes that wait to be sent.
    pub queued_bytes: PerClass<usize>,
    /// Messages dropped because a queue was full.
    pub dropped: PerClass<u64>,
    /// Messages not sent because it was not connected.
    pub unsent: u64,
    /// Bytes handed to QUIC.
    pub sent_bytes: PerClass<u64>,
    /// Bytes of whole messages received.
    pub received_bytes: PerClass<u64>,
}

impl Link {
    pub(crate) fn new(peer: Peer, limits: &Limits) -> Link {
        let budgets = PerClass::from_fn(|class| {
            let bytes = *limits.inbound_bytes.get(class);
            let permits = frame::budget(bytes, *limits.frame_bytes.get(class));
            Arc::new(Semaphore::new(permits))
        });
        Link {
            peer,
            budgets,
            counters: Counters::default(),
            limits: limits.clone(),
            slot: Mutex::default(),
        }
    }

    pub(crate) fn index(&self) -> ValidatorIndex {
        self.peer.index
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection the current one, in place of an older one. `None` if the peer has left the set.
    /// Events are told under the lock, so that their order is that of the connections.
    pub(crate) fn install(
        &self,
        connection: &Connection,
        software: String,
        sink: &Sink,
    ) -> Option<(u64, Arc<Outbox>)> {
        let mut slot = self.lock();
        if slot.retired {
            return None;
        }
        slot.generation += 1;
        if let Some(old) = slot.current.take() {
            close(&old.connection, Reason::Replaced);
            self.tell_lost(sink, Reason::Replaced, By::Us);
        }
        let outbox = Outbox::new(&self.limits.queue_items, &self.limits.queue_bytes);
        let outbox = Arc::new(outbox);
        slot.current = Some(Current {
            connection: connection.clone(),
            outbox: Arc::clone(&outbox),
            software,
        });
        sink(NetEvent::Connected(self.index()));
        Some((slot.generation, outbox))
    }

    /// A connection has ended; only the current one is news.
    pub(crate) fn remove(&self, generation: u64, reason: Reason, by: By, sink: &Sink) {
        let mut slot = self.lock();
        if slot.generation == generation && slot.current.take().is_some() {
            self.tell_lost(sink, reason, by);
        }
    }

    /// The peer has left the set, or the network stops.
    pub(crate) fn retire(&self, reason: Reason, sink: &Sink) {
        let mut slot = self.lock();
        slot.retired = true;
        if let Some(dialer) = slot.dialer.take() {
            dialer.abort();
        }
        if let Some(current) = slot.current.take() {
            close(&current.connection, reason);
            self.tell_lost(sink, reason, By::Us);
        }
    }

    /// Who dials this peer, to be stopped with it.
    pub(crate) fn set_dialer(&self, dialer: AbortHandle) {
        let mut slot = self.lock();
        match slot.retired {
            true => dialer.abort(),
            false => slot.dialer = Some(dialer),
        }
    }

    /// Queues a frame, if there is a connection.
    pub(crate) fn send(&self, frame: Frame) {
        let outbox = self.lock().current.as_ref().map(|c| Arc::clone(&c.outbox));
        let Some(outbox) = outbox else {
            self.counters.unsent.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let class = frame.class;
        let dropped = outbox.push(frame);
        if dropped > 0 {
            let counter = self.counters.dropped.get(class);
            counter.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_dropped(&self, class: Class) {
        let counter = self.counters.dropped.get(class);
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> PeerStats {
        let load = |counts: &PerClass<AtomicU64>| {
            PerClass::from_fn(|class| counts.get(class).load(Ordering::Relaxed))
        };
        let slot = self.lock();
        let current = slot.current.as_ref();
        let path = current.map(|c| c.connection.stats().path);
        PeerStats {
            index: self.index(),
            connected: current.is_some(),
            rtt: path.map(|path| path.rtt),
            packets: path.map(|path| Packets {
                sent: path.sent_packets,
                lost: path.lost_packets,
            }),
            datagram_bytes: path.map(|path| path.current_mtu),
            software: current.map(|c| c.software.clone()),
            queued_bytes: PerClass::from_fn(|class| current.map_or(0, |c| c.outbox.bytes(class))),
            dropped: load(&self.counters.dropped),
            unsent: self.counters.unsent.load(Ordering::Relaxed),
            sent_bytes: load(&self.counters.sent_bytes),
            received_bytes: load(&self.counters.received_bytes),
        }
    }

    fn tell_lost(&self, sink: &Sink, reason: Reason, by: By) {
        sink(NetEvent::Disconnected {
            peer: self.index(),
            reason,
            by,
        });
    }
}

/// Closes a connection so that the other end learns why.
pub(crate) fn close(connection: &Connection, reason: Reason) {
    connection.close(reason.code(), reason.to_string().as_bytes());
}
