//! Parts of a validator's work, one at a time: `make microbench`, or `make microbench ONLY=certificate`.
//!
//! One thread. What the whole makes of them is `make bench`; executing transactions is timed by
//! `cargo run --release -p quorate-execution --example execute`, the tree's alternatives by `--bin state_tree`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_benches::random::Random;
use quorate_consensus::{Boot, Engine, Event, Start};
use quorate_crypto::{Digest, SecretKey, Signature};
use quorate_execution::kv::Command;
use quorate_execution::tree::{Change, NoPages, Tree, TreeLimits};
use quorate_storage::{Home, Options, RocksStore, Store as _, Sync, Table, WriteBatch};
use quorate_types::vote::Signable as _;
use quorate_types::{
    Batch, BlockId, BlockTime, ChainId, Epoch, FORMAT_VERSION, Finality, Header, Height, Instant,
    Now, Parameters, Qc, Roots, Round, TransactionBody, Unverified, ValidatorIndex, Validators,
    Verified, Vote, codec,
};

const SIZES: [u16; 4] = [4, 16, 64, 100];
const START: BlockTime = BlockTime(1_700_000_000_000_000_000);
/// Keys in the state tree, and updates of a block.
const KEYS: u64 = 100_000;
const UPDATES: u64 = 1_000;
/// A batch as the mempool packs it under load.
const TRANSACTIONS: u64 = 256;
const VALUE_BYTES: usize = 512;

/// A chain's validators with their keys.
struct Set {
    keys: Vec<SecretKey>,
    validators: Arc<Validators>,
    genesis: Header,
}

impl Set {
    fn new(n: u16) -> Set {
        let mut random = Random::new(u64::from(n));
        let chain = ChainId(random.digest());
        let keys: Vec<SecretKey> = (0..n)
            .map(|_| SecretKey::from_seed(random.digest().as_bytes()))
            .collect();
        let public = keys.iter().map(SecretKey::public).collect();
        let genesis = Header::genesis(chain, START, Roots::default());
        let anchor = (genesis.id(), Height(0));
        let validators = Validators::new(chain, Epoch(0), public, anchor).expect("a sound set");
        Set {
            keys,
            validators: Arc::new(validators),
            genesis,
        }
    }

    /// A quorum's votes for some block of the first round.
    fn votes(&self) -> Vec<Verified<Vote>> {
        let block = BlockId(Random::new(7).digest());
        let voters = self.validators.indices().zip(&self.keys);
        let votes = voters.map(|(voter, key)| {
            let vote = Vote {
                round: Round::new(Epoch(0), 1),
                block,
                voter,
                signature: Signature::default(),
                held: Vec::new(),
            };
            vote.sign(self.validators.chain(), key)
        });
        votes.take(self.validators.quorum()).collect()
    }

    fn engine(&self) -> Engine {
        let boot = Boot {
            validators: Arc::clone(&self.validators),
            me: Some(ValidatorIndex(0)),
            parameters: Parameters::default(),
            record: None,
            start: Start::Open,
            committed: vec![self.genesis.clone()],
            finality: Finality::clone(&Verified::<Finality>::anchor(&self.validators)),
            blocks: Vec::new(),
            executed: vec![(Height(0), Roots::default())],
            executed_nonempty: Height(0),
        };
        Engine::new(boot, now()).0
    }
}

fn now() -> Now {
    Now {
        monotonic: Instant(0),
        wall: START,
    }
}

/// A quorum certificate whose votes never came on their own: the dear case.
fn certificate(c: &mut Criterion) {
    let mut group = c.benchmark_group("certificate");
    for n in SIZES {
        let set = Set::new(n);
        let qc = Qc::assemble(&set.votes(), &set.validators).into_inner();
        group.throughput(Throughput::Elements(
            u64::try_from(qc.signatures.len()).expect("few"),
        ));
        group.bench_function(BenchmarkId::new("verify", n), |b| {
            b.iter(|| {
                let verified = Unverified::new(qc.clone()).verify(&set.validators);
                assert!(verified.is_ok());
            });
        });
    }
    group.finish();
}

