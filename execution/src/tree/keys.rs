//! Which keys there are, in order. Part of [`Tree`].

use alloc::vec::Vec;

use super::page::Kind;
use super::{PageSource, Place, Tree, TreeError, bits};

/// Pages that [`Tree::lacks`] goes down at most: a path that clients made deep is not followed at the price of a look-up.
const LACKS_PAGES: usize = 8;

impl Tree {
    /// True if the pages in memory show that there is no such key. False if there is one, and where only storage knows.
    #[must_use]
    pub fn lacks(&self, key: &[u8]) -> bool {
        if self.unusable {
            return false;
        }
        let (mut next, mut hash) = (self.top, self.root);
        for _ in 0..LACKS_PAGES {
            let Some(id) = next else { break };
            // As in `load`: a damaged reference may name another page.
            let Some(page) = self.pages.get(id).filter(|page| page.is(&hash)) else {
                return false;
            };
            let at = page.descend(key);
            next = match page.nodes[at] {
                Kind::Child { id, stale: false } => Some(id),
                Kind::Leaf { .. } => return page.key(at) != key,
                Kind::Child { stale: true, .. } | Kind::Inner { .. } => return false,
            };
            hash = page.digests[at];
        }
        next.is_none()
    }

    /// The first `limit` keys with `from` ≤ key < `to`, ascending. Takes as long as the way to `from` and what lies between
    /// the keys found: nothing that was removed is passed. Reads pages; takes `&mut self` to keep them.
    ///
    /// # Errors
    /// [`TreeError::KeyTooLong`] for `from`; `Source` and `Damaged` make the tree unusable.
    pub fn keys<S: PageSource>(
        &mut self,
        source: &S,
        (from, to): (&[u8], &[u8]),
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, TreeError<S::Error>> {
        // One behind the longest key is where a range goes on.
        if from.len() > bits::MAX_KEY_BYTES + 1 {
            return Err(TreeError::KeyTooLong(from.len()));
        }
        self.guarded(|tree| {
            let mut open = tree.open_from(source, from)?;
            let mut found = Vec::new();
            while found.len() < limit
                && let Some(place) = open.pop()
            {
                let (id, at) = tree.leftmost(source, place, &mut open)?;
                let key = tree.cached(id).key(at);
                if key >= to {
                    break;
                }
                found.push(key.to_vec());
            }
            Ok(found)
        })
    }

    /// The subtrees that hold all keys that are not below `from`, and no others, the first one last.
    fn open_from<S: PageSource>(
        &mut self,
        source: &S,
        from: &[u8],
    ) -> Result<Vec<Place>, TreeError<S::Error>> {
        let mut open = Vec::new();
        let Some((id, at)) = self.find(source, from)? else {
            return Ok(open);
        };
        let crit = bits::crit(from, self.cached(id).key(at));
        // Down the same way, in pages that `find` has loaded, to the first node that does not branch before `crit`: all
        // keys below it differ from `from` in that bit, and so lie on one side of it.
        let mut place = (self.top.expect("there is a leaf"), 0);
        loop {
            let page = self.cached(place.0);
            match page.nodes[place.1] {
                Kind::Inner { bit, skip, .. } if crit.is_none_or(|crit| bit < crit) => {
                    let right = place.1 + usize::from(skip);
                    if bits::bit(from, bit) {
                        place.1 = right;
                    } else {
                        open.push((place.0, right));
                        place.1 += 1;
                    }
                }
                Kind::Child { id, .. } => place = (id, 0),
                Kind::Inner { .. } | Kind::Leaf { .. } => break,
            }
        }
        if crit.is_none_or(|crit| !bits::bit(from, crit)) {
            open.push(place);
        }
        Ok(open)
    }

    /// The first leaf of a subtree; what lies to the right of the way there is added to `open`.
    fn leftmost<S: PageSource>(
        &mut self,
        source: &S,
        (mut id, mut at): Place,
        open: &mut Vec<Place>,
    ) -> Result<Place, TreeError<S::Error>> {
        loop {
            let page = self.cached(id);
            match page.nodes[at] {
                Kind::Inner { skip, .. } => {
                    open.push((id, at + usize::from(skip)));
                    at += 1;
                }
                Kind::Child { id: child, stale } => {
                    let hash = (!stale).then_some(page.digests[at]);
                    self.load(source, child, hash.as_ref())?;
                    (id, at) = (child, 0);
                }
                Kind::Leaf { .. } => return Ok((id, at)),
            }
        }
    }
}
