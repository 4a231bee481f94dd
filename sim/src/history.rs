//! What clients saw, and whether one machine could have shown it to them one operation after the other.
//!
//! Two judges, which share only what an operation does to a key (`key`): [`in_ledger_order`] replays every executed operation
//! in the order of the ledger, compares each answer, and holds the order against real time; [`linearizable`] knows no ledger and
//! looks for any order at all that explains the answers (Wing and Gong, "Testing and Verifying Concurrent Objects",
//! 1993, with the memory of Lowe, "Testing for Linearizability", 2017), so that it also judges operations that never got
//! an answer.

mod key;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use key::Held;

/// Operations on one key that [`linearizable`] looks at, at most: the first ones.
const MOST: usize = 128;

/// States that a search visits before it gives up: the problem is NP-complete, and some histories of many operations at
/// once are beyond reach. The ledger's order judges those all the same.
const MOST_STATES: usize = 4_096;

/// Names a value: each write writes another.
pub type Tag = u64;

/// Names a checkpoint.
pub type Name = u8;

/// Keys that a history may be about, at most: an answer names them by bits.
pub const MOST_KEYS: u64 = 64;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sets the key.
    Put(Tag),
    /// Reads it.
    Get,
    /// Removes it.
    Delete,
    /// Sets it if it holds what is expected.
    Swap {
        /// Expected; `None`: no such key.
        expect: Option<Tag>,
        /// To be set.
        value: Tag,
    },
    /// Gives what all keys hold a name.
    Checkpoint(Name),
    /// Takes keys back to what they held at a checkpoint.
    Revert {
        /// Its name.
        to: Name,
        /// All keys, and not only the operation's own.
        all: bool,
    },
    /// Ends a checkpoint; for who made it.
    Release(Name),
}

impl Action {
    /// Whether it is about checkpoints, and so about more than its own key.
    fn is_global(self) -> bool {
        matches!(
            self,
            Action::Checkpoint(_) | Action::Revert { .. } | Action::Release(_)
        )
    }
}

/// What a client was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is set.
    Put,
    /// What the key holds.
    Get(Option<Tag>),
    /// Whether there was something to remove.
    Delete(bool),
    /// Whether it held what was expected.
    Swap(bool),
    /// The checkpoint is made, or released.
    Done,
    /// The keys that changed: bit k for key k.
    Reverted(u64),
    /// It had no effect, because of the checkpoints that there are.
    Refused(Refusal),
}

/// Why an operation on checkpoints has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An open one has the name.
    Exists,
    /// None that is open has the name.
    Unknown,
    /// As many are kept as may be.
    TooMany,
    /// Another client made it.
    Forbidden,
}

/// An operation on one key, or on checkpoints, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// On what.
    pub key: u64,
    /// Who asked.
    pub client: usize,
    /// What was asked.
    pub action: Action,
    /// When it was asked first.
    pub called: u64,
    /// When it was answered first, and how. Without an answer it may have happened, and may still.
    pub returned: Option<(u64, Answer)>,
}

/// Whether what a client was told is what this key's part of the answer says.
fn agrees(told: Answer, answer: Answer, key: u64) -> bool {
    match (told, answer) {
        (Answer::Reverted(told), Answer::Reverted(part)) => told & (1 << key) == part,
        _ => told == answer,
    }
}

/// A key's value that a replica proved for a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// Of the state after this height.
    pub height: u64,
    /// Which key.
    pub key: u64,
    /// What it held.
    pub value: Option<Tag>,
}

/// Why a history cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    /// The answer is not what the operation leads to at its place in the ledger.
    WrongAnswer(Operation),
    /// It was answered before another was asked that stands before it in the ledger.
    OutOfTime(Operation),
    /// A replica proved something that the state did not hold.
    WrongProof(Proved),
    /// No order of the operations on this key explains the answers.
    NoOrder(u64),
}

