//! A listening socket whose connections are bounded in number and in idleness.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Limits;
use crate::metrics::Metrics;

/// Pause after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes a second that a client takes of what waits for it, at least. One that takes a little now and then would hold large
/// answers in memory for hours.
pub const SLOWEST_TAKER: u64 = 8 << 10;

/// Accepts only while fewer than `max_connections` are open; the others wait in the kernel's queue.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    idle: Duration,
    metrics: Metrics,
}

impl Bounded {
    /// Puts bounds on a listening socket.
    #[must_use]
    pub fn new(listener: TcpListener, limits: Limits, metrics: Metrics) -> Bounded {
        Bounded {
            listener,
            slots: Arc::new(Semaphore::new(limits.max_connections)),
            idle: limits.idle_timeout,
            metrics,
        }
    }
}

impl Listener for Bounded {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Latency counts, and answers are written whole. A socket that is gone already fails later.
                    let _ = stream.set_nodelay(true);
                    self.metrics.api_connections.inc();
                    let guarded = Guarded {
                        stream,
                        idle: self.idle,
                        last: Instant::now(),
                        owed: None,
                        alarm: Box::pin(sleep_until(Instant::now() + self.idle)),
                        metrics: self.metrics.clone(),
                        _slot: slot,
                    };
                    return (guarded, address);
                }
                Err(error) => {
                    tracing::warn!(event = "accept_failed", %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Since when bytes wait for a client without a break, and how many it has taken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owed {
    since: Instant,
    taken: u64,
}

impl Owed {
    fn begun(now: Instant) -> Owed {
        Owed {
            since: now,
            taken: 0,
        }
    }

    /// Whether the client has taken less than it must, over an idle time at least; if it has taken enough, that time begins
    /// anew.
    fn is_slow(&mut self, now: Instant, idle: Duration) -> bool {
        let passed = now.duration_since(self.since);
        if passed < idle {
            return false;
        }
        let least = SLOWEST_TAKER.saturating_mul(passed.as_secs());
        let slow = self.taken < least;
        *self = Owed::begun(now);
        slow
    }
}

/// A connection that occupies a slot, and ends when nothing has moved on it for the idle time, or when its client takes too
/// slowly what waits for it.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    idle: Duration,
    last: Instant,
    owed: Option<Owed>,
    alarm: Pin<Box<Sleep>>,
    metrics: Metrics,
    _slot: OwnedSemaphorePermit,
}

impl Guarded {
    /// What came of reading or writing. Only bytes that moved count: whoever sends or takes nothing must not hold a
    /// connection, and what waits for it, for ever. Both directions watch the time, since a connection whose answers are
    /// not taken is not read either.
    fn moved<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Ok(_)) => self.last = Instant::now(),
            Poll::Pending if self.has_expired(cx) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        result
    }

    /// What came of writing: as [`Guarded::moved`], and it is counted while some of it waits.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (&written, &mut self.owed) {
            (Poll::Ready(Ok(bytes)), Some(owed)) => {
                let bytes = u64::try_from(*bytes).unwrap_or(u64::MAX);
                owed.taken = owed.taken.saturating_add(bytes);
            }
            (Poll::Pending, owed @ None) => *owed = Some(Owed::begun(Instant::now())),
            (Poll::Ready(_), _) | (Poll::Pending, Some(_)) => {}
        }
        self.moved(cx, written)
    }

    /// Whether nothing has moved for the idle time, or too little of what waits. The alarm is moved only when it rings, not
    /// with every byte.
    fn has_expired(&mut self, cx: &mut Context<'_>) -> bool {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let (now, end) = (Instant::now(), self.last + self.idle);
            let slow = |owed: &mut Owed| owed.is_slow(now, self.idle);
            if now >= end || self.owed.as_mut().is_some_and(slow) {
                return true;
            }
            self.alarm.as_mut().reset(end);
        }
        false
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.metrics.api_connections.dec();
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.moved(cx, result)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Asked for once everything is written: nothing waits any more.
        this.owed = None;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever took a few bytes within each idle time kept an answer of megabytes in memory for hours.
    #[test]
    fn who_takes_a_little_of_what_waits_is_too_slow_after_an_idle_time() {
        let (start, idle) = (Instant::now(), Duration::from_secs(10));
        let mut owed = Owed::begun(start);
        owed.taken = 10 * SLOWEST_TAKER - 1;
        assert!(!owed.is_slow(start + idle - Duration::from_millis(1), idle));
        let mut enough = Owed {
            taken: 10 * SLOWEST_TAKER,
            ..owed
        };
        assert!(owed.is_slow(start + idle, idle));
        assert!(!enough.is_slow(start + idle, idle));
        // What was taken before counts once.
        assert_eq!(enough, Owed::begun(start + idle));
        assert!(!enough.is_slow(start + idle, idle));
        assert!(enough.is_slow(start + idle * 2, idle));
    }
}
