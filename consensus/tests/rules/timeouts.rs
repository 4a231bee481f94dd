//! Rounds that end without a certificate, and who is told: T1 and T2.

use quorate_consensus::{Authorised, Effect, Event, Target};
use quorate_types::{Entry, Finality, Message, Qc, Reject, Tc, Timeout};

use crate::effects::{refused, saved, sent, timed_out};
use crate::scene::Scene;
use crate::world::chain::{MS, index, round};

#[test]
fn t1_an_invalid_payload_ends_the_round_early_only_without_a_vote() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let block = scene.filled(&genesis, &[1]);
    scene.propose(&block, &genesis);
    let effects = scene.step(Event::PayloadInvalid(block.id()));
    assert_eq!(refused(&effects), [Reject::BadPayload]);
    assert_eq!(timed_out(&effects), Some(round(1)));
    assert_eq!(saved(&effects).unwrap().highest_timeout, round(1), "P3");
    // An answer that comes too late changes nothing.
    assert_eq!(scene.step(Event::PayloadReady(block.id())), vec![]);
}

/// "TC not verified, or handled twice"; and T1's f + 1, T2.
#[test]
fn t1_f_plus_one_timeouts_are_joined_and_a_quorum_enters_the_next_round() {
    let mut scene = Scene::voter();
    let anchor = scene.chain.validators.anchor_qc();
    let timeout =
        |scene: &Scene, i| Event::Timeout(Box::new(scene.timeout(i, round(1), &anchor, None)));
    let event = timeout(&scene, 0);
    assert_eq!(timed_out(&scene.step(event)), None);
    let event = timeout(&scene, 0);
    assert_eq!(timed_out(&scene.step(event)), None, "the same again is one");
    let event = timeout(&scene, 1);
    assert_eq!(timed_out(&scene.step(event)), Some(round(1)));
    let event = timeout(&scene, 2);
    let effects = scene.step(event);
    let sent_tcs = sent(&effects, Target::All);
    let [Message::Tc(tc)] = &sent_tcs[..] else {
        panic!("{sent_tcs:?}")
    };
    assert_eq!(scene.engine.status().round, round(2));
    assert_eq!(saved(&effects).unwrap().entry, Entry::Tc(Tc::clone(tc)));
    let again = scene.tc(round(1), &anchor);
    assert_eq!(scene.step(Event::Tc(Box::new(again))), vec![]);
    // The Timeout of a round that a TC entered carries it.
    let effects = scene.expire();
    assert_eq!(timed_out(&effects), Some(round(2)));
    assert!(effects.iter().any(|effect| matches!(effect,
        Effect::Sign(Authorised::Timeout(t)) if t.peek().entry_tc.is_some())));
}

/// The lock: whoever entered a round by others' TC may know a higher certificate than they did, by which a block may have
/// been committed.
#[test]
fn t1_a_timeout_reports_the_highest_certificate_known_and_not_that_of_the_tc() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    let anchor = scene.chain.validators.anchor_qc();
    let tc = scene.tc(round(2), &anchor);
    scene.step(Event::Tc(Box::new(tc)));
    assert_eq!(scene.engine.status().round, round(3));
    let mut effects = scene.expire();
    while timed_out(&effects).is_none() {
        effects = scene.expire();
    }
    let reported = effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::Timeout(timeout)) => Some(&timeout.peek().high_qc),
        _ => None,
    });
    assert_eq!(reported, Some(&*first.qc));
}

/// A message can be lost without a connection that breaks: nothing else would bring a Timeout to those that missed it.
#[test]
fn t1_a_timeout_is_repeated_until_the_round_is_left() {
    let mut scene = Scene::voter();
    let me = scene.me.unwrap();
    let anchor = scene.chain.validators.anchor_qc();
    while timed_out(&scene.expire()).is_none() {}
    let own = scene.timeout(me.as_usize(), round(1), &anchor, None);
    scene.step(Event::Timeout(Box::new(own.clone())));
    let repeated = |effects: &[Effect]| {
        let own = Message::Timeout(Box::new(Timeout::clone(&own)));
        sent(effects, Target::All).contains(&&own)
    };
    for _ in 0..3 {
        assert!(repeated(&scene.expire()));
    }
    let genesis = scene.genesis();
    scene.extend(&genesis);
    assert!(!repeated(&scene.expire()));
}

