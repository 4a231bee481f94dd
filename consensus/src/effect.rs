//! What the engine asks of its replica. Within a turn the order is fixed: everything in `Save` and `Store` is durable
//! before anything of `Sign`, `Send` or `Propose` leaves the process (P1–P3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_types::{BatchId, Block, BlockId, BlockTime, Evidence, Finality, Height, Message};
use quorate_types::{Reject, Roots, Round, SafetyRecord, Signers, ValidatorIndex, Verified};

use crate::{Authorised, Passed};

/// One output of [`crate::Engine::step`].
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Durable before anything that this step or a later one of the turn releases; at most one a step, the last wins.
    Save(SafetyRecord),
    /// Likewise, with the batches it names once they are held; kept until its round lies below the committed root (P1).
    /// May be repeated for one block.
    Store(Block),
    /// To be signed after the turn is durable, sent to all, and given back as an [`crate::Event`] in the next turn.
    Sign(Authorised),
    /// Something that is signed already: a certificate, a repeat, evidence.
    Send {
        /// To whom.
        to: Target,
        /// What.
        message: Box<Message>,
    },
    /// Get the batches of this block and check them: [`crate::Event::PayloadReady`] or `PayloadInvalid` answers, at any
    /// later time. Asked once a block, and never for an empty one.
    CheckPayload(Block),
    /// This validator leads: [`crate::Event::Payload`] answers in the same turn.
    Propose(ProposeRequest),
    /// A certificate names a block that is unknown here. Asked once; the replica repeats until [`crate::Event::Blocks`]
    /// brings it or it no longer matters.
    Fetch {
        /// Which, with its ancestors above the committed root.
        block: BlockId,
        /// Who signed for it, and so held it.
        from: Signers,
    },
    /// A peer's finality is too far ahead to fetch block by block: synchronise the ledger.
    Behind {
        /// Final there.
        height: Height,
        /// Who signed for it.
        from: Signers,
    },
    /// Final (D1): append and execute. Their batches are held.
    Commit {
        /// Oldest first, consecutive, the first on top of what was committed before (I4).
        blocks: Vec<Block>,
        /// Of the last of them.
        finality: Box<Verified<Finality>>,
    },
    /// Somebody signed twice (I10); each case once.
    Evidence(Box<Verified<Evidence>>),
    /// A quorum certified another execution than this replica's (V5): it has stopped signing for good.
    Diverged {
        /// Where.
        height: Height,
        /// What was executed here.
        ours: Roots,
        /// What the others claim.
        certified: Roots,
    },
    /// P5: this validator has learnt what it may have signed before it started, and takes part from now on.
    Passed(Passed),
    /// Somebody else signs with this validator's key: this bears our name, and we did not sign it.
    Twin {
        /// In which round.
        round: Round,
    },
    /// Something was refused for ever: to be counted against the sender, if there is one to blame.
    Refused {
        /// Whose fault.
        from: Option<ValidatorIndex>,
        /// Why.
        reject: Reject,
    },
}

/// Receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every other validator.
    All,
    /// This one.
    One(ValidatorIndex),
}

/// What a leader's payload has to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposeRequest {
    /// The round led.
    pub round: Round,
    /// The new block's height.
    pub height: Height,
    /// The new block's time: no batch that expires before it may be listed (V4).
    pub time: BlockTime,
    /// The branch has run too far ahead of execution (V6).
    pub must_be_empty: bool,
    /// Ordered already by ancestors that are not committed; sorted.
    pub exclude: Vec<BatchId>,
}
