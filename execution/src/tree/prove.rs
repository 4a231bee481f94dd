//! Makes proofs. Part of [`Tree`].

use alloc::vec;
use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::bits::{self, MAX_KEY_BYTES};
use super::page::{Kind, PageId};
use super::proof::{Proof, ProofError, Step};
use super::range::{RangeNode, RangeProof, RangeReply, check_range, is_outside};
use super::{PageSource, Tree, TreeError};

/// A node, and whether the bits of the range's start (`low`) and of its end (`high`) lead to or through it.
#[derive(Clone, Copy)]
struct Place {
    id: PageId,
    at: usize,
    low: bool,
    high: bool,
}

/// What remains to be written of a cut tree.
enum Open {
    Node(Place),
    Cut(Digest),
}

/// The tree without what lies outside of a range: nodes in preorder, and the entries among them.
#[derive(Default)]
struct CutTree {
    entries: Vec<(Vec<u8>, Digest)>,
    nodes: Vec<RangeNode>,
}

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
            let witness = (found != key).then(|| (found.to_vec(), page.digests[at]));
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
            let mut end = end.map(<[u8]>::to_vec);
            let mut cut = tree.cut(source, start, end.as_deref(), limit)?;
            if cut.entries.len() > limit {
                // One too many: end the range just behind the last that fits.
                let mut last = cut.entries.swap_remove(limit - 1).0;
                last.push(0);
                cut = tree.cut(source, start, Some(&last), limit)?;
                end = Some(last);
            }
            let proof = RangeProof { nodes: cut.nodes };
            Ok(RangeReply {
                entries: cut.entries,
                end,
                proof,
            })
        })
    }

    /// The tree without what lies outside of a range; stops when more than `limit` entries were met.
    fn cut<S: PageSource>(
        &mut self,
        source: &S,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<CutTree, TreeError<S::Error>> {
        let mut cut = CutTree::default();
        let Some(low) = self.leaf_of(source, start)? else {
            return Ok(cut);
        };
        let high = match end {
            Some(end) => self.leaf_of(source, end)?,
            None => None,
        };
        let inside = |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        let top = self.top.expect("a leaf was found");
        let mut open = vec![Open::Node(Place {
            id: top,
            at: 0,
            low: true,
            high: high.is_some(),
        })];
        while let Some(next) = open.pop() {
            let place = match next {
                Open::Node(place) => place,
                Open::Cut(hash) => {
                    cut.nodes.push(RangeNode::Cut(hash));
                    continue;
                }
            };
            let page = self.cached(place.id);
            let digest = page.digests[place.at];
            match page.nodes[place.at] {
                Kind::Child { id, .. } => {
                    self.load(source, id, Some(&digest))?;
                    open.push(Open::Node(Place { id, at: 0, ..place }));
                }
                Kind::Leaf { .. } if inside(page.key(place.at)) => {
                    cut.entries.push((page.key(place.at).to_vec(), digest));
                    cut.nodes.push(RangeNode::Entry);
                    if cut.entries.len() > limit {
                        break;
                    }
                }
                Kind::Leaf { .. } => {
                    let key = page.key(place.at).to_vec();
                    cut.nodes.push(RangeNode::Outside(key, digest));
                }
                Kind::Inner { bit, skip, .. } => {
                    cut.nodes.push(RangeNode::Inner(bit));
                    // A key below this node, if a path to one of the range's ends goes through it.
                    let known = if place.low {
                        Some(&low)
                    } else {
                        high.as_ref().filter(|_| place.high)
                    };
                    for (side, at) in [(true, place.at + usize::from(skip)), (false, place.at + 1)]
                    {
                        let on = |bound: &[u8]| bits::bit(bound, bit) == side;
                        let child = Place {
                            id: place.id,
                            at,
                            low: place.low && on(start),
                            high: place.high && end.is_some_and(on),
                        };
                        // Off both paths, a subtree lies in the range or outside of it as a whole: the bits that lead
                        // to it differ from those of either end. One path at least goes on at the other side, so that
                        // a leaf there remains to show where the cut is.
                        let off = !child.low && !child.high;
                        let cuts = |key: &Vec<u8>| off && is_outside(key, bit, side, start, end);
                        open.push(if known.is_some_and(cuts) {
                            Open::Cut(page.hash(at))
                        } else {
                            Open::Node(child)
                        });
                    }
                }
            }
        }
        Ok(cut)
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
