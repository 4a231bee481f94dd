//! Every refusal of a vote, a Timeout, a certificate and Evidence, each provoked by name; and the mistakes of others
//! that PROTOCOL.md lists (§7).

mod common;

use common::*;
use quorate_crypto::{Domain, PublicKey};
use quorate_types::evidence::EvidenceKind;
use quorate_types::validators::ValidatorsError;
use quorate_types::vote::Signable;
use quorate_types::{
    Cc, ChainId, CommitVote, Epoch, Evidence, Finality, Height, Qc, Reject, Round, Signature,
    Signers, Tc, TcVote, Timeout, ValidatorIndex, Validators, Vote,
};

fn check_qc(qc: Qc) -> Result<(), Reject> {
    unverified(qc).verify(&validators()).map(drop)
}

fn check_cc(cc: Cc) -> Result<(), Reject> {
    unverified(cc).verify(&validators()).map(drop)
}

fn check_tc(tc: Tc) -> Result<(), Reject> {
    unverified(tc).verify(&validators()).map(drop)
}

fn check_finality(finality: Finality) -> Result<(), Reject> {
    unverified(finality).verify(&validators()).map(drop)
}

fn check_timeout(timeout: Timeout) -> Result<(), Reject> {
    unverified(timeout).verify(&validators()).map(drop)
}