/// Replays executed operations, each with its place (height, index) in the ledger, and proofs between them.
///
/// # Errors
/// The first [`Impossible`] found.
pub fn in_ledger_order(
    executed: &BTreeMap<(u64, u32), Operation>,
    proofs: &[Proved],
) -> Result<(), Impossible> {
    let mut proofs = proofs.to_vec();
    proofs.sort_by_key(|proof| proof.height);
    let mut proofs = proofs.into_iter().peekable();
    // All keys from the beginning on: each sees every checkpoint.
    let keys = executed.values().map(|operation| operation.key);
    let mut state: BTreeMap<u64, Held> = keys.map(|key| (key, Held::default())).collect();
    let mut latest_call = 0;
    let proved = |proof: Proved, state: &BTreeMap<u64, Held>| match state
        .get(&proof.key)
        .and_then(|held| held.value)
        == proof.value
    {
        true => Ok(()),
        false => Err(Impossible::WrongProof(proof)),
    };
    for ((height, _), operation) in executed {
        while let Some(proof) = proofs.next_if(|proof| proof.height < *height) {
            proved(proof, &state)?;
        }
        let answer = happen(operation, &mut state);
        latest_call = latest_call.max(operation.called);
        if let Some((returned, told)) = operation.returned {
            if told != answer {
                return Err(Impossible::WrongAnswer(*operation));
            }
            if returned < latest_call {
                return Err(Impossible::OutOfTime(*operation));
            }
        }
    }
    proofs.try_for_each(|proof| proved(proof, &state))
}

/// An operation happens to all keys that it is about. Returns the answer.
fn happen(operation: &Operation, state: &mut BTreeMap<u64, Held>) -> Answer {
    let mut answer = None;
    for (key, held) in state.iter_mut() {
        if *key != operation.key && !operation.action.is_global() {
            continue;
        }
        let part = held.apply(operation, *key);
        answer = Some(match (answer, part) {
            (Some(Answer::Reverted(others)), Answer::Reverted(part)) => {
                Answer::Reverted(others | part)
            }
            _ => part,
        });
    }
    answer.expect("its own key is among them")
}

/// Looks for an order of all operations that explains every answer, key by key.
///
/// Returns for how many keys an order was found, and for how many the search gave up.
///
/// # Errors
/// [`Impossible::NoOrder`].
pub fn linearizable(operations: &[Operation]) -> Result<(u64, u64), Impossible> {
    let (mut found, mut open) = (0, 0);
    let mut by_key: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        by_key.entry(operation.key).or_default().push(*operation);
    }
    // Each key sees the operations that are about more than their own.
    for (key, seen) in &mut by_key {
        let others = operations.iter().filter(|operation| operation.key != *key);
        seen.extend(others.filter(|operation| operation.action.is_global()));
    }
    for (key, mut operations) in by_key {
        operations.sort_by_key(|operation| operation.called);
        // The beginning of a history that can be can be: what returned later is open.
        if let Some(next) = operations.get(MOST) {
            let end = next.called;
            operations.truncate(MOST);
            for operation in &mut operations {
                operation.returned = operation.returned.filter(|(at, _)| *at < end);
            }
        }
        let all = Search::new(key, &operations);
        match all.possible() {
            Some(true) => found += 1,
            Some(false) => return Err(Impossible::NoOrder(key)),
            None => open += 1,
        }
    }
    Ok((found, open))
}

/// A search over the sets of operations that may have happened first.
struct Search<'a> {
    key: u64,
    operations: &'a [Operation],
    /// Those that have an answer, and so must happen.
    must: u128,
}

impl Search<'_> {
    fn new(key: u64, operations: &[Operation]) -> Search<'_> {
        let answered = |(place, operation): (usize, &Operation)| {
            u128::from(operation.returned.is_some()) << place
        };
        Search {
            key,
            must: operations.iter().enumerate().map(answered).sum(),
            operations,
        }
    }

    /// `None` if it takes too long.
    fn possible(&self) -> Option<bool> {
        let mut seen: HashSet<(u128, Held)> = HashSet::new();
        let mut open = vec![(0_u128, Held::default())];
        while let Some((done, held)) = open.pop() {
            if done & self.must == self.must {
                return Some(true);
            }
            if seen.len() > MOST_STATES {
                return None;
            }
            // What was asked first is tried first.
            for (next, now) in self.next(done, &held).into_iter().rev() {
                if seen.insert((next, now.clone())) {
                    open.push((next, now));
                }
            }
        }
        Some(false)
    }

    /// What may happen next: whatever was asked before everything that is left was answered.
    fn next(&self, done: u128, held: &Held) -> Vec<(u128, Held)> {
        let left = |place: usize| done & (1 << place) == 0;
        let all = || self.operations.iter().enumerate();
        let answered = all().filter(|(place, _)| left(*place));
        let first = answered.filter_map(|(_, o)| Some(o.returned?.0)).min();
        let mut next = Vec::new();
        for (place, operation) in all().filter(|(place, _)| left(*place)) {
            if first.is_some_and(|first| operation.called > first) {
                break;
            }
            let mut now = held.clone();
            let answer = now.apply(operation, self.key);
            let agrees = |(_, told): (u64, Answer)| agrees(told, answer, self.key);
            if operation.returned.is_none_or(agrees) {
                next.push((done | (1 << place), now));
            }
        }
        next
    }
}
