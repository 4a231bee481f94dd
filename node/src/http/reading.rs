//! Where long reads run: on threads of their own, a few at a time.
//!
//! The threads that carry connections carry the validators' votes, too, so nothing on them may take long. A stretch of the
//! log, a range or a proof does: it reads the disk, hashes and encodes. Few such threads run, since the replica and the
//! verifiers need the cores; what waits for them is bounded, and beyond that refused.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::backend::QueryError;

/// Long reads that run at a time.
pub const MAX_READING: usize = 2;
/// Requests that wait for their turn; the others are told to come back.
pub const MAX_READS_WAITING: usize = 128;
/// What a client is told to wait when so many do, in seconds.
const RETRY_AFTER: u32 = 1;

/// The turns of long reads.
#[derive(Clone, Debug)]
pub struct Reading {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            running: Arc::new(Semaphore::new(MAX_READING)),
            waiting: Arc::new(Semaphore::new(MAX_READS_WAITING)),
        }
    }
}

impl Reading {
    /// Runs what reads long, if not too many wait already.
    ///
    /// # Errors
    /// [`QueryError::Full`], and those of [`Reading::run`].
    pub(super) async fn run_soon<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let Ok(_waits) = self.waiting.try_acquire() else {
            return Err(QueryError::Full {
                retry_after_seconds: RETRY_AFTER,
            });
        };
        self.run(read).await
    }

    /// Runs what reads long, in its turn.
    ///
    /// # Errors
    /// [`QueryError::NotServing`] once the process ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let turn = Arc::clone(&self.running).acquire_owned().await;
        let Ok(turn) = turn else {
            return Err(QueryError::NotServing);
        };
        // The turn goes with the read: a client that gives up does not end what runs already.
        let work = move || {
            let read = read();
            drop(turn);
            read
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(read) => Ok(read),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(QueryError::NotServing),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use futures_util::FutureExt as _;

    use super::*;

    /// A hundred readers of the log must not take the threads that carry votes: a few run, some wait, the others are told.
    #[tokio::test]
    async fn few_reads_run_some_wait_and_the_rest_is_refused() {
        let reading = Reading::default();
        let (begun, begins) = channel();
        let mut holds = Vec::new();
        let mut reads = Vec::new();
        for _ in 0..MAX_READS_WAITING {
            let (hold, held) = channel::<()>();
            let (reading, begun) = (reading.clone(), begun.clone());
            holds.push(hold);
            let read = async move {
                let read = move || {
                    begun.send(()).expect("the test listens");
                    // Until the test lets go.
                    let _ = held.recv();
                };
                reading.run_soon(read).await
            };
            let mut read = Box::pin(read);
            assert!((&mut read).now_or_never().is_none());
            reads.push(read);
        }
        let full = QueryError::Full {
            retry_after_seconds: RETRY_AFTER,
        };
        assert_eq!(reading.run_soon(|| ()).await, Err(full));
        for _ in 0..MAX_READING {
            begins.recv().expect("it runs");
        }
        assert!(begins.try_recv().is_err(), "more than {MAX_READING} run");
        // One that was given up while it waited has left its place; one that runs keeps its turn.
        drop(reads.pop());
        assert!(reading.run_soon(|| ()).now_or_never().is_none());
        drop(holds);
        for read in reads {
            assert_eq!(read.await, Ok(()));
        }
        assert_eq!(reading.run_soon(|| 7).await, Ok(7));
    }
}
