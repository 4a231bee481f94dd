//! Logs: to standard error, as text on a terminal and as JSON lines otherwise. Results never go there.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal)
        .with_writer(std::io::stderr);
    let installed = match json {
        true => builder.json().flatten_event(true).try_init(),
        false => builder.try_init(),
    };
    // Only tests, which share a process, come here twice.
    drop(installed);
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
        tracing::error!(place, thread, what, "broken invariant: the process stops");
        eprintln!("quorate: broken invariant at {place} in thread {thread}: {what}");
        std::process::abort();
    }));
}
