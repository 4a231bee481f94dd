//! What is remembered of records changes nothing.

mod common;

use common::{Chain, Dice, WRITER, blob, write_or_checkpoint};
use quorate_execution::kv::Command;
use quorate_types::{Outcome, Rejection};

/// With those that read what a key holds.
fn command_of_any_kind(dice: &mut Dice) -> Command {
    let command = write_or_checkpoint(dice);
    match (dice.roll(4), command) {
        (0, Command::Put { key, value, .. }) => Command::CompareAndSet {
            key,
            expect: (dice.roll(2) == 0).then(|| blob([1])),
            value: (dice.roll(2) == 0).then_some(value),
        },
        (1, Command::Put { key, .. }) => Command::Get { key },
        (_, command) => command,
    }
}

/// A replica remembers something of the records that it wrote last, and one that has just started does not: neither what they
/// do nor what it costs differs by that.
#[test]
fn a_replica_that_remembers_no_record_does_the_same_at_the_same_cost() {
    let (mut done, mut too_dear) = (0, 0);
    for seed in 0..12 {
        let mut dice = Dice(991 + seed);
        let limit = 250 + 50 * seed;
        let mut chain = Chain::with(|p| p.max_transaction_cost = limit);
        let mut forgetful = Chain::with(|p| p.max_transaction_cost = limit);
        for step in 0..100 {
            let transactions = (0..1 + dice.roll(3)).map(|_| {
                let commands: Vec<_> = (0..1 + dice.roll(4))
                    .map(|_| command_of_any_kind(&mut dice))
                    .collect();
                chain.next(WRITER, &commands)
            });
            let block = vec![transactions.collect()];
            forgetful.reopen();
            let (one, other) = (chain.batches(block.clone()), forgetful.batches(block));
            assert_eq!(one.receipts, other.receipts, "seed {seed} step {step}");
            assert_eq!(one.roots, other.roots, "seed {seed} step {step}");
            for receipt in one.receipts {
                match receipt.outcome {
                    Outcome::Rejected(Rejection::CostExceeded) => too_dear += 1,
                    _ => done += 1,
                }
            }
        }
    }
    assert!(done > 500 && too_dear > 200, "{done} {too_dear}");
}
