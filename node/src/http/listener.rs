//! A listening socket whose connections are bounded in number, in idleness and in slowness.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;
use super::requests::Requests;
use super::{Limits, Open};

/// Pause after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// From the first byte of a request's head to its last, at most; less where the idle time is less.
pub const LONGEST_HEAD: Duration = Duration::from_secs(30);

/// Accepts only while fewer than `max_connections` are open; the others wait in the kernel's queue.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    idle: Duration,
    connections: Option<IntGauge>,
    stopping: watch::Receiver<bool>,
}

impl Bounded {
    /// Puts bounds on a listening socket, and counts its connections. Once it stops, what has begun a request and not
    /// finished its head waits no longer.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        limits: Limits,
        connections: Option<IntGauge>,
        stopping: watch::Receiver<bool>,
    ) -> Bounded {
        Bounded {
            listener,
            slots: Arc::new(Semaphore::new(limits.max_connections)),
            idle: limits.idle_timeout,
            connections,
            stopping,
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
                    let guarded = Guarded {
                        stream,
                        idle: self.idle,
                        last: Instant::now(),
                        owed: None,
                        head: None,
                        requests: Requests::default(),
                        alarm: Box::pin(sleep_until(Instant::now() + self.idle)),
                        stopping: self.stopping.clone(),
                        _open: self.connections.as_ref().map(Open::new),
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

/// A request's head that has arrived in part: since when, and how many were whole before it.
#[derive(Clone, Copy, Debug)]
struct Head {
    since: Instant,
    before: u64,
}

/// A connection that occupies a slot, and ends when nothing has moved on it for the idle time, when its client takes too
/// slowly what waits for it, or sends the head of a request too slowly.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    idle: Duration,
    last: Instant,
    /// What waits for the client.
    owed: Option<Pace>,
    head: Option<Head>,
    requests: Requests,
    alarm: Pin<Box<Sleep>>,
    stopping: watch::Receiver<bool>,
    _open: Option<Open>,
    _slot: OwnedSemaphorePermit,
}

impl Guarded {
    /// Its requests that are under way.
    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }

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

    /// What came of reading: as [`Guarded::moved`], and what arrives while no request is under way begins one.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<()>>,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        let (busy, before) = (self.requests.any(), self.requests.begun());
        self.forget_whole_head();
        if result.is_pending() && !busy && self.owed.is_none() && *self.stopping.borrow() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = self.moved(cx, result);
        if bytes > 0 && !busy && self.head.is_none() {
            let since = self.last;
            self.head = Some(Head { since, before });
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
            (Poll::Ready(Ok(bytes)), Some(owed)) => owed.add(*bytes),
            (Poll::Pending, owed @ None) => *owed = Some(Pace::begun(Instant::now())),
            (Poll::Ready(_), _) | (Poll::Pending, Some(_)) => {}
        }
        self.moved(cx, written)
    }

    /// A head whose request is under way, or was, is whole.
    fn forget_whole_head(&mut self) {
        let (busy, begun) = (self.requests.any(), self.requests.begun());
        self.head.take_if(|head| busy || head.before != begun);
    }

    /// Whether nothing has moved for the idle time, too little of what waits, or a head is not whole in its time. The alarm
    /// is moved when it rings, and for what is due before it, not with every byte.
    fn has_expired(&mut self, cx: &mut Context<'_>) -> bool {
        self.forget_whole_head();
        let longest = LONGEST_HEAD.min(self.idle);
        let head_end = self.head.map(|head| head.since + longest);
        if let Some(end) = head_end
            && end < self.alarm.deadline()
        {
            self.alarm.as_mut().reset(end);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let end = self.last + self.idle;
            let end = head_end.map_or(end, |head| head.min(end));
            let slow = |owed: &mut Pace| owed.is_slow(now, self.idle);
            if now >= end || self.owed.as_mut().is_some_and(slow) {
                return true;
            }
            self.alarm.as_mut().reset(end);
        }
        false
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.read(cx, result, buffer.filled().len() - before)
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
