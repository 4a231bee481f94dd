//! Which sequence number a transaction gets (X1).
//!
//! The replicated state remembers, per client key, the numbers executed within a window below the highest. So numbers
//! are counted up from the `next_sequence` that a validator reports, never taken from a clock: microseconds of two
//! processes that share a key would lie further apart than the window. Two such processes do collide now and then; the
//! receipt `SequenceReused` then proves that *this* transaction has had no effect, and only on that proof is the operation
//! signed again, with a number beyond the answering validator's. It will have none while the session remembers the number:
//! until everything that was executed in it has expired. A transaction that is valid for longer could be ordered again after
//! that, by whoever has its bytes (docs/API.md).

use std::hash::{BuildHasher, RandomState};

/// Counts up from what the validators know.
#[derive(Debug, Default)]
pub struct Sequence {
    next: Option<u64>,
    collisions: u32,
}

impl Sequence {
    /// A validator reports this as the first number above all executed ones. Its state may be older than what this
    /// process has used, so the count never goes back.
    pub fn learn(&mut self, next: u64) {
        let floor = self.next.unwrap_or(next);
        self.next = Some(floor.max(next));
    }

    /// As [`Sequence::learn`], and the next number.
    pub fn take_from(&mut self, next: u64) -> u64 {
        self.learn(next);
        self.take().unwrap_or(next)
    }

    /// What is known is of no use: the validators are asked again before the next number is taken.
    pub fn forget(&mut self) {
        self.next = None;
    }

    /// The next number, if known.
    pub fn take(&mut self) -> Option<u64> {
        let number = self.next?;
        self.next = number.checked_add(1);
        Some(number)
    }

    /// Another process used our number. Each further collision in a row skips over a wider random stretch (at most
    /// 32 numbers, inside the smallest window a chain may have, 64), so that two processes do not race for ever.
    pub fn collided(&mut self, next: u64) {
        self.learn(next);
        self.collisions = self.collisions.saturating_add(1);
        let spread = 1u64 << self.collisions.min(5);
        let jump = RandomState::new().hash_one(self.collisions) % spread;
        self.next = self.next.map(|number| number.saturating_add(jump));
    }

    /// A number was executed: the stretch of collisions is over.
    pub fn executed(&mut self) {
        self.collisions = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_and_never_go_back() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(), None);
        assert_eq!(sequence.take_from(7), 7);
        sequence.learn(3); // a validator that is behind
        assert_eq!(sequence.take(), Some(8));
        sequence.learn(100);
        assert_eq!(sequence.take(), Some(100));
    }

    #[test]
    fn a_collision_moves_beyond_what_the_validator_knows_by_a_bounded_stretch() {
        let mut sequence = Sequence::default();
        sequence.learn(1);
        for round in 0..20u64 {
            sequence.collided(round * 1_000);
            let number = sequence.take().expect("known");
            assert!((round * 1_000..round * 1_000 + 34).contains(&number) || round == 0);
        }
    }

    /// Another process moved the window beyond what this one counts from; only asking again gets it back there.
    #[test]
    fn what_is_forgotten_is_learnt_anew() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take_from(u64::MAX - 1), u64::MAX - 1);
        sequence.forget();
        assert_eq!(sequence.take(), None);
        assert_eq!(sequence.take_from(7), 7);
        assert_eq!(sequence.take(), Some(8));
    }

    #[test]
    fn the_last_number_of_all_is_used_once() {
        let mut sequence = Sequence::default();
        sequence.learn(u64::MAX);
        assert_eq!(sequence.take(), Some(u64::MAX));
        assert_eq!(sequence.take(), None);
    }
}
