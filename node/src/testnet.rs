//! Makes the files of a new chain: a home for each validator, keys, the genesis, a profile for clients.
//!
//! Everything is made in the given directory, which must be new or empty: it never overwrites a key.
//!
//! ```text
//! DIR/genesis.json   DIR/client.toml   DIR/clients/{alice,bob,carol,dave,client-4,…}.pem
//! DIR/validator-I/{config.toml, genesis.json, keys/{consensus,network}.pem}
//! ```

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quorate_client::Profile;
use quorate_crypto::SecretKey;
use quorate_types::{
    Client, FORMAT_VERSION, Genesis, MAX_VALIDATORS, Parameters, Role, ValidatorInfo,
};

use crate::config::Config;
use crate::exit::Failure;
use crate::{genesis, keys, owner};

/// Clients with names of people; further ones are `client-4`, `client-5`, ….
const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Name of the profile.
const PROFILE: &str = "client.toml";
/// Most clients in a new genesis.
const MAX_CLIENTS: usize = 10_000;
/// First port of the first validator if all are on this machine.
pub const DEFAULT_BASE_PORT: u16 = 7650;

/// What kind of chain to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where. New or empty.
    pub output: PathBuf,
    /// The chain's name.
    pub name: String,
    /// How many validators.
    pub validators: usize,
    /// How many clients.
    pub clients: usize,
    /// What they may do.
    pub role: Role,
    /// Where the validators run.
    pub place: Place,
    /// What all agree on.
    pub parameters: Parameters,
}

/// Where the validators run.
#[derive(Clone, Debug)]
pub enum Place {
    /// All on loopback: validator I has the ports P + 10·I (QUIC), + 1 (HTTP), + 2 (admin).
    Loopback {
        /// P.
        base_port: u16,
    },
    /// Each on its own host, on the default ports.
    Hosts(Vec<String>),
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The genesis, as in the file.
    pub genesis: Genesis,
    /// The homes, in the order of the validators.
    pub homes: Vec<PathBuf>,
    /// Names of the clients.
    pub clients: Vec<String>,
    /// The profile's file.
    pub profile: PathBuf,
}

/// Ports of a validator: QUIC, HTTP, admin.
type Ports = [u16; 3];

/// Makes all files.
///
/// # Errors
/// Status 2 for numbers out of range, 1 for a directory that is not empty or cannot be written.
pub fn make(plan: &Plan) -> Result<Made, Failure> {
    check(plan)?;
    prepare(&plan.output)?;
    make_in(&plan.output, plan, |_| Ok(()))
}

/// Makes all files in an empty directory that is going to be `plan.output`. `finish` adds to the genesis what it lacks.
///
/// # Errors
/// As [`make`], and whatever `finish` fails with.
pub fn make_in(
    directory: &Path,
    plan: &Plan,
    finish: impl FnOnce(&mut Genesis) -> Result<(), Failure>,
) -> Result<Made, Failure> {
    let mut homes = Vec::new();
    let mut infos = Vec::new();
    for index in 0..plan.validators {
        let name = validator_name(index);
        infos.push(make_home(&directory.join(&name), index, &plan.place)?);
        homes.push(plan.output.join(name));
    }
    let (clients, names) = make_clients(directory, plan)?;
    let mut genesis = Genesis {
        version: FORMAT_VERSION,
        name: plan.name.clone(),
        time: quorate_client::validity::wall_clock(),
        parameters: plan.parameters.clone(),
        validators: infos,
        clients,
        machine: String::from("kv"),
        origin: None,
    };
    finish(&mut genesis)?;
    genesis
        .check()
        .map_err(|error| Failure::config(format!("the new genesis: {error}")))?;
    let text = genesis::to_json(&genesis);
    for index in 0..plan.validators {
        let home = directory.join(validator_name(index));
        write(&home.join("genesis.json"), &text)?;
    }
    write(&directory.join("genesis.json"), &text)?;
    let endpoints = (0..plan.validators).map(|index| {
        let (host, [_, api, _]) = location(index, &plan.place);
        format!("http://{host}:{api}")
    });
    let contents = Profile {
        endpoints: endpoints.collect(),
        chain: genesis.chain_id(),
        genesis: Some(PathBuf::from("genesis.json")),
        keys: Some(PathBuf::from("clients")),
    };
    write(&directory.join(PROFILE), &contents.to_toml())?;
    Ok(Made {
        genesis,
        homes,
        clients: names,
        profile: plan.output.join(PROFILE),
    })
}

