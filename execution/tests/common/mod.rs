//! A chain in memory: an executor, the records it asked to be stored, and clients that send it blocks.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;

use quorate_crypto::{SecretKey, Signature};
use quorate_execution::kv::{Command, Keys, KvResult};
use quorate_execution::{Change, Entry, Executed, Executor, OrderedBlock, Reader, Space};
use quorate_types::{Batch, Blob, BlockTime, ChainId, Client, Epoch, FORMAT_VERSION, Genesis};
use quorate_types::{
    HashedBatch, Height, Outcome, Parameters, PublicKey, Receipt, Rejection, Role,
};
use quorate_types::{Transaction, TransactionBody, ValidatorIndex, ValidatorInfo, codec};

pub const SECOND: u64 = 1_000_000_000;
pub const START: BlockTime = BlockTime(1_700_000_000 * SECOND);

/// Storage that keeps what it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<(Space, Vec<u8>), Vec<u8>>);

impl Memory {
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let key = (change.space, change.key.clone());
            match &change.value {
                Some(value) => self.0.insert(key, value.clone()),
                None => self.0.remove(&key),
            };
        }
    }

    pub fn count(&self, space: Space, prefix: &[u8]) -> usize {
        let inside = |key: &&(Space, Vec<u8>)| key.0 == space && key.1.starts_with(prefix);
        self.0.keys().filter(inside).count()
    }
}

impl Reader for Memory {
    type Error = Infallible;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Infallible> {
        Ok(self
            .0
            .range((space, from.to_vec())..)
            .take_while(|((s, key), _)| *s == space && to.is_none_or(|to| key.as_slice() < to))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }
}

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn public(seed: u8) -> PublicKey {
    secret(seed).public()
}

/// Clients of the test chain, by the seed of their keys.
pub const WRITER: u8 = 100;
pub const OTHER: u8 = 101;
pub const READER: u8 = 102;
pub const STRANGER: u8 = 103;

pub fn genesis(change: impl FnOnce(&mut Parameters)) -> Genesis {
    let validator = |seed: u8| {
        let (consensus, network) = (secret(seed), public(seed + 50));
        ValidatorInfo {
            name: format!("validator-{seed}"),
            consensus_key: consensus.public(),
            network_key: network,
            address: format!("127.0.0.1:{}", 7650 + u16::from(seed)),
            proof: ValidatorInfo::prove(&consensus, consensus.public(), network),
        }
    };
    let client = |(name, seed, role): (&str, u8, Role)| Client {
        name: name.into(),
        key: public(seed),
        role,
    };
    let mut parameters = Parameters::default();
    change(&mut parameters);
    let genesis = Genesis {
        version: FORMAT_VERSION,
        name: "test".into(),
        time: START,
        parameters,
        validators: (1..=4).map(validator).collect(),
        clients: [
            ("writer", WRITER, Role::Writer),
            ("other", OTHER, Role::Admin),
            ("reader", READER, Role::Reader),
        ]
        .map(client)
        .to_vec(),
        machine: "kv".into(),
        origin: None,
    };
    genesis.check().expect("a good genesis");
    genesis
}

pub struct Chain {
    pub genesis: Genesis,
    pub executor: Executor,
    pub memory: Memory,
    pub time: BlockTime,
    next: BTreeMap<u8, u64>,
}

impl Chain {
    pub fn new() -> Chain {
        Chain::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Parameters)) -> Chain {
        let genesis = genesis(change);
        let (executor, changes, _) = Executor::genesis(&genesis);
        let mut memory = Memory::default();
        memory.apply(&changes);
        Chain {
            genesis,
            executor,
            memory,
            time: START,
            next: BTreeMap::new(),
        }
    }

    /// The same chain on another replica, or on this one after a crash, that has stored `memory` up to `height`.
    pub fn restarted(&self, memory: Memory, height: Height) -> Chain {
        let executor = Executor::open(&memory).expect("what was stored opens");
        assert_eq!(executor.height(), height);
        Chain {
            genesis: self.genesis.clone(),
            executor,
            memory,
            time: START.plus_nanos(height.0 * SECOND),
            next: self.next.clone(),
        }
    }

    pub fn reopen(&mut self) {
        let (height, roots) = (self.executor.height(), self.executor.roots());
        let revision = self.executor.revision();
        self.executor = Executor::open(&self.memory).expect("what was stored opens");
        assert_eq!(self.executor.height(), height);
        assert_eq!(self.executor.roots(), roots);
        assert_eq!(self.executor.revision(), revision);
    }

