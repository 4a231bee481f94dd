//! One validator that lies with its own key: it runs a real replica and doubles what leaves it.
//!
//! Its proposals come in two versions, to different halves of the others; it votes and commit-votes for both, and now and
//! then for a block that does not exist. What it sends is well formed and carries its signature, so that only the rules
//! of the protocol stand between it and a fork.

use std::collections::BTreeMap;

use quorate_consensus::Target;
use quorate_crypto::{Digest, Domain, SecretKey, hash};
use quorate_types::vote::Signable;
use quorate_types::{BlockId, ChainId, CommitVote, Message, Proposal, Round, Vote};

use crate::counters::Counters;
use crate::rng::Rng;

/// Chance that it behaves, for one message.
const HONEST: u64 = 300;
/// Chance that everybody gets both versions.
const BOTH: u64 = 200;

/// The liar.
#[derive(Debug)]
pub(crate) struct Adversary {
    n: usize,
    me: usize,
    key: SecretKey,
    chain: ChainId,
    rng: Rng,
    /// The other version of a block that it proposed, by round.
    twins: BTreeMap<Round, BlockId>,
}

impl Adversary {
    pub(crate) fn new(n: usize, me: usize, key: SecretKey, chain: ChainId, rng: Rng) -> Adversary {
        Adversary {
            n,
            me,
            key,
            chain,
            rng,
            twins: BTreeMap::new(),
        }
    }

    /// What it sends instead of what its replica would: to whom, and what.
    pub(crate) fn twist(
        &mut self,
        to: Target,
        message: Message,
        counters: &mut Counters,
    ) -> Vec<(usize, Message)> {
        let twin = match &message {
            _ if self.rng.chance(HONEST) => None,
            Message::Proposal(proposal) => self.twin(proposal).map(|twin| {
                counters.equivocations += 1;
                Message::Proposal(Box::new(twin))
            }),
            Message::Vote(vote) => Some(self.second_vote(vote, counters)),
            Message::CommitVote(vote) => Some(self.second_commit_vote(vote, counters)),
            _ => None,
        };
        let receivers: Vec<usize> = match to {
            Target::One(one) => vec![one.as_usize()],
            Target::All => (0..self.n).filter(|i| *i != self.me).collect(),
        };
        match twin {
            Some(twin) => self.split(receivers, &message, &twin),
            None => receivers
                .into_iter()
                .map(|to| (to, message.clone()))
                .collect(),
        }
    }

    fn split(
        &mut self,
        mut receivers: Vec<usize>,
        first: &Message,
        second: &Message,
    ) -> Vec<(usize, Message)> {
        self.rng.shuffle(&mut receivers);
        if self.rng.chance(BOTH) {
            let both = |to| [(to, first.clone()), (to, second.clone())];
            return receivers.into_iter().flat_map(both).collect();
        }
        let half = receivers.len().div_ceil(2);
        let version = |place| if place < half { first } else { second };
        let placed = receivers.into_iter().enumerate();
        placed
            .map(|(place, to)| (to, version(place).clone()))
            .collect()
    }

    /// The same proposal with another time, and so another block.
    fn twin(&mut self, proposal: &Proposal) -> Option<Proposal> {
        let mut twin = proposal.clone();
        let header = &mut twin.block.header;
        header.time = header.time.plus_nanos(1);
        if !header.is_empty() && self.rng.chance(500) {
            // Another payload: none.
            twin.block.batches.clear();
            twin.inline.clear();
            header.payload = quorate_types::Block::payload_root(&[]);
        }
        let round = header.round;
        let twin = twin.sign(self.chain, &self.key).into_inner();
        self.twins.insert(round, twin.block.id());
        Some(twin)
    }

    /// Its own other block if it led the round, otherwise one that is nowhere.
    fn other(&self, round: Round, block: BlockId) -> BlockId {
        let nowhere = || BlockId(hash(Domain::Header, &[block.as_bytes()]));
        self.twins.get(&round).copied().unwrap_or_else(nowhere)
    }

    fn second_vote(&mut self, vote: &Vote, counters: &mut Counters) -> Message {
        counters.double_votes += 1;
        let block = self.other(vote.round, vote.block);
        let vote = Vote {
            block,
            ..vote.clone()
        };
        Message::Vote(vote.sign(self.chain, &self.key).into_inner())
    }

    fn second_commit_vote(&mut self, vote: &CommitVote, counters: &mut Counters) -> Message {
        counters.double_votes += 1;
        let block = self.other(vote.round, vote.block);
        let vote = CommitVote {
            block,
            ..vote.clone()
        };
        Message::CommitVote(vote.sign(self.chain, &self.key).into_inner())
    }
}

/// A digest that a trace can hold.
pub(crate) fn short(digest: &Digest) -> u64 {
    let (first, _) = digest.as_bytes().split_at(8);
    u64::from_le_bytes(first.try_into().expect("8 bytes"))
}
