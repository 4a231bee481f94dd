//! The bounds of a pool, and what is said when one is reached (I9).

use quorate_types::proposal::MAX_INLINE_BYTES;

/// How much a pool holds and how long it waits. Sizes in bytes of the canonical encoding, times in nanoseconds.
///
/// Every bound holds for what is sent by others and for what is made here; none is agreed between replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions admitted here and neither executed nor given up: queued, or in own batches in flight. When full:
    /// [`Refusal::Full`].
    pub max_pending_bytes: usize,
    /// The same, in items.
    pub max_pending_transactions: usize,
    /// Own batches sealed and neither committed nor expired. When full nothing is sealed, so that the queue fills and
    /// clients are told. Keep it below the peers' `max_origin_bytes`.
    pub max_in_flight_bytes: usize,
    /// Batches held that one other origin streamed. When full: [`Refusal::OriginFull`]; what a block needs is fetched.
    pub max_origin_bytes: usize,
    /// The same, in items.
    pub max_origin_batches: usize,
    /// Batches held because a block needs them, whoever sent them. Far above what can lie between the committed root
    /// and the tip of an honest chain; when full: [`Refusal::WantedFull`].
    pub max_wanted_bytes: usize,
    /// Digests that blocks need and that are not here yet; the oldest is forgotten first, and asked for again when its
    /// block is checked again.
    pub max_wanted: usize,
    /// Committed digests remembered; the oldest is forgotten first. One that is ordered again has no effect (X1).
    pub max_remembered: usize,
    /// A batch is full at this size. The chain's `max_batch_bytes` caps it.
    pub batch_target_bytes: usize,
    /// While own batches are in flight, a batch that is not full waits for more so long at most, or until a vote (B1).
    pub linger_ns: u64,
    /// A leader orders no more than this in a block, inlined batches included; at least one batch always fits.
    pub max_block_bytes: usize,
    /// Batches that no quorum reports travel inside a proposal as far as they fit into this together (B2).
    pub inline_bytes: usize,
    /// The same for batches that have waited for reports for `unreported_ns`: where links are slow, a report takes longer
    /// than the batch and the proposal together.
    pub late_inline_bytes: usize,
    /// See `late_inline_bytes`.
    pub unreported_ns: u64,
    /// A leader inlines more than `inline_bytes` once in this time: an origin that sends its batches to leaders only must
    /// not have them send as much as they can to everybody.
    pub late_inline_pause_ns: u64,
    /// What is inlined in one proposal is no more than this for all that it is sent to together, `inline_bytes` included.
    pub inline_spread_bytes: usize,
    /// A leader leaves out batches that expire within this time after the block's: voters' clocks differ.
    pub expiry_margin_ns: u64,
    /// A batch of another origin that few are known to hold counts as work for this long after it came: a faulty
    /// origin that sends to one replica only must not keep an idle chain awake until the batch expires.
    pub unheld_work_ns: u64,
    /// This many late batches within `late_window_ns` leave an origin out (B4), if blocks of more
    /// proposers than may be faulty needed them.
    pub late_threshold: u32,
    /// How long an origin is left out, and how long a late batch counts.
    pub late_window_ns: u64,
    /// What a client whose transaction does not fit is told to wait, in milliseconds.
    pub retry_after_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: usize = 1 << 20;
        const MILLISECOND: u64 = 1_000_000;
        Limits {
            max_pending_bytes: 64 * MIB,
            max_pending_transactions: 131_072,
            max_in_flight_bytes: 16 * MIB,
            max_origin_bytes: 32 * MIB,
            max_origin_batches: 4_096,
            max_wanted_bytes: 1_024 * MIB,
            max_wanted: 16_384,
            max_remembered: 65_536,
            batch_target_bytes: 256 * 1024,
            linger_ns: 5 * MILLISECOND,
            max_block_bytes: 4 * MIB,
            inline_bytes: 32 * 1024,
            late_inline_bytes: MAX_INLINE_BYTES,
            unreported_ns: 20 * MILLISECOND,
            late_inline_pause_ns: 200 * MILLISECOND,
            inline_spread_bytes: MIB,
            expiry_margin_ns: 1_000 * MILLISECOND,
            unheld_work_ns: 1_000 * MILLISECOND,
            late_threshold: 3,
            late_window_ns: 10_000 * MILLISECOND,
            retry_after_ms: 250,
        }
    }
}

/// What became of an admitted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits to be packed.
    Queued,
    /// It waits already, or travels in a batch of ours: nothing was added.
    AlreadyQueued,
}

/// Why something was not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too much is pending. Not yet: try again.
    #[error("the queue is full: try again in {retry_after_ms} ms")]
    Full {
        /// Milliseconds to wait.
        retry_after_ms: u64,
    },
    /// The client holds its share of what may be pending. Not yet: try again.
    #[error("the client's share of the queue is full: try again in {retry_after_ms} ms")]
    ClientFull {
        /// Milliseconds to wait.
        retry_after_ms: u64,
    },
    /// Its `valid_until`, or its batch's `expiry`, is over.
    #[error("it is no longer valid")]
    Expired,
    /// Its `valid_until`, or its batch's `expiry`, is further ahead than the chain's parameters allow.
    #[error("its validity lies too far ahead")]
    TooFarAhead,
    /// This replica is in no validator set, and packs nothing.
    #[error("this replica is no validator of the epoch")]
    NotAValidator,
    /// The origin has too much held here that is not committed. A block that needs it has it fetched.
    #[error("too much of this origin is held")]
    OriginFull,
    /// Too much is held that blocks needed.
    #[error("too much is held for blocks")]
    WantedFull,
    /// Nobody asked for it, and it was not sent by its origin, in the epoch's set.
    #[error("it was neither asked for nor sent by its origin")]
    Unasked,
}
