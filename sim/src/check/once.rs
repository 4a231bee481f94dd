//! X1, written anew: what may become of a transaction, from its block's time, its `valid_until`, who is registered, and which
//! numbers were used. A model that knows what ran; what the product keeps of that, and how, it never looks at.
//!
//! When all that a session ever held is over, it is dropped, in a block that the judges do not calculate: until then it is in
//! force, afterwards it may be. What such a session held is *in doubt*, and both answers are accepted.

use std::collections::{BTreeMap, BTreeSet};

use quorate_crypto::PublicKey;
use quorate_types::{
    BlockTime, Genesis, Height, Outcome, Rejection, TransactionBody, TransactionId,
};

/// Windows end at multiples of this.
const STEP: u64 = 16;
/// The end of a session is kept in steps of so many nanoseconds.
const BUCKET: u64 = 64_000_000_000;

/// What a chain has laid down.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    clients: BTreeSet<PublicKey>,
    window: u64,
    validity: u64,
    /// How far a block's time may lie ahead of a voter's clock (V1).
    pub(super) drift: u64,
    /// When the chain begins.
    pub(super) began: BlockTime,
}

impl Terms {
    pub(crate) fn of(genesis: &Genesis) -> Terms {
        Terms {
            clients: genesis.clients.iter().map(|client| client.key).collect(),
            window: genesis.parameters.session_window,
            validity: genesis.parameters.max_validity_ns,
            drift: genesis.parameters.max_clock_drift_ns,
            began: genesis.time,
        }
    }
}

/// By which transaction a number was used, and where that stands.
type Use = (TransactionId, Height, u32);

/// A client's numbers.
#[derive(Clone, Debug, Default)]
struct Session {
    used: BTreeMap<u64, Use>,
    floor: u64,
    until: BlockTime,
    /// What it held when it was over, and may hold still.
    doubted: BTreeMap<u64, Use>,
    doubted_floor: u64,
}

/// All clients' numbers.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    terms: Terms,
    all: BTreeMap<PublicKey, Session>,
}

/// Whether the number is used up by this outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ran, and was executed or rejected by the machine.
    Ran,
    /// It did not run, and rightly.
    Kept,
    /// It ran although its number was used.
    Twice,
    /// It may not have come out like this.
    Unfounded,
}

impl Sessions {
    pub(super) fn new(terms: Terms) -> Sessions {
        Sessions {
            terms,
            all: BTreeMap::new(),
        }
    }

    /// A transaction came out like this, at a place. What ran is noted.
    pub(super) fn judge(
        &mut self,
        (body, time): (&TransactionBody, BlockTime),
        place: Use,
        outcome: &Outcome,
    ) -> Verdict {
        let known = self.terms.clients.contains(&body.client);
        let (over, far) = (
            time > body.valid_until,
            body.valid_until > time.plus_nanos(self.terms.validity),
        );
        if let Outcome::Rejected(Rejection::UnknownClient) = outcome {
            return founded(!known);
        }
        let session = self.all.entry(body.client).or_default();
        session.age(time);
        let (number, id) = (body.sequence, place.0);
        let used = session.used.get(&number);
        let doubted = session.doubted.get(&number);
        let below = number < session.floor;
        // What ran before, and is remembered, is a duplicate and nothing else.
        let again = used.is_some_and(|(by, ..)| *by == id) && !below;
        let by_another = |record: Option<&Use>| record.is_some_and(|(by, ..)| *by != id);
        match outcome {
            Outcome::Duplicate { height, index } => {
                let first = Some(&(id, *height, *index));
                founded(!below && (used == first || doubted == first))
            }
            _ if again && !ran(outcome) => Verdict::Unfounded,
            Outcome::Rejected(Rejection::Expired) => founded(over),
            Outcome::Rejected(Rejection::TooFarAhead) => founded(far),
            Outcome::Rejected(Rejection::TooOld) => {
                founded(below || number < session.doubted_floor)
            }
            Outcome::Rejected(Rejection::SequenceReused) => {
                founded(by_another(used) || by_another(doubted))
            }
            // It might have run, but for what others had cost.
            Outcome::Rejected(Rejection::BlockFull) => {
                founded(known && !over && !far && !below && used.is_none())
            }
            Outcome::Executed { .. } | Outcome::Rejected(_) => {
                if used.is_some() {
                    return Verdict::Twice;
                }
                if !known || over || far || below {
                    return Verdict::Unfounded;
                }
                session.run(number, place, body.valid_until, self.terms.window);
                Verdict::Ran
            }
        }
    }
}

