//! `quorate config`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::OutputFlag;
use super::context::Context;
use crate::config::load;
use crate::exit::{ExitStatus, Failure};

/// Shows or checks a validator's settings.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate config validate --home net/validator-0
  quorate config show --home net/validator-0 --origin

Settings come from defaults, then config.toml, then the environment
(QUORATE_SECTION__KEY), then flags (--set section.key=value).")]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print all settings
    #[command(after_help = "\
Examples:
  quorate config show --home net/validator-0 --origin
  QUORATE_LOG__LEVEL=debug quorate config show --home net/validator-0")]
    Show {
        #[command(flatten)]
        source: Source,
        /// Also tell where each value came from
        #[arg(long)]
        origin: bool,
    },
    /// Check settings and genesis
    #[command(after_help = "Example:\n  quorate config validate --home net/validator-0")]
    Validate {
        #[command(flatten)]
        source: Source,
    },
}

#[derive(Debug, clap::Args)]
struct Source {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Override a setting; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Config {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Show { source, origin } => show(context, &source, origin),
            Verb::Validate { source } => validate(context, &source),
        }
    }
}

fn read(source: &Source) -> Result<crate::config::Loaded, Failure> {
    load(
        Some(&source.home.join("config.toml")),
        std::env::vars(),
        &source.set,
    )
}

fn show(context: &Context, source: &Source, origin: bool) -> Result<ExitStatus, Failure> {
    let entries = read(source)?.entries();
    let rows = entries.iter().map(|(name, value, from)| {
        let mut row = json!({ "name": name, "value": value });
        if origin {
            row["origin"] = json!(from.to_string());
        }
        row
    });
    let rows: Vec<_> = rows.collect();
    context.print.result(&rows, |out| {
        for (name, value, from) in &entries {
            match origin {
                true => writeln!(out, "{:<40} # {from}", format!("{name} = {value}"))?,
                false => writeln!(out, "{name} = {value}")?,
            }
        }
        Ok(())
    })
}

fn validate(context: &Context, source: &Source) -> Result<ExitStatus, Failure> {
    read(source)?;
    let genesis = crate::genesis::read(&source.home.join("genesis.json"))?;
    let chain = genesis.chain_id();
    let value = json!({ "valid": true, "chain": chain.to_string() });
    context
        .print
        .result(&value, |out| writeln!(out, "valid; chain {chain}"))
}
