//! Makes proofs. Part of [`Tree`].

use alloc::vec;
use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::bits::{self, MAX_KEY_BYTES};
use super::page::{Kind, PageId};
use super::proof::{Proof, ProofError, Step};
use super::range::{RangeNode, RangeProof, RangeReply, check_range, is_outside};
use super::{PageSource, Tree, TreeError};

/// A place in the tree, with the hash of the page it is in.
type Place = (PageId, usize);

impl Tree {
    /// Proves that `key` is present, or that it is absent. Reads pages; takes `&mut self` to keep them.
    ///
    /// # Errors
    /// [`TreeError::KeyTooLong`]; `Source` and `Damaged` make the tree unusable.
    pub fn prove<S: PageSource>(
        &mut self,
        source: &S,
        key: &[u8],
    ) -> Result<Proof, TreeError<S::Error>> {
        if key.len() > MAX_KEY_BYTES {
            return Err(TreeError::KeyTooLong(key.len()));
        }
        self.guarded(|tree| {
            let Some((id, at)) = tree.find(source, key)? else {
                return Ok(Proof {
                    steps: Vec::new(),
                    witness: None,
                });
            };
            let (page, mut steps) = (tree.cached(id), Vec::new());
            for (id, at) in &tree.path {
                let page = tree.cached(*id);
                page.for_each_above(*at, |bit, sibling| {
                    steps.push(Step {
                        bit,
                        sibling: page.hash(sibling),
                    });
                });
            }
            let found = page.key(at);
            let witness = (found != key).then(|| (found.to_vec(), page.nodes[at].digest));
            Ok(Proof { steps, witness })
        })
    }

    /// The first `limit` entries with start ≤ key < end, and the proof that there are no others up to where the reply
    /// ends. Bound `limit`: the reply holds a key and up to 100 bytes for each.
    ///
    /// # Errors
    /// [`TreeError::EmptyRange`], [`TreeError::KeyTooLong`]; `Source` and `Damaged` make the tree unusable.
    pub fn prove_range<S: PageSource>(
        &mut self,
        source: &S,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<RangeReply, TreeError<S::Error>> {
        match check_range(start, end) {
            Ok(()) if limit > 0 => {}
            Ok(()) | Err(ProofError::EmptyRange) => return Err(TreeError::EmptyRange),
            Err(_) => {
                let len = start.len().max(end.map_or(0, <[u8]>::len));
                return Err(TreeError::KeyTooLong(len));
            }
        }
        self.guarded(|tree| {
            let (mut entries, nodes) = tree.cut(source, start, end, limit)?;
            if entries.len() <= limit {
                return Ok(RangeReply {
                    entries,
                    end: end.map(<[u8]>::to_vec),
                    proof: RangeProof { nodes },
                });
            }
            // One too many: end the range just behind the last that fits.
            entries.truncate(limit);
            let mut end = entries[limit - 1].0.clone();
            end.push(0);
            let (entries, nodes) = tree.cut(source, start, Some(&end), limit)?;
            Ok(RangeReply {
                entries,
                end: Some(end),
                proof: RangeProof { nodes },
            })
        })
    }

    /// The tree without what lies outside of a range, in preorder; stops when more than `limit` entries were met.
    #[allow(clippy::type_complexity)]
    fn cut<S: PageSource>(
        &mut self,
        source: &S,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<(Vec<u8>, Digest)>, Vec<RangeNode>), TreeError<S::Error>> {
        let (mut entries, mut nodes) = (Vec::new(), Vec::new());
        // Subtrees off both paths lie on one side of each end: their prefix differs from the end's before they begin.
        let low = self.leaf_of(source, start)?;
        let high = match end {
            Some(end) => self.leaf_of(source, end)?,
            None => None,
        };
        let Some(low) = low else {
            return Ok((entries, nodes));
        };
        todo!()
    }

    /// The key of the leaf that the bits of `bound` lead to.
    fn leaf_of<S: PageSource>(
        &mut self,
        source: &S,
        bound: &[u8],
    ) -> Result<Option<Vec<u8>>, TreeError<S::Error>> {
        let found = self.find(source, bound)?;
        Ok(found.map(|(id, at)| self.cached(id).key(at).to_vec()))
    }
}
