//! Real keys, real blocks and real signatures for a replay.

use std::sync::Arc;

use quorate_consensus::{Boot, Engine, Event, Start};
use quorate_crypto::{Digest, Domain, SecretKey, Signature, hash};
use quorate_types::vote::Signable;
use quorate_types::{
    Block, BlockTime, ChainId, Epoch, Finality, Header, Height, Instant, Justify, Now, Parameters,
    Proposal, Qc, Roots, Round, Tc, Timeout, ValidatorIndex, Validators, Verified, Vote,
};

const UNSIGNED: Signature = Signature::from_bytes([0; 64]);
/// The wall clock when the monotonic one starts, in nanoseconds.
const WALL: u64 = 1_700_000_000_000_000_000;

pub(super) fn at(i: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(i).expect("few validators"))
}

fn round(number: u8) -> Round {
    Round::new(Epoch(0), number.into())
}

fn digest(seed: &[u8]) -> Digest {
    hash(Domain::Receipt, &[seed])
}

/// Random numbers from a seed.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below64(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("small");
        usize::try_from(self.below64(bound)).expect("small")
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.below(all.len().max(1));
        all.get(at)
    }
}

pub(super) struct Chain {
    keys: Vec<SecretKey>,
    pub(super) validators: Arc<Validators>,
    pub(super) parameters: Parameters,
    genesis: Header,
}

impl Chain {
    /// Of four. The leaders depend on the seed.
    pub(super) fn new(seed: u64) -> Chain {
        let chain = ChainId(digest(&seed.to_le_bytes()));
        let keys: Vec<SecretKey> = (1..=4).map(|i| SecretKey::from_seed(&[i; 32])).collect();
        let roots = Roots {
            state: digest(b"state"),
            receipts: digest(b"receipts"),
        };
        let genesis = Header::genesis(chain, BlockTime(WALL - 1_000_000_000), roots);
        let public = keys.iter().map(SecretKey::public).collect();
        let validators = Validators::new(chain, Epoch(0), public, (genesis.id(), Height(0)));
        Chain {
            keys,
            validators: Arc::new(validators.expect("four sound keys")),
            parameters: Parameters::default(),
            genesis,
        }
    }

    pub(super) fn id(&self) -> ChainId {
        self.validators.chain()
    }

    pub(super) fn key(&self, of: ValidatorIndex) -> &SecretKey {
        &self.keys[usize::from(of.0)]
    }

    pub(super) fn genesis(&self) -> &Header {
        &self.genesis
    }

    pub(super) fn genesis_block(&self) -> Block {
        Block {
            header: self.genesis.clone(),
            batches: Vec::new(),
        }
    }

    pub(super) fn now(&self, monotonic: u64) -> Now {
        Now {
            monotonic: Instant(monotonic),
            wall: BlockTime(WALL + monotonic),
        }
    }

    pub(super) fn boot(&self, me: Option<ValidatorIndex>) -> Boot {
        Boot {
            validators: Arc::clone(&self.validators),
            me,
            parameters: self.parameters.clone(),
            record: None,
            start: Start::Open,
            committed: vec![self.genesis.clone()],
            finality: Finality::clone(&Verified::<Finality>::anchor(&self.validators)),
            blocks: Vec::new(),
            executed: vec![(Height(0), self.genesis.claim.roots)],
            executed_nonempty: Height(0),
        }
    }

    /// L1: whom a branch elects for the round after its last block, as an observer sees it.
    pub(super) fn elected(&self, branch: &[(Block, Verified<Qc>)]) -> ValidatorIndex {
        let (mut observer, _) = Engine::new(self.boot(None), self.now(0));
        for (block, qc) in branch {
            let _ = observer.step(self.now(0), Event::Qc(Box::new(qc.clone())));
            let _ = observer.step(self.now(0), Event::Blocks(vec![block.clone()]));
        }
        observer.status().leader.expect("the branch is known")
    }

    /// L2, as an observer sees it.
    fn rotating(&self, tc: &Tc) -> ValidatorIndex {
        let (mut observer, _) = Engine::new(self.boot(None), self.now(0));
        let tc = quorate_types::Unverified::new(tc.clone()).verify(&self.validators);
        let tc = Box::new(tc.expect("a right TC"));
        let _ = observer.step(self.now(0), Event::Tc(tc));
        observer.status().leader.expect("by rotation")
    }

    pub(super) fn block(
        &self,
        parent: &Block,
        qc: &Qc,
        number: u8,
        variant: u8,
        tc: Option<&Tc>,
        elected: ValidatorIndex,
    ) -> Block {
        let skips = round(number) != qc.round.next();
        let before = &parent.header;
        let header = Header {
            version: before.version,
            round: round(number),
            height: before.height.next(),
            parent: parent.id(),
            justify: Justify {
                round: qc.round,
                block: qc.block,
                signers: qc.signers,
            },
            tc: tc.map(Tc::digest),
            failed: skips.then_some(elected),
            proposer: tc.map_or(elected, |tc| self.rotating(tc)),
            payload: Block::payload_root(&[]),
            claim: before.claim,
            time: before.time.plus_nanos(1 + u64::from(variant)),
            next_validators: None,
        };
        Block {
            header,
            batches: Vec::new(),
        }
    }

    pub(super) fn propose(&self, block: &Block, qc: Qc, tc: Option<Tc>) -> Proposal {
        let proposal = Proposal {
            block: block.clone(),
            inline: Vec::new(),
            qc,
            tc,
            finality: None,
            signature: UNSIGNED,
        };
        let key = self.key(block.header.proposer);
        proposal.sign(self.id(), key).into_inner()
    }

    pub(super) fn vote(&self, voter: ValidatorIndex, block: &Block) -> Verified<Vote> {
        let vote = Vote {
            round: block.header.round,
            block: block.id(),
            voter,
            signature: UNSIGNED,
            held: Vec::new(),
        };
        vote.sign(self.id(), self.key(voter))
    }

    /// That reports the genesis block's certificate.
    pub(super) fn timeout(&self, voter: ValidatorIndex, number: u8) -> Verified<Timeout> {
        let timeout = Timeout {
            round: round(number),
            voter,
            signature: UNSIGNED,
            high_qc: self.validators.anchor_qc(),
            entry_tc: None,
        };
        timeout.sign(self.id(), self.key(voter))
    }
}
