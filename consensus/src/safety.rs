//! Decides whether this validator may sign, and is the only place that makes an [`Approved`] value. Owns the safety
//! record. Rules A1 (what moves the round), V3, C1, C2, T1, P1–P5; keeps I1 and I2.
//!
//! Must never look at a block's content: what else a vote needs is shown by tokens that only the rules concerned can
//! make ([`Votable`]: V1, V2, V4–V6; [`Held`]: C3).

mod approved;

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Batch, Block, CommitVote, Entry, Finality, Proposal, Qc, Round, SafetyRecord};
use quorate_types::{Signature, Tc, Timeout, ValidatorIndex, Validators, Verified, Vote};

use crate::tree::Held;
use crate::validate::Votable;

pub use approved::{Approved, Authorised};

/// In place of the signature until the key's holder signs.
const UNSIGNED: Signature = Signature::from_bytes([0; 64]);

/// The gateway. Everything in it but the flags is the durable record or follows from it.
#[derive(Debug)]
pub(crate) struct Safety {
    /// `None`: an observer, which signs nothing.
    me: Option<ValidatorIndex>,
    record: SafetyRecord,
    /// The record differs from what was last given out to be saved.
    unsaved: bool,
    last_voted: Round,
    last_proposed: Round,
    /// The highest block that a CommitVote was signed for since the start.
    last_committed: Round,
    /// This replica's execution contradicts a quorum: nothing is signed any more (V5).
    halted: bool,
    /// Nobody knows yet what was signed before the start: nothing is signed (P5).
    fenced: bool,
    /// What the fence burnt: nothing but Timeouts is signed up to there.
    burnt: Option<Round>,
}

/// What a leader brings to its proposal.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) block: Block,
    pub(crate) inline: Vec<Batch>,
    pub(crate) qc: Qc,
    pub(crate) tc: Option<Tc>,
    pub(crate) finality: Option<Finality>,
}

impl Safety {
    /// Goes on from the record, or starts the epoch without one.
    pub(crate) fn new(
        me: Option<ValidatorIndex>,
        record: Option<SafetyRecord>,
        validators: &Validators,
    ) -> Safety {
        let anchor = validators.anchor_qc();
        let unsaved = record.is_none();
        // P4: whatever was signed in the recorded round before the restart is not known any more.
        let burnt = record.as_ref().map_or(anchor.round, |record| record.round);
        let burnt = if mutant(Mutant::RoundNotBurnt) {
            anchor.round
        } else {
            burnt
        };
        let record = record.unwrap_or_else(|| SafetyRecord {
            round: anchor.round.next(),
            entry: Entry::Qc(anchor.clone()),
            high_qc: anchor.clone(),
            highest_timeout: anchor.round,
        });
        assert_eq!(
            record.round.epoch,
            validators.epoch(),
            "the record is of the current epoch"
        );
        assert!(
            record.high_qc.round < record.round && record.entry.enters() == record.round,
            "I2: the record is consistent"
        );
        Safety {
            me,
            record,
            unsaved,
            last_voted: burnt,
            last_proposed: burnt,
            last_committed: anchor.round,
            halted: false,
            fenced: false,
            burnt: None,
        }
    }

    /// P5: signs nothing until [`Safety::open`].
    pub(crate) fn fence(&mut self) {
        self.fenced = true;
    }

    /// P5: the fence was passed. Whatever was signed before the start, and forgotten, was signed in no higher round.
    pub(crate) fn open(&mut self, burnt: Round) {
        assert!(self.fenced, "P5: a fence is passed once");
        self.fenced = false;
        if mutant(Mutant::FenceBurnsNothing) || mutant(Mutant::RoundNotBurnt) {
            return;
        }
        self.burnt = Some(burnt);
        self.last_voted = self.last_voted.max(burnt);
        self.last_proposed = self.last_proposed.max(burnt);
        self.last_committed = self.last_committed.max(burnt);
    }

