//! Histories that can be, and what makes them impossible: each judge says so by itself.

use super::*;

fn operation(action: Action, called: u64, returned: Option<(u64, Answer)>) -> Operation {
    Operation {
        key: 1,
        client: 0,
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

fn at(key: u64, client: usize, action: Action, called: u64, answer: Answer) -> Operation {
    Operation {
        key,
        client,
        action,
        called,
        returned: Some((called + 5, answer)),
    }
}

fn both(history: &[Operation]) -> [Result<(), Impossible>; 2] {
    let ordered = in_ledger_order(&ledger(history), &[]);
    [ordered, linearizable(history).map(|_| ())]
}

/// As in decision 0004: checkpoints a and b, writes between, back to the older, then to the newer.
#[test]
fn keys_go_back_to_what_they_held() {
    let revert = |to, all| Action::Revert { to, all };
    let sound = [
        at(1, 0, Action::Put(5), 0, Answer::Put),
        at(1, 0, Action::Checkpoint(0), 10, Answer::Done),
        at(1, 0, Action::Put(6), 20, Answer::Put),
        at(2, 0, Action::Put(7), 30, Answer::Put),
        at(2, 1, Action::Checkpoint(1), 40, Answer::Done),
        at(1, 1, revert(0, true), 50, Answer::Reverted(0b110)),
        at(1, 1, Action::Get, 60, Answer::Get(Some(5))),
        at(2, 1, Action::Get, 70, Answer::Get(None)),
        at(2, 1, revert(1, false), 80, Answer::Reverted(0b100)),
        at(2, 1, Action::Get, 90, Answer::Get(Some(7))),
        at(1, 1, Action::Get, 100, Answer::Get(Some(5))),
        at(1, 0, revert(1, true), 110, Answer::Reverted(0b010)),
    ];
    assert_eq!(both(&sound), [Ok(()), Ok(())]);
    // The revert changed both keys; told that it changed one, or that it left this one, neither judge is content.
    let mut wrong = sound;
    wrong[5].returned = Some((55, Answer::Reverted(0b100)));
    let seen = both(&wrong);
    assert_eq!(seen[0], Err(Impossible::WrongAnswer(wrong[5])));
    assert_eq!(seen[1], Err(Impossible::NoOrder(1)));
    let mut wrong = sound;
    wrong[6].returned = Some((65, Answer::Get(Some(6))));
    let seen = both(&wrong);
    assert_eq!(seen[0], Err(Impossible::WrongAnswer(wrong[6])));
    assert_eq!(seen[1], Err(Impossible::NoOrder(1)));
}

#[test]
fn a_refusal_must_have_its_reason() {
    let refused = Answer::Refused;
    let sound = [
        at(1, 0, Action::Checkpoint(0), 0, Answer::Done),
        at(1, 1, Action::Checkpoint(0), 10, refused(Refusal::Exists)),
        at(1, 1, Action::Release(0), 20, refused(Refusal::Forbidden)),
        at(1, 0, Action::Release(0), 30, Answer::Done),
        at(1, 0, Action::Release(0), 40, refused(Refusal::Unknown)),
        at(1, 1, Action::Checkpoint(0), 50, Answer::Done),
    ];
    assert_eq!(both(&sound), [Ok(()), Ok(())]);
    for (place, answer) in [
        (1, Answer::Done),
        (2, Answer::Done),
        (4, Answer::Done),
        (5, refused(Refusal::Exists)),
    ] {
        let mut wrong = sound;
        wrong[place].returned = Some((wrong[place].called + 5, answer));
        let seen = both(&wrong);
        assert_eq!(seen[0], Err(Impossible::WrongAnswer(wrong[place])));
        assert_eq!(seen[1], Err(Impossible::NoOrder(1)));
    }
}

#[test]
fn no_more_are_kept_than_may_be_and_a_released_one_counts_while_an_older_is_open() {
    let mut history = vec![at(1, 0, Action::Checkpoint(0), 0, Answer::Done)];
    for step in 1..16 {
        history.push(at(1, 0, Action::Checkpoint(1), step * 20, Answer::Done));
        history.push(at(1, 0, Action::Release(1), step * 20 + 10, Answer::Done));
    }
    let full = Answer::Refused(Refusal::TooMany);
    history.push(at(1, 0, Action::Checkpoint(1), 400, full));
    history.push(at(1, 0, Action::Release(0), 410, Answer::Done));
    history.push(at(1, 0, Action::Checkpoint(1), 420, Answer::Done));
    assert_eq!(both(&history), [Ok(()), Ok(())]);
}
