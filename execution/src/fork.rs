//! A chain that starts from another chain's state: what is taken over, and how height 0 is put together from it.
//!
//! Keys and values go over, with their revisions and their checkpoints. What belongs to the other chain's people does not:
//! its name, parameters, validators and clients come from the new genesis, and its sessions guard against transactions
//! that are signed for the other chain and refused here anyway.
//!
//! The genesis names the root of height 0 ([`quorate_types::Origin`]), so it does not matter where the records come from:
//! what does not lead to that root does not start.

use alloc::vec::Vec;

use quorate_types::accumulator::Accumulator;
use quorate_types::{Digest, Genesis, Height};

use crate::executor::{OpenError, genesis_records, genesis_roots};
use crate::keys::{self, Namespace};
use crate::snapshot::Installer;
use crate::space::{Change, Entry, Reader, Space};

/// Whether a record of the state, by its key, goes over.
#[must_use]
pub fn is_taken_over(key: &[u8]) -> bool {
    !key.starts_with(Namespace::Sys.prefix()) || key == keys::HEAD
}

/// Puts the state of height 0 together. What it hands out for some records is to be written in one batch, before the next.
#[derive(Debug)]
pub struct Foundation {
    installer: Installer,
}

impl Foundation {
    /// What has to be gone before the first batch is written: ranges of keys.
    #[must_use]
    pub fn ranges() -> Vec<(Space, Vec<u8>, Vec<u8>)> {
        Installer::ranges()
    }

    /// Begins with what the genesis says.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn begin<R: Reader>(
        reader: &R,
        genesis: &Genesis,
    ) -> Result<(Foundation, Vec<Change>), OpenError<R::Error>> {
        let mut installer = Installer::begin();
        let records = genesis_records(genesis).into_iter();
        let records = records.filter_map(|(key, record)| Some((key, record?)));
        let changes = installer.add_records(reader, records)?;
        Ok((Foundation { installer }, changes))
    }

    /// Takes some records of the other chain's state; those that do not go over are left out.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn add<R: Reader>(
        &mut self,
        reader: &R,
        records: Vec<Entry>,
    ) -> Result<Vec<Change>, OpenError<R::Error>> {
        let records = records.into_iter().filter(|(key, _)| is_taken_over(key));
        self.installer.add_records(reader, records)
    }

    /// The state root so far: what the origin of a genesis that is being made has to name.
    #[must_use]
    pub fn root(&mut self) -> Digest {
        self.installer.root()
    }

    /// The end: from the batch with these changes on, the state is that of height 0.
    ///
    /// # Errors
    /// [`OpenError::RootMismatch`] if the records were not those that the genesis means.
    pub fn finish<E>(self, genesis: &Genesis) -> Result<Vec<Change>, OpenError<E>> {
        let roots = genesis_roots(genesis);
        self.installer
            .finish(Height(0), &roots, &Accumulator::default())
    }
}
