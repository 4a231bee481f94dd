//! What the HTTP layer asks of the running validator, and what it is answered: the one seam between them.
//!
//! Data only. The API knows nothing of threads, stores and engines; the core knows nothing of HTTP. Dropping a future
//! gives up waiting and nothing else: a transaction that was admitted stays admitted.

use futures_util::future::BoxFuture;
use quorate_client::api::{StatusReply, ValidatorsReply};
use quorate_client::{Wait, api::ClientReply};
use quorate_types::{Block, Finality, HashedBatch, Height, PublicKey, Receipt, Reject, Roots};
use quorate_types::{HashedTransaction, TransactionId, Unverified};
use tokio::sync::watch;

/// A running validator, as its API sees it.
pub trait Backend: Send + Sync + 'static {
    /// Checks, admits and follows a transaction as far as `wait` says. A repeat of one that has a receipt is answered
    /// with the first one's (X1). The caller bounds the time.
    fn submit(
        &self,
        transaction: Unverified<HashedTransaction>,
        wait: Wait,
    ) -> BoxFuture<'_, Result<Progress, SubmitError>>;

    /// Calls `submit`, which begins submissions and waits for none: they are checked together.
    fn together(&self, submit: &mut dyn FnMut());

    /// Answers from the local state, which may be behind. It reads the disk on the caller's thread, for as long as that
    /// takes: but for a single record or none, a thread that carries connections must not call it.
    ///
    /// # Errors
    /// [`QueryError`].
    fn read(&self, query: Query) -> Result<Reply, QueryError>;

    /// A key of the key-value machine, without its namespace, with its proof (F2): as of the newest height that a certified
    /// claim covers.
    fn prove(&self, key: Vec<u8>) -> BoxFuture<'_, Result<KeyState, QueryError>>;

    /// The committed height, as it grows; none, or closed, once there will be no more of it here.
    fn heads(&self) -> watch::Receiver<Option<Height>>;

    /// Makes a snapshot now. The height, or why there is none.
    fn snapshot(&self) -> BoxFuture<'_, Result<Height, String>>;

    /// Makes a copy of the database in the home, for a backup. The height, or why there is none.
    fn backup(&self) -> BoxFuture<'_, Result<Height, String>>;

    /// How it is, without waiting for the core: also when that is stuck.
    fn health(&self) -> Health;
}

/// How far a transaction has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Held by this validator.
    Accepted(TransactionId),
    /// It has its place.
    Committed {
        /// The transaction.
        id: TransactionId,
        /// Its block.
        height: Height,
        /// Its place in the block.
        index: u32,
    },
    /// It has a receipt, durable here.
    Executed(Receipt),
}

/// Why a transaction was not taken, or not followed to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// Statelessly invalid: for ever.
    Invalid(Reject),
    /// The key belongs to no registered client.
    UnknownClient,
    /// Its validity was over when it arrived.
    TooLate,
    /// It is valid for longer than the chain allows.
    TooFarAhead,
    /// A queue is full.
    Full {
        /// When it may be better.
        retry_after_seconds: u32,
    },
    /// This validator does not take transactions now: it starts, stops, catches up, or has diverged.
    NotServing,
    /// It was accepted, and its validity ran out before it was ordered.
    Expired(TransactionId),
}

/// A question to the local state. Those for a stretch have a bound in bytes, too, and are answered with less at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Where a transaction stands. Answered with [`Reply::Transaction`].
    Transaction {
        /// Which.
        id: TransactionId,
        /// Whether to prove the receipt (F1, F2).
        proof: bool,
    },
    /// A key of the key-value machine. Answered with [`Reply::Key`].
    Key {
        /// Which, without its namespace.
        key: Vec<u8>,
    },
    /// Keys with a prefix. Answered with [`Reply::Range`].
    Range {
        /// What they begin with, without the namespace.
        prefix: Vec<u8>,
        /// The key at which to begin, if that is behind the prefix.
        from: Vec<u8>,
        /// Most entries.
        limit: u32,
    },
    /// Answered with [`Reply::Block`].
    Block {
        /// Which.
        height: Height,
    },
    /// Blocks from a height downwards. Answered with [`Reply::Blocks`].
    Blocks {
        /// The highest; none for the newest.
        from: Option<Height>,
        /// Most blocks.
        limit: u32,
    },
    /// Receipts of a block. Answered with [`Reply::Receipts`].
    Receipts {
        /// Of which block.
        height: Height,
        /// The first index.
        from: u32,
        /// Most receipts.
        limit: u32,
    },
    /// A stretch of the ledger. Answered with [`Reply::Log`].
    Log {
        /// First height.
        from: Height,
        /// Last height.
        to: Height,
        /// Bytes of batches that fit the answer, and what the last height has beyond them.
        bytes: usize,
    },
    /// Answered with [`Reply::Status`].
    Status,
    /// Answered with [`Reply::Validators`].
    Validators,
    /// A client key. Answered with [`Reply::Client`].
    Client {
        /// Which.
        key: PublicKey,
    },
}

