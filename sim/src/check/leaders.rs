//! Who leads, written anew from L1 and L2: the judges' opinion, and what adversaries calculate with.

use std::collections::BTreeSet;

use quorate_crypto::{Digest, Domain, hash};
use quorate_types::{Header, Round, ValidatorIndex, Validators, codec};

/// The election of an epoch.
#[derive(Clone, Debug)]
pub(crate) struct Leaders {
    n: usize,
    rotation: Vec<ValidatorIndex>,
}

fn draw(seed: &Digest, of: usize) -> usize {
    let (first, _) = seed.as_bytes().split_at(8);
    let number = u64::from_le_bytes(first.try_into().expect("8 bytes"));
    usize::try_from(number % u64::try_from(of).expect("small")).expect("below a length")
}

impl Leaders {
    pub(crate) fn new(validators: &Validators) -> Leaders {
        let mut rotation: Vec<ValidatorIndex> = validators.indices().collect();
        let mut last = rotation.len() - 1;
        while last > 0 {
            let seed = codec::encode(&(validators.chain(), validators.epoch(), last));
            rotation.swap(last, draw(&hash(Domain::Leader, &[&seed]), last + 1));
            last -= 1;
        }
        Leaders {
            n: rotation.len(),
            rotation,
        }
    }

    /// L2.
    pub(crate) fn rotating(&self, round: u64) -> ValidatorIndex {
        let n = u64::try_from(self.n).expect("small");
        self.rotation[usize::try_from(round % n).expect("below n")]
    }

    /// L1: the leader of the round after the newest of these headers, newest first.
    pub(crate) fn elected(&self, branch: &[Header]) -> ValidatorIndex {
        let branch: Vec<&Header> = branch
            .iter()
            .filter(|header| header.round.number > 0)
            .take(2 * self.n)
            .collect();
        let Some(newest) = branch.first() else {
            return self.rotating(1);
        };
        let next = newest.round.number + 1;
        let f = (self.n - 1) / 3;
        let mut out: BTreeSet<ValidatorIndex> = branch
            .iter()
            .take(f)
            .map(|header| header.proposer)
            .collect();
        let mut failed = BTreeSet::new();
        for header in &branch {
            // The rounds between a block and its parent failed: the last first, the first of them elected by the branch.
            let first = header.justify.round.number + 1;
            for round in (first + 1..header.round.number).rev().take(self.n) {
                if failed.len() < f {
                    failed.insert(self.rotating(round));
                }
            }
            if let Some(leader) = header.failed
                && failed.len() < f
            {
                failed.insert(leader);
            }
        }
        out.append(&mut failed);
        let signers: BTreeSet<ValidatorIndex> = branch
            .iter()
            .flat_map(|header| header.justify.signers.iter())
            .collect();
        let left: Vec<ValidatorIndex> = signers.difference(&out).copied().collect();
        if left.is_empty() {
            return self.rotating(next);
        }
        let round = Round::new(newest.round.epoch, next);
        left[draw(&hash(Domain::Leader, &[&codec::encode(&round)]), left.len())]
    }

    /// Whether a block's proposer, and whom it says to have failed, are what its branch demands.
    pub(crate) fn legitimate(&self, header: &Header, branch: &[Header]) -> bool {
        let elected = self.elected(branch);
        let skips = header.round.number != header.justify.round.number + 1;
        let leader = match header.tc {
            Some(_) => self.rotating(header.round.number),
            None => elected,
        };
        header.proposer == leader && header.failed == skips.then_some(elected)
    }
}
