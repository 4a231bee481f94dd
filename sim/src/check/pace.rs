//! T2: whoever repeats an old Timeout is told what it has missed, but no oftener than it could repeat itself. Anybody can
//! send its Timeout again, and the answer is many times as long; without a limit one liar has everybody work for it.

use std::collections::BTreeMap;

use quorate_consensus::Target;
use quorate_types::{BlockId, Message};

use super::Violation;

/// A second, in nanoseconds.
const WINDOW: u64 = 1_000_000_000;
/// The same certificate to the same peer in one second, at most: half the shortest timer between two answers, and as often
/// again for connections that are made anew.
const MOST: u32 = 40;

/// Who told whom which certificate how often since the second began.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    second: u64,
    told: BTreeMap<(usize, usize, BlockId), u32>,
}

impl Pace {
    /// A correct replica sends this to one peer.
    pub(crate) fn note(
        &mut self,
        now: u64,
        from: usize,
        to: Target,
        message: &Message,
    ) -> Result<(), Violation> {
        let (Target::One(to), Message::Qc(qc)) = (to, message) else {
            return Ok(());
        };
        if now / WINDOW != self.second {
            self.second = now / WINDOW;
            self.told.clear();
        }
        let times = self
            .told
            .entry((from, to.as_usize(), qc.block))
            .or_default();
        *times += 1;
        match *times > MOST {
            true => Err(Violation::Pesters(qc.round)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::{Epoch, Qc, Round, ValidatorIndex};

    use super::*;

    #[test]
    fn the_same_certificate_again_and_again_is_seen_and_others_are_not() {
        let qc = |round| {
            let block = BlockId::default();
            Message::Qc(Box::new(Qc::anchor(Round::new(Epoch(0), round), block)))
        };
        let to = Target::One(ValidatorIndex(1));
        let mut pace = Pace::default();
        for time in 0..10 * u64::from(MOST) {
            // Forty in every second, to one and to all.
            let now = time * WINDOW / u64::from(MOST);
            assert!(pace.note(now, 0, to, &qc(7)).is_ok());
            assert!(pace.note(now, 0, Target::All, &qc(7)).is_ok());
        }
        let mut pace = Pace::default();
        let told = (0..=MOST).map(|_| pace.note(5, 0, to, &qc(7)));
        let refused: Vec<_> = told.filter(Result::is_err).collect();
        assert_eq!(refused.len(), 1);
    }
}
