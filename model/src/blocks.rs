//! Every block that a bounded number of rounds can have, numbered once, so that a set of blocks is one integer.
//!
//! A block is its round, its parent and a variant: two variants of one parent and round are what an equivocating leader
//! signs. Whether a block exists is no question here; whether it may be voted for is decided by [`crate::rules`].

use std::fmt;

/// Number of a block; 0 is the genesis block.
pub type Id = u8;

/// A set of blocks, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(u128);

impl Set {
    /// Nothing.
    pub const NONE: Set = Set(0);

    /// One block.
    #[must_use]
    pub fn one(id: Id) -> Set {
        Set(1 << id)
    }

    /// Whether it is in the set.
    #[must_use]
    pub fn has(self, id: Id) -> bool {
        self.0 >> id & 1 == 1
    }

    /// In either.
    #[must_use]
    pub fn or(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// In both.
    #[must_use]
    pub fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// Whether all of it is in the other.
    #[must_use]
    pub fn within(self, other: Set) -> bool {
        self.0 & !other.0 == 0
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Ascending.
    pub fn iter(self) -> impl Iterator<Item = Id> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let next = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (next < 128).then(|| Id::try_from(next).expect("below 128"))
        })
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// 0 for the genesis block only.
    pub round: u8,
    /// The genesis block is its own.
    pub parent: Id,
    /// Tells blocks of one round and parent apart.
    pub variant: u8,
}

/// All blocks up to a round.
#[derive(Clone, Debug)]
pub struct Blocks {
    all: Vec<Info>,
    /// Each block with its ancestors.
    branch: Vec<Set>,
    of_round: Vec<Set>,
}

impl Blocks {
    /// Numbers them by round.
    ///
    /// # Panics
    /// If there are more than 128.
    #[must_use]
    pub fn new(rounds: u8, variants: u8) -> Blocks {
        let genesis = Info {
            round: 0,
            parent: 0,
            variant: 0,
        };
        let mut all = vec![genesis];
        let mut branch = vec![Set::one(0)];
        let mut of_round = vec![Set::one(0)];
        for round in 1..=rounds {
            let mut these = Set::NONE;
            for parent in 0..all.len() {
                for variant in 0..variants {
                    let id = Id::try_from(all.len()).expect("few");
                    assert!(id < 128, "a set has room for 128 blocks");
                    these = these.or(Set::one(id));
                    branch.push(branch[parent].or(Set::one(id)));
                    let parent = Id::try_from(parent).expect("few");
                    all.push(Info {
                        round,
                        parent,
                        variant,
                    });
                }
            }
            of_round.push(these);
        }
        Blocks {
            all,
            branch,
            of_round,
        }
    }

    /// What the block is.
    #[must_use]
    pub fn info(&self, id: Id) -> Info {
        self.all[usize::from(id)]
    }

    /// Its round.
    #[must_use]
    pub fn round(&self, id: Id) -> u8 {
        self.info(id).round
    }

    /// It and its ancestors.
    #[must_use]
    pub fn branch(&self, id: Id) -> Set {
        self.branch[usize::from(id)]
    }

    /// All of one round.
    #[must_use]
    pub fn of_round(&self, round: u8) -> Set {
        self.of_round[usize::from(round)]
    }

    /// Every block but the genesis block.
    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        let count = Id::try_from(self.all.len()).expect("few");
        1..count
    }

    /// Whether neither is an ancestor of the other.
    #[must_use]
    pub fn conflict(&self, a: Id, b: Id) -> bool {
        !self.branch(a).has(b) && !self.branch(b).has(a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_as_they_should() {
        // Two variants on the genesis block and on each of the blocks before.
        let blocks = Blocks::new(3, 2);
        let counts: Vec<u32> = (0..=3).map(|r| blocks.of_round(r).len()).collect();
        assert_eq!(counts, [1, 2, 6, 18]);
        let last = blocks.ids().last().expect("some");
        assert_eq!(blocks.round(last), 3);
        assert!(blocks.branch(last).has(0));
        assert!(blocks.conflict(1, 2) && !blocks.conflict(0, 1));
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = Set::one(3).or(Set::one(127));
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 127]);
        assert!(Set::one(3).within(set) && !set.within(Set::one(3)));
    }
}
