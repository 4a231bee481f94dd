//! Measures what executing transactions costs, apart from signatures: `cargo run --release --example execute`.
//!
//! Each row executes blocks of puts over a state of 100,000 keys that grows, with storage in memory. Encoding and
//! hashing of records and receipts, sessions, the tree and its journals are all included; writing to disk is not. The
//! first decile of the blocks is what a machine with nothing else to do would see.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use quorate_crypto::{SecretKey, Signature};
use quorate_execution::kv::Command;
use quorate_execution::{Change, Entry, Executor, OrderedBlock, Reader, Space};
use quorate_types::ValidatorInfo;
use quorate_types::{Batch, BlockTime, Client, Epoch, FORMAT_VERSION, Genesis, Parameters};
use quorate_types::{HashedBatch, Outcome, Role, Transaction, TransactionBody, ValidatorIndex};

#[derive(Default)]
struct Memory([BTreeMap<Vec<u8>, Vec<u8>>; 6]);

fn table(space: Space) -> usize {
    let all = [
        Space::State,
        Space::Tree,
        Space::Accumulator,
        Space::Receipts,
        Space::Places,
        Space::Roots,
        Space::Meta,
    ];
    all.iter().position(|s| *s == space).expect("six spaces")
}

impl Memory {
    fn apply(&mut self, changes: Vec<Change>) {
        for Change { space, key, value } in changes {
            // Nothing reads these back.
            if matches!(
                space,
                Space::Receipts | Space::Accumulator | Space::Roots | Space::Meta
            ) {
                continue;
            }
            match value {
                Some(value) => self.0[table(space)].insert(key, value),
                None => self.0[table(space)].remove(&key),
            };
        }
    }
}

impl Reader for Memory {
    type Error = Infallible;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0[table(space)].get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Infallible> {
        let range = self.0[table(space)].range(from.to_vec()..);
        let inside = range.take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to));
        let pairs = inside.take(limit);
        Ok(pairs.map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

fn genesis(clients: u16) -> Genesis {
    let key = |seed: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        SecretKey::from_seed(&bytes)
    };
    let (consensus, network) = (key(60_000), key(60_001).public());
    let client = |seed: u16| Client {
        name: seed.to_string(),
        key: key(seed).public(),
        role: Role::Writer,
    };
    Genesis {
        version: FORMAT_VERSION,
        name: "measure".into(),
        time: BlockTime(0),
        parameters: Parameters::default(),
        validators: vec![ValidatorInfo {
            name: "v".into(),
            consensus_key: consensus.public(),
            network_key: network,
            address: "localhost:1".into(),
            proof: ValidatorInfo::prove(&consensus, consensus.public(), network),
        }],
        clients: (0..clients).map(client).collect(),
        machine: "kv".into(),
        origin: None,
    }
}

struct World {
    genesis: Genesis,
    executor: Executor,
    memory: Memory,
    sequence: u64,
    keys: u64,
}

impl World {
    /// Executes a block of puts and returns the time that the executor took.
    fn block(&mut self, count: u64, bytes: usize) -> Duration {
        let clients = &self.genesis.clients;
        let (chain, height) = (self.genesis.chain_id(), self.executor.height().next());
        let mut transactions = Vec::new();
        for _ in 0..count {
            let turn = usize::try_from(self.sequence).expect("small") % clients.len();
            // A multiplication scatters the keys.
            let name = self.sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.keys;
            let command = Command::Put {
                key: format!("key-{name:016x}").into_bytes().into(),
                value: vec![7; bytes].into(),
                lease: None,
            };
            let body = TransactionBody {
                version: FORMAT_VERSION,
                chain,
                client: clients[turn].key,
                sequence: self.sequence / clients.len() as u64,
                valid_until: BlockTime(height.0 * 1_000_000 + 60_000_000_000),
                commands: vec![command.encode()],
            };
            let signature = Signature::from_bytes([0; 64]);
            transactions.push(Transaction { body, signature });
            self.sequence += 1;
        }
        let batches = [HashedBatch::new(Batch {
            version: FORMAT_VERSION,
            epoch: Epoch(0),
            origin: ValidatorIndex(0),
            sequence: 0,
            expiry: BlockTime(u64::MAX),
            transactions,
        })];
        let block = OrderedBlock {
            height,
            time: BlockTime(height.0 * 1_000_000),
            batches: &batches,
        };
        let start = Instant::now();
        let done = self.executor.execute(&self.memory, &block);
        let took = start.elapsed();
        let executed = done.expect("infallible");
        let fine = |outcome: &Outcome| matches!(outcome, Outcome::Executed { .. });
        assert!(executed.receipts.iter().all(|r| fine(&r.outcome)));
        self.memory.apply(executed.changes);
        took
    }
}

fn main() {
    println!("clients  per block  value  µs/tx: 10th  median");
    for (clients, per_block, bytes) in [
        (4, 1_000, 128),
        (4, 1_000, 1_024),
        (1_000, 1_000, 128),
        (4, 100, 128),
        (4, 10, 128),
    ] {
        let genesis = genesis(clients);
        let (executor, changes, _) = Executor::genesis(&genesis);
        let mut world = World {
            genesis,
            executor,
            memory: Memory::default(),
            sequence: 0,
            keys: 1_000_000,
        };
        world.memory.apply(changes);
        for _ in 0..100 {
            world.block(1_000, bytes);
        }
        let blocks = 50_000 / per_block;
        let mut took: Vec<_> = (0..blocks).map(|_| world.block(per_block, bytes)).collect();
        took.sort_unstable();
        let each = |took: Duration| took.as_secs_f64() * 1e6 / per_block as f64;
        let (low, median) = (each(took[took.len() / 10]), each(took[took.len() / 2]));
        println!("{clients:>7} {per_block:>10} {bytes:>6} {low:>12.1} {median:>7.1}");
    }
}
