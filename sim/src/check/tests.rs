//! The judges can fail: each sees what it is there to see. The worlds are sound, and then tampered with.

use quorate_crypto::{Domain, hash};
use quorate_storage::{Store, Sync, WriteBatch};
use quorate_types::{Block, Receipt, Roots, Signature, ValidatorIndex, Vote, codec};

use super::certificates::VERIFIED_PROOFS;
use super::*;
use crate::plan::{ClockPlan, Plan};
use crate::world::World;

const SEED: u64 = 3;

/// A world without faults and liars that has lived for a while.
fn world(seed: u64) -> World {
    let mut plan = Plan::draw(SEED);
    plan.stand_ins = false;
    (plan.seed, plan.n, plan.byzantine, plan.load.clients) = (seed, 4, Vec::new(), 2);
    plan.clocks = vec![ClockPlan::default(); 4];
    plan.faults.clear();
    let mut world = World::new(plan, false).unwrap();
    while world.checker.executed.len() < 12 {
        world.step().unwrap();
    }
    world
}

/// A judge that has seen nothing.
fn fresh(world: &World) -> Checker {
    Checker::new(
        Arc::clone(&world.checker.validators),
        world.checker.terms.clone(),
    )
}

/// A new judge that reads this ledger from the start.
fn read(world: &World, store: &MemStore) -> Result<Found, Violation> {
    let mut checker = fresh(world);
    checker.after_turn(0, store, &[], |id| world.workload.signed(id))
}

fn tampered(world: &World, change: impl FnOnce(&mut WriteBatch)) -> MemStore {
    let mut store = world.nodes[0].store.clone();
    let mut write = WriteBatch::new();
    change(&mut write);
    store.write(write, Sync::Yes).unwrap();
    store
}

/// A height of a filled block.
fn filled(world: &World) -> Height {
    world.checker.executed.values().next().unwrap().0
}

fn block(world: &World, height: Height) -> Block {
    ledger::block_by_height(&world.nodes[0].store, height)
        .unwrap()
        .unwrap()
}

#[test]
fn what_is_sound_passes() {
    let mut world = world(1);
    let store = &world.nodes[0].store;
    assert!(read(&world, store).unwrap().blocks > 0);
    world.checker.audit(store).unwrap();
    let receipts: Vec<Receipt> = world.workload.receipts().cloned().collect();
    assert!(!receipts.is_empty());
}

#[test]
fn i5_a_fork_is_seen() {
    let (mut world, other) = (world(1), world(2));
    world.checker.seen[0].height = 0;
    let found = world.checker.scan(0, &other.nodes[0].store, |_| true);
    assert!(matches!(found, Err(Violation::Fork(_))), "{found:?}");
    let audit = world.checker.audit(&other.nodes[0].store);
    assert!(matches!(audit, Err(Violation::Fork(_))), "{audit:?}");
}

#[test]
fn i4_a_gap_is_seen() {
    let mut world = world(1);
    let store = tampered(&world, |write| {
        write.delete(Table::Ledger, ledger::keys::height(Height(2)));
    });
    assert!(matches!(
        read(&world, &store),
        Err(Violation::BrokenChain(Height(2)))
    ));
    assert!(matches!(
        world.checker.audit(&store),
        Err(Violation::BrokenChain(Height(2)))
    ));
}

#[test]
fn i4_a_block_that_does_not_extend_the_last_is_seen() {
    let world = world(1);
    // The block of height 3 as if it were a second one of height 2.
    let mut moved = block(&world, Height(3));
    moved.header.height = Height(2);
    let store = tampered(&world, |write| {
        let id = moved.id();
        write.put(Table::Blocks, *id.as_bytes(), codec::encode(&moved));
        write.put(
            Table::Ledger,
            ledger::keys::height(Height(2)),
            *id.as_bytes(),
        );
        write.delete(Table::Certificates, ledger::keys::certificate(Height(2)));
    });
    assert!(matches!(
        read(&world, &store),
        Err(Violation::BrokenChain(Height(2)))
    ));
}

#[test]
fn i6_another_state_is_seen() {
    let mut world = world(1);
    let store = tampered(&world, |write| {
        let roots = codec::encode(&Roots::default());
        write.put(Table::Meta, ledger::keys::roots(Height(1)), roots);
    });
    world.checker.seen[0].height = 0;
    let found = world.checker.scan(0, &store, |_| true);
    assert!(
        matches!(found, Err(Violation::OtherRoots(Height(1)))),
        "{found:?}"
    );
}

