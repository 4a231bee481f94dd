//! Where two trees differ. Both are walked at once from their roots, and a subtree that has the same hash in both is not
//! looked into: what is read grows with the difference, not with the trees.
//!
//! A subtree's keys begin with the same bits up to its root's. So a key that two subtrees share is found
//!
//! - where both branch at the same bit, in both left or in both right sides;
//! - where one branches before the other, in that side of it that any key of the other leads to.
//!
//! Whatever does not meet its like in this way is in one tree only.

use alloc::vec::Vec;

use quorate_crypto::Digest;

use super::bits;
use super::page::{Kind, PageId};
use super::{PageSource, Tree, TreeError};

/// Who holds a key that is not held alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Both, with other values.
    Differently,
    /// The left tree only.
    Left,
    /// The right tree only.
    Right,
}

/// A key, and who holds it.
pub type Difference = (Vec<u8>, Held);

/// A walk through two trees. Memory: the trees' caches, and at most two places a level of each.
#[derive(Debug)]
pub struct Diff<'a, A, B> {
    left: (&'a mut Tree, &'a A),
    right: (&'a mut Tree, &'a B),
    open: Vec<Open>,
}

/// What is still to be looked into, the last first.
#[derive(Debug)]
enum Open {
    Both(Place, Place),
    Left(Place),
    Right(Place),
}

/// A node: where it stands, and its hash.
#[derive(Clone, Copy, Debug)]
struct Place {
    page: PageId,
    /// Of the page, to hold it against when it is read.
    of_page: Digest,
    at: usize,
    hash: Digest,
}

/// What stands there.
enum Node {
    Leaf(Vec<u8>),
    /// The bit, and both subtrees.
    Inner(u16, [Place; 2]),
}

impl<'a, A: PageSource, B: PageSource<Error = A::Error>> Diff<'a, A, B> {
    /// Begins at both roots.
    #[must_use]
    pub fn new(left: (&'a mut Tree, &'a A), right: (&'a mut Tree, &'a B)) -> Self {
        let open = match (left.0.whole(), right.0.whole()) {
            (Some(l), Some(r)) => both(l, r),
            (Some(l), None) => Some(Open::Left(l)),
            (None, r) => r.map(Open::Right),
        };
        Diff {
            left,
            right,
            open: open.into_iter().collect(),
        }
    }

