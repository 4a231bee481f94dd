//! Votes and commit votes that count, what they make, and what that leads to: A2, C2, D1, I3 and I10.

use quorate_consensus::{Effect, Event};
use quorate_types::evidence::EvidenceKind;
use quorate_types::{Block, BlockId, Header, Height, Reject};

use crate::effects::{commit_voted, committed, evidence, fetched, refused, saved};
use crate::scene::Scene;
use crate::world::chain::{digest, index, now, round};

/// "Duplicate vote blocks or inflates a QC."
#[test]
fn i3_a_repeated_vote_counts_once_and_a_contradicting_one_is_evidence() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let block = scene.next(&genesis);
    scene.propose(&block, &genesis);
    for _ in 0..5 {
        assert_eq!(
            scene.step(Event::Vote(scene.vote(0, block.id(), round(1)))),
            vec![]
        );
    }
    let other = BlockId(digest(b"other"));
    let effects = scene.step(Event::Vote(scene.vote(0, other, round(1))));
    assert_eq!(evidence(&effects), [(EvidenceKind::Vote, index(0))]);
    scene.step(Event::Vote(scene.vote(1, block.id(), round(1))));
    assert_eq!(scene.engine.status().round, round(1));
    let effects = scene.step(Event::Vote(scene.vote(2, block.id(), round(1))));
    assert_eq!(scene.engine.status().round, round(2));
    assert_eq!(saved(&effects).unwrap().high_qc.block, block.id(), "P2");
    assert_eq!(commit_voted(&effects), Some(block.id()));
}

/// "Round inflated by an unproven message."
#[test]
fn bounds_votes_beyond_the_window_are_not_kept() {
    let mut scene = Scene::voter();
    let id = BlockId(digest(b"far"));
    for (number, entered) in [(10, 1), (u64::MAX, 1), (9, 10)] {
        for i in 0..3 {
            scene.step(Event::Vote(scene.vote(i, id, round(number))));
        }
        assert_eq!(scene.engine.status().round, round(entered), "{number}");
    }
}

/// "QC for an unknown block dropped."
#[test]
fn a2_a_qc_of_an_unknown_block_advances_and_is_fetched_once() {
    let mut other = Scene::voter();
    let genesis = other.genesis();
    let first = other.extend(&genesis);
    let second = other.extend(&first);
    let mut scene = Scene::voter();
    let effects = scene.step(Event::Qc(Box::new(second.qc.clone())));
    assert_eq!(scene.engine.status().round, round(3));
    assert_eq!(fetched(&effects), [second.id()]);
    assert_eq!(fetched(&scene.step(Event::Work(false))), []);
    // Nobody vouches for this one.
    let mut stranger = first.block.clone();
    stranger.header.time.0 += 5;
    let effects = scene.step(Event::Blocks(vec![stranger]));
    assert_eq!(refused(&effects), [Reject::OutOfWindow]);
    // The certified one alone, then its parent.
    let effects = scene.step(Event::Blocks(vec![second.block.clone()]));
    assert_eq!(fetched(&effects), [first.id()]);
    let effects = scene.step(Event::Blocks(vec![first.block.clone()]));
    assert_eq!(commit_voted(&effects), Some(second.id()));
    assert!(effects.contains(&Effect::Store(first.block)));
}

/// Of an earlier draft: CommitVotes dropped because their round is over. And "ancestors delivered newest first".
#[test]
fn d1_late_commit_votes_commit_the_block_and_its_ancestors_oldest_first_once() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    let second = scene.extend(&first);
    let third = scene.extend(&second);
    for i in 0..2 {
        scene.step(Event::CommitVote(scene.commit_vote(i, &second.block)));
    }
    let effects = scene.step(Event::CommitVote(scene.commit_vote(2, &second.block)));
    assert_eq!(committed(&effects), [Height(1), Height(2)]);
    for i in 0..3 {
        let effects = scene.step(Event::CommitVote(scene.commit_vote(i, &first.block)));
        assert_eq!(effects, vec![]);
    }
    let finality = scene.finality(&third);
    let effects = scene.step(Event::Finality(Box::new(finality)));
    assert_eq!(committed(&effects), [Height(3)]);
}

/// Of an earlier draft: entry by CC without its QC.
#[test]
fn a_cc_without_its_qc_waits_for_it() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let block = scene.next(&genesis);
    scene.propose(&block, &genesis);
    for i in 0..3 {
        let effects = scene.step(Event::CommitVote(scene.commit_vote(i, &block)));
        assert_eq!(effects, vec![]);
    }
    assert_eq!(scene.engine.status().round, round(1));
    let first = scene.certify(block);
    let effects = scene.step(Event::Qc(Box::new(first.qc)));
    assert_eq!(committed(&effects), [Height(1)]);
    let wrong = Block {
        header: Header {
            time: now(9).wall,
            ..first.block.header
        },
        batches: vec![],
    };
    let effects = scene.step(Event::CommitVote(scene.commit_vote(0, &wrong)));
    assert_eq!(effects, vec![], "its round is committed");
}

#[test]
fn i10_two_commit_votes_of_one_round_are_evidence() {
    let mut scene = Scene::voter();
    let block = scene.next(&scene.genesis());
    let mut other = block.clone();
    other.header.time.0 += 1;
    scene.step(Event::CommitVote(scene.commit_vote(1, &block)));
    let effects = scene.step(Event::CommitVote(scene.commit_vote(1, &other)));
    assert_eq!(evidence(&effects), [(EvidenceKind::CommitVote, index(1))]);
}

#[test]
fn c2_no_commit_vote_in_a_round_that_was_given_up() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let block = scene.next(&genesis);
    scene.propose(&block, &genesis);
    scene.expire();
    let first = scene.certify(block);
    let effects = scene.step(Event::Qc(Box::new(first.qc.clone())));
    assert_eq!(commit_voted(&effects), None);
    // The next round's block carries it.
    let block = scene.next(&first);
    scene.propose(&block, &first);
    let second = scene.certify(block);
    let effects = scene.step(Event::Qc(Box::new(second.qc.clone())));
    assert_eq!(commit_voted(&effects), Some(second.id()));
}
