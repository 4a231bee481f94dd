//! What the judges report.

use std::fmt;

use quorate_storage::ledger::LedgerError;
use quorate_types::{Height, Reject, Round, TransactionId, ValidatorIndex};

use crate::history::Impossible;

/// What must never be.
#[derive(Debug)]
pub enum Violation {
    /// I5: another correct replica committed another block at this height.
    Fork(Height),
    /// I4: a height is missing, or a block does not name the one below as its parent, or its round does not rise.
    BrokenChain(Height),
    /// I6: another correct replica executed the same block to another state, or to other receipts.
    OtherRoots(Height),
    /// I3: a certificate without a quorum of distinct valid signers.
    BadCertificate(Height),
    /// I7: executed twice.
    ExecutedTwice(TransactionId),
    /// I7: receipts and transactions of a block do not match, or no client signed one.
    StrangeReceipt(Height, u32),
    /// X1: the number, the times and what ran before demand another outcome.
    Unfounded(Height, u32),
    /// I1: two of these by one validator in one round.
    SignedTwice(&'static str, Round),
    /// I2: what the safety record holds fell.
    RecordFell(Round),
    /// P1–P3: this left before what it promises was durable.
    NotDurable(&'static str, Round),
    /// I8: what a client was told is not in the ledger.
    LostReceipt(TransactionId, Height),
    /// A client got an answer that contradicts another, or is about something else.
    BadAnswer,
    /// I3: a correct validator sent a certificate without a quorum of distinct valid signers.
    SentBadCertificate(Round),
    /// C2: a Timeout reports a lower certificate than its signer has commit-voted on.
    ForgotLock(Round),
    /// V1: a block became final that another should have proposed.
    WrongLeader(Height),
    /// V1: a block whose time is not after its parent's became final, or was voted for by a clock that was far behind it.
    WrongTime(Round),
    /// V2: a vote for a block that does not extend what it must.
    UnsafeVote(Round),
    /// V3, C2: this was signed in a round that its signer had given up.
    SignedAfterTimeout(&'static str, Round),
    /// V1, V4, V5: what a correct leader proposed was refused for ever.
    HonestRefused(ValidatorIndex, Reject),
    /// P5: a validator that forgot what it signed, and does not know yet, signs this.
    SignedUnknowing(&'static str, Round),
    /// P5: it takes part again above this round, and has signed above it, or may report a lower certificate.
    LowFence(Round),
    /// P1, C3: a block that this replica voted for is gone.
    PromiseLost(Round),
    /// I8: a client was answered before a quorum held the block.
    NotAtQuorum(TransactionId, Height),
    /// No single machine could have given the clients these answers.
    NotLinearizable(Impossible),
    /// I9: a queue holds more than its bound, of so many.
    OverBound(&'static str, usize),
    /// Nothing breaks any more, and the cluster is in the same state again and again.
    Lasso(&'static str),
    /// I10: evidence against a validator that did nothing wrong.
    FalseEvidence(ValidatorIndex),
    /// A correct replica, whose key nobody else has, says that somebody signs with it.
    FalseTwin(Round),
    /// A correct replica says that it diverged.
    Diverged(Height),
    /// A ledger cannot be read.
    Ledger(LedgerError),
    /// A replica cannot go on.
    Stopped(String),
    /// A replica takes turn after turn and nothing happens.
    Spins,
    /// L3: nothing is to be ordered, and yet so many blocks are.
    Restless(u64),
    /// T2: a correct replica tells the same peer the same certificate, again and again.
    Pesters(Round),
    /// Far more happens than in any sound world: messages that beget messages.
    Storm,
    /// Nothing breaks any more, and yet this many correct replicas did not do in time what they must.
    NoProgress(&'static str, usize),
    /// Somebody's assertion failed.
    Panic(String),
    /// The same seed led to another world.
    NotDeterministic,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<LedgerError> for Violation {
    fn from(error: LedgerError) -> Violation {
        Violation::Ledger(error)
    }
}