/// What is changed, how it is refused, and the change.
type Case<T> = (&'static str, Reject, fn(&mut T));

/// The value, changed.
fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

fn other_epoch(number: u64) -> Round {
    Round::new(Epoch(1), number)
}

fn some_qc() -> Qc {
    qc(4, some_block(4))
}

fn some_cc() -> Cc {
    cc(4, some_block(4), 9)
}

#[test]
fn what_correct_validators_sign_is_accepted() {
    assert_eq!(check_qc(some_qc()), Ok(()));
    assert_eq!(check_cc(some_cc()), Ok(()));
    assert_eq!(check_tc(tc()), Ok(()));
    assert_eq!(check_finality(finality(4, some_block(4), 9)), Ok(()));
    assert_eq!(
        check_timeout(timeout(1, 5, some_qc(), None).into_inner()),
        Ok(())
    );
    for (name, message) in messages() {
        assert!(
            message.verify(&validators(), &parameters()).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn a_vote_is_one_member_s_for_a_round_of_its_epoch() {
    let check = |vote: Vote| unverified(vote).verify(&validators()).map(drop);
    let good = || vote(1, round(4), some_block(4)).into_inner();
    assert_eq!(check(good()), Ok(()));
    let cases: [Case<Vote>; 7] = [
        ("of another epoch", Reject::WrongEpoch, |v| {
            v.round = other_epoch(4)
        }),
        ("in the anchor's round", Reject::Malformed, |v| {
            v.round = round(0)
        }),
        ("by nobody of the set", Reject::UnknownSigner, |v| {
            v.voter = ValidatorIndex(4)
        }),
        ("of somebody else", Reject::BadSignature, |v| {
            v.voter = ValidatorIndex(2)
        }),
        ("for another round", Reject::BadSignature, |v| {
            v.round = round(5)
        }),
        ("for another block", Reject::BadSignature, |v| {
            v.block = some_block(5)
        }),
        (
            "hints that are not one a validator",
            Reject::Malformed,
            |v| v.held = vec![1; 3],
        ),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check(with(good(), change)), Err(reject), "{name}");
    }
    assert_eq!(
        check(with(good(), |v| v.held.clear())),
        Ok(()),
        "hints are optional"
    );
    assert_eq!(
        check(with(good(), |v| v.held = vec![u64::MAX; 4])),
        Ok(()),
        "and unsigned"
    );
}

#[test]
fn a_commit_vote_is_one_member_s_for_a_round_of_its_epoch() {
    let check = |vote: CommitVote| unverified(vote).verify(&validators()).map(drop);
    let good = || commit_vote(1, round(4), some_block(4), 9).into_inner();
    assert_eq!(check(good()), Ok(()));
    let cases: [Case<CommitVote>; 7] = [
        ("of another epoch", Reject::WrongEpoch, |v| {
            v.round = other_epoch(4)
        }),
        ("in the anchor's round", Reject::Malformed, |v| {
            v.round = round(0)
        }),
        ("by nobody of the set", Reject::UnknownSigner, |v| {
            v.voter = ValidatorIndex(4)
        }),
        ("for another round", Reject::BadSignature, |v| {
            v.round = round(5)
        }),
        ("for another block", Reject::BadSignature, |v| {
            v.block = some_block(5)
        }),
        ("for another height", Reject::BadSignature, |v| {
            v.height = Height(8)
        }),
        (
            "hints that are not one a validator",
            Reject::Malformed,
            |v| v.held = vec![1; 5],
        ),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check(with(good(), change)), Err(reject), "{name}");
    }
    for held in [vec![], vec![u64::MAX; 4]] {
        let hinted = with(good(), |v| v.held.clone_from(&held));
        assert_eq!(check(hinted), Ok(()), "hints are optional and unsigned");
    }
}

/// A vote must not pass for a commit vote, nor one chain's for another's.
#[test]
fn signatures_are_for_one_purpose_and_one_chain() {
    let good = vote(1, round(4), some_block(4)).into_inner();
    let message = good.signed_bytes(chain());
    for domain in [Domain::CommitVote, Domain::Proposal, Domain::Timeout] {
        let other = with(good.clone(), |v| {
            v.signature = key(1).sign(domain, &message)
        });
        assert_eq!(
            unverified(other).verify(&validators()),
            Err(Reject::BadSignature)
        );
    }
    let elsewhere = good.sign(ChainId::default(), &key(1)).into_inner();
    assert_eq!(
        unverified(elsewhere).verify(&validators()),
        Err(Reject::BadSignature)
    );
}

/// §7: *QC whose round the signatures do not cover*.
#[test]
fn the_signatures_of_a_qc_cover_its_round() {
    for number in [1, 3, 5, u64::MAX] {
        let moved = with(some_qc(), |qc| qc.round = round(number));
        assert_eq!(check_qc(moved), Err(Reject::BadSignature), "{number}");
    }
    let moved = with(some_qc(), |qc| qc.round = other_epoch(4));
    assert_eq!(check_qc(moved), Err(Reject::WrongEpoch));
    let moved = with(some_qc(), |qc| qc.round = round(0));
    assert_eq!(check_qc(moved), Err(Reject::Malformed));
}

#[test]
fn the_signatures_of_a_qc_cover_its_block() {
    let moved = with(some_qc(), |qc| qc.block = some_block(5));
    assert_eq!(check_qc(moved), Err(Reject::BadSignature));
}

#[test]
fn the_signatures_of_a_cc_cover_round_block_and_height() {
    let cases: [Case<Cc>; 5] = [
        ("round", Reject::BadSignature, |cc| cc.round = round(5)),
        ("block", Reject::BadSignature, |cc| cc.block = some_block(5)),
        ("height", Reject::BadSignature, |cc| cc.height = Height(8)),
        ("epoch", Reject::WrongEpoch, |cc| cc.round = other_epoch(4)),
        ("anchor's round", Reject::Malformed, |cc| {
            cc.round = round(0)
        }),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check_cc(with(some_cc(), change)), Err(reject), "{name}");
    }
}

/// Votes do not make a commit certificate.
#[test]
fn a_qc_s_signatures_make_no_cc() {
    let forged = with(some_cc(), |cc| cc.signatures = some_qc().signatures);
    assert_eq!(check_cc(forged), Err(Reject::BadSignature));
}

fn extra(voter: u16) -> Signature {
    vote(voter, round(4), some_block(4)).signature
}

/// §7: *certificate padded with invalid or extra signatures accepted*. Exactly a quorum, or it is another certificate of
/// the same votes.
#[test]
fn a_certificate_has_exactly_a_quorum() {
    let cases: [Case<Qc>; 8] = [
        ("nobody", Reject::NoQuorum, |qc| {
            qc.signers = Signers::NONE;
            qc.signatures.clear();
        }),
        ("one fewer", Reject::NoQuorum, |qc| {
            qc.signers = [0, 1].map(ValidatorIndex).into_iter().collect();
            qc.signatures.pop();
        }),
        ("a valid one more", Reject::NoQuorum, |qc| {
            qc.signers.insert(ValidatorIndex(3));
            qc.signatures.push(extra(3));
        }),
        ("an invalid one more", Reject::NoQuorum, |qc| {
            qc.signers.insert(ValidatorIndex(3));
            qc.signatures.push(Signature::default());
        }),
        ("a signature without its bit", Reject::NoQuorum, |qc| {
            qc.signatures.push(extra(3))
        }),
        ("a bit without its signature", Reject::NoQuorum, |qc| {
            qc.signers.insert(ValidatorIndex(3));
        }),
        ("a bit outside the set", Reject::UnknownSigner, |qc| {
            qc.signers = [0, 1, 4].map(ValidatorIndex).into_iter().collect();
        }),
        ("the last bit there is", Reject::UnknownSigner, |qc| {
            qc.signers.insert(ValidatorIndex(127));
        }),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check_qc(with(some_qc(), change)), Err(reject), "{name}");
    }
    let padded = with(some_cc(), |cc| {
        cc.signers = everybody();
        cc.signatures
            .push(commit_vote(3, round(4), some_block(4), 9).signature);
    });
    assert_eq!(check_cc(padded), Err(Reject::NoQuorum));
}

