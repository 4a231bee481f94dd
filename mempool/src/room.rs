//! Room for what clients submit (B1, I9): one bound on all that is pending, shared between clients.
//!
//! A transaction is pending from its admission until it is executed or given up, whether it is queued or travels in a
//! batch of ours: what is packed and not ordered yet waits just as well. A client may hold as much as is still free, so
//! that one client alone fills at most half, k flooding clients a (k+1)-th each, and there is always room for one that
//! comes later.

use alloc::collections::BTreeMap;

use quorate_crypto::PublicKey;

use crate::{Limits, Refusal};

/// Who holds how much.
#[derive(Debug, Default)]
pub(crate) struct Room {
    all: Share,
    /// Clients with something pending.
    clients: BTreeMap<PublicKey, Share>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    transactions: usize,
    bytes: usize,
}

impl Room {
    /// Transactions pending.
    pub(crate) fn transactions(&self) -> usize {
        self.all.transactions
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> usize {
        self.all.bytes
    }

    /// Whether another transaction fits.
    pub(crate) fn check(&self, bytes: usize, limits: &Limits) -> Result<(), Refusal> {
        let free = self.free(limits);
        match bytes > free.bytes || free.transactions == 0 {
            true => Err(Refusal::Full {
                retry_after_ms: limits.retry_after_ms,
            }),
            false => Ok(()),
        }
    }

    /// The same, within the client's share: one with nothing pending is always let in where it fits.
    pub(crate) fn check_share(
        &self,
        client: &PublicKey,
        bytes: usize,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        self.check(bytes, limits)?;
        let free = self.free(limits);
        match self.clients.get(client) {
            Some(share)
                if share.bytes + bytes > free.bytes || share.transactions >= free.transactions =>
            {
                Err(Refusal::ClientFull {
                    retry_after_ms: limits.retry_after_ms,
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn free(&self, limits: &Limits) -> Share {
        Share {
            transactions: limits
                .max_pending_transactions
                .saturating_sub(self.all.transactions),
            bytes: limits.max_pending_bytes.saturating_sub(self.all.bytes),
        }
    }

    /// A transaction is pending now.
    pub(crate) fn charge(&mut self, client: PublicKey, bytes: usize) {
        let share = self.clients.entry(client).or_default();
        for share in [share, &mut self.all] {
            share.transactions += 1;
            share.bytes += bytes;
        }
    }

    /// It no longer is.
    pub(crate) fn release(&mut self, client: &PublicKey, bytes: usize) {
        let share = self.clients.get_mut(client);
        let share = share.expect("what is released was charged");
        for share in [&mut *share, &mut self.all] {
            share.transactions -= 1;
            share.bytes -= bytes;
        }
        if share.transactions == 0 {
            self.clients.remove(client);
        }
    }
}
