//! What clients saw, and whether one machine could have shown it to them one operation after the other.
//!
//! Two judges, which share nothing: [`in_ledger_order`] replays every executed operation in the order of the ledger on a
//! model of its own, compares each answer, and holds the order against real time; [`linearizable`] knows no ledger and
//! looks for any order at all that explains the answers (Wing and Gong, "Testing and Verifying Concurrent Objects",
//! 1993, with the memory of Lowe, "Testing for Linearizability", 2017), so that it also judges operations that never got
//! an answer.

use std::collections::{BTreeMap, HashSet};

/// Operations on one key that [`linearizable`] looks at, at most: the first ones.
const MOST: usize = 128;

/// States that a search visits before it gives up: the problem is NP-complete, and some histories of many operations at
/// once are beyond reach. The ledger's order judges those all the same.
const MOST_STATES: usize = 4_096;

/// Names a value: each write writes another.
pub type Tag = u64;

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
}

/// An operation on one key, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// On what.
    pub key: u64,
    /// What was asked.
    pub action: Action,
    /// When it was asked first.
    pub called: u64,
    /// When it was answered first, and how. Without an answer it may have happened, and may still.
    pub returned: Option<(u64, Answer)>,
}

/// What an action does to a key, and what it answers.
fn apply(action: Action, held: Option<Tag>) -> (Option<Tag>, Answer) {
    match action {
        Action::Put(tag) => (Some(tag), Answer::Put),
        Action::Get => (held, Answer::Get(held)),
        Action::Delete => (None, Answer::Delete(held.is_some())),
        Action::Swap { expect, value } if expect == held => (Some(value), Answer::Swap(true)),
        Action::Swap { .. } => (held, Answer::Swap(false)),
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
    let mut state: BTreeMap<u64, Tag> = BTreeMap::new();
    let mut latest_call = 0;
    let proved = |proof: Proved, state: &BTreeMap<u64, Tag>| match state.get(&proof.key).copied()
        == proof.value
    {
        true => Ok(()),
        false => Err(Impossible::WrongProof(proof)),
    };
    for ((height, _), operation) in executed {
        while let Some(proof) = proofs.next_if(|proof| proof.height < *height) {
            proved(proof, &state)?;
        }
        let (now, answer) = apply(operation.action, state.get(&operation.key).copied());
        match now {
            Some(tag) => state.insert(operation.key, tag),
            None => state.remove(&operation.key),
        };
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
        let all = Search::new(&operations);
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
    operations: &'a [Operation],
    /// Those that have an answer, and so must happen.
    must: u128,
}

impl Search<'_> {
    fn new(operations: &[Operation]) -> Search<'_> {
        let answered = |(place, operation): (usize, &Operation)| {
            u128::from(operation.returned.is_some()) << place
        };
        Search {
            must: operations.iter().enumerate().map(answered).sum(),
            operations,
        }
    }

    /// `None` if it takes too long.
    fn possible(&self) -> Option<bool> {
        let mut seen: HashSet<(u128, Option<Tag>)> = HashSet::new();
        let mut open = vec![(0_u128, None)];
        while let Some((done, held)) = open.pop() {
            if done & self.must == self.must {
                return Some(true);
            }
            if seen.len() > MOST_STATES {
                return None;
            }
            // What was asked first is tried first.
            for (next, now) in self.next(done, held).into_iter().rev() {
                if seen.insert((next, now)) {
                    open.push((next, now));
                }
            }
        }
        Some(false)
    }

    /// What may happen next: whatever was asked before everything that is left was answered.
    fn next(&self, done: u128, held: Option<Tag>) -> Vec<(u128, Option<Tag>)> {
        let left = |place: usize| done & (1 << place) == 0;
        let all = || self.operations.iter().enumerate();
        let answered = all().filter(|(place, _)| left(*place));
        let first = answered.filter_map(|(_, o)| Some(o.returned?.0)).min();
        let mut next = Vec::new();
        for (place, operation) in all().filter(|(place, _)| left(*place)) {
            if first.is_some_and(|first| operation.called > first) {
                break;
            }
            let (now, answer) = apply(operation.action, held);
            if operation.returned.is_none_or(|(_, told)| told == answer) {
                next.push((done | (1 << place), now));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(action: Action, called: u64, returned: Option<(u64, Answer)>) -> Operation {
        Operation {
            key: 1,
            action,
            called,
            returned,
        }
    }

    fn ledger(operations: &[Operation]) -> BTreeMap<(u64, u32), Operation> {
        (1..)
            .map(|height| (height, 0))
            .zip(operations.iter().copied())
            .collect()
    }

    #[test]
    fn a_sound_history_passes_both() {
        let history = [
            operation(Action::Put(5), 0, Some((10, Answer::Put))),
            operation(Action::Get, 5, Some((20, Answer::Get(Some(5))))),
            operation(
                Action::Swap {
                    expect: Some(5),
                    value: 6,
                },
                12,
                Some((30, Answer::Swap(true))),
            ),
            operation(Action::Delete, 31, None),
            operation(Action::Get, 40, Some((50, Answer::Get(None)))),
        ];
        let proofs = [
            Proved {
                height: 1,
                key: 1,
                value: Some(5),
            },
            Proved {
                height: 9,
                key: 1,
                value: None,
            },
        ];
        assert_eq!(in_ledger_order(&ledger(&history), &proofs), Ok(()));
        assert_eq!(linearizable(&history), Ok((1, 0)));
    }

    #[test]
    fn an_answer_that_the_ledger_does_not_lead_to_is_seen() {
        let wrong = operation(Action::Get, 11, Some((20, Answer::Get(Some(7)))));
        let history = [operation(Action::Put(5), 0, Some((10, Answer::Put))), wrong];
        let found = in_ledger_order(&ledger(&history), &[]);
        assert_eq!(found, Err(Impossible::WrongAnswer(wrong)));
        assert_eq!(linearizable(&history), Err(Impossible::NoOrder(1)));
    }

    #[test]
    fn an_order_against_real_time_is_seen() {
        // The read was over before the write began, and stands behind it.
        let read = operation(Action::Get, 0, Some((5, Answer::Get(Some(5)))));
        let history = [operation(Action::Put(5), 10, Some((20, Answer::Put))), read];
        let found = in_ledger_order(&ledger(&history), &[]);
        assert_eq!(found, Err(Impossible::OutOfTime(read)));
        assert_eq!(linearizable(&history), Err(Impossible::NoOrder(1)));
    }

    #[test]
    fn a_stale_read_is_seen_without_a_ledger() {
        let history = [
            operation(Action::Put(5), 0, Some((10, Answer::Put))),
            operation(Action::Put(6), 11, Some((20, Answer::Put))),
            operation(Action::Get, 21, Some((30, Answer::Get(Some(5))))),
        ];
        assert_eq!(linearizable(&history), Err(Impossible::NoOrder(1)));
    }

    #[test]
    fn what_was_never_answered_may_have_happened_or_not() {
        let open = operation(Action::Put(5), 0, None);
        let saw = |value| operation(Action::Get, 10, Some((20, Answer::Get(value))));
        assert_eq!(linearizable(&[open, saw(Some(5))]), Ok((1, 0)));
        assert_eq!(linearizable(&[open, saw(None)]), Ok((1, 0)));
        assert_eq!(
            linearizable(&[open, saw(Some(6))]),
            Err(Impossible::NoOrder(1))
        );
        // Seen and then not seen any more: not both.
        let later = operation(Action::Get, 21, Some((30, Answer::Get(None))));
        let history = [open, saw(Some(5)), later];
        assert_eq!(linearizable(&history), Err(Impossible::NoOrder(1)));
    }

    #[test]
    fn a_proof_of_what_was_not_there_is_seen() {
        let history = [operation(Action::Put(5), 0, Some((10, Answer::Put)))];
        let wrong = Proved {
            height: 1,
            key: 1,
            value: None,
        };
        let found = in_ledger_order(&ledger(&history), &[wrong]);
        assert_eq!(found, Err(Impossible::WrongProof(wrong)));
    }

    #[test]
    fn a_long_history_is_cut_where_that_is_sound() {
        let mut history = Vec::new();
        for number in 0..200_u64 {
            let at = number * 10;
            history.push(operation(
                Action::Put(number),
                at,
                Some((at + 15, Answer::Put)),
            ));
        }
        assert_eq!(linearizable(&history), Ok((1, 0)));
    }
}