#[test]
fn i3_a_certificate_without_a_quorum_or_with_a_bad_signature_is_seen() {
    let mut world = world(1);
    let deep = |world: &World| {
        let store = &world.nodes[0].store;
        let tip = ledger::tip(store).unwrap().height.0;
        let mut heights = (1..=tip).filter(|height| height.is_multiple_of(VERIFIED_PROOFS));
        heights.find_map(|height| ledger::finality(store, Height(height)).unwrap())
    };
    while deep(&world).is_none() {
        world.step().unwrap();
    }
    let sound = deep(&world).unwrap();
    let at = sound.cc.height;
    let mut short = sound.clone();
    short.cc.signatures.pop();
    let mut few = sound.clone();
    few.qc.signers = few.qc.signers.iter().skip(1).collect();
    few.qc.signatures.pop();
    let mut forged = sound.clone();
    forged.cc.signatures[0] = forged.qc.signatures[0];
    for bad in [short, few, forged] {
        let store = tampered(&world, |write| {
            let key = ledger::keys::certificate(at);
            write.put(Table::Certificates, key, codec::encode(&bad));
        });
        let found = read(&world, &store);
        assert!(
            matches!(found, Err(Violation::BadCertificate(h)) if h == at),
            "{found:?}"
        );
    }
}

#[test]
fn i7_a_second_execution_and_what_no_client_signed_are_seen() {
    let world = world(1);
    let store = &world.nodes[0].store;
    let mut checker = fresh(&world);
    checker.executed.clone_from(&world.checker.executed);
    let found = checker.scan(0, store, |_| true);
    assert!(
        matches!(found, Err(Violation::ExecutedTwice(_))),
        "{found:?}"
    );
    let mut checker = fresh(&world);
    let found = checker.scan(0, store, |_| false);
    assert!(
        matches!(found, Err(Violation::StrangeReceipt(..))),
        "{found:?}"
    );
}

#[test]
fn i7_a_receipt_of_nothing_and_one_that_is_missing_are_seen() {
    let mut world = world(1);
    let at = filled(&world);
    let store = &world.nodes[0].store;
    let receipts = ledger::receipts(store, at).unwrap();
    let last = u32::try_from(receipts.len()).unwrap();
    let mut extra = receipts[0].clone();
    extra.index = last;
    let more = tampered(&world, |write| {
        let key = ledger::keys::receipt(at, last);
        write.put(Table::Receipts, key, codec::encode(&extra));
    });
    let fewer = tampered(&world, |write| {
        write.delete(Table::Receipts, ledger::keys::receipt(at, last - 1));
    });
    for store in [more, fewer] {
        let found = read(&world, &store);
        let seen = matches!(found, Err(Violation::StrangeReceipt(..)));
        assert!(seen, "{found:?}");
        let audit = world.checker.audit(&store);
        assert!(
            matches!(audit, Err(Violation::OtherRoots(h)) if h == at),
            "{audit:?}"
        );
    }
}

#[test]
fn i8_a_lost_receipt_is_seen() {
    let world = world(1);
    let at = filled(&world);
    let store = &world.nodes[0].store;
    let mut told = ledger::receipts(store, at).unwrap();
    world.checker.promises(store, told.iter()).unwrap();
    told[0].height = Height(1_000_000);
    let promises = world.checker.promises(store, told.iter());
    assert!(matches!(promises, Err(Violation::LostReceipt(..))));
}

#[test]
fn i1_and_p1_a_second_vote_and_one_before_its_record_are_seen() {
    let mut world = world(1);
    let store = world.nodes[0].store.clone();
    let newest = ledger::tip(&store).unwrap();
    let vote = |block: &Block, round| {
        Message::Vote(Vote {
            round,
            block: block.id(),
            voter: ValidatorIndex(0),
            signature: Signature::default(),
            held: Vec::new(),
        })
    };
    let (one, two) = (block(&world, newest.height), block(&world, Height(1)));
    let round = newest.round;
    world.checker.signed.clear();
    world
        .checker
        .on_send(0, &store, &vote(&one, round))
        .unwrap();
    let second = world.checker.on_send(0, &store, &vote(&two, round));
    assert!(
        matches!(second, Err(Violation::SignedTwice("vote", _))),
        "{second:?}"
    );
    let early = world
        .checker
        .on_send(0, &store, &vote(&one, round.plus(1_000)));
    assert!(
        matches!(early, Err(Violation::NotDurable("vote", _))),
        "{early:?}"
    );
    // The record is there, but not the block.
    world.checker.seen[0].durable.round = round.plus(2_000);
    let early = world
        .checker
        .on_send(0, &store, &vote(&moved(&one), round.plus(2_000)));
    assert!(
        matches!(early, Err(Violation::NotDurable("vote", _))),
        "{early:?}"
    );
}

