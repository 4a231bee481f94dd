//! The line between what somebody claims and what was checked.

use core::ops::Deref;

use serde::{Deserialize, Serialize};

/// A value as it came from outside. Its content can be looked at for routing, but no rule accepts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unverified<T>(T);

impl<T> Unverified<T> {
    /// Wraps what a peer or client sent.
    pub const fn new(value: T) -> Unverified<T> {
        Unverified(value)
    }

    /// The claimed content, for routing, sizes and logs only.
    pub const fn peek(&self) -> &T {
        &self.0
    }

    pub(crate) fn into_checked(self) -> T {
        self.0
    }
}

/// A value whose form, signatures and quorum were checked against the validator set of its epoch. Only the `verify`
/// functions and the signing functions of this crate make one, and it can be read but not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) const fn trust(value: T) -> Verified<T> {
        Verified(value)
    }

    /// The checked value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