/// As T2's: the hints of what is repeated are of when it was signed.
#[test]
fn t1_a_commit_vote_is_repeated_without_hints() {
    let mut scene = Scene::voter();
    let me = scene.me.unwrap().as_usize();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    scene.step(Event::CommitVote(scene.commit_vote(me, &first.block)));
    let mut effects = scene.expire();
    while timed_out(&effects).is_none() {
        effects = scene.expire();
    }
    let messages = sent(&effects, Target::All).into_iter();
    let held = messages.filter_map(|message| match message {
        Message::CommitVote(vote) => Some(&vote.held),
        _ => None,
    });
    let held: Vec<&Vec<u64>> = held.collect();
    assert_eq!(held, [&Vec::new()]);
}

#[test]
fn t2_who_is_behind_is_told_what_ended_its_round() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    let second = scene.extend(&first);
    let finality = scene.finality(&first);
    scene.step(Event::Finality(Box::new(finality.clone())));
    let peer = index((scene.me.unwrap().as_usize() + 1) % 4);
    let effects = scene.step(Event::Connected(peer));
    let messages = sent(&effects, Target::One(peer));
    assert!(messages.contains(&&Message::Finality(Box::new(Finality::clone(&finality)))));
    assert!(messages.contains(&&Message::Qc(Box::new(Qc::clone(&second.qc)))));
    let anchor = scene.chain.validators.anchor_qc();
    let stale = scene.timeout(peer.as_usize(), round(1), &anchor, None);
    let effects = scene.step(Event::Timeout(Box::new(stale.clone())));
    assert_eq!(sent(&effects, Target::One(peer)).len(), messages.len());
    // Anybody can send it again, as fast as he likes: each copy brought the peer an answer many times as long.
    let effects = scene.step(Event::Timeout(Box::new(stale.clone())));
    assert_eq!(sent(&effects, Target::One(peer)).len(), 0);
    scene.time += 50 * MS;
    let effects = scene.step(Event::Timeout(Box::new(stale)));
    assert_eq!(sent(&effects, Target::One(peer)).len(), messages.len());
}

/// The hints are of when it was signed, and would take the place of newer ones.
#[test]
fn t2_what_is_said_again_is_said_without_hints() {
    let mut scene = Scene::voter();
    let me = scene.me.unwrap().as_usize();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    let vote = scene.vote(me, first.block.id(), first.block.header.round);
    scene.step(Event::Vote(vote));
    scene.step(Event::CommitVote(scene.commit_vote(me, &first.block)));
    let peer = index((me + 1) % 4);
    let effects = scene.step(Event::Connected(peer));
    let messages = sent(&effects, Target::One(peer)).into_iter();
    let held = messages.filter_map(|message| match message {
        Message::Vote(vote) => Some(&vote.held),
        Message::CommitVote(vote) => Some(&vote.held),
        _ => None,
    });
    let held: Vec<&Vec<u64>> = held.collect();
    assert_eq!(held, [&Vec::new(), &Vec::new()]);
}

/// Two that had both given up a round, which then ended by a late certificate, took each other's old Timeout for a sign of
/// being behind and answered it with their own, several times over with every exchange (found by the simulator).
#[test]
fn t2_a_timeout_of_a_round_that_was_left_is_not_sent_again() {
    let mut scene = Scene::voter();
    let me = scene.me.unwrap();
    let peer = index((me.as_usize() + 1) % 4);
    let anchor = scene.chain.validators.anchor_qc();
    while timed_out(&scene.expire()).is_none() {}
    let own = scene.timeout(me.as_usize(), round(1), &anchor, None);
    scene.step(Event::Timeout(Box::new(own)));
    let repeats = |effects: &[Effect]| {
        let messages = sent(effects, Target::One(peer)).into_iter();
        messages
            .filter(|message| matches!(message, Message::Timeout(_)))
            .count()
    };
    assert_eq!(repeats(&scene.step(Event::Connected(peer))), 1);
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    scene.extend(&first);
    let stale = scene.timeout(peer.as_usize(), round(1), &anchor, None);
    let effects = scene.step(Event::Timeout(Box::new(stale)));
    assert_eq!(repeats(&effects), 0, "{effects:?}");
    assert!(!sent(&effects, Target::One(peer)).is_empty());
}
