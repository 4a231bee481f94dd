//! Execution claims against this replica's own execution (V5), and what a leader claims itself.
//!
//! A certified claim that differs from what was executed here means that this replica is the one that is wrong.

use alloc::collections::BTreeMap;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Claim, Height, Roots};

/// Own roots and certified claims that are kept, each; beyond it the lowest go.
pub(crate) const MAX_HEIGHTS: usize = 4096;

/// A quorum certified other roots than this replica's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    pub(crate) height: Height,
    pub(crate) ours: Roots,
    pub(crate) certified: Roots,
}

/// What this replica can say to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The same was executed here.
    Same,
    /// Not executed here yet (or too long ago to know).
    NotYet,
    /// Something else was executed here.
    Different,
}

#[derive(Debug)]
pub(crate) struct Execution {
    done: BTreeMap<Height, Roots>,
    height: Height,
    nonempty: Height,
    /// Certified claims on heights that are not executed here yet.
    certified: BTreeMap<Height, Roots>,
}

impl Execution {
    pub(crate) fn new(
        executed: impl IntoIterator<Item = (Height, Roots)>,
        nonempty: Height,
    ) -> Execution {
        let done: BTreeMap<Height, Roots> = executed.into_iter().collect();
        let height = done.keys().next_back().copied().unwrap_or_default();
        Execution {
            done,
            height,
            nonempty,
            certified: BTreeMap::new(),
        }
    }

    pub(crate) fn judge(&self, claim: &Claim) -> Judgement {
        match self.done.get(&claim.height) {
            Some(ours) if *ours == claim.roots => Judgement::Same,
            Some(_) => Judgement::Different,
            None => Judgement::NotYet,
        }
    }

    /// A block with this claim was certified.
    #[must_use]
    pub(crate) fn certify(&mut self, claim: &Claim) -> Option<Divergence> {
        if let Some(ours) = self.done.get(&claim.height) {
            return compare(claim.height, *ours, claim.roots);
        }
        if claim.height > self.height {
            self.certified.insert(claim.height, claim.roots);
            bound(&mut self.certified);
        }
        None
    }

    /// A committed block was executed here.
    #[must_use]
    pub(crate) fn executed(
        &mut self,
        height: Height,
        roots: Roots,
        empty: bool,
    ) -> Option<Divergence> {
        if height <= self.height && self.done.contains_key(&height) {
            return None;
        }
        self.done.insert(height, roots);
        bound(&mut self.done);
        self.height = self.height.max(height);
        if !empty || mutant(Mutant::EmptyCountsAsWork) {
            self.nonempty = self.nonempty.max(height);
        }
        let certified = self.certified.remove(&height);
        self.certified = self.certified.split_off(&self.height);
        compare(height, roots, certified?)
    }

    /// Forgets heights that no claim above the root can name any more.
    pub(crate) fn prune(&mut self, root_claim: Height) {
        self.done = self.done.split_off(&root_claim.min(self.height));
    }

    /// What the child of a block with `parent`'s claim claims: the latest execution here, unless the branch is ahead.
    /// Only committed blocks are executed, and every branch that is extended starts at the committed root.
    pub(crate) fn claim(&self, parent: &Claim, root: Height) -> Claim {
        match self.done.last_key_value() {
            Some((height, roots)) if *height > parent.height && *height <= root => Claim {
                height: *height,
                roots: *roots,
            },
            _ => *parent,
        }
    }

    /// L3: whether a block that was not empty has been executed which the branch does not claim.
    pub(crate) fn has_unclaimed(&self, claim: &Claim) -> bool {
        self.nonempty > claim.height
    }
}

fn compare(height: Height, ours: Roots, certified: Roots) -> Option<Divergence> {
    (ours != certified).then_some(Divergence {
        height,
        ours,
        certified,
    })
}

fn bound(map: &mut BTreeMap<Height, Roots>) {
    while map.len() > MAX_HEIGHTS {
        map.pop_first();
    }
}