    /// A key that is not held alike, each once. They ascend, except where all keys of a subtree were replaced by others.
    ///
    /// # Errors
    /// `Source` and `Damaged`; the tree in question is unusable then.
    #[expect(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<Difference>, TreeError<A::Error>> {
        while let Some(open) = self.open.pop() {
            let found = match open {
                Open::Left(place) => {
                    let node = look(&mut self.left, place)?;
                    self.one(node, Open::Left, Held::Left)
                }
                Open::Right(place) => {
                    let node = look(&mut self.right, place)?;
                    self.one(node, Open::Right, Held::Right)
                }
                Open::Both(l, r) => self.both(l, r)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn one(&mut self, node: Node, open: fn(Place) -> Open, held: Held) -> Option<Difference> {
        match node {
            Node::Leaf(key) => Some((key, held)),
            Node::Inner(_, [first, second]) => {
                self.open.extend([open(second), open(first)]);
                None
            }
        }
    }

    fn both(&mut self, l: Place, r: Place) -> Result<Option<Difference>, TreeError<A::Error>> {
        let (left, right) = (look(&mut self.left, l)?, look(&mut self.right, r)?);
        let before = left.branch() < right.branch();
        match (left, right) {
            (Node::Leaf(key), Node::Leaf(other)) if key == other => {
                return Ok(Some((key, Held::Differently)));
            }
            (Node::Leaf(_), Node::Leaf(_)) => self.open.extend([Open::Right(r), Open::Left(l)]),
            (Node::Inner(bit, [l0, l1]), Node::Inner(other, [r0, r1])) if bit == other => {
                self.open.extend(both(l1, r1));
                self.open.extend(both(l0, r0));
            }
            (Node::Inner(bit, sides), _) if before => {
                let within = bits::bit(&any_key(&mut self.right, r)?, bit);
                self.split(sides, within, Open::Left, |side| both(side, r));
            }
            (_, Node::Inner(bit, sides)) => {
                let within = bits::bit(&any_key(&mut self.left, l)?, bit);
                self.split(sides, within, Open::Right, |side| both(l, side));
            }
            (Node::Inner(..), Node::Leaf(_)) => unreachable!("I6: a leaf branches nowhere"),
        }
        Ok(None)
    }

    /// One side of a node is held against what lies within it; the keys of the other are in one tree only.
    fn split(
        &mut self,
        [first, second]: [Place; 2],
        within: bool,
        alone: fn(Place) -> Open,
        against: impl Fn(Place) -> Option<Open>,
    ) {
        let sides = match within {
            true => [against(second), Some(alone(first))],
            false => [Some(alone(second)), against(first)],
        };
        self.open.extend(sides.into_iter().flatten());
    }
}

/// Nothing is to be done where the hashes are the same.
fn both(left: Place, right: Place) -> Option<Open> {
    (left.hash != right.hash).then_some(Open::Both(left, right))
}

fn look<S: PageSource>(
    (tree, source): &mut (&mut Tree, &S),
    place: Place,
) -> Result<Node, TreeError<S::Error>> {
    let source = *source;
    tree.guarded(|tree| tree.node(source, place))
}

/// A key below a node.
fn any_key<S: PageSource>(
    (tree, source): &mut (&mut Tree, &S),
    place: Place,
) -> Result<Vec<u8>, TreeError<S::Error>> {
    let source = *source;
    tree.guarded(|tree| tree.any_key(source, place))
}

impl Node {
    /// The bit that it branches at; behind all of them for a leaf.
    fn branch(&self) -> u16 {
        match self {
            Node::Leaf(_) => u16::MAX,
            Node::Inner(bit, _) => *bit,
        }
    }
}

impl Tree {
    /// The root; none if there are no keys.
    fn whole(&self) -> Option<Place> {
        self.top.map(|page| Place {
            page,
            of_page: self.root,
            at: 0,
            hash: self.root,
        })
    }

    fn node<S: PageSource>(
        &mut self,
        source: &S,
        place: Place,
    ) -> Result<Node, TreeError<S::Error>> {
        let place = self.through(source, place)?;
        let page = self.cached(place.page);
        let Kind::Inner { bit, skip, .. } = page.nodes[place.at] else {
            return Ok(Node::Leaf(page.key(place.at).to_vec()));
        };
        let side = |at: usize| Place {
            at,
            hash: page.hash(at),
            ..place
        };
        let sides = [side(place.at + 1), side(place.at + usize::from(skip))];
        Ok(Node::Inner(bit, sides))
    }

    /// Where a reference leads to; the page is in memory then.
    fn through<S: PageSource>(
        &mut self,
        source: &S,
        mut place: Place,
    ) -> Result<Place, TreeError<S::Error>> {
        loop {
            let page = self.load(source, place.page, Some(&place.of_page))?;
            let Kind::Child { id, .. } = page.nodes[place.at] else {
                return Ok(place);
            };
            place = Place {
                page: id,
                of_page: place.hash,
                at: 0,
                hash: place.hash,
            };
        }
    }

    fn any_key<S: PageSource>(
        &mut self,
        source: &S,
        mut place: Place,
    ) -> Result<Vec<u8>, TreeError<S::Error>> {
        loop {
            place = self.through(source, place)?;
            let page = self.cached(place.page);
            // The leftmost.
            while let Kind::Inner { .. } = page.nodes[place.at] {
                place.at += 1;
            }
            if let Kind::Leaf { .. } = page.nodes[place.at] {
                return Ok(page.key(place.at).to_vec());
            }
            place.hash = page.hash(place.at);
        }
    }
}