/// The vote of this validator for a block that is stored.
fn vote_of(node: u16, block: &Block) -> Message {
    Message::Vote(Vote {
        round: block.header.round,
        block: block.id(),
        voter: ValidatorIndex(node),
        signature: Signature::default(),
        held: Vec::new(),
    })
}

/// A child of the newest block, in the round after, with a time that this makes of its parent's. Stored, but not appended.
fn child(world: &World, sync: Sync, time: impl Fn(BlockTime) -> BlockTime) -> (MemStore, Block) {
    let mut store = world.nodes[0].store.clone();
    let mut settled = WriteBatch::new();
    settled.settle();
    store.write(settled, Sync::Yes).unwrap();
    let parent = block(world, ledger::tip(&store).unwrap().height);
    let mut child = parent.clone();
    child.batches.clear();
    child.header.payload = Block::payload_root(&[]);
    child.header.height = parent.header.height.next();
    child.header.parent = parent.id();
    child.header.justify.block = parent.id();
    child.header.justify.round = parent.header.round;
    child.header.round = parent.header.round.next();
    child.header.tc = None;
    child.header.time = time(parent.header.time);
    let mut write = WriteBatch::new();
    let id = child.id();
    write.put(Table::Blocks, *id.as_bytes(), codec::encode(&child));
    store.write(write, sync).unwrap();
    (store, child)
}

/// What the judge says of a vote for such a child, by a clock that shows the parent's time.
fn voted(world: &mut World, sync: Sync, ahead: u64) -> Result<(), Violation> {
    let (store, child) = child(world, sync, |parent| parent.plus_nanos(ahead));
    let wall = block(world, ledger::tip(&store).unwrap().height)
        .header
        .time;
    let checker = &mut world.checker;
    checker.signed.clear();
    checker.rules = Rules::new(&checker.validators);
    checker.seen[0].durable.round = child.header.round;
    checker.shows(0, wall);
    checker.on_send(0, &store, &vote_of(0, &child))
}

#[test]
fn v1_a_vote_for_a_time_that_is_not_after_the_parent_s_or_far_ahead_is_seen() {
    let mut world = world(1);
    let drift = world.checker.terms.drift;
    for right in [1, 2, drift] {
        voted(&mut world, Sync::Yes, right).unwrap();
    }
    for wrong in [0, drift + 1] {
        let seen = voted(&mut world, Sync::Yes, wrong);
        assert!(matches!(seen, Err(Violation::WrongTime(_))), "{seen:?}");
    }
    // A clock that is far behind may take the smallest step.
    world.checker.terms.drift = 0;
    voted(&mut world, Sync::Yes, 1).unwrap();
    let seen = voted(&mut world, Sync::Yes, 2);
    assert!(matches!(seen, Err(Violation::WrongTime(_))), "{seen:?}");
}

#[test]
fn v1_a_final_block_whose_time_is_not_after_its_parent_s_is_seen() {
    let world = world(1);
    let mut checker = fresh(&world);
    checker.terms.began = block(&world, Height(1)).header.time;
    let found = checker.scan(0, &world.nodes[0].store, |_| true);
    assert!(matches!(found, Err(Violation::WrongTime(_))), "{found:?}");
}

#[test]
fn p1_a_vote_for_a_block_that_is_written_and_not_synced_is_seen() {
    let mut world = world(1);
    voted(&mut world, Sync::Yes, 1).unwrap();
    let early = voted(&mut world, Sync::No, 1);
    let seen = matches!(early, Err(Violation::NotDurable("vote", _)));
    assert!(seen, "{early:?}");
}

#[test]
fn v2_a_tc_that_nobody_saw_or_of_another_round_is_seen() {
    let mut world = world(1);
    let newest = ledger::tip(&world.nodes[0].store).unwrap().height;
    let mut header = block(&world, newest).header.clone();
    let justified = header.justify.round;
    header.round = justified.plus(3);
    let tc = |round, reported: Round| Tc {
        round,
        votes: Vec::new(),
        high_qc: Qc {
            round: reported,
            ..world.checker.validators.anchor_qc()
        },
    };
    let before = justified.plus(2);
    let cases = [
        (tc(before, justified), true),
        (tc(justified.plus(1), justified), false),
        (tc(before, justified.next()), false),
    ];
    for (tc, right) in cases {
        header.tc = Some(tc.digest());
        let rules = &mut world.checker.rules;
        // Nobody was shown it yet.
        assert!(rules.extension(&header).is_ok());
        let noted = rules.note(0, &Message::Tc(Box::new(tc)));
        assert_eq!(noted.is_ok(), right);
        assert_eq!(rules.extension(&header).is_ok(), right);
    }
    header.tc = None;
    assert!(world.checker.rules.extension(&header).is_err());
}

