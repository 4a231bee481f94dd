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

/// A connection that occupies a slot, and ends when nothing has moved on it for the idle time.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    idle: Duration,
    last: Instant,
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

    /// Whether nothing has moved for the idle time. The alarm is moved only when it rings, not with every byte.
    fn has_expired(&mut self, cx: &mut Context<'_>) -> bool {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let end = self.last + self.idle;
            if Instant::now() >= end {
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
        this.moved(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.moved(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
