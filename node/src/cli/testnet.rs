//! `quorate testnet`.

use std::io::Write as _;
use std::path::PathBuf;

use quorate_types::{Parameters, Role};
use serde::Serialize;

use super::output::Printer;
use crate::exit::{ExitStatus, Failure};
use crate::testnet::{DEFAULT_BASE_PORT, Place, Plan, make};

/// Makes homes, keys, genesis and profile of a new chain.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate testnet --validators 4 --clients 2 --output net
  quorate testnet --output net --base-port 9000
  quorate testnet --validators 3 --output net --hosts a.lan,b.lan,c.lan

With --base-port P validator I listens on P+10*I (udp, QUIC between
validators), P+10*I+1 (HTTP for clients) and P+10*I+2 (admin: metrics,
health). Clients are called alice, bob, carol, dave, client-4, ...")]
pub(super) struct Testnet {
    /// How many validators
    #[arg(long, default_value_t = 4, value_name = "N")]
    validators: usize,
    /// How many clients, each with a key
    #[arg(long, default_value_t = 2, value_name = "N")]
    clients: usize,
    /// Where to; a new or empty directory
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The chain's name
    #[arg(long, default_value = "testnet")]
    name: String,
    /// First port; all validators on this machine [default: 7650]
    #[arg(long, value_name = "P", conflicts_with = "hosts")]
    base_port: Option<u16>,
    /// Hosts of the validators, on the default ports
    #[arg(long, value_delimiter = ',', value_name = "HOST,...")]
    hosts: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Report {
    chain: String,
    genesis: PathBuf,
    profile: PathBuf,
    homes: Vec<PathBuf>,
    clients: Vec<PathBuf>,
}

impl Testnet {
    pub(super) fn run(self, print: &Printer) -> Result<ExitStatus, Failure> {
        let base_port = self.base_port.unwrap_or(DEFAULT_BASE_PORT);
        let made = make(&Plan {
            output: self.output.clone(),
            name: self.name,
            validators: self.validators,
            clients: self.clients,
            place: self
                .hosts
                .map_or(Place::Loopback { base_port }, Place::Hosts),
            role: Role::Writer,
            parameters: Parameters::default(),
        })?;
        let keys = made.clients.iter();
        let keys = keys.map(|name| self.output.join("clients").join(format!("{name}.pem")));
        let report = Report {
            chain: made.genesis.chain_id().to_string(),
            genesis: self.output.join("genesis.json"),
            profile: made.profile,
            homes: made.homes,
            clients: keys.collect(),
        };
        print.result(&report, |out| {
            writeln!(out, "chain   {}", report.chain)?;
            writeln!(
                out,
                "\nStart the validators, each in a terminal of its own:"
            )?;
            for home in &report.homes {
                writeln!(out, "  quorate start --home {}", home.display())?;
            }
            writeln!(out, "\nThen:")?;
            writeln!(out, "  export QUORATE_PROFILE={}", report.profile.display())?;
            if let Some(key) = report.clients.first() {
                writeln!(out, "  export QUORATE_KEY={}", key.display())?;
            }
            writeln!(out, "  quorate status\n  quorate kv put greeting hello")
        })
    }
}