/// A block that nobody has.
fn moved(block: &Block) -> Block {
    let mut block = block.clone();
    block.header.time = block.header.time.plus_nanos(1);
    block
}

#[test]
fn i2_a_record_that_falls_is_seen() {
    let mut world = world(1);
    let store = tampered(&world, |write| {
        write.delete(Table::Meta, ledger::keys::RECORD)
    });
    let fell = world.checker.after_turn(0, &store, &[], |_| true);
    assert!(matches!(fell, Err(Violation::RecordFell(_))), "{fell:?}");
    world.checker.seen[0].durable = world.checker.seen[0].record;
    let fell = world.checker.after_crash(0, &store);
    assert!(matches!(fell, Err(Violation::RecordFell(_))), "{fell:?}");
}

#[test]
fn damage_is_seen() {
    let world = world(1);
    let mut store = world.nodes[0].store.clone();
    let id = *block(&world, Height(1)).id().as_bytes();
    assert!(store.rot(Table::Blocks, &id, 40));
    assert!(matches!(read(&world, &store), Err(Violation::Ledger(_))));
}

#[test]
fn p1_a_voted_block_that_is_gone_is_seen() {
    let world = world(SEED);
    let mut checker = fresh(&world);
    let store = &world.nodes[0].store;
    assert!(checker.kept(0, store).is_ok());
    let ahead = ledger::tip(store).unwrap().round.next();
    checker.promise(0, ahead, BlockId(hash(Domain::Header, &[b"nowhere"])));
    let lost = checker.kept(0, store);
    assert!(matches!(lost, Err(Violation::PromiseLost(round)) if round == ahead));
}

#[test]
fn i8_an_answer_before_a_quorum_holds_the_block_is_seen() {
    let world = world(SEED);
    let receipt = world.workload.receipts().next().unwrap();
    let stores = |nodes: std::ops::Range<usize>| nodes.map(|node| (node, &world.nodes[node].store));
    let judge = |count, liars| {
        let checker = &world.checker;
        checker.durable_at_quorum(receipt, stores(0..count), liars)
    };
    assert!(judge(4, 0).is_ok());
    assert!(matches!(judge(2, 0), Err(Violation::NotAtQuorum(..))));
    assert!(judge(2, 1).is_ok());
}

#[test]
fn p5_a_signature_before_the_strict_fence_and_a_fence_too_low_are_seen() {
    let mut world = world(1);
    let store = world.nodes[0].store.clone();
    let checker = &mut world.checker;
    let signed = checker.signed.keys().filter(|(node, ..)| *node == 0);
    let highest = signed.map(|(.., round)| *round).max().unwrap();
    let known = ledger::record(&store).unwrap().unwrap().high_qc.round;
    checker.forgotten(0);
    let newest = ledger::tip(&store).unwrap();
    let vote = Message::Vote(Vote {
        round: highest,
        block: newest.block,
        voter: ValidatorIndex(0),
        signature: Signature::default(),
        held: Vec::new(),
    });
    let early = checker.on_send(0, &store, &vote);
    assert!(
        matches!(early, Err(Violation::SignedUnknowing("vote", r)) if r == highest),
        "{early:?}"
    );
    // Below what it signed, and above the certificate that it would report.
    for burnt in [Round::default(), known.next().max(highest)] {
        let low = checker.remembers(0, &store, burnt);
        assert!(
            matches!(low, Err(Violation::LowFence(r)) if r == burnt),
            "{low:?}"
        );
    }
    // Where nothing was signed above the certificate that it holds, all is well.
    checker
        .signed
        .retain(|(node, _, round), _| *node != 0 || *round <= known);
    checker.remembers(0, &store, known).unwrap();
}

#[test]
fn a_block_that_differs_in_a_bit_is_seen_although_the_judges_know_it() {
    let mut world = world(1);
    let id = block(&world, Height(2)).id();
    let mut store = world.nodes[0].store.clone();
    world.checker.audit(&store).unwrap();
    assert!(store.rot(Table::Blocks, id.as_bytes(), 40));
    let audit = world.checker.audit(&store);
    assert!(matches!(audit, Err(Violation::Ledger(_))), "{audit:?}");
}
