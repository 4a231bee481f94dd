//! Who leads a round: a function of the branch alone (L1), or of the round alone (L2).
//!
//! Must never read anything that another replica might see differently: no clock, no vote that is outside a header.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, hash};
use quorate_types::{Header, Round, Signers, ValidatorIndex, Validators, codec};

/// The election rules of one epoch.
#[derive(Debug)]
pub(crate) struct Election {
    validators: Arc<Validators>,
    permutation: Vec<ValidatorIndex>,
}

impl Election {
    pub(crate) fn new(validators: Arc<Validators>) -> Election {
        let mut permutation: Vec<ValidatorIndex> = validators.indices().collect();
        // Fisher–Yates; the position is hashed in, so that every draw is fresh.
        for last in (1..permutation.len()).rev() {
            let seed = codec::encode(&(validators.chain(), validators.epoch(), last));
            let at = draw(&hash(Domain::Leader, &[&seed]), last + 1);
            permutation.swap(last, at);
        }
        Election {
            validators,
            permutation,
        }
    }

    /// Headers that [`Election::elected`] reads at most: 2n.
    pub(crate) fn depth(&self) -> usize {
        self.validators.count().saturating_mul(2)
    }

    /// L2: the leader of a round whose proposal carries a TC.
    pub(crate) fn rotating(&self, round: Round) -> ValidatorIndex {
        let n = u64::try_from(self.permutation.len()).expect("at most MAX_VALIDATORS");
        let at = usize::try_from(round.number % n).expect("below n");
        self.permutation[at]
    }

    /// L1: the leader of the round after the newest block of `branch` (newest first), if it is entered by its QC.
    pub(crate) fn elected<'a>(&self, branch: impl Iterator<Item = &'a Header>) -> ValidatorIndex {
        // The anchor has no proposer and no signers: it is no part of the epoch's branch.
        let epoch = self.validators.epoch();
        let window: Vec<&Header> = branch
            .take_while(|header| header.round.epoch == epoch && header.round.number > 0)
            .take(self.depth())
            .collect();
        let Some(newest) = window.first() else {
            return self.rotating(Round::new(epoch, 1));
        };
        let round = newest.round.next();
        let signers = window.iter().fold(Signers::NONE, |all, header| {
            all.union(header.justify.signers)
        });
        let left_out = self.left_out(&window);
        let candidates: Vec<ValidatorIndex> = signers
            .iter()
            .filter(|index| !left_out.contains(*index))
            .collect();
        if candidates.is_empty() {
            return self.rotating(round);
        }
        let seed = codec::digest(Domain::Leader, &round);
        candidates[draw(&seed, candidates.len())]
    }

    /// The proposers of the last f blocks, and the leaders of the last failed rounds, f of them at most.
    fn left_out(&self, window: &[&Header]) -> Signers {
        let f = self.validators.max_faulty();
        let mut failed = Signers::NONE;
        'found: for header in window {
            for leader in self.failed_leaders(header) {
                if failed.count() >= f {
                    break 'found;
                }
                failed.insert(leader);
            }
        }
        let proposers: Signers = window
            .iter()
            .take(f)
            .map(|header| header.proposer)
            .collect();
        proposers.union(failed)
    }

    /// Leaders of the rounds between a block's and its parent's, the most recent first. The first of those rounds was
    /// entered by the parent's QC, so the branch elected its leader (`failed`); the others were entered by a TC.
    fn failed_leaders<'a>(
        &'a self,
        header: &'a Header,
    ) -> impl Iterator<Item = ValidatorIndex> + 'a {
        let first = header.justify.round.number.saturating_add(1);
        let epoch = header.round.epoch;
        // n rounds show every leader there is: a peer's number does not decide how long this takes.
        (first.saturating_add(1)..header.round.number)
            .rev()
            .take(self.permutation.len())
            .map(move |number| self.rotating(Round::new(epoch, number)))
            .chain(header.failed)
    }
}

/// A number below `bound` from a seed. The bias of 64 bits over at most 128 is of no consequence.
fn draw(seed: &Digest, bound: usize) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&seed.as_bytes()[..8]);
    let bound = u64::try_from(bound).expect("at most MAX_VALIDATORS");
    usize::try_from(u64::from_le_bytes(bytes) % bound).expect("below bound")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_crypto::SecretKey;
    use quorate_types::{BlockId, BlockTime, ChainId, Epoch, Height, Justify, Roots};

    fn election(n: u8) -> Election {
        let keys = (1..=n).map(|i| SecretKey::from_seed(&[i; 32]).public());
        let chain = ChainId(hash(Domain::Genesis, &[b"chain"]));
        let anchor = (BlockId::default(), Height(0));
        let validators = Validators::new(chain, Epoch(0), keys.collect(), anchor);
        Election::new(Arc::new(validators.expect("distinct keys")))
    }

    /// A branch, newest first: (round, proposer, failed), each with the first three as signers of its parent.
    fn branch(blocks: &[(u64, u16, Option<u16>)]) -> Vec<Header> {
        let mut parent = Header::genesis(ChainId::default(), BlockTime(0), Roots::default());
        let mut headers = Vec::new();
        for (number, proposer, failed) in blocks {
            let signers = match parent.round.number {
                0 => Signers::NONE,
                _ => (0..3).map(ValidatorIndex).collect(),
            };
            let header = Header {
                round: Round::new(Epoch(0), *number),
                justify: Justify {
                    round: parent.round,
                    block: parent.id(),
                    signers,
                },
                proposer: ValidatorIndex(*proposer),
                failed: failed.map(ValidatorIndex),
                ..parent
            };
            parent = header.clone();
            headers.insert(0, header);
        }
        headers
    }

    #[test]
    fn l2_everybody_leads_once_in_n_rounds() {
        for n in [1, 4, 7] {
            let election = election(n);
            let leaders: Signers = (5..5 + u64::from(n))
                .map(|number| election.rotating(Round::new(Epoch(0), number)))
                .collect();
            assert_eq!(leaders.count(), usize::from(n));
        }
    }

    #[test]
    fn l1_an_epochs_first_rounds_rotate() {
        let election = election(4);
        let genesis = branch(&[]);
        let first = Round::new(Epoch(0), 1);
        assert_eq!(election.elected(genesis.iter()), election.rotating(first));
        let one = branch(&[(1, 0, None)]);
        assert_eq!(
            election.elected(one.iter()),
            election.rotating(first.next())
        );
    }

    #[test]
    fn l1_elects_signers_but_not_the_last_proposer_nor_who_failed() {
        let election = election(4);
        for number in 3..40 {
            // Signers 0–2; 0 proposed last.
            let plain = branch(&[(1, 1, None), (number - 1, 2, Some(3)), (number, 0, None)]);
            let leader = election.elected(plain[..2].iter());
            assert!([1, 2].contains(&leader.0), "{leader}");
            // 1 failed most recently: only 2 is left.
            let failed = branch(&[(1, 1, None), (2, 2, None), (4, 0, Some(1))]);
            assert_eq!(election.elected(failed.iter()), ValidatorIndex(2));
        }
    }

    #[test]
    fn l1_reads_2n_headers_and_a_huge_gap_costs_nothing() {
        let election = election(4);
        let mut blocks = alloc::vec![(1, 3, None)];
        blocks.extend((2..20).map(|number| (number, 0, None)));
        blocks.push((u64::MAX, 0, Some(2)));
        let headers = branch(&blocks);
        let all = election.elected(headers.iter());
        assert_eq!(all, election.elected(headers[..election.depth()].iter()));
    }
}
