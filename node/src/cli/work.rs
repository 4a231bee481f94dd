//! Long work of a verb: on a terminal it shows how far it is, and it ends where it can when it is told to.

use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// See the [module](self).
pub(super) struct Work(Interrupt);

/// A part of the work, counted.
pub(super) struct Stage<'a> {
    interrupt: &'a Interrupt,
    bar: ProgressBar,
}

impl Work {
    /// From now on Ctrl-C and SIGTERM end it between two steps.
    pub(super) fn begin() -> Result<Work, Failure> {
        Interrupt::watch().map(Work)
    }

    /// Begins a part. How much it is may not be known: then it is 0.
    pub(super) fn stage(&self, what: &str, total: u64) -> Stage<'_> {
        let (bar, template) = match total {
            0 => (ProgressBar::new_spinner(), "{spinner} {pos}"),
            total => (ProgressBar::new(total), "{wide_bar} {pos}/{len} {eta}"),
        };
        let style = ProgressStyle::with_template(&format!("{what} {template}"));
        Stage {
            interrupt: &self.0,
            bar: bar.with_style(style.expect("a valid template")),
        }
    }

    /// Goes on unless there was a signal.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.0.check()
    }
}

impl Stage<'_> {
    /// So much more is done.
    pub(super) fn done(&self, count: u64) -> Result<(), Failure> {
        self.bar.inc(count);
        self.interrupt.check()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
