//! `quorate key`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::OutputFlag;
use super::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::keys;
use crate::owner;
use crate::passphrase::Passphrase;

/// Looks after key files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate key show alice.pem
  quorate key change-passphrase alice.pem
  quorate key change-passphrase alice.pem --passphrase-file old \\
    --new-passphrase-file new
  quorate key change-passphrase alice.pem --remove")]
pub(super) struct Key {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the public key, and whether the file is encrypted
    #[command(after_help = "Example:\n  quorate key show alice.pem")]
    Show {
        /// The private key's file
        file: PathBuf,
    },
    /// Encrypt a key file with a new passphrase
    #[command(after_help = "Example:\n  quorate key change-passphrase alice.pem")]
    ChangePassphrase {
        /// The private key's file, encrypted or not
        file: PathBuf,
        /// Take the new passphrase from this file
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        new_passphrase_file: Option<PathBuf>,
        /// Store the key without a passphrase
        #[arg(long)]
        remove: bool,
    },
}

impl Key {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let (file, encrypted) = match self.verb {
            Verb::Show { file } => {
                let encrypted = keys::is_encrypted(&file);
                (file, encrypted)
            }
            Verb::ChangePassphrase {
                file,
                new_passphrase_file,
                remove,
            } => {
                owner::check(&file)?;
                let key = keys::read_with(&file, &context.passphrase)?;
                let new = match remove {
                    true => None,
                    false => Some(choose(new_passphrase_file)?),
                };
                keys::replace(&file, &key, new.as_ref().map(|text| text.as_str()))?;
                return show(context, &key.public().to_string(), !remove);
            }
        };
        let key = keys::read_with(&file, &context.passphrase)?;
        show(context, &key.public().to_string(), encrypted)
    }
}

/// Never from a credential or the environment: those hold the old one.
fn choose(file: Option<PathBuf>) -> Result<zeroize::Zeroizing<String>, Failure> {
    match file {
        Some(file) => Passphrase::new(Some(file)).choose("the key"),
        None => Passphrase::asking("the key"),
    }
}

fn show(context: &Context, public: &str, encrypted: bool) -> Result<ExitStatus, Failure> {
    let value = json!({ "public_key": public, "encrypted": encrypted });
    context.print.result(&value, |out| {
        let how = if encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        writeln!(out, "{public}\n{how}")
    })
}
