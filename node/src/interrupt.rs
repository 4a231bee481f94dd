//! Ctrl-C and SIGTERM for verbs that write for a while: they end where they can, and take away what they made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Whether the process has been told to end.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first signal is noted, and the second ends the process at once.
    ///
    /// # Errors
    /// Status 1: the system refused.
    pub fn watch() -> Result<Interrupt, Failure> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().build().map_err(Failure::failed)?;
        let told = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&told);
        let inside = runtime.enter();
        // Here and not in the thread: who comes back from this call is watched.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        drop(inside);
        let wait = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if note.swap(true, Ordering::SeqCst) {
                        std::process::exit(1);
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name(String::from("signals"));
        thread.spawn(wait).map_err(Failure::failed)?;
        Ok(Interrupt(told))
    }

    /// Goes on unless there was a signal.
    ///
    /// # Errors
    /// Status 1: there was.
    pub fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(Failure::failed("interrupted: nothing was left behind")),
            false => Ok(()),
        }
    }
}
