//! `quorate recover`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_storage::Home;
use serde_json::json;

use super::context::Context;
use super::{OutputFlag, snapshot};
use crate::exit::{ExitStatus, Failure};
use crate::owner;
use crate::start::home_failure;

/// Let a validator that lost its disk take part again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For a home that lost data/ or safety/, or both, or a file of safety/. Put keys/,
config.toml and genesis.json back first. What is left of data/ stays; move it away
if it is damaged, or older than it was.

The next start asks a quorum of the other validators what this one may have signed,
fetches the state from them, and signs nothing before the chain has certified a
round above that. So of a set of four, all three others have to be up. Of a set of
less than four nobody can be recovered so.

Make sure first that no other process has this validator's keys.

Example:
  quorate recover --home net/validator-3 --yes
  quorate start --home net/validator-3")]
pub(super) struct Recover {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Say that what this home's validator signed is lost for good
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Recover {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let home: &Path = &self.home;
        if !home.is_dir() {
            let message = format!("there is no home at {}", home.display());
            return Err(Failure::config(message)
                .hint("put keys/, config.toml and genesis.json back into a new directory first"));
        }
        owner::check(home)?;
        let setup = snapshot::setup(&home.join("genesis.json"))?;
        let (n, quorum) = (setup.validators.count(), setup.validators.quorum());
        if n - 1 < quorum {
            let message = format!(
                "of {n} validators, no quorum is left without this one: nobody can tell what it may have signed"
            );
            return Err(Failure::new(ExitStatus::Safety, message).hint(
                "put data/ and safety/ back as they were last; a copy that is older may contradict what was signed",
            ));
        }
        if !self.yes {
            let message = "recovering gives up what this home knows of its validator's signatures";
            return Err(Failure::usage(message).hint(
                "add --yes once the old disk is lost for good, and no other process has these keys",
            ));
        }
        Home::forget(home).map_err(|error| home_failure(&error))?;
        let result = json!({ "home": home, "validators": n, "answers_needed": quorum });
        context.print.result(&result, |out| {
            writeln!(
                out,
                "{}: starts behind the strict fence from now on.\n\
                 Next: quorate start --home {}\n\
                 It signs nothing until {quorum} of the other {} have answered, and the chain has moved on.",
                home.display(),
                home.display(),
                n - 1
            )
        })
    }
}