/// Whether the numbers can be.
///
/// # Errors
/// Status 2.
pub fn check(plan: &Plan) -> Result<(), Failure> {
    if plan.validators == 0 || plan.validators > MAX_VALIDATORS {
        return Err(Failure::usage(format!(
            "--validators is 1 to {MAX_VALIDATORS}"
        )));
    }
    if plan.clients > MAX_CLIENTS {
        return Err(Failure::usage(format!("--clients is 0 to {MAX_CLIENTS}")));
    }
    match &plan.place {
        Place::Loopback { base_port } => {
            let last = usize::from(*base_port) + 10 * (plan.validators - 1) + 2;
            if *base_port == 0 || last > usize::from(u16::MAX) {
                let why = "--base-port leaves no room for the ports of all validators";
                return Err(Failure::usage(why));
            }
        }
        Place::Hosts(hosts) => {
            if hosts.len() != plan.validators {
                let (given, wanted) = (hosts.len(), plan.validators);
                return Err(Failure::usage(format!(
                    "--hosts names {given} hosts for {wanted} validators"
                )));
            }
        }
    }
    Ok(())
}

fn prepare(output: &Path) -> Result<(), Failure> {
    owner::check(output)?;
    fs::create_dir_all(output).map_err(|error| cannot("create", output, &error))?;
    let mut entries = fs::read_dir(output).map_err(|error| cannot("read", output, &error))?;
    if entries.next().is_some() {
        let message = format!("{} is not empty", output.display());
        return Err(Failure::failed(message).hint("name a new directory; nothing is overwritten"));
    }
    Ok(())
}

fn make_home(home: &Path, index: usize, place: &Place) -> Result<ValidatorInfo, Failure> {
    let directory = home.join("keys");
    fs::create_dir_all(&directory).map_err(|error| cannot("create", &directory, &error))?;
    let (consensus, network) = (keys::generate()?, keys::generate()?);
    keys::write(&directory.join("consensus.pem"), &consensus)?;
    keys::write(&directory.join("network.pem"), &network)?;
    let (host, [quic, api, admin]) = location(index, place);
    let mut config = Config::default();
    config.node.name = validator_name(index);
    let listen = |port| match place {
        Place::Loopback { .. } => SocketAddr::from(([127, 0, 0, 1], port)),
        Place::Hosts(_) => SocketAddr::from(([0, 0, 0, 0], port)),
    };
    config.network.listen = listen(quic);
    config.api.listen = listen(api);
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], admin));
    write(&home.join("config.toml"), &config.to_toml())?;
    Ok(info(index, &consensus, &network, format!("{host}:{quic}")))
}

fn info(
    index: usize,
    consensus: &SecretKey,
    network: &SecretKey,
    address: String,
) -> ValidatorInfo {
    ValidatorInfo {
        name: validator_name(index),
        consensus_key: consensus.public(),
        network_key: network.public(),
        address,
        proof: ValidatorInfo::prove(consensus, consensus.public(), network.public()),
    }
}

fn make_clients(directory: &Path, plan: &Plan) -> Result<(Vec<Client>, Vec<String>), Failure> {
    let directory = directory.join("clients");
    fs::create_dir_all(&directory).map_err(|error| cannot("create", &directory, &error))?;
    let mut clients = Vec::new();
    let mut names = Vec::new();
    for index in 0..plan.clients {
        let name = client_name(index);
        let key = keys::generate()?;
        keys::write(&directory.join(format!("{name}.pem")), &key)?;
        clients.push(Client {
            name: name.clone(),
            key: key.public(),
            role: plan.role,
        });
        names.push(name);
    }
    Ok((clients, names))
}

