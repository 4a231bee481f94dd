//! `quorate backup`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use quorate_types::BlockTime;

use super::context::Context;
use super::output::time_of;
use super::snapshot::{read_config, request};
use crate::backup::{self, Description};
use crate::exit::{ExitStatus, Failure};
use crate::interrupt::Interrupt;
use crate::owner;
use crate::staged::{self, Staged};
use crate::start::{open_home, open_store};

/// Copy a validator's home, while it runs or when it is stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ledger, state and safety record as they are at one moment, checked as a start
would. The backup is a home without keys: replay, log verify, diff-state and fork
read it. Keys never change, so keep a copy of them apart, or add --with-keys.

Examples:
  quorate backup --home net/validator-0 --output backup-0
  quorate log verify --home backup-0")]
pub(super) struct Backup {
    /// The validator's home, on this machine
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Where to; a new or empty directory
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Copy the keys, too: whoever has the backup can then sign as this validator
    #[arg(long)]
    with_keys: bool,
}

impl Backup {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let config = read_config(&self.home)?;
        // Also of a validator that runs: whoever copies holds a lock in its home meanwhile.
        owner::check(&self.home)?;
        let interrupt = Interrupt::watch()?;
        let staged = Staged::begin(&self.output)?;
        let bar = ProgressBar::no_length();
        let patience = context.timeout.max(Duration::from_secs(60));
        let begin = || {
            let asked = request(config.admin.listen, patience, "PUT /backups")?;
            if asked.is_none() {
                let store = open_store(open_home(&self.home)?, &config)?;
                let made = backup::checkpoint(&store.reader(), &self.home);
                made.map_err(Failure::failed)?;
            }
            Ok(())
        };
        let copied = |bytes| {
            bar.inc(bytes);
            interrupt.check()
        };
        backup::take(&self.home, staged.path(), self.with_keys, begin, copied)?;
        bar.finish_and_clear();
        let description = backup::verify(staged.path(), &config, self.with_keys)?;
        interrupt.check()?;
        let mut text = serde_json::to_string_pretty(&description).map_err(Failure::failed)?;
        text.push('\n');
        staged::write(&staged.path().join(backup::FILE), text.as_bytes())?;
        staged.finish()?;
        let mut line = Vec::new();
        writeln!(
            line,
            "{}: {}",
            self.output.display(),
            describe(&description)
        )
        .map_err(Failure::failed)?;
        context.print.raw(&line)
    }
}

pub(super) fn describe(description: &Description) -> String {
    let made = BlockTime(description.made_at.saturating_mul(1_000_000_000));
    format!(
        "{} at height {}, state root {}, made {}",
        description.validator,
        description.height,
        description.state_root,
        time_of(made)
    )
}
