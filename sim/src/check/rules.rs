//! Rules that a correct validator's signatures show to be kept or broken: V1 and V2 for what it votes for, V3 and C2 for
//! what it signs after it has given up. Written anew, from headers and from the certificates that were seen under way.

use std::collections::BTreeMap;

use quorate_crypto::Digest;
use quorate_types::{Header, Message, Proposal, Round, Tc, Validators};

use super::Violation;
use super::leaders::Leaders;

/// What is known of all rounds.
#[derive(Debug)]
pub(super) struct Rules {
    leaders: Leaders,
    /// Of each TC, its round and the highest certificate that its signers reported.
    locks: BTreeMap<Digest, (Round, Round)>,
    /// Blocks that were voted for with a TC that was not under way yet: a leader may vote before its proposal leaves.
    open: BTreeMap<Digest, Vec<Header>>,
    /// The highest round that each has given up.
    given_up: Vec<Round>,
    /// The highest round that each has commit-voted in.
    promised: Vec<Round>,
    /// Final headers, newest last.
    chain: Vec<Header>,
}

impl Rules {
    pub(super) fn new(validators: &Validators) -> Rules {
        Rules {
            leaders: Leaders::new(validators),
            locks: BTreeMap::new(),
            open: BTreeMap::new(),
            given_up: vec![Round::default(); validators.count()],
            promised: vec![Round::default(); validators.count()],
            chain: Vec::new(),
        }
    }

    /// Notes the certificates in a message, and what its signer gives up.
    ///
    /// # Errors
    /// [`Violation::ForgotLock`]; [`Violation::UnsafeVote`] for a vote that waited for the TC.
    pub(super) fn note(&mut self, node: usize, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Tc(tc) => self.lock(tc),
            Message::Proposal(proposal) => self.overhear(proposal),
            Message::Timeout(timeout) => {
                timeout.entry_tc.iter().for_each(|tc| self.lock(tc));
                if timeout.voter.as_usize() == node {
                    self.given_up[node] = self.given_up[node].max(timeout.round);
                    // Section 6 rests on it: who has commit-voted reports that certificate, or a higher one.
                    let later = timeout.round > self.promised[node];
                    if later && timeout.high_qc.round < self.promised[node] {
                        return Err(Violation::ForgotLock(timeout.round));
                    }
                }
            }
            Message::CommitVote(vote) if vote.voter.as_usize() == node => {
                self.promised[node] = self.promised[node].max(vote.round);
            }
            _ => {}
        }
        self.settle()
    }

    /// Judges the votes whose TC is under way by now.
    fn settle(&mut self) -> Result<(), Violation> {
        let seen = |(tc, _): (&Digest, &Vec<Header>)| self.locks.contains_key(tc).then_some(*tc);
        let seen: Vec<Digest> = self.open.iter().filter_map(seen).collect();
        for tc in seen {
            let waiting = self.open.remove(&tc).unwrap_or_default();
            waiting
                .iter()
                .try_for_each(|header| self.extension(header))?;
        }
        Ok(())
    }

    /// The node was restored: the lock may be forgotten, what was given up may not.
    pub(super) fn forget_promise(&mut self, node: usize) {
        self.promised[node] = Round::default();
    }

    pub(super) fn overhear(&mut self, proposal: &Proposal) {
        proposal.tc.iter().for_each(|tc| self.lock(tc));
    }

    fn lock(&mut self, tc: &Tc) {
        let reported = tc.votes.iter().map(|vote| vote.hqc_round);
        let highest = reported.max().unwrap_or_default().max(tc.high_qc.round);
        self.locks.insert(tc.digest(), (tc.round, highest));
    }

    /// V3, C2: a vote or commit vote that is signed for the first time.
    pub(super) fn after_timeout(
        &self,
        node: usize,
        kind: &'static str,
        round: Round,
    ) -> Result<(), Violation> {
        match round > self.given_up[node] {
            true => Ok(()),
            false => Err(Violation::SignedAfterTimeout(kind, round)),
        }
    }

    /// V2: what a block that is voted for extends; if it names a TC, as soon as that is under way.
    pub(super) fn extension(&mut self, header: &Header) -> Result<(), Violation> {
        let justified = header.justify.round;
        let entitled = match header.tc.map(|tc| self.locks.get(&tc)) {
            None => header.round == justified.next(),
            Some(None) => {
                let tc = header.tc.expect("it names one");
                self.open.entry(tc).or_default().push(header.clone());
                return Ok(());
            }
            Some(Some((round, lock))) => {
                header.round == round.next() && justified >= *lock && justified < header.round
            }
        };
        match entitled && header.parent == header.justify.block {
            true => Ok(()),
            false => Err(Violation::UnsafeVote(header.round)),
        }
    }

    /// V1, for the next final block.
    pub(super) fn leader(&mut self, header: &Header) -> Result<(), Violation> {
        let branch: Vec<Header> = self.chain.iter().rev().cloned().collect();
        let legitimate = self.leaders.legitimate(header, &branch);
        self.chain.push(header.clone());
        // A block more than elections look at.
        let most = 2 * self.given_up.len() + 1;
        self.chain.drain(..self.chain.len().saturating_sub(most));
        match legitimate {
            true => Ok(()),
            false => Err(Violation::WrongLeader(header.height)),
        }
    }
}
