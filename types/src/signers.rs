//! A set of validators as a bitmap.

use serde::{Deserialize, Serialize};

use crate::{MAX_VALIDATORS, ValidatorIndex};

/// Which validators of a set signed: bit I stands for validator I. 16 bytes on the wire.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Signers(u128);

const _: () = assert!(MAX_VALIDATORS == 128, "one bit a validator");

impl Signers {
    /// Nobody.
    pub const NONE: Signers = Signers(0);

    /// Adds a validator; false if it was there already.
    ///
    /// # Panics
    /// If the index is not below [`MAX_VALIDATORS`], which no validator of a checked set is.
    pub fn insert(&mut self, index: ValidatorIndex) -> bool {
        assert!(index.as_usize() < MAX_VALIDATORS, "index of a checked set");
        let bit = 1u128 << index.0;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    /// Whether the validator is in the set.
    #[must_use]
    pub fn contains(&self, index: ValidatorIndex) -> bool {
        index.as_usize() < MAX_VALIDATORS && self.0 & (1u128 << index.0) != 0
    }

    /// How many validators are in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::try_from(self.0.count_ones()).expect("at most 128")
    }

    /// The members of either set.
    #[must_use]
    pub fn union(self, other: Signers) -> Signers {
        Signers(self.0 | other.0)
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        let mut bits = self.0;
        core::iter::from_fn(move || {
            let index = u16::try_from(bits.trailing_zeros()).ok()?;
            let rest = bits.checked_sub(1)?;
            bits &= rest;
            Some(ValidatorIndex(index))
        })
    }

    /// Whether all members are below `n`, the size of the set they are counted in.
    #[must_use]
    pub fn within(&self, n: usize) -> bool {
        n >= MAX_VALIDATORS || self.0 >> n == 0
    }
}

impl FromIterator<ValidatorIndex> for Signers {
    fn from_iter<I: IntoIterator<Item = ValidatorIndex>>(indices: I) -> Signers {
        let mut set = Signers::NONE;
        for index in indices {
            set.insert(index);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn members_come_in_ascending_order_from_the_first_bit_to_the_last() {
        let members = [0, 1, 63, 64, 100, 127].map(ValidatorIndex);
        let set: Signers = members.into_iter().rev().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), members);
        assert_eq!(Signers::NONE.iter().next(), None);
        assert_eq!(Signers(u128::MAX).iter().count(), MAX_VALIDATORS);
    }
}
