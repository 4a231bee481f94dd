//! What a start says of a damaged store.

use quorate_node::exit::{ExitStatus, Failure};
use quorate_replica::BootError;
use quorate_storage::ledger::LedgerError;
use quorate_storage::{StoreError, Table};
use quorate_types::{Height, Reject, Round};

#[test]
fn what_is_damaged_ends_with_status_8_and_a_way_out() {
    let damages: [BootError; 4] = [
        BootError::BadFinality {
            height: Height(7),
            reject: Reject::BadSignature,
        },
        BootError::BadRecord(Reject::Malformed),
        BootError::NoFinality(Height(7)),
        BootError::Ledger(LedgerError::Damaged {
            table: Table::Blocks,
            key: vec![7],
        }),
    ];
    for damage in damages {
        let failure = Failure::from(damage);
        assert_eq!(failure.status, ExitStatus::Damaged, "{failure}");
        let hint = failure.hint.expect("a way out");
        assert!(hint.contains("data/"), "{hint}");
    }
}

/// After an upgrade, or the way back from one: nothing is damaged, and no other genesis is to be looked for.
#[test]
fn a_home_of_another_format_is_refused_and_names_the_way() {
    let (found, expected) = (2, 1);
    let other = BootError::Ledger(LedgerError::OtherSchema { found, expected });
    let failure = Failure::from(other);
    assert_eq!(failure.status, ExitStatus::Config);
    assert!(failure.message.contains("schema 2"), "{failure}");
    let hint = failure.hint.expect("a way out");
    assert!(hint.contains("release that wrote it"), "{hint}");
}

/// A mistake of this program is no damage: nobody is to look for the newest copy because of it.
#[test]
fn what_is_not_damaged_has_another_status() {
    let (at, to) = (Round::default().next(), Round::default());
    let failure = Failure::from(BootError::Store(StoreError::CeilingFalls { at, to }));
    assert_eq!(failure.status, ExitStatus::Failed);
}