/// §7: *duplicate vote inflates a QC*.
#[test]
fn one_validator_counts_once_in_a_certificate() {
    let twice = with(some_qc(), |qc| qc.signatures[2] = qc.signatures[1]);
    assert_eq!(check_qc(twice), Err(Reject::BadSignature));
    let swapped = with(some_qc(), |qc| qc.signatures.swap(0, 1));
    assert_eq!(check_qc(swapped), Err(Reject::BadSignature));
    let bad = with(some_qc(), |qc| qc.signatures[0] = Signature::default());
    assert_eq!(check_qc(bad), Err(Reject::BadSignature));
}

#[test]
#[should_panic(expected = "I3: distinct signers")]
fn a_tally_that_counts_a_voter_twice_is_stopped() {
    let votes = [0, 1, 1].map(|voter| vote(voter, round(4), some_block(4)));
    let _ = Qc::assemble(&votes, &validators());
}

#[test]
#[should_panic(expected = "I3: one block")]
fn a_tally_that_mixes_blocks_is_stopped() {
    let votes =
        [(0, 4), (1, 4), (2, 5)].map(|(voter, block)| vote(voter, round(4), some_block(block)));
    let _ = Qc::assemble(&votes, &validators());
}

#[test]
#[should_panic(expected = "I3: exactly a quorum")]
fn a_tally_below_a_quorum_is_stopped() {
    let votes = [0, 1].map(|voter| vote(voter, round(4), some_block(4)));
    let _ = Qc::assemble(&votes, &validators());
}

#[test]
#[should_panic(expected = "I3: one block")]
fn a_commit_tally_that_mixes_heights_is_stopped() {
    let votes = [(0, 9), (1, 9), (2, 8)]
        .map(|(voter, height)| commit_vote(voter, round(4), some_block(4), height));
    let _ = Cc::assemble(&votes, &validators());
}

#[test]
#[should_panic(expected = "I3: one round")]
fn a_timeout_tally_that_mixes_rounds_is_stopped() {
    let timeouts = [
        timeout(0, 5, some_qc(), None),
        timeout(1, 5, some_qc(), None),
        timeout(2, 4, qc(3, some_block(3)), None),
    ];
    let _ = Tc::assemble(&timeouts, &validators());
}

/// In whatever order the votes came, and however many: one certificate, of exactly a quorum, with ascending signers.
#[test]
fn more_votes_than_a_quorum_make_the_same_certificate() {
    for voters in [[3, 2, 1, 0], [0, 1, 2, 3], [2, 0, 3, 1]] {
        let votes = voters.map(|voter| vote(voter, round(4), some_block(4)));
        assert_eq!(Qc::assemble(&votes, &validators()).into_inner(), some_qc());
        let votes = voters.map(|voter| commit_vote(voter, round(4), some_block(4), 9));
        assert_eq!(Cc::assemble(&votes, &validators()).into_inner(), some_cc());
        let timeouts = voters.map(|voter| timeout(voter, 4, qc(3, some_block(3)), None));
        assert_eq!(
            Tc::assemble(&timeouts, &validators()).into_inner(),
            older_tc()
        );
    }
}

