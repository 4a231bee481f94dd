//! What operations do to one key: the judges' own machine. Each key sees every checkpoint by itself, so that keys can be
//! judged one by one.

use super::{Action, Answer, Name, Operation, Refusal, Tag};

/// Checkpoints that are kept at most, released ones that older ones need among them.
const MOST_KEPT: usize = 16;

/// A key, and what it held at each checkpoint that is kept, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) value: Option<Tag>,
    kept: Vec<Kept>,
}

/// A checkpoint, as one key sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kept {
    name: Name,
    client: usize,
    /// It is over, and kept for older ones.
    released: bool,
    value: Option<Tag>,
}

impl Held {
    /// What an operation does to this key, and what it answers; of a revert, this key's part of the answer.
    pub(super) fn apply(&mut self, operation: &Operation, key: u64) -> Answer {
        let held = self.value;
        match operation.action {
            Action::Put(tag) => {
                self.value = Some(tag);
                Answer::Put
            }
            Action::Get => Answer::Get(held),
            Action::Delete => {
                self.value = None;
                Answer::Delete(held.is_some())
            }
            Action::Swap { expect, value } if expect == held => {
                self.value = Some(value);
                Answer::Swap(true)
            }
            Action::Swap { .. } => Answer::Swap(false),
            Action::Checkpoint(name) => self.checkpoint(name, operation.client),
            Action::Revert { to, all } => self.revert(to, key, all || key == operation.key),
            Action::Release(name) => self.release(name, operation.client),
        }
    }

    fn open(&mut self, name: Name) -> Option<&mut Kept> {
        let mut kept = self.kept.iter_mut();
        kept.find(|kept| kept.name == name && !kept.released)
    }

    fn checkpoint(&mut self, name: Name, client: usize) -> Answer {
        if self.open(name).is_some() {
            return Answer::Refused(Refusal::Exists);
        }
        if self.kept.len() == MOST_KEPT {
            return Answer::Refused(Refusal::TooMany);
        }
        self.kept.push(Kept {
            name,
            client,
            released: false,
            value: self.value,
        });
        Answer::Done
    }

    fn revert(&mut self, to: Name, key: u64, concerned: bool) -> Answer {
        let Some(then) = self.open(to).map(|kept| kept.value) else {
            return Answer::Refused(Refusal::Unknown);
        };
        if !concerned || then == self.value {
            return Answer::Reverted(0);
        }
        self.value = then;
        Answer::Reverted(1 << key)
    }

    fn release(&mut self, name: Name, client: usize) -> Answer {
        let Some(kept) = self.open(name) else {
            return Answer::Refused(Refusal::Unknown);
        };
        if kept.client != client {
            return Answer::Refused(Refusal::Forbidden);
        }
        kept.released = true;
        let needed = self.kept.iter().position(|kept| !kept.released);
        self.kept.drain(..needed.unwrap_or(self.kept.len()));
        Answer::Done
    }
}
