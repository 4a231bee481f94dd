//! SIGTERM and Ctrl-C, from the first moment of a start.
//!
//! Until a process has a handler the system's own rule holds, and for the first process of a container that is that nothing
//! happens: told to stop while it reads a large ledger, it would go on until its time is over and it is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::ExitStatus;

/// A start that comes to no end of a step in this time after the signal ends in the middle of it. Nothing is lost: what a
/// start writes is as safe from that as from a crash.
const STEP: Duration = Duration::from_secs(2);

/// Whether the process has been told to stop.
pub(super) struct Told {
    told: watch::Receiver<bool>,
    /// Somebody waits for it, and ends the process in order.
    heard: Arc<AtomicBool>,
}

impl Told {
    /// From now on a signal is noted. To be called within a runtime whose threads run meanwhile.
    pub(super) fn listen() -> std::io::Result<Told> {
        // Here and not in the task: who comes back from this call is listened to.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (tell, told) = watch::channel(false);
        let heard = Arc::new(AtomicBool::new(false));
        let takes_over = Arc::clone(&heard);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tell.send_replace(true);
            tokio::time::sleep(STEP).await;
            if !takes_over.load(Ordering::SeqCst) {
                std::process::exit(i32::from(ExitStatus::Done.code()));
            }
        });
        Ok(Told { told, heard })
    }

    /// Whether a start need not go on.
    pub(super) fn to_stop(&self) -> bool {
        let told = *self.told.borrow();
        if told {
            self.heard.store(true, Ordering::SeqCst);
        }
        told
    }

    /// Resolves when it is told, also if it was before.
    pub(super) async fn stopped(mut self) {
        self.heard.store(true, Ordering::SeqCst);
        // Who would tell is gone only after it has told.
        let _ = self.told.wait_for(|told| *told).await;
    }
}