/// *The genesis QC and CC are recognised by exact equality and by nothing less.*
#[test]
fn the_anchor_is_recognised_by_equality_only() {
    let anchor = || validators().anchor_qc();
    assert_eq!(check_qc(anchor()), Ok(()));
    let cases: [Case<Qc>; 5] = [
        ("another block", Reject::Malformed, |qc| {
            qc.block = some_block(1)
        }),
        ("a signer", Reject::Malformed, |qc| {
            qc.signers.insert(ValidatorIndex(0));
        }),
        ("a signature", Reject::Malformed, |qc| {
            qc.signatures.push(Signature::default())
        }),
        ("a round that may be signed", Reject::NoQuorum, |qc| {
            qc.round = round(1)
        }),
        ("another epoch's", Reject::WrongEpoch, |qc| {
            qc.round = other_epoch(0)
        }),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check_qc(with(anchor(), change)), Err(reject), "{name}");
    }
    let anchor = || validators().anchor_cc();
    assert_eq!(check_cc(anchor()), Ok(()));
    let cases: [Case<Cc>; 4] = [
        ("another block", Reject::Malformed, |cc| {
            cc.block = some_block(1)
        }),
        ("another height", Reject::Malformed, |cc| {
            cc.height = Height(1)
        }),
        ("a signature", Reject::Malformed, |cc| {
            cc.signatures.push(Signature::default())
        }),
        ("a round that may be signed", Reject::NoQuorum, |cc| {
            cc.round = round(1)
        }),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check_cc(with(anchor(), change)), Err(reject), "{name}");
    }
}

#[test]
fn finality_is_two_certificates_of_one_block() {
    let good = || finality(4, some_block(4), 9);
    let cases: [(&str, Reject, Finality); 5] = [
        (
            "another block's QC",
            Reject::CertificateMismatch,
            with(good(), |f| f.qc = qc(4, some_block(5))),
        ),
        (
            "another round's QC",
            Reject::CertificateMismatch,
            with(good(), |f| f.qc = qc(5, some_block(4))),
        ),
        (
            "a bad QC",
            Reject::BadSignature,
            with(good(), |f| f.qc.signatures.swap(0, 1)),
        ),
        (
            "a bad CC",
            Reject::BadSignature,
            with(good(), |f| f.cc.signatures.swap(0, 1)),
        ),
        (
            "another height",
            Reject::BadSignature,
            with(good(), |f| f.cc.height = Height(8)),
        ),
    ];
    for (name, reject, finality) in cases {
        assert_eq!(check_finality(finality), Err(reject), "{name}");
    }
    let anchor = Finality {
        cc: validators().anchor_cc(),
        qc: validators().anchor_qc(),
    };
    assert_eq!(check_finality(anchor), Ok(()));
}

/// §7: *TC that carries only claimed rounds*: each signer's report is under its signature, and the QC proves the highest.
#[test]
fn a_tc_s_reports_are_signed_and_the_highest_is_proved() {
    for report in [0, 1, 2, 4] {
        // Voter 2 reported round 3.
        let claimed = with(tc(), |tc| tc.votes[2].hqc_round = round(report));
        assert_eq!(check_tc(claimed), Err(Reject::BadSignature), "{report}");
    }
    // Everybody reported 3, and the certificate hides it, or boasts.
    let hides = with(older_tc(), |tc| tc.high_qc = validators().anchor_qc());
    assert_eq!(check_tc(hides), Err(Reject::WrongHighQc));
    let boasts = with(tc(), |tc| {
        tc.votes.iter_mut().for_each(|v| v.hqc_round = round(3))
    });
    assert_eq!(check_tc(boasts), Err(Reject::WrongHighQc));
    // The QC is of the right round, and no QC.
    let unproved = with(tc(), |tc| tc.high_qc.signatures.swap(0, 1));
    assert_eq!(check_tc(unproved), Err(Reject::BadSignature));
    let unproved = with(tc(), |tc| tc.high_qc.block = some_block(9));
    assert_eq!(check_tc(unproved), Err(Reject::BadSignature));
}

