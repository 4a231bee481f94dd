//! When a block that is right gets a vote, and that a round has one: V3, what V1, V4 and V5 wait for, P1 and I1.

use quorate_consensus::{Effect, Event, Target};
use quorate_types::{Block, Claim, Height, Message, Reject};

use crate::effects::{
    commit_voted, committed, evidence, refused, refused_and_no_vote, saved, sent, timed_out, voted,
};
use crate::scene::{Scene, rotating};
use crate::world::chain::{MS, SECOND, digest, execute, now, round};

#[test]
fn a_right_block_gets_a_vote_after_the_record_and_the_block() {
    let mut scene = Scene::voter();
    assert_eq!(saved(&scene.first).unwrap().round, round(1), "P1");
    let genesis = scene.genesis();
    let block = scene.next(&genesis);
    let effects = scene.propose(&block, &genesis);
    assert_eq!(voted(&effects), Some(block.id()));
    assert!(effects.contains(&Effect::Store(block.clone())), "P1");
    // The same again, as after a reconnection: nothing.
    assert_eq!(scene.propose(&block, &genesis), vec![]);
}

#[test]
fn v1_a_time_too_far_ahead_is_not_yet_and_gets_its_vote_later() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let mut block = scene.next(&genesis);
    block.header.time = now(0).wall.plus_nanos(700 * MS);
    let effects = scene.propose(&block, &genesis);
    assert_eq!(refused_and_no_vote(&effects), []);
    assert_eq!(scene.engine.deadline().unwrap().0, 200 * MS);
    scene.time = 200 * MS;
    assert_eq!(voted(&scene.step(Event::Deadline)), Some(block.id()));
}

#[test]
fn v3_no_vote_after_a_timeout_of_the_round() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    assert_eq!(timed_out(&scene.expire()), Some(round(1)));
    let block = scene.next(&genesis);
    assert_eq!(refused_and_no_vote(&scene.propose(&block, &genesis)), []);
}

#[test]
fn v4_waits_for_the_payload_of_the_block_and_of_its_ancestors() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let block = scene.filled(&genesis, &[1]);
    let effects = scene.propose(&block, &genesis);
    assert!(effects.contains(&Effect::CheckPayload(block.clone())));
    assert_eq!(refused_and_no_vote(&effects), []);
    let first = scene.certify(block.clone());
    let effects = scene.step(Event::Qc(Box::new(first.qc.clone())));
    assert_eq!(commit_voted(&effects), None, "C3");
    let second = scene.next(&first);
    assert_eq!(refused_and_no_vote(&scene.propose(&second, &first)), []);
    let effects = scene.step(Event::PayloadReady(block.id()));
    assert_eq!(voted(&effects), Some(second.id()));
    assert_eq!(commit_voted(&effects), Some(block.id()), "C3");
}

