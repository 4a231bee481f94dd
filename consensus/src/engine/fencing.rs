//! P5: asking the others at a start, answering those that start, and noticing who else signs with our key.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use quorate_types::fence::{Signed, SignedBy};
use quorate_types::{CommitVote, FenceReply, FenceRequest, Instant, Message, Now, Proposal, Round};
use quorate_types::{Timeout, ValidatorIndex, Verified, Vote};

use super::Engine;
use crate::fence::ASK_NS;
use crate::{Effect, Target};

/// A validator is answered at most twice as often as it asks: an answer is many times as long as a question.
const ANSWER_INTERVAL_NS: u64 = ASK_NS / 2;

/// What this validator can tell the others about themselves.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The message of the highest round from each; one a validator.
    seen: BTreeMap<ValidatorIndex, SignedBy>,
    answered: BTreeMap<ValidatorIndex, Instant>,
    /// The highest round in which somebody else was seen to sign with our key.
    twin: Option<Round>,
}

impl Engine {
    /// Asks a peer that has just connected.
    pub(super) fn ask(&mut self, peer: ValidatorIndex) {
        let waiting = self.fence.as_ref().filter(|f| !f.has_answered(peer));
        let Some(nonce) = waiting.map(|fence| fence.nonce()) else {
            return;
        };
        if Some(peer) != self.me() {
            let request = Message::FenceRequest(FenceRequest { nonce });
            self.send(Target::One(peer), request);
        }
    }

    /// Asks, from time to time, whoever has not answered.
    pub(super) fn ask_again(&mut self, now: Now) {
        let due = |fence: &mut crate::fence::Fence| fence.wake(now.monotonic);
        if self.fence.as_mut().is_some_and(due) {
            for peer in self.validators.indices() {
                self.ask(peer);
            }
        }
    }

    /// Answers truly, fenced or not: a whole set may start at once. Only who has forgotten everything has nothing to say,
    /// and must not be counted.
    pub(super) fn on_fence_request(&mut self, now: Now, from: ValidatorIndex, nonce: u64) {
        let forgetful = self.fence.as_ref().is_some_and(|fence| fence.is_strict());
        let last = self.witness.answered.get(&from);
        let often = last.is_some_and(|last| now.monotonic.since(*last) < ANSWER_INTERVAL_NS);
        if forgetful || often || self.me().is_none_or(|me| me == from) {
            return;
        }
        self.witness.answered.insert(from, now.monotonic);
        let reply = FenceReply {
            nonce,
            entry: self.safety.entry().clone(),
            high_qc: self.safety.high_qc().clone(),
            signed: self.witness.seen.get(&from).cloned(),
        };
        self.send(Target::One(from), Message::FenceReply(Box::new(reply)));
    }

    /// Takes over the certificates first, so that no Timeout reports a lower one than any answerer knows.
    pub(super) fn on_fence_reply(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        reply: &Verified<FenceReply>,
    ) {
        self.on_qc(now, reply.high_qc());
        if let Some(qc) = reply.entry_qc() {
            self.on_qc(now, qc);
        }
        if let Some(tc) = reply.entry_tc() {
            self.on_tc(now, tc);
        }
        let me = self.me();
        // Where all were put back, nobody has heard us; the certificates in the newest copy still hold our signatures.
        let certified = me.and_then(|me| reply.certified(me));
        let Some(fence) = self.fence.as_mut() else {
            // Too late to be told apart from what another process signs; either way the operator has to look.
            let own = self.safety.last_voted().max(self.safety.highest_timeout());
            certified
                .into_iter()
                .for_each(|round| self.signed(round, own));
            return;
        };
        if fence.nonce() != reply.nonce || Some(from) == me {
            return;
        }
        if let Some(signed) = reply.signed.as_ref().filter(|s| Some(s.signer) == me) {
            fence.show(signed.round);
        }
        if let Some(round) = certified {
            fence.show(round);
        }
        fence.answer(from, reply.entry.enters(), now.monotonic);
    }

    /// Takes part once the answers say what was signed before.
    pub(super) fn try_pass(&mut self, now: Now) {
        let high_qc = self.safety.high_qc();
        let Some(passed) = self.fence.as_ref().and_then(|f| f.passed(high_qc)) else {
            return;
        };
        self.fence = None;
        self.safety.open(passed.burnt);
        self.out.push(Effect::Passed(passed));
        self.leave_burnt(now);
    }

    /// T1: nobody can be kept waiting for a vote that will not come. One alone ends no round by it; when all start at once
    /// they do not sit out the timers of rounds in which nobody may vote.
    pub(super) fn leave_burnt(&mut self, now: Now) {
        if self.safety.is_burnt() {
            self.pacemaker.expire(now.monotonic);
        }
    }

    pub(super) fn witness_proposal(&mut self, proposal: &Proposal) {
        let header = &proposal.block.header;
        let what = Signed::Proposal(proposal.block.id());
        let own = self.safety.last_proposed();
        self.witness(header.proposer, header.round, what, proposal.signature, own);
    }

    pub(super) fn witness_vote(&mut self, vote: &Vote) {
        let own = self.safety.last_voted();
        let what = Signed::Vote(vote.block);
        self.witness(vote.voter, vote.round, what, vote.signature, own);
    }

    pub(super) fn witness_commit_vote(&mut self, vote: &CommitVote) {
        let own = self.safety.last_committed();
        let what = Signed::CommitVote(vote.block, vote.height);
        self.witness(vote.voter, vote.round, what, vote.signature, own);
    }

    pub(super) fn witness_timeout(&mut self, timeout: &Timeout) {
        let own = self.safety.highest_timeout();
        let what = Signed::Timeout(timeout.high_qc.round);
        self.witness(timeout.voter, timeout.round, what, timeout.signature, own);
    }

    /// Remembers that `signer` signed in a round. `own` is the highest in which we signed the like since the start.
    fn witness(
        &mut self,
        signer: ValidatorIndex,
        round: Round,
        what: Signed,
        signature: quorate_types::Signature,
        own: Round,
    ) {
        if Some(signer) != self.me() {
            let known = self.witness.seen.get(&signer);
            if known.is_none_or(|known| known.round < round) {
                let signed = SignedBy {
                    signer,
                    round,
                    what,
                    signature,
                };
                self.witness.seen.insert(signer, signed);
            }
            return;
        }
        if let Some(fence) = &mut self.fence {
            return fence.show(round);
        }
        self.signed(round, own);
    }

    /// Something bears our name in a round, and `own` is the highest in which we signed the like since the start.
    fn signed(&mut self, round: Round, own: Round) {
        // Up to what was burnt, it may be ours from before the start.
        let ours = self.safety.burnt().map(|burnt| burnt.max(own));
        if ours.is_some_and(|ours| round > ours) && self.witness.twin < Some(round) {
            self.witness.twin = Some(round);
            self.out.push(Effect::Twin { round });
        }
    }
}