#[test]
fn a_tc_has_exactly_a_quorum_of_distinct_members_in_order() {
    let fourth = || TcVote {
        voter: ValidatorIndex(3),
        hqc_round: round(4),
        signature: timeout(3, 5, some_qc(), None).signature,
    };
    let cases: [(&str, Reject, Tc); 7] = [
        (
            "one fewer",
            Reject::NoQuorum,
            with(tc(), |tc| tc.votes.truncate(2)),
        ),
        (
            "a valid one more",
            Reject::NoQuorum,
            with(tc(), |tc| tc.votes.push(fourth())),
        ),
        (
            "one twice",
            Reject::NoQuorum,
            with(tc(), |tc| tc.votes[1] = tc.votes[0].clone()),
        ),
        (
            "out of order",
            Reject::NoQuorum,
            with(tc(), |tc| tc.votes.swap(0, 1)),
        ),
        (
            "nobody of the set",
            Reject::UnknownSigner,
            with(tc(), |tc| tc.votes[2].voter = ValidatorIndex(4)),
        ),
        (
            "somebody else",
            Reject::BadSignature,
            with(tc(), |tc| tc.votes[2].voter = ValidatorIndex(3)),
        ),
        (
            "a bad signature",
            Reject::BadSignature,
            with(tc(), |tc| tc.votes[1].signature = Signature::default()),
        ),
    ];
    for (name, reject, tc) in cases {
        assert_eq!(check_tc(tc), Err(reject), "{name}");
    }
}

#[test]
fn a_tc_is_of_a_round_above_all_its_reports() {
    let cases: [(&str, Reject, Tc); 5] = [
        (
            "another epoch",
            Reject::WrongEpoch,
            with(tc(), |tc| tc.round = other_epoch(5)),
        ),
        (
            "the anchor's round",
            Reject::Malformed,
            with(tc(), |tc| tc.round = round(0)),
        ),
        (
            "a report of its own round",
            Reject::Malformed,
            with(tc(), |tc| tc.round = round(4)),
        ),
        (
            "a report of another epoch",
            Reject::Malformed,
            with(tc(), |tc| tc.votes[1].hqc_round.epoch = Epoch(1)),
        ),
        (
            "moved",
            Reject::BadSignature,
            with(tc(), |tc| tc.round = round(6)),
        ),
    ];
    for (name, reject, tc) in cases {
        assert_eq!(check_tc(tc), Err(reject), "{name}");
    }
}

/// A header names a TC by all of it but its signatures.
#[test]
fn the_digest_of_a_tc_covers_all_but_signatures() {
    let digest = tc().digest();
    let same = with(tc(), |tc| {
        tc.votes[0].signature = Signature::default();
        tc.high_qc.signatures.clear();
        tc.high_qc.signers = Signers::NONE;
    });
    assert_eq!(same.digest(), digest);
    let changes: [fn(&mut Tc); 5] = [
        |tc| tc.round = round(6),
        |tc| tc.votes[0].voter = ValidatorIndex(3),
        |tc| tc.votes[0].hqc_round = round(2),
        |tc| tc.high_qc.round = round(3),
        |tc| tc.high_qc.block = some_block(9),
    ];
    for change in changes {
        assert_ne!(with(tc(), change).digest(), digest);
    }
}

/// §7: *a bad signature inside a timeout poisons the certificate*: whatever is bad in a Timeout is found before it can
/// be counted.
#[test]
fn a_timeout_is_checked_whole_before_it_counts() {
    let good = || timeout(1, 5, qc(3, some_block(3)), Some(older_tc())).into_inner();
    let entry = |t: &mut Timeout, change: fn(&mut Tc)| change(t.entry_tc.as_mut().expect("there"));
    let cases: [(&str, Reject, Timeout); 8] = [
        (
            "another epoch",
            Reject::WrongEpoch,
            with(good(), |t| t.round = other_epoch(5)),
        ),
        (
            "the anchor's round",
            Reject::Malformed,
            with(good(), |t| t.round = round(0)),
        ),
        (
            "nobody of the set",
            Reject::UnknownSigner,
            with(good(), |t| t.voter = ValidatorIndex(4)),
        ),
        (
            "somebody else",
            Reject::BadSignature,
            with(good(), |t| t.voter = ValidatorIndex(2)),
        ),
        (
            "a bad signature",
            Reject::BadSignature,
            with(good(), |t| t.signature = Signature::default()),
        ),
        (
            "a bad QC inside",
            Reject::BadSignature,
            with(good(), |t| t.high_qc.signatures.swap(0, 1)),
        ),
        (
            "a bad TC inside",
            Reject::BadSignature,
            with(good(), |t| {
                entry(t, |tc| tc.votes[0].signature = Signature::default())
            }),
        ),
        (
            "a TC inside without a quorum",
            Reject::NoQuorum,
            with(good(), |t| entry(t, |tc| tc.votes.truncate(2))),
        ),
    ];
    for (name, reject, timeout) in cases {
        assert_eq!(check_timeout(timeout), Err(reject), "{name}");
    }
}

