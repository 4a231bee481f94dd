//! `quorate init`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use quorate_crypto::SecretKey;
use serde_json::json;

use super::OutputFlag;
use super::context::Context;
use crate::ceremony::{DESCRIPTOR_FILE, Descriptor};
use crate::exit::{ExitStatus, Failure};
use crate::{config, keys, owner};

/// Makes a validator's home on its own machine: keys, settings, and a public
/// descriptor for whoever assembles the genesis. The private keys stay here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate init --home /var/lib/quorate/org-a --name org-a \\
    --address a.example:7650
  quorate init --home a --name org-a --address 127.0.0.1:9000 \\
    --set api.listen=127.0.0.1:9001 --set admin.listen=127.0.0.1:9002
  quorate init --home a --name org-a --address a.example:7650 --encrypt

Send HOME/validator.json, and nothing else, to whoever assembles the genesis.
--encrypt asks for a passphrase (or takes it from --passphrase-file).")]
pub(super) struct Init {
    /// The home to make; a new or empty directory
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The validator's name in the genesis
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where the other validators reach it
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Encrypt the keys with a passphrase
    #[arg(long)]
    encrypt: bool,
    /// A setting for config.toml; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let settings = self.settings()?;
        let (consensus, network) = (keys::generate()?, keys::generate()?);
        let descriptor = Descriptor::new(&self.name, &self.address, &consensus, &network)?;
        let passphrase = match self.encrypt {
            true => Some(context.passphrase.choose("the keys")?),
            false => None,
        };
        prepare(&self.home)?;
        let passphrase = passphrase.as_ref().map(|text| text.as_str());
        self.write_keys(&consensus, &network, passphrase)?;
        write(&self.home.join("config.toml"), &settings)?;
        let file = self.home.join(DESCRIPTOR_FILE);
        write(&file, &descriptor.to_json())?;
        let value = json!({
            "home": self.home, "descriptor": file, "name": self.name, "address": self.address,
            "consensus_key": consensus.public().to_string(),
            "network_key": network.public().to_string(), "encrypted": self.encrypt,
        });
        if let Some(note) = note(&self.address) {
            eprintln!("quorate: note: {note}");
        }
        context.print.result(&value, |out| {
            writeln!(out, "validator      {}", self.name)?;
            writeln!(out, "consensus key  {}", consensus.public())?;
            writeln!(out, "network key    {}", network.public())?;
            writeln!(out, "\nSend {} to whoever assembles the", file.display())?;
            writeln!(out, "genesis. The keys never leave this machine.")
        })
    }

    /// The text of config.toml.
    fn settings(&self) -> Result<String, Failure> {
        let port = self.address.rsplit_once(':');
        let port = port.and_then(|(_, port)| port.parse().ok());
        let listen = SocketAddr::from(([0, 0, 0, 0], port.unwrap_or(0)));
        let mut flags = vec![
            format!("node.name={:?}", self.name),
            format!("network.listen={listen}"),
        ];
        flags.extend(self.set.iter().cloned());
        Ok(config::load(None, std::iter::empty(), &flags)?
            .config
            .to_toml())
    }

    fn write_keys(
        &self,
        consensus: &SecretKey,
        network: &SecretKey,
        passphrase: Option<&str>,
    ) -> Result<(), Failure> {
        let directory = self.home.join("keys");
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|error| cannot("create", &directory, &error))?;
        keys::write_with(&directory.join("consensus.pem"), consensus, passphrase)?;
        keys::write_with(&directory.join("network.pem"), network, passphrase)
    }
}

/// What to think of before the genesis is signed. On one machine an address is as good as a name.
fn note(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    let note = format!(
        "{address} becomes part of the genesis, which never changes, so this validator could not move to another \
         address; a DNS name can be pointed elsewhere"
    );
    (!address.ip().is_loopback()).then_some(note)
}

fn prepare(home: &Path) -> Result<(), Failure> {
    owner::check(home)?;
    std::fs::create_dir_all(home).map_err(|error| cannot("create", home, &error))?;
    let mut entries = std::fs::read_dir(home).map_err(|error| cannot("read", home, &error))?;
    if entries.next().is_some() {
        let message = format!("{} is not empty", home.display());
        return Err(Failure::failed(message).hint("name a new directory; no key is overwritten"));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_can_never_change_is_noted() {
        for address in ["10.1.2.3:7650", "[2001:db8::1]:7650"] {
            let note = note(address).expect("a note");
            assert!(
                note.contains(address) && note.contains("DNS name"),
                "{note}"
            );
        }
        for address in ["a.example:7650", "127.0.0.1:9000", "[::1]:9000"] {
            assert_eq!(note(address), None);
        }
    }
}
