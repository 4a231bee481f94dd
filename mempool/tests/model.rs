//! Random runs against a simple model: nothing admitted is lost silently, nothing is ordered twice, and every bound
//! holds (I9, asserted inside the pool too). A failing seed is printed with the panic's message.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use quorate_mempool::{Admission, Limits, Pool, Refusal};
use quorate_types::{
    BatchId, BlockTime, HashedBatch, HashedTransaction, Transaction, TransactionId, ValidatorIndex,
    Verified,
};

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(u64::try_from(bound).expect("small"))).expect("small")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Pending,
    Committed,
    Lapsed,
}

struct World {
    seed: u64,
    chance: Chance,
    limits: Limits,
    pool: Pool,
    now: u64,
    fates: BTreeMap<TransactionId, Fate>,
    /// What was ever sealed or streamed, as a disk keeps it.
    known: BTreeMap<BatchId, HashedBatch>,
    committed: BTreeSet<BatchId>,
    /// Ordered on the branch, above the root.
    ordered: Vec<BatchId>,
    streamed: [u64; 4],
    /// Pending after the last restart.
    put_back: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let limits = Limits {
            max_pending_bytes: 20_000,
            max_pending_transactions: 30,
            max_in_flight_bytes: 9_000,
            max_origin_bytes: 8_000,
            max_origin_batches: 8,
            max_wanted_bytes: 6_000,
            max_wanted: 8,
            max_remembered: 10_000,
            batch_target_bytes: 3_000,
            max_block_bytes: 6_000,
            ..Limits::default()
        };
        World {
            seed,
            chance: Chance(seed),
            pool: pool_with(limits.clone()),
            limits,
            now: 0,
            fates: BTreeMap::new(),
            known: BTreeMap::new(),
            committed: BTreeSet::new(),
            ordered: Vec::new(),
            streamed: [0; 4],
            put_back: 0,
        }
    }

    fn time(&self) -> BlockTime {
        START.plus_nanos(self.now * MILLISECOND)
    }

    fn turn(
        &mut self,
        transactions: &[Verified<HashedTransaction>],
        batches: &[(BatchId, Verified<HashedBatch>)],
    ) {
        let instant = ms(self.now);
        match self.chance.below(12) {
            0..=3 => self.admit(transactions),
            4 => self.stream(batches),
            5 => {
                let marks: Vec<u64> = (0..4).map(|_| self.chance.below(40)).collect();
                let voter = ValidatorIndex(u16::try_from(self.chance.below(4)).expect("4"));
                self.pool.on_held(voter, &marks);
            }
            6 | 7 => self.propose(),
            8 => self.commit(),
            9 => self.now += self.chance.below(4) * self.chance.below(3),
            10 if self.chance.below(40) == 0 => self.now += 300_000 + self.chance.below(400_000),
            11 if self.chance.below(20) == 0 => self.restart(),
            _ => self.want(batches),
        }
        let keep: BTreeSet<BatchId> = self.ordered.iter().copied().collect();
        let content = |pool: &Pool| (pool.batches(), pool.transactions(), pool.pending());
        let (settled, before) = (self.pool.is_settled(self.time()), content(&self.pool));
        let lapsed = self.pool.expire(self.time(), &keep);
        let same = lapsed.is_empty() && content(&self.pool) == before;
        assert!(same || !settled, "seed {}: nothing to expire", self.seed);
        for lapsed in lapsed {
            let before = self.fates.insert(lapsed.transaction, Fate::Lapsed);
            assert_eq!(
                before,
                Some(Fate::Pending),
                "seed {}: lapsed once",
                self.seed
            );
        }
        for batch in self.pool.seal(instant, self.time()) {
            let new = self.known.insert(batch.id(), batch).is_none();
            assert!(new, "seed {}: sealed once", self.seed);
        }
        self.check();
    }

    fn admit(&mut self, transactions: &[Verified<HashedTransaction>]) {
        let transaction = &transactions[self.chance.index(transactions.len())];
        let id = transaction.id();
        let fate = self.fates.get(&id).copied();
        match self.pool.admit(transaction.clone(), self.time()) {
            Ok(Admission::Queued) => {
                assert_ne!(fate, Some(Fate::Pending), "seed {}: was queued", self.seed);
                self.fates.insert(id, Fate::Pending);
            }
            Ok(Admission::AlreadyQueued) => {
                assert_eq!(
                    fate,
                    Some(Fate::Pending),
                    "seed {}: is not queued",
                    self.seed
                );
            }
            Err(Refusal::Full { .. } | Refusal::ClientFull { .. } | Refusal::Expired) => {}
            Err(other) => panic!("seed {}: {other}", self.seed),
        }
    }

    fn stream(&mut self, batches: &[(BatchId, Verified<HashedBatch>)]) {
        let (id, batch) = &batches[self.chance.index(batches.len())];
        let taken = self
            .pool
            .insert(ms(self.now), self.time(), batch.origin, batch.clone());
        if taken == Ok(true) {
            self.known.insert(*id, HashedBatch::clone(batch));
            let mark = &mut self.streamed[batch.origin.as_usize()];
            *mark = (*mark).max(batch.sequence + 1);
        }
    }

    fn propose(&mut self) {
        let payload = self
            .pool
            .candidates(ms(self.now), self.time(), &self.ordered);
        let distinct: BTreeSet<_> = payload.batches.iter().collect();
        assert_eq!(distinct.len(), payload.batches.len(), "seed {}", self.seed);
        let mut bytes = 0;
        for id in &payload.batches {
            assert!(!self.committed.contains(id), "seed {}: again", self.seed);
            assert!(!self.ordered.contains(id), "seed {}: excluded", self.seed);
            let batch = self.pool.get(id).expect("only what is held");
            assert!(batch.expiry >= self.time(), "seed {}: expired", self.seed);
            bytes += batch.encoded_len();
        }
        assert!(bytes <= self.limits.max_block_bytes || payload.batches.len() == 1);
        assert!(
            payload
                .inline
                .iter()
                .all(|b| payload.batches.contains(&b.id()))
        );
        self.ordered.extend(payload.batches);
    }

    /// The oldest of the branch are committed, or the branch is abandoned.
    fn commit(&mut self) {
        if self.chance.below(4) == 0 {
            self.ordered.clear();
            return;
        }
        let count = self.chance.index(self.ordered.len() + 1);
        let ids: Vec<BatchId> = self.ordered.drain(..count).collect();
        let mut executed = Vec::new();
        for id in &ids {
            assert!(self.committed.insert(*id), "seed {}: once", self.seed);
            executed.extend(self.known[id].transactions.iter().map(Transaction::id));
        }
        self.pool.committed(&ids);
        self.pool.executed(&executed);
        for transaction in executed {
            self.fates.insert(transaction, Fate::Committed);
        }
    }

    fn want(&mut self, batches: &[(BatchId, Verified<HashedBatch>)]) {
        let (id, batch) = &batches[self.chance.index(batches.len())];
        self.pool.want(&[*id]);
        let from = ValidatorIndex(u16::try_from(self.chance.below(4)).expect("4"));
        let taken = self
            .pool
            .insert(ms(self.now), self.time(), from, batch.clone());
        if taken == Ok(true) {
            self.known.insert(*id, HashedBatch::clone(batch));
        }
    }

    /// Everything in memory is lost; what was sealed or taken is on disk. The queue is lost, and clients submit again.
    fn restart(&mut self) {
        let sequence = self.pool.next_sequence();
        self.pool = Pool::new(seat(), Default::default(), self.limits.clone(), sequence);
        let committed: Vec<BatchId> = self.committed.iter().copied().collect();
        self.pool.committed(&committed);
        let disk = self.known.iter();
        let open: Vec<HashedBatch> = disk
            .filter(|(id, batch)| !self.committed.contains(id) && batch.expiry >= self.time())
            .map(|(_, batch)| batch.clone())
            .collect();
        let own = open.iter().filter(|batch| batch.origin == ME);
        let carried: BTreeSet<TransactionId> = own
            .flat_map(|batch| batch.transactions.iter().map(Transaction::id))
            .collect();
        restore(&mut self.pool, ms(self.now), open);
        self.put_back = self.pool.pending();
        self.ordered.retain(|id| self.pool.holds(id));
        self.streamed = [0; 4];
        self.fates.retain(|_, fate| *fate != Fate::Pending);
        for transaction in carried {
            self.fates.insert(transaction, Fate::Pending);
        }
    }

    fn check(&self) {
        let pool = &self.pool;
        let own: usize = pool.resend().iter().map(|b| b.encoded_len()).sum();
        let others = 3 * self.limits.max_origin_bytes + self.limits.max_wanted_bytes;
        assert!(pool.held_bytes() <= own + others, "seed {}", self.seed);
        for (origin, (held, streamed)) in pool.held().iter().zip(&self.streamed).enumerate() {
            assert!(origin == 0 || held >= streamed, "seed {}", self.seed);
        }
        // Whatever is pending waits in the queue or travels in a batch in flight: nothing is lost silently.
        let pending = self
            .fates
            .values()
            .filter(|fate| **fate == Fate::Pending)
            .count();
        let in_flight = pool.resend();
        let travelling: BTreeSet<TransactionId> = in_flight
            .iter()
            .flat_map(|batch| batch.transactions.iter().map(Transaction::id))
            .filter(|id| self.fates.get(id) == Some(&Fate::Pending))
            .collect();
        let waiting = pool.transactions() + travelling.len();
        assert_eq!(pending, waiting, "seed {}", self.seed);
        assert_eq!(pending, pool.pending(), "seed {}", self.seed);
        // What was put back at a start may be more.
        let most = self.limits.max_pending_transactions.max(self.put_back);
        assert!(pool.pending() <= most, "seed {}", self.seed);
    }
}

