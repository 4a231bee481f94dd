//! Prints the table of docs/decisions/0001-state-tree.md: the state tree against the shapes it was chosen over, and
//! its ways to store pages.
//!
//! ```text
//! cargo run --release -p quorate-benches --bin state_tree -- [KEYS, default 1000000]
//! ```
//!
//! One thread; times are of the whole call, keys in random order, blocks of 1,000 random updates.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_benches::flat::{Boundary, FlatTree};
use quorate_benches::random::Random;
use quorate_crypto::Digest;
use quorate_execution::tree::{
    Anchor, Change, Flush, NoPages, PageSource, Proof, Tree, TreeLimits,
};
use rocksdb::{DB, WriteBatch, WriteOptions};

const BLOCK: u64 = 1_000;
const MIB: usize = 1024 * 1024;

fn main() {
    let keys = std::env::args()
        .nth(1)
        .map_or(1_000_000, |count| count.parse().expect("a number of keys"));
    println!("{keys} keys of 27 bytes, blocks of {BLOCK} random updates\n");
    println!(
        "{:<34} {:>8} {:>8} {:>8}",
        "in memory", "median", "mean", "best"
    );
    for page_bytes in [2048, 4096, 8192] {
        in_memory(keys, page_bytes);
    }
    flat(keys, Boundary::Content, "prolly, flat pages of ~1 KB");
    flat(keys, Boundary::Count, "B+tree, flat pages of 1 KB");
    adversarial();
    println!(
        "\n{:<34} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "RocksDB, one sync a block", "us/key", "B/key", "p99 ms", "max ms", "memory MB"
    );
    let policy = |interval, piece, cache_bytes| Policy {
        interval,
        piece,
        cache_bytes,
    };
    let (all, some) = (usize::MAX, 512 * 1024);
    stored(keys, "written through", &policy(1, all, 256 * MIB));
    stored(keys, "every 64 blocks", &policy(64, all, 256 * MIB));
    stored(keys, "every 256 blocks", &policy(256, all, 256 * MIB));
    stored(
        keys,
        "every 256 blocks, 512 KiB a block",
        &policy(256, some, 256 * MIB),
    );
    stored(
        keys,
        "the same, 32 MiB of cache",
        &policy(256, some, 32 * MIB),
    );
}

fn key(index: u64) -> Vec<u8> {
    let mut random = Random::new(index);
    let mut key = b"kv/".to_vec();
    for _ in 0..3 {
        key.extend(random.next().to_be_bytes());
    }
    key
}

/// A block: some keys with new values, sorted, each once.
fn block(indices: impl Iterator<Item = u64>, random: &mut Random) -> Vec<Change> {
    let mut changes: Vec<Change> = indices
        .map(|index| (key(index), Some(random.digest())))
        .collect();
    changes.sort();
    changes.dedup_by(|a, b| a.0 == b.0);
    changes
}

fn updates(keys: u64, random: &mut Random) -> Vec<Change> {
    let indices: Vec<u64> = (0..BLOCK).map(|_| random.next() % keys).collect();
    block(indices.into_iter(), random)
}

fn fill(tree: &mut Tree, keys: u64, random: &mut Random) {
    for from in (0..keys).step_by(1_000) {
        let changes = block(from..keys.min(from + 1_000), random);
        tree.apply(&NoPages, &changes).expect("all in memory");
    }
}

