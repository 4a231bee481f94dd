//! Deliberate mistakes: each known one of PROTOCOL §7 that this release can make, and some of our own. A test suite that
//! does not notice them proves nothing about the product.
//!
//! The rule that a mutant breaks asks [`mutant`] at its own place. In every build that ships, the answer is the constant
//! `false`, and nothing of this crate is left. With the feature `enabled`, one mutant at a time can be chosen at run time
//! (`quorate-sim mutants`, docs/EVIDENCE.md); `scripts/no-mutants.sh` shows that a binary holds none of them.
#![no_std]

#[cfg(feature = "enabled")]
use core::sync::atomic::{AtomicUsize, Ordering};

macro_rules! mutants {
    ($(#[doc = $story:literal] $name:ident,)*) => {
        /// A mistake, by the rule that it breaks.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(feature = "enabled", derive(Debug))]
        pub enum Mutant { $(#[doc = $story] $name,)* }

        /// All of them, with what each does.
        #[cfg(feature = "enabled")]
        pub const ALL: &[(Mutant, &str)] = &[$((Mutant::$name, $story),)*];
    };
}

mutants! {
    // Certificates and messages.
    /// I3: signatures of votes and QCs cover the block and not the round.
    RoundNotSigned,
    /// I3: a quorum is one vote too few.
    QuorumTooSmall,
    /// I3: a certificate may hold more signatures than a quorum; the further ones are not verified.
    PaddedCertificate,
    /// I3: one signer may stand in a TC several times.
    DuplicateSignerInTc,
    /// I3: a certificate without signers is taken for the epoch's anchor, whatever it certifies.
    UnsignedIsAnchor,
    /// I3: the signatures in a TC are not verified.
    TcNotVerified,
    /// I3: a TC's QC need not be the highest that its signers reported.
    TcRoundsOnlyClaimed,
    /// I3: a Timeout's QC is not verified, and poisons the TC.
    TimeoutQcNotVerified,
    /// I3: a vote's signature is not verified.
    VoteNotVerified,
    /// I10: the signatures in evidence are not verified.
    EvidenceNotVerified,
    /// A2: the proof of a stretch of a peer's ledger is not verified.
    StretchNotProved,
    /// A2: the batches in a stretch of a peer's ledger are not held against the blocks.
    StretchBatchesNotChecked,
    // Blocks.
    /// V2: a block's parent need not be the block that its QC certifies.
    ParentNotCertified,
    /// V2: a block may skip rounds without a TC.
    GapWithoutTc,
    /// V2: a block may extend a lower QC than its TC reports.
    BelowTheLock,
    /// V2: any old TC entitles to skip rounds.
    StaleTcAllowed,
    /// V1: whoever proposes is taken for the leader.
    ProposerNotChecked,
    /// V1: a block whose time is ahead of this replica's clock is refused for ever.
    ClockRefusesForEver,
    /// V1: a block's time is compared neither with its parent's nor with this replica's clock.
    TimeNotChecked,
    /// V4: a block is voted for although batches are missing.
    VoteWithoutBatches,
    /// V5: claims about the state are believed.
    ClaimNotChecked,
    // What may be signed.
    /// V3: a vote does not end the right to vote in its round.
    VoteTwice,
    /// V3: a round that was given up is voted in.
    VoteAfterTimeout,
    /// C2: a round that was given up is commit-voted in.
    CommitVoteAfterTimeout,
    /// C2: a Timeout reports the certificate that entered the round, not the highest.
    TimeoutForgetsLock,
    /// I2: any certificate becomes the highest.
    HighQcFalls,
    // Durability.
    /// P1: nothing is synced before it is signed.
    SignedBeforeDurable,
    /// P1: what is signed is synced only where the record changed.
    SyncedWithRecordOnly,
    /// P1: a block that is voted for is not stored.
    VotedBlockNotStored,
    /// P2: a certificate that is commit-voted on is not in the record.
    CertificateNotRecorded,
    /// P3: a Timeout is not in the record.
    TimeoutNotRecorded,
    /// P1: an entry by a TC is not in the record.
    EntryTcNotRecorded,
    /// P4, P5: after a restart the recorded round, and what the others answer, counts as unused.
    RoundNotBurnt,
    /// P5: whatever the others answer to a validator that starts, only its recorded round is burnt.
    FenceBurnsNothing,
    /// P5: a validator that forgot what it signed takes part without a certificate of the rounds that it may have signed in.
    ForgottenLock,
    /// P5: a validator signs before the others have told it what it may have signed.
    SignsBehindTheFence,
    // Progress.
    /// A2: a certificate for an unknown block is dropped.
    UnknownQcDropped,
    /// D1: commit votes of a round that is over are dropped.
    LateCommitVotesDropped,
    /// T1: a single Timeout makes everybody give up.
    OneTimeoutIsEnough,
    /// B3: batches that are missing are not asked for.
    BatchesNotFetched,
    /// T1: a Timeout is sent once, and not again in its round.
    TimeoutNotRepeated,
    /// T2: every copy of an old Timeout is answered.
    EveryCopyAnswered,
    /// A2: a stretch of a peer's ledger is delivered from its first block on, wherever the ledger here ends.
    StretchFromBelow,
    /// L3: an empty block counts as work to be claimed.
    EmptyCountsAsWork,
    // Tallies and evidence.
    /// A leader's second proposal in a round stops the process.
    SecondProposalStops,
    /// I10: proposals of two legitimate leaders are taken for evidence.
    TwoLeadersAreEvidence,
    // Execution.
    /// D1: blocks that become final together are delivered newest first.
    AncestorsNewestFirst,
    /// D1: a start does not execute again what the state on disk has not seen.
    StartsBehindLedger,
    /// X1: numbers that were used are not remembered.
    SessionNotKept,
    /// X1: another transaction with a used number is executed.
    NumberTakenTwice,
    /// X1: a transaction is executed although its time is over.
    ExpiryNotChecked,
    /// X1: after its first number, all others of a client are too old.
    EverythingTooOld,
    /// X1: numbers that fell out of the window may still be used.
    WindowNotKept,
    /// X1: a repeat is answered with the receipt of the repeat.
    OtherAnswer,
    /// Decision 0004: what a key held is taken from the newest checkpoint alone.
    RevertsToTheNewest,
    /// Decision 0004: a key that does not exist leaves no past record when it is set.
    PastOfNothing,
    /// I6: the state depends on when the process was started.
    StateDependsOnStart,
    /// I6: what was known of a record stands when the record is gone.
    OutlineOfNothing,
}

/// Chosen last; 0 for none, otherwise one more than the place in [`ALL`].
#[cfg(feature = "enabled")]
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// From now on the product makes this mistake, and no other; `None` for none. For the whole process.
#[cfg(feature = "enabled")]
pub fn choose(chosen: Option<Mutant>) {
    let place = ALL.iter().position(|(mutant, _)| Some(*mutant) == chosen);
    CHOSEN.store(place.map_or(0, |place| place + 1), Ordering::SeqCst);
}

/// Whether the product is to make this mistake now.
#[cfg(feature = "enabled")]
#[must_use]
pub fn mutant(asked: Mutant) -> bool {
    let chosen = CHOSEN.load(Ordering::Relaxed).checked_sub(1);
    chosen.is_some_and(|place| ALL[place].0 == asked)
}

/// Never: this build makes no mistakes on purpose.
#[cfg(not(feature = "enabled"))]
#[must_use]
#[inline(always)]
pub const fn mutant(_: Mutant) -> bool {
    false
}