impl Session {
    /// Time has come to this: what is over is in doubt.
    fn age(&mut self, time: BlockTime) {
        if self.until.0 / BUCKET < time.0 / BUCKET {
            self.doubted.append(&mut self.used);
            self.doubted_floor = self.doubted_floor.max(self.floor);
            self.floor = 0;
        }
    }

    fn run(&mut self, number: u64, place: Use, until: BlockTime, window: u64) {
        self.used.insert(number, place);
        let lowest = (number + 1).saturating_sub(window);
        self.floor = self.floor.max(lowest - lowest % STEP);
        self.until = self.until.max(until);
    }
}

fn founded(so: bool) -> Verdict {
    match so {
        true => Verdict::Kept,
        false => Verdict::Unfounded,
    }
}

/// Whether a transaction ran up to this, and was not turned away before.
fn ran(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Executed { .. } => true,
        Outcome::Duplicate { .. } => false,
        Outcome::Rejected(why) => match why {
            Rejection::UnknownClient
            | Rejection::Expired
            | Rejection::TooFarAhead
            | Rejection::TooOld
            | Rejection::SequenceReused
            | Rejection::BlockFull => false,
            Rejection::Forbidden
            | Rejection::CostExceeded
            | Rejection::ResultTooLarge
            | Rejection::BadCommand(_)
            | Rejection::UnknownCheckpoint(_)
            | Rejection::CheckpointExists(_)
            | Rejection::TooManyCheckpoints(_) => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::{Domain, hash};
    use quorate_types::FORMAT_VERSION;

    use super::*;
    use crate::genesis::{CLIENT, genesis, key};

    const SECOND: u64 = 1_000_000_000;

    struct Bench {
        sessions: Sessions,
        genesis: Genesis,
        index: u32,
    }

    impl Bench {
        fn new() -> Bench {
            let mut genesis = genesis("bench", 4, 1);
            genesis.parameters.session_window = 64;
            let sessions = Sessions::new(Terms::of(&genesis));
            Bench {
                sessions,
                genesis,
                index: 0,
            }
        }

        /// A transaction with this number and end, in a block of this time; both in seconds since the genesis.
        fn judge(
            &mut self,
            tag: u8,
            number: u64,
            until: u64,
            time: u64,
            as_if: &Outcome,
        ) -> Verdict {
            self.by(0, tag, number, until, time, as_if)
        }

        fn by(
            &mut self,
            client: usize,
            tag: u8,
            number: u64,
            until: u64,
            time: u64,
            as_if: &Outcome,
        ) -> Verdict {
            let at = |seconds: u64| self.genesis.time.plus_nanos(seconds * SECOND);
            let body = TransactionBody {
                version: FORMAT_VERSION,
                chain: Default::default(),
                client: key(CLIENT, client).public(),
                sequence: number,
                valid_until: at(until),
                commands: Vec::new(),
            };
            let id = TransactionId(hash(Domain::Transaction, &[&[tag]]));
            let time = at(time);
            self.index += 1;
            self.sessions
                .judge((&body, time), (id, Height(1), self.index), as_if)
        }
    }

    fn executed() -> Outcome {
        Outcome::Executed {
            revision: 1,
            results: Vec::new(),
        }
    }

    fn rejected(why: Rejection) -> Outcome {
        Outcome::Rejected(why)
    }

    #[test]
    fn x1_each_rejection_needs_its_reason_and_each_execution_that_there_is_none() {
        use Rejection::{Expired, SequenceReused, TooFarAhead, TooOld, UnknownClient};
        let mut bench = Bench::new();
        // Both ends of the time are included.
        for (until, time) in [(5, 5), (3_605, 5)] {
            for why in [Expired, TooFarAhead, TooOld, SequenceReused, UnknownClient] {
                let verdict = bench.judge(1, 1, until, time, &rejected(why));
                assert_eq!(verdict, Verdict::Unfounded, "{why:?}");
            }
        }
        assert_eq!(bench.judge(1, 1, 5, 6, &executed()), Verdict::Unfounded);
        assert_eq!(bench.judge(1, 1, 5, 6, &rejected(Expired)), Verdict::Kept);
        let far = bench.judge(1, 1, 3_606, 5, &executed());
        assert_eq!(far, Verdict::Unfounded);
        let far = bench.judge(1, 1, 3_606, 5, &rejected(TooFarAhead));
        assert_eq!(far, Verdict::Kept);
        let stranger = bench.by(7, 1, 1, 9, 5, &executed());
        assert_eq!(stranger, Verdict::Unfounded);
        let stranger = bench.by(7, 1, 1, 9, 5, &rejected(UnknownClient));
        assert_eq!(stranger, Verdict::Kept);
        assert_eq!(bench.judge(1, 100, 9, 5, &executed()), Verdict::Ran);
        // The window reaches down to 37, its chunk to 32.
        for (number, right, wrong) in [
            (31, rejected(TooOld), executed()),
            (32, executed(), rejected(TooOld)),
        ] {
            assert_eq!(bench.judge(2, number, 9, 5, &wrong), Verdict::Unfounded);
            assert_ne!(bench.judge(2, number, 9, 5, &right), Verdict::Unfounded);
        }
        assert_eq!(bench.judge(3, 100, 9, 5, &executed()), Verdict::Twice);
        let reused = bench.judge(3, 100, 9, 5, &rejected(SequenceReused));
        assert_eq!(reused, Verdict::Kept);
    }

    #[test]
    fn x1_what_ran_is_a_duplicate_of_its_first_place_until_its_session_is_over() {
        let mut bench = Bench::new();
        let bad = rejected(Rejection::BadCommand(0));
        assert_eq!(bench.judge(1, 1, 9, 5, &bad), Verdict::Ran);
        let first = Outcome::Duplicate {
            height: Height(1),
            index: bench.index,
        };
        let other = Outcome::Duplicate {
            height: Height(2),
            index: bench.index,
        };
        let expired = rejected(Rejection::Expired);
        let reused = rejected(Rejection::SequenceReused);
        for (outcome, verdict) in [
            (&first, Verdict::Kept),
            (&other, Verdict::Unfounded),
            (&bad, Verdict::Twice),
            (&reused, Verdict::Unfounded),
        ] {
            assert_eq!(bench.judge(1, 1, 9, 6, outcome), verdict, "{outcome:?}");
        }
        // It is too late for it, and the session lives on.
        assert_eq!(bench.judge(1, 1, 9, 60, &first), Verdict::Kept);
        assert_eq!(bench.judge(1, 1, 9, 60, &expired), Verdict::Unfounded);
        // The session is over, and may be dropped or not; nothing runs twice all the same.
        assert_eq!(bench.judge(1, 1, 9, 70, &first), Verdict::Kept);
        assert_eq!(bench.judge(1, 1, 9, 70, &expired), Verdict::Kept);
        assert_eq!(bench.judge(1, 1, 9, 70, &executed()), Verdict::Unfounded);
        assert_eq!(bench.judge(2, 1, 80, 70, &reused), Verdict::Kept);
        assert_eq!(bench.judge(2, 1, 80, 70, &executed()), Verdict::Ran);
        // What ran since is certain again.
        assert_eq!(bench.judge(2, 1, 80, 71, &executed()), Verdict::Twice);
    }
}
