//! Refusals of transactions, batches, headers, proposals, answers and the genesis, each provoked by name.

mod common;

use common::*;
use quorate_crypto::PublicKey;
use quorate_types::fence::{Signed, SignedBy};
use quorate_types::genesis::GenesisError;
use quorate_types::message::{MAX_BLOCKS, MAX_REQUESTED_BATCHES};
use quorate_types::proposal::MAX_INLINE_BYTES;
use quorate_types::{
    Batch, BatchId, Blob, Block, BlockId, ChainId, Claim, Digest, Entry, Epoch, FenceReply,
    Genesis, HashedTransaction, Header, Height, Message, Parameters, Proposal, Reject, Round,
    Signature, Signers, Transaction, ValidatorIndex,
};

/// What is changed, how it is refused, and the change.
type Case<T> = (&'static str, Reject, fn(&mut T));
/// What is changed, and the change.
type Change<T> = (&'static str, fn(&mut T));

fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

fn check(message: Message) -> Result<(), Reject> {
    message.verify(&validators(), &parameters()).map(drop)
}

#[test]
fn a_transaction_is_valid_by_itself_or_never() {
    let check = |t: Transaction| {
        let transaction = unverified(HashedTransaction::new(t));
        transaction.verify(chain(), &parameters()).map(drop)
    };
    let signed =
        |change: fn(&mut quorate_types::TransactionBody)| with(body(), change).sign(&client_key());
    assert_eq!(check(transaction()), Ok(()));
    assert_eq!(check(signed(|b| b.version = 2)), Err(Reject::WrongVersion));
    assert_eq!(
        check(signed(|b| b.chain = ChainId::default())),
        Err(Reject::WrongChain)
    );
    assert_eq!(
        check(signed(|b| b.commands.clear())),
        Err(Reject::Malformed)
    );
    assert_eq!(
        check(signed(|b| b.commands = vec![Blob(vec![]); 500])),
        Ok(())
    );
    assert_eq!(
        check(signed(|b| b.commands = vec![Blob(vec![]); 501])),
        Err(Reject::TooLarge)
    );
    // 162 bytes besides the content of one command.
    let largest = 256 * 1024 - 162;
    let sized = |size| with(body(), |b| b.commands = vec![Blob(vec![0; size])]).sign(&client_key());
    assert_eq!(check(sized(largest)), Ok(()));
    assert_eq!(check(sized(largest + 1)), Err(Reject::TooLarge));
    let changed = with(transaction(), |t| t.body.sequence += 1);
    assert_eq!(check(changed), Err(Reject::BadSignature));
    let another = with(transaction(), |t| t.body.client = key(0).public());
    assert_eq!(check(another), Err(Reject::BadSignature));
}

#[test]
fn a_batch_is_valid_if_everything_in_it_is() {
    let check = |batch: Batch| check(Message::Batch(Box::new(batch)));
    assert_eq!(check(batch()), Ok(()));
    let large = with(body(), |b| b.commands = vec![Blob(vec![0; 200 * 1024])]).sign(&client_key());
    let cases: [(&str, Reject, Batch); 7] = [
        (
            "version",
            Reject::WrongVersion,
            with(batch(), |b| b.version = 2),
        ),
        ("empty", Reject::Malformed, batch_of(vec![])),
        ("too large", Reject::TooLarge, batch_of(vec![large; 3])),
        (
            "no such origin",
            Reject::UnknownSigner,
            with(batch(), |b| b.origin = ValidatorIndex(4)),
        ),
        (
            "a bad signature",
            Reject::BadSignature,
            with(batch(), |b| {
                b.transactions[1].signature = Signature::default()
            }),
        ),
        (
            "a malformed transaction",
            Reject::WrongVersion,
            with(batch(), |b| b.transactions[0].body.version = 0),
        ),
        (
            "another chain's",
            Reject::WrongChain,
            with(batch(), |b| {
                b.transactions[0].body.chain = ChainId::default()
            }),
        ),
    ];
    for (name, reject, batch) in cases {
        assert_eq!(check(batch), Err(reject), "{name}");
    }
}

#[test]
fn a_header_agrees_with_itself() {
    let good = || second().header;
    assert_eq!(good().check_form(), Ok(()));
    let cases: [Case<Header>; 9] = [
        ("version", Reject::WrongVersion, |h| h.version = 2),
        ("a parent of another epoch", Reject::WrongEpoch, |h| {
            h.round.epoch = Epoch(1)
        }),
        (
            "§7: parent differs from the block of the QC",
            Reject::UnsafeExtension,
            |h| h.parent = some_block(1),
        ),
        ("not above its parent", Reject::UnsafeExtension, |h| {
            h.round = round(1)
        }),
        ("below its parent", Reject::UnsafeExtension, |h| {
            h.round = round(0)
        }),
        (
            "skips rounds without a TC (V2)",
            Reject::UnsafeExtension,
            |h| h.round = round(3),
        ),
        (
            "skips, and names no failed leader",
            Reject::Malformed,
            |h| {
                h.round = round(3);
                h.tc = Some(Digest::ZERO);
            },
        ),
        (
            "names a failed leader without a skip",
            Reject::Malformed,
            |h| {
                h.failed = Some(ValidatorIndex(0));
            },
        ),
        ("claims its own execution", Reject::Malformed, |h| {
            h.claim = Claim {
                height: h.height,
                ..h.claim
            };
        }),
    ];
    for (name, reject, change) in cases {
        assert_eq!(with(good(), change).check_form(), Err(reject), "{name}");
    }
    // A TC may be attached without a skip: the parent's certificate came after it.
    let both = with(good(), |h| h.tc = Some(Digest::ZERO));
    assert_eq!(both.check_form(), Ok(()));
}

#[test]
fn every_field_is_in_a_block_s_identity() {
    let changes: [fn(&mut Header); 14] = [
        |h| h.version = 2,
        |h| h.round = round(3),
        |h| h.height = Height(9),
        |h| h.parent = some_block(1),
        |h| h.justify.round = round(0),
        |h| h.justify.block = some_block(1),
        |h| h.justify.signers = Signers::NONE,
        |h| h.tc = Some(Digest::ZERO),
        |h| h.failed = Some(ValidatorIndex(0)),
        |h| h.proposer = ValidatorIndex(0),
        |h| h.payload = Digest::ZERO,
        |h| h.claim.roots.state = some_block(1).0,
        |h| h.time = h.time.plus_nanos(1),
        |h| h.next_validators = Some(Digest::ZERO),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        assert_ne!(with(second().header, change).id(), second().id(), "{place}");
    }
}

#[test]
fn a_block_s_list_is_the_one_it_names_without_repeats() {
    assert_eq!(second().check_payload(), Ok(()));
    let shorter = with(second(), |b| b.batches.clear());
    assert_eq!(shorter.check_payload(), Err(Reject::BadPayload));
    let repeated = with(second(), |b| {
        b.batches.push(b.batches[0]);
        b.header.payload = Block::payload_root(&b.batches);
    });
    assert_eq!(repeated.check_payload(), Err(Reject::BadPayload));
    assert!(first().header.is_empty() && !second().header.is_empty());
}

fn check_proposal(proposal: Proposal) -> Result<(), Reject> {
    check(Message::Proposal(Box::new(proposal)))
}

#[test]
fn a_proposal_is_its_proposer_s_and_whole() {
    let good = proposal;
    assert_eq!(check_proposal(good()), Ok(()));
    let cases: [Case<Proposal>; 8] = [
        ("another epoch", Reject::WrongEpoch, |p| {
            p.block.header.round = Round::new(Epoch(1), 2)
        }),
        ("the anchor's round", Reject::Malformed, |p| {
            p.block.header.round = round(0)
        }),
        ("signed by another", Reject::BadSignature, |p| {
            p.block.header.proposer = ValidatorIndex(2)
        }),
        ("nobody of the set", Reject::UnknownSigner, |p| {
            p.block.header.proposer = ValidatorIndex(9)
        }),
        ("changed after it was signed", Reject::BadSignature, |p| {
            p.block.header.time.0 += 1
        }),
        ("another list", Reject::BadPayload, |p| {
            p.block.batches.clear()
        }),
        ("a bad QC", Reject::BadSignature, |p| {
            p.qc.signatures.swap(0, 1)
        }),
        ("a bad finality proof", Reject::BadSignature, |p| {
            p.finality.as_mut().expect("there").cc.height = Height(7);
        }),
    ];
    for (name, reject, change) in cases {
        assert_eq!(check_proposal(with(good(), change)), Err(reject), "{name}");
    }
    // The signature is over the identity: the block of another proposal does not fit it.
    let other = with(good(), |p| p.signature = proposal_after_timeout().signature);
    assert_eq!(check_proposal(other), Err(Reject::BadSignature));
}

#[test]
fn a_proposal_carries_the_certificates_that_its_header_names() {
    let cases: [Case<Proposal>; 6] = [
        (
            "the QC of another block",
            Reject::CertificateMismatch,
            |p| p.qc = qc(1, some_block(1)),
        ),
        ("another bitmap (V1)", Reject::CertificateMismatch, |p| {
            p.block.header.justify.signers = everybody();
        }),
        ("another round", Reject::CertificateMismatch, |p| {
            p.block.header.justify.round = round(0)
        }),
        (
            "a TC that it does not name",
            Reject::CertificateMismatch,
            |p| p.tc = Some(older_tc()),
        ),
        (
            "no TC where it names one",
            Reject::CertificateMismatch,
            |p| {
                p.block.header.tc = Some(tc().digest());
            },
        ),
        (
            "the TC of another round (V2)",
            Reject::UnsafeExtension,
            |p| {
                p.block.header.tc = Some(older_tc().digest());
                p.tc = Some(older_tc());
            },
        ),
    ];
    for (name, reject, change) in cases {
        let mut changed = with(proposal(), change);
        if name == "another round" {
            // Round 0 skips round 1, which is another matter.
            changed.block.header.tc = Some(Digest::ZERO);
            changed.block.header.failed = Some(ValidatorIndex(0));
        }
        assert_eq!(check_proposal(sign(changed)), Err(reject), "{name}");
    }
}

/// V2: whoever proposes behind a TC extends a block at least as high as any that the TC's signers reported.
#[test]
fn a_proposal_behind_a_tc_extends_what_was_reported() {
    assert_eq!(check_proposal(proposal_after_timeout()), Ok(()));
    let lower = with(proposal_after_timeout(), |p| {
        let parent = first();
        p.qc = qc(1, parent.id());
        let mut block = child(&parent.header, &p.qc, 6, &[]);
        block.header.tc = p.block.header.tc;
        block.header.failed = p.block.header.failed;
        p.block = block;
    });
    assert_eq!(check_proposal(sign(lower)), Err(Reject::UnsafeExtension));
    // As high as reported there, but that TC is of the round before.
    let stale = with(proposal_after_timeout(), |p| {
        p.block.header.tc = Some(older_tc().digest());
        p.tc = Some(older_tc());
    });
    assert!(older_tc().high_qc.round <= stale.qc.round);
    assert_eq!(check_proposal(sign(stale)), Err(Reject::UnsafeExtension));
    let unverified_tc = with(proposal_after_timeout(), |p| {
        p.tc.as_mut().expect("there").votes[0].signature = Signature::default();
    });
    assert_eq!(check_proposal(unverified_tc), Err(Reject::BadSignature));
}

#[test]
fn a_proposal_s_payload_is_bounded_and_listed() {
    let ordering = |batches: &[Batch], inline: Vec<Batch>| {
        let parent = first();
        sign(with(proposal(), |p| {
            p.block = child(&parent.header, &p.qc, 2, batches);
            p.inline = inline;
        }))
    };
    let numbered = |sequence| with(batch(), |b| b.sequence = sequence);
    let many: Vec<Batch> = (0..65).map(numbered).collect();
    assert_eq!(check_proposal(ordering(&many[..64], vec![])), Ok(()));
    assert_eq!(
        check_proposal(ordering(&many, vec![])),
        Err(Reject::TooLarge)
    );

    let big = with(body(), |b| {
        b.commands = vec![Blob(vec![0; MAX_INLINE_BYTES])]
    });
    let big = batch_of(vec![big.sign(&client_key())]);
    assert_eq!(
        check_proposal(ordering(std::slice::from_ref(&big), vec![])),
        Ok(())
    );
    assert_eq!(
        check_proposal(ordering(std::slice::from_ref(&big), vec![big.clone()])),
        Err(Reject::TooLarge)
    );
    let twice = ordering(&[batch()], vec![batch(), batch()]);
    assert_eq!(
        check_proposal(twice),
        Err(Reject::TooLarge),
        "more than are listed"
    );
    let unlisted = ordering(&[batch()], vec![numbered(99)]);
    assert_eq!(check_proposal(unlisted), Err(Reject::BadPayload));
    let bad = with(batch(), |b| {
        b.transactions[0].signature = Signature::default()
    });
    let bad = ordering(std::slice::from_ref(&bad), vec![bad.clone()]);
    assert_eq!(check_proposal(bad), Err(Reject::BadSignature));
}

#[test]
fn a_stretch_of_the_ledger_is_linked_whole_and_final() {
    let check = |r| check(Message::LedgerResponse(Box::new(r)));
    let good = ledger_response;
    assert_eq!(check(good()), Ok(()));
    let empty = with(good(), |r| {
        r.blocks.clear();
        r.finality = None;
    });
    assert_eq!(check(empty), Ok(()));
    let cases = [
        (
            "no proof",
            Reject::Malformed,
            with(good(), |r| r.finality = None),
        ),
        (
            "a proof of nothing",
            Reject::CertificateMismatch,
            with(good(), |r| r.blocks.clear()),
        ),
        (
            "another start",
            Reject::Malformed,
            with(good(), |r| r.from = Height(2)),
        ),
        (
            "a gap",
            Reject::Malformed,
            with(good(), |r| drop(r.blocks.remove(0))),
        ),
        (
            "newest first (§7)",
            Reject::Malformed,
            with(good(), |r| r.blocks.reverse()),
        ),
        (
            "broken link",
            Reject::Malformed,
            with(good(), |r| r.blocks[0].block.header.time.0 += 1),
        ),
        (
            "the last is not the proved one",
            Reject::CertificateMismatch,
            with(good(), |r| drop(r.blocks.pop())),
        ),
        (
            "a changed last",
            Reject::CertificateMismatch,
            with(good(), |r| r.blocks[1].block.header.time.0 += 1),
        ),
        (
            "another list",
            Reject::BadPayload,
            with(good(), |r| r.blocks[1].block.batches.clear()),
        ),
        (
            "a batch missing",
            Reject::BadPayload,
            with(good(), |r| r.blocks[1].batches.clear()),
        ),
        (
            "a batch too many",
            Reject::BadPayload,
            with(good(), |r| r.blocks[0].batches.push(batch())),
        ),
        (
            "another batch",
            Reject::BadPayload,
            with(good(), |r| r.blocks[1].batches[0].sequence += 1),
        ),
        (
            "a bad proof",
            Reject::BadSignature,
            with(good(), |r| {
                r.finality.as_mut().expect("there").cc.signatures.swap(0, 1);
            }),
        ),
    ];
    for (name, reject, response) in cases {
        assert_eq!(check(response), Err(reject), "{name}");
    }
}

#[test]
fn requests_and_answers_are_bounded_and_linked() {
    use quorate_types::message::{BatchRequest, BatchResponse, BlockRequest, BlockResponse};
    let blocks = |count| {
        Message::BlockRequest(BlockRequest {
            block: BlockId::default(),
            count,
            above: Height(0),
        })
    };
    let most = u32::try_from(MAX_BLOCKS).expect("small");
    assert_eq!(check(blocks(most)), Ok(()));
    assert_eq!(check(blocks(most + 1)), Err(Reject::TooLarge));

    let ids = |count| vec![BatchId::default(); count];
    let request = |count| {
        Message::BatchRequest(BatchRequest {
            batches: ids(count),
        })
    };
    assert_eq!(check(request(MAX_REQUESTED_BATCHES)), Ok(()));
    assert_eq!(
        check(request(MAX_REQUESTED_BATCHES + 1)),
        Err(Reject::TooLarge)
    );

    let answer = |batches, missing| {
        Message::BatchResponse(BatchResponse {
            batches,
            missing: ids(missing),
        })
    };
    assert_eq!(
        check(answer(vec![batch()], MAX_REQUESTED_BATCHES - 1)),
        Ok(())
    );
    assert_eq!(
        check(answer(vec![batch()], MAX_REQUESTED_BATCHES)),
        Err(Reject::TooLarge)
    );
    let bad = with(batch(), |b| {
        b.transactions[0].signature = Signature::default()
    });
    assert_eq!(
        check(answer(vec![batch(), bad], 0)),
        Err(Reject::BadSignature)
    );

    let answer = |blocks| Message::BlockResponse(BlockResponse { blocks });
    assert_eq!(check(answer(vec![second(), first()])), Ok(()));
    assert_eq!(
        check(answer(vec![first(), second()])),
        Err(Reject::Malformed)
    );
    assert_eq!(
        check(answer(vec![second(), second()])),
        Err(Reject::Malformed)
    );
    let unlisted = with(second(), |b| b.batches.clear());
    assert_eq!(check(answer(vec![unlisted])), Err(Reject::BadPayload));
    let malformed = with(first(), |b| b.header.parent = some_block(1));
    assert_eq!(check(answer(vec![malformed])), Err(Reject::UnsafeExtension));
    assert_eq!(
        check(answer(vec![first(); MAX_BLOCKS + 1])),
        Err(Reject::TooLarge)
    );
}

fn check_genesis(change: impl FnOnce(&mut Genesis)) -> Result<(), GenesisError> {
    with(genesis(), change).check()
}

#[test]
fn a_genesis_names_everybody_once_with_proof() {
    assert_eq!(check_genesis(|_| {}), Ok(()));
    assert_eq!(
        check_genesis(|g| g.version = 2),
        Err(GenesisError::Version(2))
    );
    assert_eq!(
        check_genesis(|g| g.validators.clear()),
        Err(GenesisError::Validators(0))
    );
    let many = check_genesis(|g| g.validators = vec![g.validators[0].clone(); 129]);
    assert_eq!(many, Err(GenesisError::Validators(129)));
    let machine = check_genesis(|g| g.machine = "vm".into());
    assert_eq!(machine, Err(GenesisError::Machine("vm".into())));
    // A version that fits what is in it, and a root that was worked out.
    assert_eq!(forked().check(), Ok(()));
    let version = |change: fn(&mut Genesis)| with(forked(), change).check();
    assert_eq!(version(|g| g.version = 1), Err(GenesisError::Version(1)));
    assert_eq!(version(|g| g.origin = None), Err(GenesisError::Version(2)));
    let unfinished = version(|g| g.origin.as_mut().unwrap().root = Digest::default());
    assert_eq!(unfinished, Err(GenesisError::Origin));

    let repeats: [Change<Genesis>; 6] = [
        ("a validator's name", |g| g.validators[1].name = "v0".into()),
        ("an address", |g| {
            g.validators[1].address = g.validators[0].address.clone()
        }),
        ("a consensus key", |g| {
            g.validators[1].consensus_key = g.validators[0].consensus_key
        }),
        ("a key in two roles", |g| {
            g.validators[1].network_key = g.validators[0].consensus_key
        }),
        ("a client's name", |g| {
            let mut again = g.clients[0].clone();
            again.key = key(50).public();
            g.clients.push(again);
        }),
        ("a client with a validator's key", |g| {
            g.clients[0].key = g.validators[2].network_key
        }),
    ];
    for (name, change) in repeats {
        let refused = check_genesis(change);
        assert!(
            matches!(refused, Err(GenesisError::Repeated(_))),
            "{name}: {refused:?}"
        );
    }

    // A proof covers both keys: nobody registers another's key, nor brings its own proof to another network key.
    let network = check_genesis(|g| g.validators[1].network_key = network_key(60).public());
    assert_eq!(network, Err(GenesisError::Proof("v1".into())));
    let stolen = check_genesis(|g| g.validators[1].proof = g.validators[2].proof);
    assert_eq!(stolen, Err(GenesisError::Proof("v1".into())));

    let mut identity = [0; 32];
    identity[0] = 1;
    let small = PublicKey::from_bytes_unchecked(identity);
    for change in [
        (|g, key| g.validators[0].consensus_key = key) as fn(&mut Genesis, PublicKey),
        |g, key| g.validators[0].network_key = key,
        |g, key| g.clients[0].key = key,
    ] {
        let refused = check_genesis(|g| change(g, small));
        assert!(matches!(refused, Err(GenesisError::Key(..))), "{refused:?}");
    }
}

#[test]
fn parameters_that_cannot_work_together_are_named() {
    let cases: [Change<Parameters>; 23] = [
        ("protocol_version", |p| p.protocol_version = 2),
        ("round_timeout_cap_ns", |p| {
            p.round_timeout_cap_ns = 99_999_999
        }),
        ("round_timeout_cap_ns", |p| {
            p.round_timeout_cap_ns = 600_000_000_001
        }),
        ("idle_interval_ns", |p| p.idle_interval_ns = 0),
        ("max_execution_lag", |p| p.max_execution_lag = 3),
        ("max_execution_lag", |p| p.max_execution_lag = 4_097),
        ("max_validity_ns", |p| p.max_validity_ns = 999_999_999),
        ("max_transaction_bytes", |p| p.max_transaction_bytes = 1_023),
        // Found by a fuzzer: the largest number ended the check with an overflow.
        ("max_transaction_bytes", |p| {
            p.max_transaction_bytes = u64::MAX
        }),
        ("max_commands", |p| p.max_commands = 0),
        ("max_commands", |p| p.max_commands = 501),
        ("max_result_bytes", |p| p.max_result_bytes = 63),
        ("max_batch_bytes", |p| {
            p.max_batch_bytes = p.max_transaction_bytes + 1_023
        }),
        ("max_block_batches", |p| p.max_block_batches = 0),
        ("max_block_batches", |p| p.max_block_batches = 1_025),
        ("max_block_batches", |p| p.max_block_batches = 65), // 32 MiB in all, and a bit
        ("max_block_batches", |p| p.max_batch_bytes += 1),
        ("max_transaction_cost", |p| {
            p.max_transaction_cost = (32 << 20) + 1;
        }),
        ("session_window", |p| p.session_window = 63),
        ("session_window", |p| p.session_window = 65_537),
        ("batch_lifetime_ns", |p| p.batch_lifetime_ns = 9_999_999_999),
        ("max_block_cost", |p| {
            p.max_block_cost = 2 * p.max_transaction_cost - 1;
        }),
        ("max_block_cost", |p| p.max_block_cost = 1_000_000_001),
    ];
    for (name, change) in cases {
        let refused = with(Parameters::default(), change).check();
        assert!(
            matches!(refused, Err(GenesisError::Parameter(found, _)) if found == name),
            "{name}: {refused:?}"
        );
    }
}

/// The root in the origin depends on the state, which names the chain: so that name leaves the root out, and only it.
#[test]
fn the_state_s_name_of_a_chain_depends_on_all_but_the_root() {
    assert_eq!(genesis().state_id(), genesis().chain_id());
    let other_root = with(forked(), |g| {
        g.origin.as_mut().unwrap().root = Digest::from_bytes([9; 32]);
    });
    assert_eq!(other_root.state_id(), forked().state_id());
    assert_ne!(other_root.chain_id(), forked().chain_id());
    let other_height = with(forked(), |g| g.origin.as_mut().unwrap().height = Height(78));
    assert_ne!(other_height.state_id(), forked().state_id());
}

/// P5: an answer proves what it says, by certificates and by the asker's own signature.
#[test]
fn an_answer_at_the_fence_is_proved_in_every_part() {
    let check = |change: fn(&mut FenceReply)| {
        let reply = with(fence_reply(), change);
        check(Message::FenceReply(Box::new(reply)))
    };
    fn signed(reply: &mut FenceReply) -> &mut SignedBy {
        reply.signed.as_mut().expect("the vector has one")
    }
    assert_eq!(check(|_| ()), Ok(()));
    assert_eq!(check(|r| r.signed = None), Ok(()));
    let cases: [Case<FenceReply>; 8] = [
        (
            "a QC of the round entered",
            Reject::CertificateMismatch,
            |r| {
                r.high_qc = qc(6, some_block(6));
            },
        ),
        ("a QC without a quorum", Reject::NoQuorum, |r| {
            r.high_qc.signatures.pop();
        }),
        ("a TC without a quorum", Reject::NoQuorum, |r| {
            if let Entry::Tc(tc) = &mut r.entry {
                tc.votes.pop();
            }
        }),
        ("a QC for another block", Reject::BadSignature, |r| {
            r.entry = Entry::Qc(with(qc(4, some_block(4)), |qc| qc.block = some_block(5)));
        }),
        ("another round", Reject::BadSignature, |r| {
            signed(r).round = Round::new(Epoch(0), 9);
        }),
        ("another signer", Reject::BadSignature, |r| {
            signed(r).signer = ValidatorIndex(2);
        }),
        ("no signer of the set", Reject::UnknownSigner, |r| {
            signed(r).signer = ValidatorIndex(4);
        }),
        ("another kind", Reject::BadSignature, |r| {
            signed(r).what = Signed::Vote(second().id());
        }),
    ];
    for (what, reject, change) in cases {
        assert_eq!(check(change), Err(reject), "{what}");
    }
    assert_eq!(
        check(|r| signed(r).round = Round::new(Epoch(1), 2)),
        Err(Reject::WrongEpoch)
    );
}

/// Each kind of statement is verified over what its message covers.
#[test]
fn whatever_a_validator_signed_can_be_shown_to_it() {
    let (a_vote, a_commit) = (
        vote(1, round(2), second().id()).into_inner(),
        commit_vote(1, round(2), second().id(), 2).into_inner(),
    );
    let a_timeout = timeout(1, 5, qc(4, some_block(4)), None).into_inner();
    let a_proposal = proposal();
    let header = &a_proposal.block.header;
    let all = [
        (
            header.proposer,
            header.round,
            Signed::Proposal(header.id()),
            a_proposal.signature,
        ),
        (
            a_vote.voter,
            a_vote.round,
            Signed::Vote(a_vote.block),
            a_vote.signature,
        ),
        (
            a_commit.voter,
            a_commit.round,
            Signed::CommitVote(a_commit.block, a_commit.height),
            a_commit.signature,
        ),
        (
            a_timeout.voter,
            a_timeout.round,
            Signed::Timeout(a_timeout.high_qc.round),
            a_timeout.signature,
        ),
    ];
    for (signer, round, what, signature) in all {
        let signed = SignedBy {
            signer,
            round,
            what,
            signature,
        };
        assert!(unverified(signed).verify(&validators()).is_ok(), "{what:?}");
    }
}
