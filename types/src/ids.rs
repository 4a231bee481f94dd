//! Newtypes for positions, times and identities. No bare integer crosses a function's boundary.

use core::fmt;
use core::str::FromStr;

use quorate_crypto::Digest;
use serde::{Deserialize, Serialize};

/// A validator set's term of office. Every signature covers it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An attempt at agreeing on one block. Compares by (epoch, number), as all round-like fields of the protocol do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Round {
    /// The epoch whose validators may sign in it.
    pub epoch: Epoch,
    /// Counts from 0, the round of the epoch's anchor, which nobody signs.
    pub number: u64,
}

impl Round {
    /// A round of an epoch.
    #[must_use]
    pub const fn new(epoch: Epoch, number: u64) -> Round {
        Round { epoch, number }
    }

    /// The round after this one, in the same epoch.
    #[must_use]
    pub fn next(self) -> Round {
        self.plus(1)
    }

    /// The round before this one in the same epoch; `None` for the anchor's.
    #[must_use]
    pub fn previous(self) -> Option<Round> {
        let number = self.number.checked_sub(1)?;
        Some(Round { number, ..self })
    }

    /// The round `count` later in the same epoch. Saturates: a peer may name the last round there is.
    #[must_use]
    pub fn plus(self, count: u64) -> Round {
        Round {
            number: self.number.saturating_add(count),
            ..self
        }
    }

    /// Rounds of the same epoch between `earlier` and this one; 0 where `earlier` is not earlier or of another epoch.
    #[must_use]
    pub fn since(self, earlier: Round) -> u64 {
        if self.epoch == earlier.epoch {
            self.number.saturating_sub(earlier.number)
        } else {
            0
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.number)
    }
}

/// A position in the ledger; the genesis is at 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Height(pub u64);

impl Height {
    /// The position after this one. Saturates, so that a peer's number cannot stop us.
    #[must_use]
    pub fn next(self) -> Height {
        Height(self.0.saturating_add(1))
    }

    /// How far this position lies above `lower`, 0 where it does not.
    #[must_use]
    pub fn above(self, lower: Height) -> u64 {
        self.0.saturating_sub(lower.0)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A validator's place in the set of its epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ValidatorIndex(pub u16);

impl ValidatorIndex {
    /// As an index into arrays by validator.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ValidatorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Agreed time: nanoseconds since the Unix epoch, as written in headers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BlockTime(pub u64);

impl BlockTime {
    /// This time `nanos` nanoseconds later, saturating.
    #[must_use]
    pub fn plus_nanos(self, nanos: u64) -> BlockTime {
        BlockTime(self.0.saturating_add(nanos))
    }
}

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Digest);

        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = <Digest as FromStr>::Err;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

digest_newtype! {
    /// The hash of the genesis: names the chain in every signature.
    ChainId
}
digest_newtype! {
    /// The hash of a header.
    BlockId
}
digest_newtype! {
    /// The hash of a transaction's body, without its signature.
    TransactionId
}
digest_newtype! {
    /// The hash of a batch, signatures of its transactions included: one digest must not name both a valid and an
    /// invalid copy.
    BatchId
}