#[test]
fn v5_waits_for_its_own_execution_and_then_compares() {
    for right in [true, false] {
        let mut scene = Scene::voter();
        let genesis = scene.genesis();
        let first = scene.extend(&genesis);
        let finality = scene.finality(&first);
        let effects = scene.step(Event::Finality(Box::new(finality)));
        assert_eq!(committed(&effects), [Height(1)]);
        let roots = execute(scene.chain.genesis.claim.roots, &first.block);
        let mut block = scene.next(&first);
        block.header.claim = Claim {
            height: Height(1),
            roots,
        };
        let effects = scene.propose(&block, &first);
        assert_eq!(
            (voted(&effects), refused(&effects)),
            (None, vec![]),
            "not yet"
        );
        let mut ours = roots;
        if !right {
            ours.state = digest(b"other");
        }
        let executed = Event::Executed {
            height: Height(1),
            roots: ours,
            empty: true,
        };
        let effects = scene.step(executed);
        if right {
            assert_eq!(voted(&effects), Some(block.id()));
            continue;
        }
        assert_eq!(refused_and_no_vote(&effects), [Reject::WrongClaim]);
        assert!(!scene.engine.status().diverged, "a leader's word alone");
        // Certified, it is this replica that is wrong: it signs nothing any more, timeouts included.
        let second = scene.certify(block);
        let effects = scene.step(Event::Qc(Box::new(second.qc.clone())));
        let certified = roots;
        assert!(effects.contains(&Effect::Diverged {
            height: Height(1),
            ours,
            certified
        }));
        assert_eq!(commit_voted(&effects), None);
        assert!(scene.engine.status().diverged && scene.engine.deadline().is_none());
        scene.time = 100 * SECOND;
        assert_eq!(scene.step(Event::Deadline), vec![]);
        // It sent its last CommitVote to all again with each Timeout that f + 1 others had joined.
        let me = scene.me.unwrap().as_usize();
        let last = scene.commit_vote(me, &second.block);
        scene.step(Event::CommitVote(last));
        for peer in (0..4).filter(|peer| *peer != me) {
            let (round, qc) = (scene.engine.status().round, &second.qc);
            let timeout = scene.timeout(peer, round, qc, None);
            let effects = scene.step(Event::Timeout(Box::new(timeout)));
            let said = sent(&effects, Target::All);
            assert!(said.iter().all(|m| matches!(m, Message::Tc(_))), "{said:?}");
        }
    }
}

/// "A second proposal crashes the node."
#[test]
fn i1_a_second_proposal_of_one_leader_is_refused_and_reported_once() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let first = scene.next(&genesis);
    scene.propose(&first, &genesis);
    for (time, cases) in [(7, 1), (8, 0)] {
        let mut second = first.clone();
        second.header.time.0 += time;
        let effects = scene.propose(&second, &genesis);
        assert_eq!(voted(&effects), None);
        assert_eq!(evidence(&effects).len(), cases, "I10");
        assert_eq!(refused(&effects).len(), cases);
    }
}

/// Of an earlier draft: two legitimate leaders' proposals taken for evidence. A round is entered by its TC, and then the
/// QC of the round before arrives: both L2's leader and L1's may propose.
#[test]
fn two_legitimate_leaders_are_no_evidence_and_get_one_vote() {
    let mut scene = Scene::voter();
    let mut elections = Scene::voter();
    let mut parent = scene.genesis();
    loop {
        let failed = scene.engine.status();
        let elected = elections.extend(&parent);
        let by_qc = elections.engine.status();
        let by_tc = rotating(&scene.chain, by_qc.round.number);
        if by_qc.leader == Some(by_tc) {
            parent = scene.extend(&parent);
            continue;
        }
        // The last round's block is not certified here: its TC enters the next.
        scene.propose(&elected.block, &parent);
        let tc = scene.tc(failed.round, &parent.qc);
        scene.step(Event::Tc(Box::new(tc.clone())));
        assert_eq!(scene.engine.status().leader, Some(by_tc), "L2");
        let mut with_tc = scene.header(&parent, by_qc.round, by_tc);
        (with_tc.tc, with_tc.failed) = (Some(tc.digest()), failed.leader);
        let with_tc = Block {
            header: with_tc,
            batches: Vec::new(),
        };
        let without = scene.header(&elected, by_qc.round, by_qc.leader.unwrap());
        let without = Block {
            header: without,
            batches: Vec::new(),
        };
        let event = scene.proposal(with_tc.clone(), &parent.qc, Some(&tc));
        let effects = scene.step(event);
        assert_eq!(
            (voted(&effects), refused(&effects)),
            (Some(with_tc.id()), vec![])
        );
        // The round stays: a QC of the round before does not enter it a second time.
        let effects = scene.propose(&without, &elected);
        assert_eq!(scene.engine.status().round, by_qc.round);
        assert!(
            effects.contains(&Effect::Store(without)),
            "it may yet be certified"
        );
        assert_eq!(evidence(&effects), []);
        assert_eq!(refused_and_no_vote(&effects), []);
        return;
    }
}
