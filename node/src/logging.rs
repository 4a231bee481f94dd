//! Logs: to standard error, as text on a terminal and as JSON lines otherwise. Results never go there.
//!
//! What is logged can be changed while the process runs: SIGHUP, or the admin port's `/debug/log-level`. Each event that an
//! operator may look for has a stable name in its field `event`; docs/reference/events.md lists them.

use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config::LogFormat;

/// The filter of the process, and its text.
static FILTER: OnceLock<(reload::Handle<EnvFilter, Registry>, Mutex<String>)> = OnceLock::new();

/// Installs the process's subscriber. A second call changes nothing.
///
/// # Errors
/// If `level` is no filter.
pub fn init(level: &str, format: LogFormat) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(level)?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(terminal)
        .with_writer(std::io::stderr);
    let lines = match json {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    // Only tests, which share a process, come here twice.
    if subscriber.try_init().is_ok() {
        let _ = FILTER.set((handle, Mutex::new(level.to_owned())));
    }
    Ok(())
}

/// The filter in force; none before [`init`].
#[must_use]
pub fn level() -> Option<String> {
    let (_, text) = FILTER.get()?;
    Some(text.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Logs by another filter from now on. Before [`init`], nothing happens.
///
/// # Errors
/// If `level` is no filter; the old one stays.
pub fn set_level(level: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(level)?;
    let Some((handle, text)) = FILTER.get() else {
        return Ok(());
    };
    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
    // It fails only if the subscriber is gone, and the process with it.
    let _ = handle.reload(filter);
    level.clone_into(&mut text);
    drop(text);
    tracing::warn!(
        event = "log_level_changed",
        level,
        "the log level was changed"
    );
    Ok(())
}

/// A panic is a broken invariant of this program: it is logged, and stops the whole process. A validator that went on
/// with one thread less could break a promise.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let what = payload.downcast_ref::<&str>().copied();
        let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let what = what.unwrap_or("panic");
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(
            event = "broken_invariant",
            place,
            thread,
            what,
            "broken invariant: the process stops"
        );
        eprintln!("quorate: broken invariant at {place} in thread {thread}: {what}");
        std::process::abort();
    }));
}
