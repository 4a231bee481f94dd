//! Other beginnings: with a record (P4), as an observer, and far behind everybody.

use quorate_consensus::{Effect, Event};
use quorate_types::{Entry, Height, Qc, SafetyRecord};

use crate::effects::{commit_voted, committed, fetched, refused_and_no_vote, timed_out, voted};
use crate::scene::Scene;
use crate::world::chain::{Chain, round};

#[test]
fn p4_after_a_restart_the_recorded_round_is_burnt_but_may_be_given_up() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    let chain = Chain::new(4);
    let mut boot = chain.boot(scene.me);
    boot.record = Some(SafetyRecord {
        round: round(2),
        entry: Entry::Qc(Qc::clone(&first.qc)),
        high_qc: Qc::clone(&first.qc),
        highest_timeout: round(0),
    });
    boot.blocks = vec![first.block.clone()];
    let mut scene = Scene::boot(chain, boot);
    assert_eq!(
        commit_voted(&scene.first),
        Some(first.id()),
        "CommitVotes are allowed"
    );
    let block = scene.next(&first);
    assert_eq!(refused_and_no_vote(&scene.propose(&block, &first)), []);
    while timed_out(&scene.expire()).is_none() {}
    assert_eq!(scene.engine.status().highest_timeout, round(2));
    // Again and again, until the round is left.
    assert_eq!(timed_out(&scene.expire()), Some(round(2)));
}

#[test]
fn an_observer_signs_nothing_and_follows() {
    let chain = Chain::new(4);
    let boot = chain.boot(None);
    let mut scene = Scene::boot(chain, boot);
    let genesis = scene.genesis();
    let block = scene.next(&genesis);
    assert_eq!(voted(&scene.propose(&block, &genesis)), None);
    assert_eq!(timed_out(&scene.expire()), None);
    let finality = scene.finality(&scene.certify(block));
    let effects = scene.step(Event::Finality(Box::new(finality)));
    assert_eq!(committed(&effects), [Height(1)]);
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Sign(_)))
    );
}

#[test]
fn finality_far_ahead_asks_for_the_ledger_and_synced_moves_the_root() {
    let mut other = Scene::voter();
    let mut chain_of = vec![other.genesis()];
    for _ in 0..20 {
        let next = other.extend(chain_of.last().unwrap());
        chain_of.push(next);
    }
    let last = chain_of.last().unwrap();
    let finality = Box::new(other.finality(last));
    let mut scene = Scene::voter();
    let effects = scene.step(Event::Finality(finality.clone()));
    let behind = |e: &Effect| {
        matches!(
            e,
            Effect::Behind {
                height: Height(20),
                ..
            }
        )
    };
    assert!(effects.iter().any(behind) && fetched(&effects).is_empty());
    assert!(
        !scene
            .step(Event::Finality(finality.clone()))
            .iter()
            .any(behind),
        "once"
    );
    let headers = chain_of.iter().map(|c| c.block.header.clone()).collect();
    scene.step(Event::Synced { headers, finality });
    let status = scene.engine.status();
    assert_eq!((status.committed, status.round), (Height(20), round(21)));
    assert_eq!(
        status.leader,
        other.engine.status().leader,
        "L1 from the headers below the root"
    );
}

/// A peer that cannot put what lies below the next final block into one answer names that block: it is fetched with its
/// ancestors, although a final one far ahead is known.
#[test]
fn finality_on_the_way_is_fetched_although_more_is_far_ahead() {
    let mut other = Scene::voter();
    let mut chain_of = vec![other.genesis()];
    for _ in 0..20 {
        let next = other.extend(chain_of.last().unwrap());
        chain_of.push(next);
    }
    let mut scene = Scene::voter();
    let last = other.finality(chain_of.last().unwrap());
    let effects = scene.step(Event::Finality(Box::new(last)));
    assert!(fetched(&effects).is_empty());
    for (near, fetches) in [(17, false), (2, true)] {
        let finality = other.finality(&chain_of[near]);
        let effects = scene.step(Event::Finality(Box::new(finality)));
        let asked = fetched(&effects);
        assert_eq!(asked.contains(&chain_of[near].id()), fetches, "{near}");
    }
    // The newest alone, then what it lacks.
    let effects = scene.step(Event::Blocks(vec![chain_of[2].block.clone()]));
    assert_eq!(fetched(&effects), [chain_of[1].id()]);
    // What nobody asked for is not kept.
    let effects = scene.step(Event::Blocks(vec![chain_of[3].block.clone()]));
    assert_eq!(fetched(&effects), []);
    let effects = scene.step(Event::Blocks(vec![chain_of[1].block.clone()]));
    assert_eq!(committed(&effects), [Height(1), Height(2)]);
    // The one far ahead is still aimed at.
    let rest = chain_of[3..].iter().map(|c| c.block.clone()).rev();
    let finality = other.finality(&chain_of[18]);
    scene.step(Event::Finality(Box::new(finality)));
    let effects = scene.step(Event::Blocks(rest.skip(2).collect()));
    assert_eq!(committed(&effects).last(), Some(&Height(18)));
    let rest = chain_of[19..].iter().map(|c| c.block.clone()).rev();
    let effects = scene.step(Event::Blocks(rest.collect()));
    assert_eq!(committed(&effects).last(), Some(&Height(20)));
}
