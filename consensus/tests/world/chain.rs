//! A chain: keys, set and genesis, its clock, and what executing a block leads to.

use std::sync::Arc;

use quorate_consensus::{Boot, Start};
use quorate_crypto::{Digest, Domain, SecretKey, hash};
use quorate_types::{
    BatchId, Block, BlockTime, ChainId, Epoch, Finality, Header, Height, Instant, Now, Parameters,
    Roots, Round, ValidatorIndex, Validators, Verified,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// The wall clock at monotonic time 0.
pub(crate) const WALL: u64 = 1_700_000_000 * SECOND;

pub(crate) fn round(number: u64) -> Round {
    Round::new(Epoch(0), number)
}

pub(crate) fn index(i: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(i).unwrap())
}

pub(crate) fn digest(seed: &[u8]) -> Digest {
    hash(Domain::Receipt, &[seed])
}

pub(crate) fn batch(i: u8) -> BatchId {
    BatchId(digest(&[i]))
}

/// Keys, set and genesis of a chain.
pub(crate) struct Chain {
    pub(crate) keys: Vec<SecretKey>,
    pub(crate) validators: Arc<Validators>,
    pub(crate) genesis: Header,
    pub(crate) parameters: Parameters,
}

impl Chain {
    pub(crate) fn new(n: usize) -> Chain {
        let chain = ChainId(digest(b"chain"));
        let keys: Vec<SecretKey> = (0..n)
            .map(|i| SecretKey::from_seed(&[u8::try_from(i + 1).unwrap(); 32]))
            .collect();
        let public = keys.iter().map(SecretKey::public).collect();
        let roots = Roots {
            state: digest(b"state 0"),
            receipts: digest(b"receipts 0"),
        };
        let genesis = Header::genesis(chain, BlockTime(WALL - SECOND), roots);
        let anchor = (genesis.id(), Height(0));
        let validators = Validators::new(chain, Epoch(0), public, anchor).unwrap();
        Chain {
            keys,
            validators: Arc::new(validators),
            genesis,
            parameters: Parameters::default(),
        }
    }

    pub(crate) fn id(&self) -> ChainId {
        self.validators.chain()
    }

    pub(crate) fn boot(&self, me: Option<ValidatorIndex>) -> Boot {
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
}

/// What executing a block on top of `before` leads to.
pub(crate) fn execute(before: Roots, block: &Block) -> Roots {
    let mut state = before.state;
    for batch in &block.batches {
        state = digest(&[&state.as_bytes()[..], &batch.as_bytes()[..]].concat());
    }
    Roots {
        state,
        receipts: digest(&block.header.height.0.to_le_bytes()),
    }
}

pub(crate) fn now(monotonic: u64) -> Now {
    Now {
        monotonic: Instant(monotonic),
        wall: BlockTime(WALL + monotonic),
    }
}
