//! One engine and what it is sent: blocks, votes, Timeouts and certificates by the keys of a whole chain.

use quorate_consensus::{Boot, Effect, Engine, Event};
use quorate_types::vote::Signable;
use quorate_types::{
    Block, BlockId, Cc, CommitVote, Finality, Header, Justify, Proposal, Qc, Round, Signature, Tc,
    Timeout, ValidatorIndex, Verified, Vote,
};

use crate::world::chain::{Chain, batch, index, now, round};

const ZERO: Signature = Signature::from_bytes([0; 64]);

pub(crate) struct Scene {
    pub(crate) chain: Chain,
    pub(crate) engine: Engine,
    pub(crate) time: u64,
    pub(crate) me: Option<ValidatorIndex>,
    /// Effects of the start.
    pub(crate) first: Vec<Effect>,
}

/// A block with its certificate.
#[derive(Clone)]
pub(crate) struct Certified {
    pub(crate) block: Block,
    pub(crate) qc: Verified<Qc>,
}

impl Certified {
    pub(crate) fn id(&self) -> BlockId {
        self.block.id()
    }
}

impl Scene {
    pub(crate) fn new(me: usize) -> Scene {
        let chain = Chain::new(4);
        let boot = chain.boot(Some(index(me)));
        Scene::boot(chain, boot)
    }

    pub(crate) fn boot(chain: Chain, boot: Boot) -> Scene {
        let me = boot.me;
        let (engine, first) = Engine::new(boot, now(0));
        Scene {
            me,
            chain,
            engine,
            time: 0,
            first,
        }
    }

    /// An engine that leads neither of the first two rounds.
    pub(crate) fn voter() -> Scene {
        let chain = Chain::new(4);
        let mut boot = chain.boot(None);
        let leaders = [1, 2].map(|r| rotating(&chain, r));
        boot.me = (0..4).map(index).find(|i| !leaders.contains(i));
        Scene::boot(chain, boot)
    }

    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        self.engine.step(now(self.time), event)
    }

    pub(crate) fn genesis(&self) -> Certified {
        Certified {
            block: Block {
                header: self.chain.genesis.clone(),
                batches: Vec::new(),
            },
            qc: Verified::<Qc>::anchor(&self.chain.validators),
        }
    }

    /// An empty block that is right in every respect.
    pub(crate) fn header(
        &self,
        parent: &Certified,
        round: Round,
        leader: ValidatorIndex,
    ) -> Header {
        let before = &parent.block.header;
        Header {
            version: 1,
            round,
            height: before.height.next(),
            parent: parent.id(),
            justify: Justify {
                round: parent.qc.round,
                block: parent.qc.block,
                signers: parent.qc.signers,
            },
            tc: None,
            failed: None,
            proposer: leader,
            payload: Block::payload_root(&[]),
            claim: before.claim,
            time: before.time.plus_nanos(1),
            next_validators: None,
        }
    }

    /// The right block for the engine's current round.
    pub(crate) fn next(&self, parent: &Certified) -> Block {
        let status = self.engine.status();
        let header = self.header(parent, parent.qc.round.next(), status.leader.unwrap());
        Block {
            header,
            batches: Vec::new(),
        }
    }

    pub(crate) fn filled(&self, parent: &Certified, batches: &[u8]) -> Block {
        let mut block = self.next(parent);
        block.batches = batches.iter().map(|i| batch(*i)).collect();
        block.header.payload = Block::payload_root(&block.batches);
        block
    }

    pub(crate) fn proposal(&self, block: Block, qc: &Qc, tc: Option<&Tc>) -> Event {
        let key = &self.chain.keys[block.header.proposer.as_usize()];
        let proposal = Proposal {
            block,
            inline: Vec::new(),
            qc: qc.clone(),
            tc: tc.cloned(),
            finality: None,
            signature: ZERO,
        };
        Event::Proposal(Box::new(proposal.sign(self.chain.id(), key)))
    }

    pub(crate) fn propose(&mut self, block: &Block, parent: &Certified) -> Vec<Effect> {
        let event = self.proposal(block.clone(), &parent.qc, None);
        self.step(event)
    }

    pub(crate) fn vote(&self, i: usize, block: BlockId, round: Round) -> Verified<Vote> {
        let vote = Vote {
            round,
            block,
            voter: index(i),
            signature: ZERO,
            held: vec![3, 0, 7, 1],
        };
        vote.sign(self.chain.id(), &self.chain.keys[i])
    }

    pub(crate) fn commit_vote(&self, i: usize, block: &Block) -> Verified<CommitVote> {
        let vote = CommitVote {
            round: block.header.round,
            block: block.id(),
            height: block.header.height,
            voter: index(i),
            signature: ZERO,
            held: vec![3, 0, 7, 1],
        };
        vote.sign(self.chain.id(), &self.chain.keys[i])
    }

    pub(crate) fn timeout(
        &self,
        i: usize,
        round: Round,
        qc: &Qc,
        tc: Option<&Tc>,
    ) -> Verified<Timeout> {
        let timeout = Timeout {
            round,
            voter: index(i),
            signature: ZERO,
            high_qc: qc.clone(),
            entry_tc: tc.cloned().map(Box::new),
        };
        timeout.sign(self.chain.id(), &self.chain.keys[i])
    }

    pub(crate) fn certify(&self, block: Block) -> Certified {
        let (id, round) = (block.id(), block.header.round);
        let votes: Vec<_> = (0..3).map(|i| self.vote(i, id, round)).collect();
        let qc = Qc::assemble(&votes, &self.chain.validators);
        Certified { block, qc }
    }

    pub(crate) fn finality(&self, of: &Certified) -> Verified<Finality> {
        let votes: Vec<_> = (0..3).map(|i| self.commit_vote(i, &of.block)).collect();
        Verified::<Finality>::join(&Cc::assemble(&votes, &self.chain.validators), &of.qc)
    }

    pub(crate) fn tc(&self, round: Round, qc: &Qc) -> Verified<Tc> {
        let timeouts: Vec<_> = (0..3).map(|i| self.timeout(i, round, qc, None)).collect();
        Tc::assemble(&timeouts, &self.chain.validators)
    }

    /// Proposes the next right block, which orders something, and has its payload; the engine has not seen its certificate.
    pub(crate) fn fill(&mut self, parent: &Certified, batches: &[u8]) -> Certified {
        let block = self.filled(parent, batches);
        self.propose(&block, parent);
        self.step(Event::PayloadReady(block.id()));
        self.certify(block)
    }

    /// Proposes and certifies the next right block.
    pub(crate) fn extend(&mut self, parent: &Certified) -> Certified {
        let block = self.next(parent);
        self.propose(&block, parent);
        let certified = self.certify(block);
        self.step(Event::Qc(Box::new(certified.qc.clone())));
        certified
    }

    /// Runs the timer out.
    pub(crate) fn expire(&mut self) -> Vec<Effect> {
        self.time = self.engine.deadline().unwrap().0;
        self.step(Event::Deadline)
    }
}

/// L2 as an engine that nobody talks to shows it.
pub(crate) fn rotating(chain: &Chain, number: u64) -> ValidatorIndex {
    let (mut engine, _) = Engine::new(chain.boot(None), now(0));
    if number > 1 {
        let scene = Scene::new(0);
        let anchor = chain.validators.anchor_qc();
        let tc = scene.tc(round(number - 1), &anchor);
        let _ = engine.step(now(0), Event::Tc(Box::new(tc)));
    }
    engine.status().leader.unwrap()
}
