//! A pool with clients, a clock and peers, for the tests.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::convert::Infallible;

use quorate_crypto::SecretKey;
use quorate_mempool::{Admission, Limits, Pool, Refusal, Seat};
use quorate_types::{
    BatchId, Blob, Block, BlockId, BlockTime, ChainId, Epoch, FORMAT_VERSION, HashedBatch,
    HashedTransaction, Header, Height, Instant, Parameters, Roots, TransactionBody, TransactionId,
    Unverified, ValidatorIndex, Validators, Verified,
};

pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// When the tests start.
pub const START: BlockTime = BlockTime(1_700_000_000 * SECOND);
pub const ME: ValidatorIndex = ValidatorIndex(0);
pub const T0: Instant = Instant(50 * SECOND);

pub fn chain() -> ChainId {
    ChainId::default()
}

/// The set of the seat.
pub fn validators() -> Validators {
    let keys = (0..4).map(|i| client(i).public()).collect();
    let anchor = (BlockId::default(), Height(0));
    Validators::new(chain(), Epoch(0), keys, anchor).expect("four keys")
}

pub fn seat() -> Seat {
    Seat {
        epoch: Epoch(0),
        me: Some(ME),
        n: 4,
        quorum: 3,
    }
}

pub fn pool() -> Pool {
    pool_with(Limits::default())
}

pub fn pool_with(limits: Limits) -> Pool {
    Pool::new(seat(), Parameters::default(), limits, 0)
}

pub fn client(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A transaction of `size` bytes in all, valid for a minute.
pub fn transaction(key: &SecretKey, sequence: u64, size: usize) -> Verified<HashedTransaction> {
    valid_until(key, sequence, size, START.plus_nanos(60 * SECOND))
}

pub fn valid_until(
    key: &SecretKey,
    sequence: u64,
    size: usize,
    valid_until: BlockTime,
) -> Verified<HashedTransaction> {
    let body = TransactionBody {
        version: FORMAT_VERSION,
        chain: chain(),
        client: key.public(),
        sequence,
        valid_until,
        commands: vec![Blob(vec![7; size - 162])],
    };
    let transaction = body.sign(key);
    assert_eq!(transaction.encoded_len(), size);
    Unverified::new(HashedTransaction::new(transaction))
        .verify(chain(), &Parameters::default())
        .expect("well made")
}

pub fn admit(
    pool: &mut Pool,
    transaction: &Verified<HashedTransaction>,
) -> Result<Admission, Refusal> {
    pool.admit(transaction.clone(), START)
}

/// Admits something new of a client's, and tells its identity.
pub fn queue(pool: &mut Pool, seed: u8, sequence: u64, size: usize) -> TransactionId {
    let transaction = transaction(&client(seed), sequence, size);
    assert_eq!(admit(pool, &transaction), Ok(Admission::Queued));
    transaction.id()
}

/// A batch that another validator packed.
pub fn foreign(origin: u16, sequence: u64, size: usize) -> (BatchId, Verified<HashedBatch>) {
    foreign_until(origin, sequence, size, START.plus_nanos(600 * SECOND))
}

pub fn foreign_until(
    origin: u16,
    sequence: u64,
    size: usize,
    expiry: BlockTime,
) -> (BatchId, Verified<HashedBatch>) {
    let transaction = transaction(&client(200), sequence, size);
    let origin = ValidatorIndex(origin);
    let batch =
        Verified::<HashedBatch>::pack(Epoch(0), origin, sequence, expiry, vec![transaction]);
    (batch.id(), batch)
}

/// Takes a batch from its origin's stream.
pub fn stream(
    pool: &mut Pool,
    (_, batch): &(BatchId, Verified<HashedBatch>),
) -> Result<bool, Refusal> {
    pool.insert(T0, START, batch.origin, batch.clone())
}

pub fn block(time: BlockTime, batches: Vec<BatchId>) -> Block {
    let mut header = Header::genesis(chain(), time, Roots::default());
    header.payload = Block::payload_root(&batches);
    Block { header, batches }
}

pub fn ids(sealed: &[HashedBatch]) -> Vec<BatchId> {
    sealed.iter().map(HashedBatch::id).collect()
}

/// All voters report to hold everything.
pub fn all_hold(pool: &mut Pool) {
    for voter in 0..4 {
        pool.on_held(ValidatorIndex(voter), &[u64::MAX; 4]);
    }
}

pub fn ms(count: u64) -> Instant {
    T0.plus_nanos(count * MILLISECOND)
}

/// Puts back what a store holds that does not fail.
pub fn restore(pool: &mut Pool, now: Instant, stored: Vec<HashedBatch>) -> usize {
    let stored = stored.into_iter().map(Ok::<_, Infallible>);
    pool.restore(now, stored).expect("it does not fail")
}
