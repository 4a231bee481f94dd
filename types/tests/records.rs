//! A safety record that was read back is believed as little as a peer.

mod common;

use common::*;
use quorate_types::{Entry, Epoch, Reject, Round, SafetyRecord};

fn refused(damage: impl FnOnce(&mut SafetyRecord)) -> Reject {
    let mut record = record();
    damage(&mut record);
    record.check(&validators()).expect_err("damaged")
}

#[test]
fn what_a_validator_writes_is_accepted() {
    assert_eq!(record().check(&validators()), Ok(()));
    let anchor = validators().anchor_qc();
    let fresh = SafetyRecord {
        round: anchor.round.next(),
        entry: Entry::Qc(anchor.clone()),
        highest_timeout: anchor.round,
        high_qc: anchor,
    };
    assert_eq!(fresh.check(&validators()), Ok(()));
}

#[test]
fn a_record_s_certificates_verify() {
    assert_eq!(
        refused(|record| record.high_qc.signatures[0] = Default::default()),
        Reject::BadSignature
    );
    assert_eq!(
        refused(|record| {
            record.high_qc.signatures.pop();
        }),
        Reject::NoQuorum
    );
    assert_eq!(
        refused(|record| {
            let mut tc = tc();
            tc.votes[1].signature = Default::default();
            record.entry = Entry::Tc(tc);
        }),
        Reject::BadSignature
    );
}

/// The engine took such a record, and stopped at its own assertions later: at the first Timeout, or the next round.
#[test]
fn a_record_s_rounds_agree() {
    let other = |number| Round::new(Epoch(1), number);
    assert_eq!(
        refused(|record| record.round = other(6)),
        Reject::WrongEpoch
    );
    assert_eq!(
        refused(|record| record.highest_timeout = other(0)),
        Reject::WrongEpoch
    );
    assert_eq!(
        refused(|record| record.round = round(7)),
        Reject::CertificateMismatch
    );
    assert_eq!(
        refused(|record| record.highest_timeout = round(7)),
        Reject::Malformed
    );
    assert_eq!(
        refused(|record| record.high_qc = qc(6, some_block(6))),
        Reject::Malformed
    );
    assert_eq!(
        refused(|record| record.high_qc = qc(3, some_block(3))),
        Reject::WrongHighQc
    );
}
