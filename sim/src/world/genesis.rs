//! The genesis of a world: its keys are numbers, so that the same seed gives the same chain.

use std::sync::OnceLock;

use quorate_crypto::SecretKey;
use quorate_types::{BlockTime, Client, FORMAT_VERSION, Genesis, Parameters, Role};
use quorate_types::{ValidatorIndex, ValidatorInfo};

use crate::node::START;
use crate::plan::Plan;

/// Of the largest world.
const MOST_VALIDATORS: usize = 7;

pub(super) fn key(kind: u8, number: usize) -> SecretKey {
    let number = u8::try_from(number).expect("a small world");
    let mut seed = [kind; 32];
    seed[0] = number;
    SecretKey::from_seed(&seed)
}

pub(super) fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(node).expect("a small world"))
}

/// The same in all worlds, and signed once.
fn validators() -> &'static [ValidatorInfo; MOST_VALIDATORS] {
    static ALL: OnceLock<[ValidatorInfo; MOST_VALIDATORS]> = OnceLock::new();
    ALL.get_or_init(|| {
        std::array::from_fn(|i| {
            let (consensus, network) = (key(1, i), key(2, i));
            ValidatorInfo {
                name: format!("v{i}"),
                consensus_key: consensus.public(),
                network_key: network.public(),
                address: format!("v{i}.invalid:7650"),
                proof: ValidatorInfo::prove(&consensus, consensus.public(), network.public()),
            }
        })
    })
}

pub(super) fn genesis(plan: &Plan) -> Genesis {
    let clients = (0..plan.load.clients).map(|i| Client {
        name: format!("c{i}"),
        key: key(3, i).public(),
        role: Role::Writer,
    });
    Genesis {
        version: FORMAT_VERSION,
        name: "sim".into(),
        time: BlockTime(START),
        parameters: Parameters::default(),
        validators: validators()[..plan.n].to_vec(),
        clients: clients.collect(),
        machine: "kv".into(),
        origin: None,
    }
}