/// What entitles the signer to be in the round: the QC of the round before, or its TC.
#[test]
fn a_timeout_carries_what_entered_its_round() {
    let old = || qc(3, some_block(3));
    let cases = [
        (
            "the QC of its own round",
            timeout(1, 4, some_qc(), None),
            Reject::Malformed,
        ),
        (
            "a later QC",
            timeout(1, 3, some_qc(), None),
            Reject::Malformed,
        ),
        (
            "nothing",
            timeout(1, 5, old(), None),
            Reject::CertificateMismatch,
        ),
        (
            "another round's TC",
            timeout(1, 6, old(), Some(older_tc())),
            Reject::CertificateMismatch,
        ),
        (
            "both",
            timeout(1, 5, some_qc(), Some(older_tc())),
            Reject::CertificateMismatch,
        ),
    ];
    for (name, timeout, reject) in cases {
        assert_eq!(check_timeout(timeout.into_inner()), Err(reject), "{name}");
    }
    // The first round is entered by the anchor.
    let first = timeout(1, 1, validators().anchor_qc(), None).into_inner();
    assert_eq!(check_timeout(first), Ok(()));
}

/// A claim about a QC that is higher than the attached one is not what was signed.
#[test]
fn a_timeout_s_report_is_the_round_of_its_qc() {
    let mut timeout = timeout(1, 5, some_qc(), None).into_inner();
    timeout.high_qc = qc(3, some_block(3));
    timeout.entry_tc = Some(Box::new(older_tc()));
    assert_eq!(check_timeout(timeout), Err(Reject::BadSignature));
}

#[test]
fn evidence_is_two_contradicting_statements_of_one_signer() {
    let check = |evidence: Evidence| unverified(evidence).verify(&validators()).map(drop);
    for kind in [
        EvidenceKind::Proposal,
        EvidenceKind::Vote,
        EvidenceKind::CommitVote,
    ] {
        let good = || evidence(kind);
        assert_eq!(check(good()), Ok(()), "{kind:?}");
        let cases: [Case<Evidence>; 7] = [
            ("another epoch", Reject::WrongEpoch, |e| {
                e.round = other_epoch(7)
            }),
            ("the anchor's round", Reject::Malformed, |e| {
                e.round = round(0)
            }),
            ("the same twice", Reject::Malformed, |e| {
                e.second = e.first.clone()
            }),
            ("nobody of the set", Reject::UnknownSigner, |e| {
                e.signer = ValidatorIndex(4)
            }),
            ("somebody else (I10)", Reject::BadSignature, |e| {
                e.signer = ValidatorIndex(2)
            }),
            ("one not signed", Reject::BadSignature, |e| {
                e.second.signature = Signature::default()
            }),
            ("another round", Reject::BadSignature, |e| {
                e.round = round(8)
            }),
        ];
        for (name, reject, change) in cases {
            assert_eq!(check(with(good(), change)), Err(reject), "{kind:?}: {name}");
        }
    }
    // I10: a vote and a proposal for different blocks are no contradiction.
    let mixed = with(evidence(EvidenceKind::Vote), |e| {
        e.second = evidence(EvidenceKind::Proposal).second;
    });
    assert_eq!(check(mixed), Err(Reject::BadSignature));
}

/// The same block at two heights is a lie too, but only where the height is signed.
#[test]
fn heights_contradict_in_commit_votes_only() {
    let check = |evidence: Evidence| unverified(evidence).verify(&validators()).map(drop);
    let heights = with(evidence(EvidenceKind::CommitVote), |e| {
        e.second.block = e.first.block;
        e.second.height = Height(5);
        e.second.signature = commit_vote(3, round(7), e.first.block, 5).signature;
    });
    assert_eq!(check(heights), Ok(()));
    // Nobody signed this height: anybody could write any, and one lie would have many proofs.
    let unsigned = with(evidence(EvidenceKind::Vote), |e| e.first.height = Height(5));
    assert_eq!(check(unsigned), Err(Reject::Malformed));
}

