//! `quorate restore`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::OutputFlag;
use super::backup::describe;
use super::context::Context;
use super::snapshot::read_config;
use crate::backup::{self, Description};
use crate::exit::{ExitStatus, Failure};
use crate::interrupt::Interrupt;
use crate::staged::Staged;
use crate::start::check_membership;
use crate::{genesis, keys, owner};

/// Make a validator's home again from a backup
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The validator must be one of the same chain, and must not run anywhere else. It
does not remember what it signed since: the others tell it before it signs again
(docs/RECOVERY.md), so restore one at a time, and wait until it votes.
To go on when most of the validators are lost, make a new chain:
  quorate fork --home backup-0 --output net2

Examples:
  quorate restore --backup backup-0 --home net/validator-0 --keys usb/keys
  quorate restore --backup backup-with-keys --home net/validator-0")]
pub(super) struct Restore {
    /// The backup
    #[arg(long, value_name = "DIR")]
    backup: PathBuf,
    /// The home to make; a new or empty directory
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Where consensus.pem and network.pem are [default: in the backup]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Restore {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        owner::check(&self.home)?;
        let description = Description::read(&self.backup)?;
        let config = read_config(&self.backup)?;
        let keys = self.keys(&description)?;
        self.check(context, &keys)?;
        let interrupt = Interrupt::watch()?;
        let staged = Staged::begin(&self.home)?;
        let bar = ProgressBar::new(backup::size(&self.backup.join("data")));
        let copied = |bytes| {
            bar.inc(bytes);
            interrupt.check()
        };
        backup::put_back(&self.backup, &keys, staged.path(), copied)?;
        bar.finish_and_clear();
        let found = backup::verify(staged.path(), &config, description.keys)?;
        let expected = (
            description.chain,
            description.height,
            description.state_root,
        );
        if (found.chain, found.height, found.state_root) != expected {
            let message = format!("{} does not hold what it says", self.backup.display());
            return Err(Failure::damaged(message));
        }
        interrupt.check()?;
        staged.finish()?;
        context.print.result(&description, |out| {
            writeln!(out, "{}: {}", self.home.display(), describe(&description))?;
            writeln!(out, "\nMake sure that it runs nowhere else, and start it:")?;
            writeln!(out, "  quorate start --home {}", self.home.display())
        })
    }

    fn keys(&self, description: &Description) -> Result<PathBuf, Failure> {
        match (&self.keys, description.keys) {
            (Some(keys), _) => Ok(keys.clone()),
            (None, true) => Ok(self.backup.join("keys")),
            (None, false) => {
                let message = "the keys are not in this backup";
                Err(Failure::usage(message).hint("name the directory that holds them: --keys DIR"))
            }
        }
    }

    /// Whether the keys are those of a validator that can be restored.
    fn check(&self, context: &Context, directory: &Path) -> Result<(), Failure> {
        let genesis = genesis::read(&self.backup.join("genesis.json"))?;
        let key = |name| keys::read_with(&directory.join(name), &context.passphrase);
        let (consensus, network) = (key("consensus.pem")?, key("network.pem")?);
        let setup = quorate_replica::Setup::new(&genesis, Some(&consensus.public()));
        let setup = setup.map_err(Failure::config)?;
        check_membership(&genesis, &setup, &read_config(&self.backup)?, &network)?;
        if genesis.validators.len() == 1 {
            let message = "it is the only validator of its chain: what was committed since would be forgotten, and nobody could tell";
            let hint = "go on as a new chain: quorate fork --home BACKUP --output DIR";
            return Err(Failure::new(ExitStatus::Safety, message).hint(hint));
        }
        Ok(())
    }
}