    /// Executes a block of these batches one second after the last one.
    pub fn batches(&mut self, batches: Vec<Vec<Transaction>>) -> Executed {
        self.time = self.time.plus_nanos(SECOND);
        let batches: Vec<HashedBatch> = batches.into_iter().map(pack).collect();
        let block = OrderedBlock {
            height: self.executor.height().next(),
            time: self.time,
            batches: &batches,
        };
        let done = self.executor.execute(&self.memory, &block);
        let executed = done.expect("memory does not fail");
        let mut keys: Vec<_> = executed.changes.iter().map(|c| (c.space, &c.key)).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "no key twice");
        self.memory.apply(&executed.changes);
        executed
    }

    pub fn block(&mut self, transactions: Vec<Transaction>) -> Vec<Receipt> {
        self.batches(vec![transactions]).receipts
    }

    pub fn empty(&mut self) -> Executed {
        self.batches(Vec::new())
    }

    pub fn one(&mut self, transaction: Transaction) -> Outcome {
        let mut receipts = self.block(vec![transaction]);
        assert_eq!(receipts.len(), 1);
        receipts.pop().expect("one").outcome
    }

    pub fn chain_id(&self) -> ChainId {
        self.genesis.chain_id()
    }

    /// A transaction with a number of the caller's choice, valid for a minute.
    pub fn numbered(&self, client: u8, sequence: u64, commands: &[Command]) -> Transaction {
        let until = self.time.plus_nanos(60 * SECOND);
        self.until(client, sequence, until, commands)
    }

    pub fn until(
        &self,
        client: u8,
        sequence: u64,
        valid_until: BlockTime,
        commands: &[Command],
    ) -> Transaction {
        let commands = commands.iter().map(Command::encode).collect();
        self.raw(client, sequence, valid_until, commands)
    }

    pub fn raw(
        &self,
        client: u8,
        sequence: u64,
        valid_until: BlockTime,
        commands: Vec<Blob>,
    ) -> Transaction {
        // The executor gets verified transactions: signatures are not its business.
        Transaction {
            body: TransactionBody {
                version: FORMAT_VERSION,
                chain: self.chain_id(),
                client: public(client),
                sequence,
                valid_until,
                commands,
            },
            signature: Signature::from_bytes([0; 64]),
        }
    }

    /// A transaction with the client's next number.
    pub fn next(&mut self, client: u8, commands: &[Command]) -> Transaction {
        let next = self.next.entry(client).or_default();
        let sequence = *next;
        *next += 1;
        self.numbered(client, sequence, commands)
    }

    /// Executes one command of the writer's in a block of its own.
    pub fn kv(&mut self, command: Command) -> Result<KvResult, Rejection> {
        let transaction = self.next(WRITER, &[command]);
        match self.one(transaction) {
            Outcome::Executed { results, .. } => {
                assert_eq!(results.len(), 1);
                Ok(KvResult::decode(&results[0].0).expect("results decode"))
            }
            Outcome::Rejected(rejection) => Err(rejection),
            Outcome::Duplicate { .. } => panic!("numbers are fresh"),
        }
    }

    pub fn place(&self, transaction: &Transaction) -> Option<(Height, u32)> {
        let key = transaction.id().as_bytes().to_vec();
        let place = self.memory.0.get(&(Space::Places, key))?;
        Some(codec::decode(place, 12).expect("places decode"))
    }

    pub fn sessions(&self) -> usize {
        self.memory.count(Space::State, b"sys/session/")
    }
}

pub fn pack(transactions: Vec<Transaction>) -> HashedBatch {
    HashedBatch::new(Batch {
        version: FORMAT_VERSION,
        epoch: Epoch(0),
        origin: ValidatorIndex(0),
        sequence: 0,
        expiry: BlockTime(u64::MAX),
        transactions,
    })
}

pub fn blob(bytes: impl AsRef<[u8]>) -> Blob {
    Blob(bytes.as_ref().to_vec())
}

pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Command {
    Command::Put {
        key: blob(key),
        value: blob(value),
        lease: None,
    }
}

pub fn get(key: impl AsRef<[u8]>) -> Command {
    Command::Get { key: blob(key) }
}

pub fn delete(key: impl AsRef<[u8]>) -> Command {
    Command::Delete { key: blob(key) }
}

pub fn executed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Executed { .. })
}

/// A small generator of numbers that look random, for seeded tests.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A write, or a command about checkpoints.
pub fn write_or_checkpoint(dice: &mut Dice) -> Command {
    let mut key = || {
        Blob(
            (0..1 + dice.roll(2))
                .map(|_| b"abc\xff"[dice.roll(4) as usize])
                .collect(),
        )
    };
    let (a, b) = (key(), key());
    let name = blob([b'A' + u8::try_from(dice.roll(4)).unwrap()]);
    match dice.roll(12) {
        0..=4 => Command::Put {
            key: a,
            value: blob([u8::try_from(dice.roll(3)).unwrap()]),
            lease: (dice.roll(4) == 0).then_some(5),
        },
        5 | 6 => Command::Delete { key: a },
        7 => Command::Checkpoint { name },
        8 => Command::Revert {
            checkpoint: name,
            keys: Keys::Named(vec![a, b]),
        },
        9 => Command::Revert {
            checkpoint: name,
            keys: Keys::Range {
                end: (a < b).then_some(b),
                start: a,
                limit: 0,
            },
        },
        10 => Command::Revert {
            checkpoint: name,
            keys: Keys::Range {
                end: None,
                start: blob(""),
                limit: 0,
            },
        },
        _ => Command::Release {
            checkpoint: (dice.roll(4) > 0).then_some(name),
            limit: u32::try_from(dice.roll(4)).unwrap(),
        },
    }
}