#[test]
fn a_validator_set_is_of_good_distinct_keys() {
    let anchor = (genesis_header().id(), Height(0));
    let set = |keys: Vec<PublicKey>| Validators::new(chain(), Epoch(0), keys, anchor).map(drop);
    assert_eq!(set(vec![]), Err(ValidatorsError::Size(0)));
    let many: Vec<PublicKey> = (0..129).map(|index| key(index).public()).collect();
    assert_eq!(set(many[..128].to_vec()), Ok(()));
    assert_eq!(set(many.clone()), Err(ValidatorsError::Size(129)));
    let twice = set(vec![many[0], many[1], many[0]]);
    let same = ValidatorsError::SameKey(ValidatorIndex(0), ValidatorIndex(2));
    assert_eq!(twice, Err(same));
    let mut identity = [0; 32];
    identity[0] = 1;
    let small = set(vec![many[0], PublicKey::from_bytes_unchecked(identity)]);
    assert!(matches!(
        small,
        Err(ValidatorsError::Key {
            index: ValidatorIndex(1),
            ..
        })
    ));
}

/// n = 3f + 1 and what lies between: q = n − f, and any two quorums share a correct validator.
#[test]
fn quorums_intersect() {
    let keys: Vec<PublicKey> = (0..128).map(|index| key(index).public()).collect();
    let anchor = (genesis_header().id(), Height(0));
    for n in 1..=128 {
        let set = Validators::new(chain(), Epoch(0), keys[..n].to_vec(), anchor).expect("valid");
        let (f, q) = (set.max_faulty(), set.quorum());
        assert_eq!((f, q), ((n - 1) / 3, n - f));
        assert!(2 * q > n + f, "two quorums share more than f");
        assert!(q + f <= n, "the correct ones are a quorum");
    }
}

/// Remembers everything, and counts what it was asked for in vain.
#[derive(Debug, Default)]
struct Notebook(std::sync::Mutex<(std::collections::BTreeSet<quorate_types::Digest>, usize)>);

impl quorate_types::Memory for Notebook {
    fn knows(&self, signature: &quorate_types::Digest) -> bool {
        let mut book = self.0.lock().unwrap();
        let known = book.0.contains(signature);
        book.1 += usize::from(!known);
        known
    }

    fn learn(&self, signature: quorate_types::Digest) {
        self.0.lock().unwrap().0.insert(signature);
    }
}

#[test]
fn a_certificate_of_known_votes_is_taken_and_one_bit_more_is_not() {
    let book = std::sync::Arc::new(Notebook::default());
    let validators = validators().with_memory(book.clone());
    let misses = || std::mem::take(&mut book.0.lock().unwrap().1);
    assert!(unverified(some_qc()).verify(&validators).is_ok());
    assert_eq!(misses(), validators.quorum());
    assert!(unverified(some_qc()).verify(&validators).is_ok());
    assert_eq!(misses(), 0, "nothing is verified twice");
    // What is known helps no other round, block, signer or signature.
    let cases: [fn(&mut Qc); 4] = [
        |qc| qc.round = round(5),
        |qc| qc.block = some_block(5),
        |qc| qc.signatures.swap(0, 1),
        |qc| {
            let mut bytes = qc.signatures[2].to_bytes();
            bytes[40] ^= 1;
            qc.signatures[2] = Signature::from_bytes(bytes);
        },
    ];
    for change in cases {
        let refused = unverified(with(some_qc(), change)).verify(&validators);
        assert_eq!(refused.map(drop), Err(Reject::BadSignature));
        assert!(misses() > 0);
    }
    // A refused signature is not learned.
    let forged = with(some_qc(), |qc| qc.round = round(5));
    for _ in 0..2 {
        assert!(unverified(forged.clone()).verify(&validators).is_err());
        assert_eq!(misses(), validators.quorum());
    }
}

#[test]
fn what_this_process_signed_is_known() {
    let book = std::sync::Arc::new(Notebook::default());
    let validators = validators().with_memory(book.clone());
    for voter in 0..3 {
        let vote = vote(voter, round(4), some_block(4)).into_inner();
        validators.remember_own(&quorate_types::Message::Vote(vote));
    }
    assert!(unverified(some_qc()).verify(&validators).is_ok());
    let missed = book.0.lock().unwrap().1;
    assert_eq!(missed, 0, "the three votes of the certificate");
}