    /// Whether the current round can only be given up here.
    pub(crate) fn is_burnt(&self) -> bool {
        self.burnt.is_some_and(|burnt| self.record.round <= burnt)
    }

    /// The round above which everything that bears our name was signed since the start; `None` where that is not known.
    pub(crate) fn burnt(&self) -> Option<Round> {
        self.burnt
    }

    /// Whether what bears our name in this round, Timeouts apart, was signed since the start, and may be said again. What
    /// is older promises what this disk may not hold any more (P5), and comes back from whoever likes to send it.
    pub(crate) fn signed_since_start(&self, round: Round) -> bool {
        !self.fenced && self.burnt.is_none_or(|burnt| round > burnt)
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced
    }

    pub(crate) fn round(&self) -> Round {
        self.record.round
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.record.entry
    }

    pub(crate) fn high_qc(&self) -> &Qc {
        &self.record.high_qc
    }

    pub(crate) fn highest_timeout(&self) -> Round {
        self.record.highest_timeout
    }

    pub(crate) fn last_voted(&self) -> Round {
        self.last_voted
    }

    pub(crate) fn last_committed(&self) -> Round {
        self.last_committed
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }

    /// This validator, if it is one.
    pub(crate) fn me(&self) -> Option<ValidatorIndex> {
        self.me
    }

    /// Whoever would sign; nobody if this is an observer, has diverged or is fenced.
    pub(crate) fn signer(&self) -> Option<ValidatorIndex> {
        let fenced = self.fenced && !mutant(Mutant::SignsBehindTheFence);
        self.me.filter(|_| !self.halted && !fenced)
    }

    pub(crate) fn last_proposed(&self) -> Round {
        self.last_proposed
    }

    /// V5: signs nothing from now on.
    pub(crate) fn halt(&mut self) {
        self.halted = true;
    }

    /// The record, if it changed since it was last taken.
    pub(crate) fn take_unsaved(&mut self) -> Option<SafetyRecord> {
        core::mem::take(&mut self.unsaved).then(|| self.record.clone())
    }

    /// A1 for a QC; true if it entered a round.
    pub(crate) fn certified(&mut self, qc: &Verified<Qc>) -> bool {
        self.raise(qc);
        if qc.round < self.record.round || qc.round.epoch != self.record.round.epoch {
            return false;
        }
        self.enter(Entry::Qc(Qc::clone(qc)));
        true
    }

    /// A1 for a TC; true if it entered a round.
    pub(crate) fn given_up(&mut self, tc: &Verified<Tc>) -> bool {
        self.certified(&tc.high_qc());
        if tc.round < self.record.round || tc.round.epoch != self.record.round.epoch {
            return false;
        }
        self.enter(Entry::Tc(Tc::clone(tc)));
        true
    }

    fn raise(&mut self, qc: &Verified<Qc>) {
        let higher = qc.round > self.record.high_qc.round || mutant(Mutant::HighQcFalls);
        if higher && qc.round.epoch == self.record.round.epoch {
            self.record.high_qc = Qc::clone(qc);
            self.unsaved |= !mutant(Mutant::CertificateNotRecorded);
        }
    }

    fn enter(&mut self, entry: Entry) {
        let round = entry.enters();
        assert!(round > self.record.round, "I2: the round never falls");
        assert!(
            self.record.high_qc.round < round,
            "I2: the round is above every certificate"
        );
        self.record.round = round;
        let lost = mutant(Mutant::EntryTcNotRecorded) && matches!(entry, Entry::Tc(_));
        self.record.entry = entry;
        self.unsaved |= !lost && !mutant(Mutant::CertificateNotRecorded);
    }

    /// Whether V3 allows a vote in the current round.
    pub(crate) fn may_vote(&self) -> bool {
        let round = self.record.round;
        let given_up = round <= self.record.highest_timeout && !mutant(Mutant::VoteAfterTimeout);
        self.signer().is_some() && round > self.last_voted && !given_up
    }