/// A quorum of verified votes, the certificate that they become included.
fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for n in SIZES {
        let set = Set::new(n);
        let votes = set.votes();
        group.throughput(Throughput::Elements(
            u64::try_from(votes.len()).expect("few"),
        ));
        group.bench_function(BenchmarkId::new("votes", n), |b| {
            b.iter_batched(
                || (set.engine(), votes.clone()),
                |(mut engine, votes)| {
                    for vote in votes {
                        black_box(engine.step(now(), Event::Vote(vote)));
                    }
                    engine
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn key(index: u64) -> Vec<u8> {
    let mut random = Random::new(index);
    let mut key = b"kv/".to_vec();
    for _ in 0..3 {
        key.extend(random.next().to_be_bytes());
    }
    key
}

/// A block's changes, sorted, each key once.
fn changes(indices: impl Iterator<Item = u64>, random: &mut Random) -> Vec<Change> {
    let mut changes: Vec<Change> = indices
        .map(|index| (key(index), Some(random.digest())))
        .collect();
    changes.sort();
    changes.dedup_by(|a, b| a.0 == b.0);
    changes
}

fn commitment(c: &mut Criterion) {
    let mut random = Random::new(1);
    let limits = TreeLimits {
        cache_bytes: usize::MAX,
        ..TreeLimits::default()
    };
    let mut tree = Tree::new(limits);
    for from in (0..KEYS).step_by(1_000) {
        let changes = changes(from..from + 1_000, &mut random);
        tree.apply(&NoPages, &changes).expect("all in memory");
    }
    let mut group = c.benchmark_group("state tree");
    group.throughput(Throughput::Elements(UPDATES));
    group.bench_function("apply", |b| {
        b.iter_batched(
            || {
                let indices: Vec<u64> = (0..UPDATES).map(|_| random.next() % KEYS).collect();
                changes(indices.into_iter(), &mut random)
            },
            |changes| tree.apply(&NoPages, &changes).expect("all in memory"),
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    let (value, root) = (random.digest(), key(KEYS / 2));
    let (key, root): (Vec<u8>, Digest) = {
        let changed = [(root.clone(), Some(value))];
        (root, tree.apply(&NoPages, &changed).expect("in memory"))
    };
    group.bench_function("prove", |b| {
        b.iter(|| tree.prove(&NoPages, black_box(&key)).expect("in memory"));
    });
    let proof = tree.prove(&NoPages, &key).expect("in memory");
    group.bench_function("verify a proof", |b| {
        b.iter(|| assert_eq!(proof.verify(&root, &key, Some(&value)), Ok(())));
    });
    group.finish();
}

fn batch() -> Batch {
    let mut random = Random::new(3);
    let chain = ChainId(random.digest());
    let transactions = (0..TRANSACTIONS).map(|sequence| {
        let client = SecretKey::from_seed(random.digest().as_bytes());
        let command = Command::Put {
            key: key(sequence).into(),
            value: vec![7; VALUE_BYTES].into(),
            lease: None,
        };
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain,
            client: client.public(),
            sequence,
            valid_until: BlockTime(START.0 + 60_000_000_000),
            commands: vec![command.encode()],
        };
        body.sign(&client)
    });
    Batch {
        version: FORMAT_VERSION,
        epoch: Epoch(0),
        origin: ValidatorIndex(0),
        sequence: 0,
        expiry: BlockTime(START.0 + 60_000_000_000),
        transactions: transactions.collect(),
    }
}

fn batches(c: &mut Criterion) {
    let batch = batch();
    let bytes = codec::encode(&batch);
    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(TRANSACTIONS));
    group.bench_function("encode", |b| b.iter(|| codec::encode(black_box(&batch))));
    group.bench_function("decode", |b| {
        b.iter(|| {
            codec::decode::<Batch>(black_box(&bytes), codec::MAX_ENCODED_BYTES).expect("sound")
        });
    });
    group.bench_function("digest", |b| b.iter(|| black_box(&batch).id()));
    group.finish();
}

/// What a turn of the replica writes under load: a batch and its entries, with one sync for all.
fn store(c: &mut Criterion) {
    // In the target directory: /tmp may be memory, where syncing is nothing.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let home = Home::open(directory.path()).expect("a new home");
    let mut store = RocksStore::open(home, &Options::default()).expect("a new store");
    let mut random = Random::new(4);
    let mut group = c.benchmark_group("store");
    for entries in [1, TRANSACTIONS] {
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::new("synced turn", entries), |b| {
            b.iter_batched(
                || {
                    let mut writes = WriteBatch::new();
                    for _ in 0..entries {
                        writes.put(Table::State, key(random.next()), vec![7; VALUE_BYTES]);
                    }
                    writes
                },
                |writes| store.write(writes, Sync::Yes).expect("a sound disk"),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(parts, certificate, step, commitment, batches, store);
criterion_main!(parts);
