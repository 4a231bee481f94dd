//! `quorate keygen`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::OutputFlag;
use super::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::keys;

/// Makes a key pair: the private key in a new file, the public key on standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate keygen erin.pem
  quorate keygen erin.pem --encrypt
  quorate keygen --show erin.pem")]
pub(super) struct Keygen {
    /// The private key's file, PKCS#8 PEM, mode 0600
    file: PathBuf,
    /// Only show the public key of an existing file
    #[arg(long)]
    show: bool,
    /// Encrypt it with a passphrase
    #[arg(long, conflicts_with = "show")]
    encrypt: bool,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Keygen {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let key = if self.show {
            keys::read_with(&self.file, &context.passphrase)?
        } else {
            let key = keys::generate()?;
            let passphrase = match self.encrypt {
                true => Some(context.passphrase.choose("the key")?),
                false => None,
            };
            let passphrase = passphrase.as_ref().map(|text| text.as_str());
            keys::write_with(&self.file, &key, passphrase)?;
            key
        };
        let public = key.public();
        let value = json!({ "public_key": public.to_string() });
        context
            .print
            .result(&value, |out| writeln!(out, "{public}"))
    }
}
