//! The genesis of a simulated chain: its keys are numbers, so that the same seed gives the same chain.

use std::sync::{Mutex, PoisonError};

use quorate_crypto::SecretKey;
use quorate_types::{BlockTime, Client, FORMAT_VERSION, Genesis, Parameters, Role};
use quorate_types::{ValidatorIndex, ValidatorInfo};

use crate::node::START;

/// The key by which a validator signs.
pub(crate) const CONSENSUS: u8 = 1;
/// The key by which a validator is known on the network.
const NETWORK: u8 = 2;
/// The key of a client.
pub(crate) const CLIENT: u8 = 3;

pub(crate) fn key(kind: u8, number: usize) -> SecretKey {
    let [low, high] = u16::try_from(number).expect("a small world").to_le_bytes();
    let mut seed = [kind; 32];
    seed[0] = low;
    seed[1] ^= high;
    SecretKey::from_seed(&seed)
}

pub(crate) fn index(validator: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(validator).expect("a small world"))
}

/// The first so many, the same in all worlds; each is signed once.
fn validators(count: usize) -> Vec<ValidatorInfo> {
    static ALL: Mutex<Vec<ValidatorInfo>> = Mutex::new(Vec::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    for i in all.len()..count {
        let (consensus, network) = (key(CONSENSUS, i), key(NETWORK, i));
        all.push(ValidatorInfo {
            name: format!("v{i}"),
            consensus_key: consensus.public(),
            network_key: network.public(),
            address: format!("v{i}.invalid:7650"),
            proof: ValidatorInfo::prove(&consensus, consensus.public(), network.public()),
        });
    }
    all[..count].to_vec()
}

/// A chain of so many validators and clients.
pub(crate) fn genesis(name: &str, count: usize, clients: usize) -> Genesis {
    let clients = (0..clients).map(|i| Client {
        name: format!("c{i}"),
        key: key(CLIENT, i).public(),
        role: Role::Writer,
    });
    Genesis {
        version: FORMAT_VERSION,
        name: name.into(),
        time: BlockTime(START),
        parameters: Parameters::default(),
        validators: validators(count),
        clients: clients.collect(),
        machine: "kv".into(),
        origin: None,
    }
}