fn location(index: usize, place: &Place) -> (String, Ports) {
    match place {
        Place::Loopback { base_port } => {
            let offset = u16::try_from(10 * index).expect("checked before");
            let first = base_port + offset;
            (String::from("127.0.0.1"), [first, first + 1, first + 2])
        }
        Place::Hosts(hosts) => {
            let first = DEFAULT_BASE_PORT;
            (hosts[index].clone(), [first, first + 1, first + 2])
        }
    }
}

fn validator_name(index: usize) -> String {
    format!("validator-{index}")
}

fn client_name(index: usize) -> String {
    NAMES
        .get(index)
        .map_or_else(|| format!("client-{index}"), |name| (*name).to_owned())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    /// A genesis of four validators and one client from fixed seeds.
    pub(crate) fn sample() -> Genesis {
        let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
        let validators = (0..4u8).map(|index| {
            let address = format!("127.0.0.1:{}", 7650 + 10 * u16::from(index));
            info(
                usize::from(index),
                &key(1 + index),
                &key(101 + index),
                address,
            )
        });
        Genesis {
            version: FORMAT_VERSION,
            name: String::from("sample"),
            time: quorate_types::BlockTime(1),
            parameters: Parameters::default(),
            validators: validators.collect(),
            clients: vec![Client {
                name: String::from("alice"),
                key: key(200).public(),
                role: Role::Writer,
            }],
            machine: String::from("kv"),
            origin: None,
        }
    }

    pub(crate) fn plan(output: &Path) -> Plan {
        Plan {
            output: output.to_owned(),
            name: String::from("test"),
            validators: 4,
            clients: 5,
            role: Role::Writer,
            place: Place::Loopback { base_port: 9_000 },
            parameters: Parameters::default(),
        }
    }

    #[test]
    fn all_files_are_there_and_fit_each_other() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = directory.path().join("net");
        let made = make(&plan(&output)).expect("a new directory");
        let genesis = genesis::read(&output.join("genesis.json")).expect("valid");
        assert_eq!(genesis, made.genesis);
        for (index, home) in made.homes.iter().enumerate() {
            let own = &genesis.validators[index];
            let read = |name| {
                keys::read(&home.join("keys").join(name))
                    .expect("narrow")
                    .public()
            };
            assert_eq!(read("consensus.pem"), own.consensus_key);
            assert_eq!(read("network.pem"), own.network_key);
            let config = home.join("config.toml");
            let config =
                crate::config::load(Some(&config), std::iter::empty(), &[]).expect("valid");
            assert_eq!(config.config.network.listen.to_string(), own.address);
            assert_eq!(
                usize::from(config.config.admin.listen.port()),
                9_002 + 10 * index
            );
        }
        let profile = Profile::read(&made.profile).expect("valid");
        assert_eq!(profile.chain, genesis.chain_id());
        assert_eq!(profile.endpoints[3], "http://127.0.0.1:9031");
        assert_eq!(made.clients, ["alice", "bob", "carol", "dave", "client-4"]);
        let alice = keys::read(&output.join("clients/alice.pem")).expect("narrow");
        assert_eq!(alice.public(), genesis.clients[0].key);
        // A second time nothing is touched.
        let failure = make(&plan(&output)).expect_err("not empty");
        assert_eq!(failure.status, ExitStatus::Failed);
        assert!(failure.message.contains("not empty"));
    }

    #[test]
    fn numbers_out_of_range_are_refused_before_anything_is_made() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = directory.path().join("net");
        let good = plan(&output);
        let hosts = Place::Hosts(vec![String::from("a")]);
        for bad in [
            Plan {
                validators: 0,
                ..good.clone()
            },
            Plan {
                validators: 129,
                ..good.clone()
            },
            Plan {
                clients: 10_001,
                ..good.clone()
            },
            Plan {
                place: Place::Loopback { base_port: 65_530 },
                ..good.clone()
            },
            Plan {
                place: hosts,
                ..good.clone()
            },
        ] {
            let failure = make(&bad).expect_err("out of range");
            assert_eq!(failure.status, ExitStatus::Usage, "{}", failure.message);
            assert!(!output.exists());
        }
    }
}