#[test]
fn random_runs_keep_every_promise() {
    let transactions: Vec<Verified<HashedTransaction>> = (0..240)
        .map(|at: u64| {
            let size = 200 + usize::try_from(at * 37 % 1_500).expect("small");
            let lasts = START.plus_nanos((1 + at % 7) * 400 * SECOND);
            let seed = u8::try_from(if at.is_multiple_of(2) { 1 } else { at % 9 }).expect("small");
            valid_until(&client(seed), at, size, lasts)
        })
        .collect();
    let batches: Vec<(BatchId, Verified<HashedBatch>)> = (0..60)
        .map(|at: u64| {
            let origin = 1 + u16::try_from(at % 3).expect("small");
            let size = 300 + usize::try_from(at * 61 % 2_500).expect("small");
            foreign_until(
                origin,
                at / 3,
                size,
                START.plus_nanos((300 + at * 20) * SECOND),
            )
        })
        .collect();
    let mut fates = BTreeMap::new();
    for seed in 0..150 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.turn(&transactions, &batches);
        }
        for fate in world.fates.values() {
            *fates.entry(format!("{fate:?}")).or_insert(0) += 1;
        }
    }
    // The runs went everywhere.
    assert!(
        fates["Pending"] > 100 && fates["Committed"] > 1_000 && fates["Lapsed"] > 100,
        "{fates:?}"
    );
}
