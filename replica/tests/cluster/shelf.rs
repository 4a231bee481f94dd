//! Snapshots that nodes hand out, blocks that they drop, and what else a peer may do with a chunk that it is asked for.

use quorate_replica::snapshot::{Certified, Shelf, SnapshotError, answer, certified, cut};
use quorate_replica::{Input, Setup};
use quorate_storage::{Store, Sync, ledger};
use quorate_types::message::VerifiedMessage;
use quorate_types::{Digest, Height, Manifest, ValidatorIndex};

use crate::cluster::{Cluster, Node, STEP};

/// What a peer does with chunks that it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mischief {
    None,
    /// A byte is another, at so many hundredths of the chunk.
    Flips(usize),
    Cuts,
    /// Another chunk of the same snapshot.
    Swaps,
    /// The chunk of an older snapshot.
    Old,
    Stalls,
    /// It hands out one in fifteen seconds.
    Drips,
    /// It has none.
    Empty,
}

impl Shelf for Node {
    fn newest(&self, above: Height) -> Option<Manifest> {
        let (manifest, _) = self.snapshot.as_ref()?;
        (manifest.height > above).then(|| manifest.clone())
    }

    fn chunk(&self, height: Height, content: Digest, index: u32) -> Option<Vec<u8>> {
        let (manifest, chunks) = self.snapshot.as_ref()?;
        let known = (manifest.height, manifest.content()) == (height, content);
        let index = usize::try_from(index).ok()?;
        let mut chunk = chunks[index].clone();
        let len = chunk.len();
        match self.mischief {
            Mischief::None | Mischief::Stalls | Mischief::Drips => {}
            Mischief::Empty => return None,
            Mischief::Flips(place) => chunk[place * (len - 1) / 100] ^= 1,
            Mischief::Cuts => chunk.truncate(len - 1),
            Mischief::Swaps => chunk.clone_from(&chunks[(index + 1) % chunks.len()]),
            Mischief::Old => chunk.clone_from(&self.older[index]),
        }
        known.then_some(chunk)
    }
}

impl Cluster {
    /// The part of a node that is not the core answers those who ask for snapshots.
    pub(crate) fn serve_snapshot(
        &mut self,
        node: usize,
        asker: usize,
        message: &VerifiedMessage,
    ) -> bool {
        let server = &self.nodes[node];
        let first = ledger::first(&server.store).unwrap();
        let Some(answer) = answer(server, first, message) else {
            return false;
        };
        if matches!(message, VerifiedMessage::ChunkRequest(_)) {
            self.chunks[node] += 1;
            let waits = self.dripped + 15_000 * STEP > self.now;
            match server.mischief {
                Mischief::Stalls => return true,
                Mischief::Drips if waits => return true,
                Mischief::Drips => self.dripped = self.now,
                _ => {}
            }
        }
        let message = self.verify(answer);
        let from = ValidatorIndex(u16::try_from(node).unwrap());
        let inbox = &mut self.nodes[asker].inbox;
        inbox.push(Input::Message { from, message });
        true
    }

    /// Makes a snapshot of what a node's store holds now, once that is certified, and gives it to all of `holders`.
    pub(crate) fn snapshot(&mut self, node: usize, holders: &[usize]) -> Height {
        let frozen = self.nodes[node].store.clone();
        let setup = Setup::new(&self.genesis, None).unwrap();
        let manifest = loop {
            let live = &self.nodes[node].store;
            match certified(&frozen, live, &setup.validators).unwrap() {
                Certified::Yes(manifest) => break *manifest,
                Certified::NotYet => self.step(),
                Certified::Never => panic!("committed one by one, each is claimed"),
            }
        };
        let mut chunks = Vec::new();
        let manifest = cut::<SnapshotError>(&frozen, manifest, |_, chunk| {
            chunks.push(chunk);
            Ok(())
        });
        let manifest = manifest.unwrap();
        for holder in holders {
            let before = self.nodes[*holder].snapshot.take();
            self.nodes[*holder].older = before.map(|(_, chunks)| chunks).unwrap_or_default();
            self.nodes[*holder].snapshot = Some((manifest.clone(), chunks.clone()));
        }
        manifest.height
    }

    /// Drops all blocks below a height from a node's store.
    pub(crate) fn truncate(&mut self, node: usize, to: Height) {
        let store = &self.nodes[node].store;
        let swept = ledger::truncate(store, to, usize::MAX).unwrap();
        assert_eq!(swept.below, to);
        let replica = &self.nodes[node].replica;
        let writes = replica
            .may_go(&self.nodes[node].store, swept.writes)
            .unwrap();
        self.nodes[node].store.write(writes, Sync::No).unwrap();
    }
}