    /// V3. P1: the record of this round was given out when the round was entered.
    pub(crate) fn vote(&mut self, votable: &Votable) -> Option<Approved<Vote>> {
        let voter = self.signer()?;
        let round = votable.round();
        if round != self.record.round || !self.may_vote() {
            return None;
        }
        assert!(round > self.last_voted, "I1: one vote a round");
        self.last_voted = if mutant(Mutant::VoteTwice) {
            self.last_voted
        } else {
            round
        };
        Some(Approved::grant(Vote {
            round,
            block: votable.block(),
            voter,
            signature: UNSIGNED,
            held: Vec::new(),
        }))
    }

    /// C1, C2, with `held` for C3. Rounds only rise, so that no round gets a second one (I1); a lower block is final
    /// with the higher one.
    pub(crate) fn commit_vote(
        &mut self,
        qc: &Verified<Qc>,
        held: &Held,
    ) -> Option<Approved<CommitVote>> {
        let voter = self.signer()?;
        let fits = (held.round(), held.block()) == (qc.round, qc.block);
        // C1. P2: a record that holds this certificate or a higher one was given out, at the latest in this step.
        let covered = self.record.high_qc.round >= qc.round;
        if !fits || !covered || qc.round <= self.last_committed {
            return None;
        }
        // C2: a Timeout of this round or a later one has reported a lower certificate.
        if qc.round <= self.record.highest_timeout && !mutant(Mutant::CommitVoteAfterTimeout) {
            return None;
        }
        self.last_committed = qc.round;
        Some(Approved::grant(CommitVote {
            round: qc.round,
            block: qc.block,
            height: held.height(),
            voter,
            signature: UNSIGNED,
            held: Vec::new(),
        }))
    }

    /// T1: gives up the current round, or repeats that with the highest certificate known. P3: the record says so.
    pub(crate) fn timeout(&mut self) -> Option<Approved<Timeout>> {
        let voter = self.signer()?;
        let round = self.record.round;
        if round != self.record.highest_timeout {
            assert!(round > self.record.highest_timeout, "I2: never falls");
            self.record.highest_timeout = round;
            self.unsaved |= !mutant(Mutant::TimeoutNotRecorded);
        }
        let mut high_qc = self.record.high_qc.clone();
        if let (Entry::Tc(tc), true) = (&self.record.entry, mutant(Mutant::TimeoutForgetsLock)) {
            high_qc = tc.high_qc.clone();
        }
        let entry_tc = match &self.record.entry {
            Entry::Tc(tc) if high_qc.round.next() < round => Some(Box::new(tc.clone())),
            _ => None,
        };
        let timeout = Timeout {
            round,
            voter,
            signature: UNSIGNED,
            high_qc,
            entry_tc,
        };
        assert_eq!(timeout.check_form(), Ok(()), "the entry proves the round");
        Some(Approved::grant(timeout))
    }

    /// Whether this validator has not proposed in the current round.
    pub(crate) fn may_propose(&self) -> bool {
        self.signer().is_some() && self.record.round > self.last_proposed
    }

    /// One proposal a round (I1). P2: the record of this round was given out when the round was entered.
    pub(crate) fn propose(&mut self, draft: Draft) -> Option<Approved<Proposal>> {
        let proposer = self.signer()?;
        let header = &draft.block.header;
        if header.round != self.record.round || !self.may_propose() {
            return None;
        }
        assert_eq!(header.proposer, proposer, "we propose in our own name");
        assert!(
            header.round > self.last_proposed,
            "I1: one proposal a round"
        );
        self.last_proposed = header.round;
        Some(Approved::grant(Proposal {
            block: draft.block,
            inline: draft.inline,
            qc: draft.qc,
            tc: draft.tc,
            finality: draft.finality,
            signature: UNSIGNED,
        }))
    }
}