/// The answer to a [`Query`]. A height or transaction that this validator does not know is `None`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To [`Query::Transaction`], with the canonical proof.
    Transaction(Option<(Progress, Option<Vec<u8>>)>),
    /// To [`Query::Key`].
    Key(KeyState),
    /// To [`Query::Range`].
    Range {
        /// Ascending.
        entries: Vec<(Vec<u8>, KeyValue)>,
        /// Whether there are more than the limit, or than fit an answer.
        more: bool,
        /// The executed height.
        height: Height,
    },
    /// To [`Query::Block`].
    Block(Option<Box<BlockState>>),
    /// To [`Query::Blocks`], in descending order, and whether there are older ones.
    Blocks(Vec<BlockState>, bool),
    /// To [`Query::Receipts`], ascending, and whether there are more; none if the block is not executed here.
    Receipts(Option<(Vec<Receipt>, bool)>),
    /// To [`Query::Log`], ascending from the first asked for; empty above the head.
    Log(Vec<LogBlock>),
    /// To [`Query::Status`].
    Status(Box<StatusReply>),
    /// To [`Query::Validators`].
    Validators(ValidatorsReply),
    /// To [`Query::Client`].
    Client(ClientReply),
}

/// A key as the local state has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// None if there is no such key.
    pub value: Option<KeyValue>,
    /// The executed height, or that of the proof.
    pub height: Height,
    /// The canonical proof, if asked for.
    pub proof: Option<Vec<u8>>,
}

/// The value of a key with its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The value.
    pub value: Vec<u8>,
    /// Revision that created it.
    pub create_revision: u64,
    /// Revision that changed it last.
    pub modify_revision: u64,
    /// Changes since, from 1.
    pub version: u64,
}

/// A block, and what is known of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockState {
    /// The block.
    pub block: Block,
    /// Receipts at its height.
    pub transactions: u64,
}

/// One height of the ledger with everything that verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBlock {
    /// The block.
    pub block: Block,
    /// Its batches in order.
    pub batches: Vec<HashedBatch>,
    /// If this validator has it for this very height.
    pub finality: Option<Finality>,
    /// If it is executed here.
    pub roots: Option<Roots>,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// This validator does not answer now: it starts, stops, installs a snapshot, or has diverged.
    NotServing,
    /// A queue is full.
    Full {
        /// When it may be better.
        retry_after_seconds: u32,
    },
    /// No proof yet: no certified claim covers it.
    NotProvable,
    /// The history was pruned below this height.
    Compacted {
        /// The first that is kept.
        first: Height,
    },
    /// The stored data is damaged; the log of the validator says where.
    Damaged,
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable.
    pub name: &'static str,
    /// Whether it does.
    pub holds: bool,
    /// What was seen, for people, in a line.
    pub seen: String,
}

impl Check {
    /// A check of this name.
    #[must_use]
    pub fn new(name: &'static str, holds: bool, seen: impl Into<String>) -> Check {
        Check {
            name,
            holds,
            seen: seen.into(),
        }
    }
}

/// Whether the process lives, and whether it is of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Each loop that must turn, and whether it has lately. No quorum is needed.
    pub loops: Vec<Check>,
    /// Each condition of being of use: caught up, the head moved lately or nothing to do, past the fence, not stopping.
    pub conditions: Vec<Check>,
}

impl Health {
    /// Whether all loops turn.
    #[must_use]
    pub fn live(&self) -> bool {
        self.loops.iter().all(|check| check.holds)
    }

    /// Whether it lives and all conditions hold.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.failing().next().is_none()
    }

    /// What does not hold.
    pub fn failing(&self) -> impl Iterator<Item = &Check> {
        let all = self.loops.iter().chain(&self.conditions);
        all.filter(|check| !check.holds)
    }
}