/// Runs blocks and prints the time a key.
fn report(name: &str, blocks: usize, mut run: impl FnMut() -> (Duration, usize)) {
    let mut times: Vec<f64> = (0..blocks)
        .map(|_| {
            let (time, keys) = run();
            time.as_secs_f64() * 1e6 / keys as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    println!(
        "{name:<34} {:>8.2} {mean:>8.2} {:>8.2}  us/key",
        times[times.len() / 2],
        times[0]
    );
}

fn proof_bytes(proof: &Proof) -> usize {
    let witness = proof.witness.as_ref().map_or(0, |(key, _)| key.len() + 34);
    proof.steps.len() * 34 + witness
}

fn in_memory(keys: u64, page_bytes: usize) {
    let mut random = Random::new(1);
    let limits = TreeLimits {
        cache_bytes: usize::MAX,
        page_bytes,
    };
    let mut tree = Tree::new(limits);
    let start = Instant::now();
    fill(&mut tree, keys, &mut random);
    let insert = start.elapsed().as_secs_f64() * 1e6 / keys as f64;
    let pages = tree.flush().pages;
    let bytes: usize = pages
        .iter()
        .filter_map(|(_, page)| Some(page.as_ref()?.len()))
        .sum();
    report(
        &format!("crit-bit, pages of {} KiB", page_bytes / 1024),
        300,
        || {
            let changes = updates(keys, &mut random);
            let start = Instant::now();
            tree.apply(&NoPages, &changes).expect("all in memory");
            (start.elapsed(), changes.len())
        },
    );
    let proofs: usize = (0..1_000)
        .map(|_| {
            tree.prove(&NoPages, &key(random.next() % keys))
                .expect("all in memory")
        })
        .map(|proof| proof_bytes(&proof))
        .sum();
    println!(
        "{:>34} insert and key generation {insert:.2} us/key, proof {} B, stored {} MB in {} pages, memory {} MB",
        "",
        proofs / 1_000,
        bytes / 1_000_000,
        pages.len(),
        tree.memory_bytes() / 1_000_000
    );
}

fn flat(keys: u64, boundary: Boundary, name: &str) {
    let mut random = Random::new(1);
    let entries = (0..keys)
        .map(|index| (key(index), random.digest()))
        .collect();
    let mut tree = FlatTree::new(entries, boundary);
    report(name, 300, || {
        let changes = updates(keys, &mut random);
        let start = Instant::now();
        tree.update(&changes);
        (start.elapsed(), changes.len())
    });
    println!("{:>34} proof {} B", "", tree.mean_proof_bytes());
}

/// What a client that chooses its keys can do to the depth, and to pages whose ends the keys decide.
fn adversarial() {
    let mut random = Random::new(2);
    let base = vec![0xA5; 1024];
    let mut tree = Tree::new(TreeLimits::default());
    for bit in 0..8192 {
        let mut key = base.clone();
        key[bit / 8] ^= 0x80 >> (bit % 8);
        tree.apply(&NoPages, &[(key, Some(random.digest()))])
            .expect("all in memory");
    }
    let start = Instant::now();
    for _ in 0..100 {
        let change = (base.clone(), Some(random.digest()));
        tree.apply(&NoPages, &[change]).expect("all in memory");
    }
    let update = start.elapsed().as_secs_f64() * 1e6 / 100.0;
    let proof = tree.prove(&NoPages, &base).expect("all in memory");
    println!(
        "crit-bit, deepest path there is: 8,192 keys of 1 KB chosen by a client: update {update:.0} us, proof {} KB",
        proof_bytes(&proof) / 1_000
    );
    let entries = FlatTree::ground_keys(8_192, 1_024)
        .into_iter()
        .map(|key| (key, random.digest()))
        .collect();
    let tree = FlatTree::new(entries, Boundary::Content);
    println!(
        "prolly, 8,192 keys of 1 KB chosen by a client: one page, update hashes {} KB, proof {} KB",
        tree.mean_proof_bytes() / 1_000,
        tree.mean_proof_bytes() / 1_000
    );
}

/// Pages of a flush that are written little by little, with the rest of that flush.
type Pending = BTreeMap<Vec<u8>, Vec<u8>>;

struct Stored {
    db: DB,
    pending: Pending,
    deletions: Vec<Vec<u8>>,
}

impl PageSource for Stored {
    type Error = rocksdb::Error;

    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        match self.pending.get(id) {
            Some(page) => Ok(Some(page.clone())),
            None => self.db.get(id),
        }
    }
}

impl Stored {
    /// Moves up to `limit` bytes of pages to a batch; with the last of them, the anchor and the deletions.
    fn write_some(&mut self, batch: &mut WriteBatch, limit: usize, anchor: &Anchor) {
        let was_empty = self.pending.is_empty();
        while batch.size_in_bytes() < limit
            && let Some((id, page)) = self.pending.pop_first()
        {
            batch.put(id, page);
        }
        if self.pending.is_empty() && !was_empty {
            for id in self.deletions.drain(..) {
                batch.delete(id);
            }
            batch.put(b"anchor", anchor.root().as_bytes());
            batch.delete_range(&b"c"[..], &b"d"[..]);
        }
    }

    fn take(&mut self, flush: Flush) -> Anchor {
        for (id, page) in flush.pages {
            match page {
                Some(page) => drop(self.pending.insert(id, page)),
                None => self.deletions.push(id),
            }
        }
        flush.anchor
    }
}

/// How a run stores its tree: a flush every `interval` blocks, `piece` bytes of it with each block.
struct Policy {
    interval: u64,
    piece: usize,
    cache_bytes: usize,
}

/// Blocks with one synced write each: the changes, and the pages of a flush. B/key is what is handed to RocksDB, which
/// writes it once to its log and then at least once more.
fn stored(keys: u64, name: &str, policy: &Policy) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let mut store = Stored {
        db: DB::open(&options, home.path()).expect("opens"),
        pending: Pending::new(),
        deletions: Vec::new(),
    };
    let mut random = Random::new(1);
    let mut tree = Tree::new(TreeLimits {
        cache_bytes: usize::MAX,
        ..TreeLimits::default()
    });
    fill(&mut tree, keys, &mut random);
    let mut anchor = store.take(tree.flush());
    let mut batch = WriteBatch::default();
    store.write_some(&mut batch, usize::MAX, &anchor);
    store.db.write(batch).expect("writes");
    let limits = TreeLimits {
        cache_bytes: policy.cache_bytes,
        ..TreeLimits::default()
    };
    tree = Tree::open(limits, &anchor);
    let mut sync = WriteOptions::default();
    sync.set_sync(true);
    let (mut times, mut bytes, mut memory) = (Vec::new(), 0, 0);
    let blocks = (2 * policy.interval).max(512);
    for height in 0..2 * blocks {
        let changes = updates(keys, &mut random);
        let start = Instant::now();
        tree.apply(&store, &changes).expect("reads");
        memory = memory.max(tree.memory_bytes());
        if (height + 1) % policy.interval == 0 {
            anchor = store.take(tree.flush());
        }
        let mut batch = WriteBatch::default();
        if policy.interval > 1 {
            let journal = [b"c", &height.to_be_bytes()[..]].concat();
            batch.put(journal, changes_bytes(&changes));
        }
        store.write_some(&mut batch, policy.piece, &anchor);
        let size = batch.size_in_bytes();
        store.db.write_opt(batch, &sync).expect("writes");
        // The first half fills the cache.
        if height >= blocks {
            times.push(start.elapsed());
            bytes += size;
        }
    }
    times.sort();
    let updated = (blocks * BLOCK) as f64;
    println!(
        "{name:<34} {:>8.2} {:>8.0} {:>8.1} {:>8.1} {:>10}",
        times.iter().sum::<Duration>().as_secs_f64() * 1e6 / updated,
        bytes as f64 / updated,
        times[times.len() * 99 / 100].as_secs_f64() * 1e3,
        times[times.len() - 1].as_secs_f64() * 1e3,
        memory / 1_000_000
    );
}

fn changes_bytes(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in changes {
        bytes.extend_from_slice(&u16::try_from(key.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.unwrap_or(Digest::ZERO).as_bytes());
    }
    bytes
}
