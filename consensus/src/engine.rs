//! Dispatch.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_types::{
    Block, BlockId, Finality, Header, Height, Instant, Now, Parameters, Roots, Round, SafetyRecord,
    ValidatorIndex, Validators,
};

use crate::{Effect, Event};

/// What an engine starts from: all of it read from this validator's own durable store.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The epoch's set.
    pub validators: Arc<Validators>,
    /// This validator's place in it; `None` only observes.
    pub me: Option<ValidatorIndex>,
    /// Of the chain.
    pub parameters: Parameters,
    /// `None` for a validator that has never signed (fresh genesis).
    pub record: Option<SafetyRecord>,
    /// The committed block and up to [`committed_headers`] − 1 before it, newest last; never empty.
    pub committed: Vec<Header>,
    /// Of the last of them, or the anchor's.
    pub finality: Finality,
    /// Stored above it, in any order, with durable payloads.
    pub blocks: Vec<Block>,
    /// Recent executions, ascending; the last is the highest. Should reach back `max_execution_lag` + 2n heights.
    pub executed: Vec<(Height, Roots)>,
    /// The highest executed block that was not empty; 0 if none.
    pub executed_nonempty: Height,
}

/// How many committed headers, the newest included, a [`Boot`] or [`Event::Synced`] should bring: leaders are elected
/// from the last 2n (L1).
#[must_use]
pub fn committed_headers(validators: &Validators) -> usize {
    validators.count().saturating_mul(2).saturating_add(8)
}

/// Where an engine stands, for metrics and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current round.
    pub round: Round,
    /// Its leader, where that can be told.
    pub leader: Option<ValidatorIndex>,
    /// Of the highest QC.
    pub high_qc: Round,
    /// Of the last vote.
    pub last_voted: Round,
    /// Of the last Timeout signed.
    pub highest_timeout: Round,
    /// The committed block's height.
    pub committed: Height,
    /// The committed block.
    pub committed_block: BlockId,
    /// The committed block's round.
    pub committed_round: Round,
    /// Blocks held above the committed one.
    pub tree: usize,
    /// This replica's execution contradicts a quorum (V5); it signs nothing any more.
    pub diverged: bool,
}

/// The protocol of one validator.
#[derive(Debug)]
pub struct Engine {
    _private: (),
}

impl Engine {
    /// Starts from what is durable. The effects are to be handled like those of a step.
    ///
    /// # Panics
    /// If the store contradicts itself.
    #[must_use]
    pub fn new(boot: Boot, now: Now) -> (Engine, Vec<Effect>) {
        let _ = (boot, now);
        unimplemented!("being written")
    }

    /// Takes one event; tells what has to be done about it.
    #[must_use]
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let _ = (now, event);
        unimplemented!("being written")
    }

    /// When to step with [`Event::Deadline`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!("being written")
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        unimplemented!("being written")
    }
}
