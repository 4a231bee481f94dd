//! A validator that runs, until a signal or its own end, and how it is taken apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::failures::core_failure;
use super::servers::Servers;
use super::told::Told;
use crate::exit::{ExitStatus, Failure};
use crate::net::Network;
use crate::net::verify::VerifyPool;
use crate::service;
use crate::trace::Tracer;
use crate::validator::core::{Core, CoreError};

/// Time for the last traces after everything else has stopped.
const FLUSH: Duration = Duration::from_secs(1);

/// All that was started.
pub(super) struct Running {
    pub(super) core: Core,
    /// Set when it is to end; probes and threads look at it.
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) reloading: tokio::task::JoinHandle<std::io::Result<()>>,
    pub(super) servers: Servers,
    /// Threads that read the store: they hold it open.
    pub(super) readers: [std::thread::JoinHandle<()>; 2],
    pub(super) replica: std::thread::JoinHandle<()>,
    /// What the replica's thread ended with, handed over before it ends.
    pub(super) ended: oneshot::Receiver<Result<(), CoreError>>,
    pub(super) network: Arc<Network>,
    pub(super) pool: VerifyPool,
    pub(super) tracer: Option<Tracer>,
}

impl Running {
    /// Runs until a signal or a failure.
    pub(super) async fn serve(mut self, told: Told) -> Result<ExitStatus, Failure> {
        let outcome = tokio::select! {
            () = told.stopped() => None,
            result = &mut self.ended => Some(result),
        };
        self.stopping.store(true, Ordering::Relaxed);
        self.reloading.abort();
        self.core.end_heads();
        service::stopping();
        match outcome {
            None => self.stop().await,
            // The core is gone: there is nothing left to drain.
            Some(Ok(Err(error))) => Err(core_failure(error)),
            Some(Ok(Ok(())) | Err(_)) => Err(Failure::failed("the replica's thread ended")),
        }
    }

    /// No new connections, requests answered, the turn in progress persisted, peers told.
    async fn stop(mut self) -> Result<ExitStatus, Failure> {
        tracing::info!(event = "stopping", "stopping");
        self.servers.drain().await;
        self.core.stop();
        let (readers, replica) = (self.readers, self.replica);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in readers {
                let _ = thread.join();
            }
            replica.join()
        });
        let _ = joined.await;
        if let Ok(Err(error)) = self.ended.try_recv() {
            return Err(core_failure(error));
        }
        if let Ok(network) = Arc::try_unwrap(self.network) {
            network.shutdown().await;
        }
        drop(self.pool);
        if let Some(tracer) = self.tracer {
            tracer.flush(FLUSH);
        }
        tracing::info!(event = "stopped", "stopped");
        Ok(ExitStatus::Done)
    }
}
