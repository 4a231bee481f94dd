//! When a leader proposes: once a round, and what L3 and L4 wait for.

use quorate_consensus::{Authorised, Effect, Event};
use quorate_types::{Height, ValidatorIndex};

use crate::scene::{Certified, Scene, rotating};
use crate::world::chain::{Chain, MS, batch, round};

#[test]
fn the_leader_is_asked_once_a_round_and_signs_what_it_was_given() {
    let chain = Chain::new(4);
    let leader = rotating(&chain, 1);
    let boot = chain.boot(Some(leader));
    let mut scene = Scene::boot(chain, boot);
    let asks = |effect: &Effect| matches!(effect, Effect::Propose(r) if r.height == Height(1));
    assert!(!scene.first.iter().any(asks), "L3: nothing to order yet");
    assert!(scene.step(Event::Work(true)).iter().any(asks));
    assert_eq!(scene.step(Event::Work(true)), vec![]);
    let payload = |number| Event::Payload {
        round: round(number),
        batches: vec![batch(1)],
        inline: Vec::new(),
    };
    assert_eq!(scene.step(payload(7)), vec![], "not asked for");
    let effects = scene.step(payload(1));
    let proposal = effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::Proposal(proposal)) => Some(proposal.peek().clone()),
        _ => None,
    });
    let block = proposal.unwrap().block;
    assert_eq!(block.batches, [batch(1)]);
    assert!(effects.contains(&Effect::Store(block)));
    assert_eq!(scene.step(payload(1)), vec![], "I1");
}

/// An engine with work that leads a round, and a block of round 1 with its certificate, which it has not seen.
fn leader_of(number: u64, batches: &[u8]) -> (Scene, Certified) {
    let chain = Chain::new(4);
    let boot = chain.boot(Some(rotating(&chain, number)));
    let mut scene = Scene::boot(chain, boot);
    let _ = scene.step(Event::Work(true));
    let genesis = scene.genesis();
    let first = scene.fill(&genesis, batches);
    scene.time = 50 * MS;
    (scene, first)
}

fn asked(effects: &[Effect]) -> bool {
    let asks = |effect: &Effect| matches!(effect, Effect::Propose(r) if r.height == Height(2));
    effects.iter().any(asks)
}

#[test]
fn l4_a_leader_with_work_waits_for_the_commit_of_a_filled_parent() {
    let (mut scene, first) = leader_of(2, &[1]);
    assert!(!asked(&scene.step(Event::Qc(Box::new(first.qc.clone())))));
    assert_eq!(scene.engine.deadline().unwrap().0, 70 * MS);
    scene.time = 55 * MS;
    let finality = Event::Finality(Box::new(scene.finality(&first)));
    assert!(
        !asked(&scene.step(finality)),
        "not in the turn that commits it"
    );
    assert_eq!(scene.engine.deadline().unwrap().0, 55 * MS + 1);
    assert!(!asked(&scene.step(Event::Deadline)), "nor at its end");
    scene.time += MS;
    let last_vote = Event::CommitVote(scene.commit_vote(3, &first.block));
    assert!(
        !asked(&scene.step(last_vote)),
        "more of the next may follow"
    );
    assert!(asked(&scene.step(Event::Deadline)), "at the end of that");
    assert!(scene.engine.deadline().unwrap().0 > 70 * MS, "once");
}

#[test]
fn l4_the_wait_ends_although_no_commit_comes() {
    let (mut scene, first) = leader_of(2, &[1]);
    assert!(!asked(&scene.step(Event::Qc(Box::new(first.qc.clone())))));
    scene.time = 70 * MS - 1;
    assert!(!asked(&scene.step(Event::Deadline)));
    scene.time = 70 * MS;
    assert!(asked(&scene.step(Event::Deadline)));
}

#[test]
fn l4_without_work_a_leader_waits_as_l3_says() {
    let (mut scene, first) = leader_of(2, &[1]);
    let _ = scene.step(Event::Work(false));
    assert!(!asked(&scene.step(Event::Qc(Box::new(first.qc.clone())))));
    scene.time = 54 * MS;
    assert!(asked(&scene.step(Event::Deadline)), "4 ms and not 20");
}

/// Extends the chain by filled blocks, each committed 1 ms after its certificate, until the engine leads the round that the
/// last one is to be extended in. That is not committed; what its certificate led to.
fn until_it_leads(scene: &mut Scene, parent: &Certified) -> (Certified, Vec<Effect>) {
    let mut parent = parent.clone();
    loop {
        let number = u8::try_from(parent.block.header.round.number + 1).unwrap();
        parent = scene.fill(&parent, &[number]);
        scene.time += 50 * MS;
        let effects = scene.step(Event::Qc(Box::new(parent.qc.clone())));
        if scene.engine.status().leader == scene.me {
            return (parent, effects);
        }
        commit(scene, &parent, MS);
    }
}

fn commit(scene: &mut Scene, block: &Certified, after: u64) -> Vec<Effect> {
    scene.time += after;
    let finality = scene.finality(block);
    scene.step(Event::Finality(Box::new(finality)))
}

#[test]
fn l4_a_leader_learns_from_its_rounds_whether_to_wait() {
    let asked = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Propose(_)));
    let mut scene = Scene::new(0);
    let _ = scene.step(Event::Work(true));
    let genesis = scene.genesis();
    let (first, effects) = until_it_leads(&mut scene, &genesis);
    assert!(!asked(&effects), "it waits before it knows anything");
    scene.time += 20 * MS;
    assert!(asked(&scene.step(Event::Deadline)));
    commit(&mut scene, &first, MS);
    let (second, effects) = until_it_leads(&mut scene, &first);
    assert!(asked(&effects), "the last one it waited for was late");
    commit(&mut scene, &second, 20 * MS);
    let (third, effects) = until_it_leads(&mut scene, &second);
    assert!(!asked(&effects), "that one came in time");
    commit(&mut scene, &third, 19 * MS);
    scene.time += 1;
    assert!(asked(&scene.step(Event::Deadline)));
}

#[test]
fn l4_nobody_waits_on_an_empty_parent_nor_after_a_tc() {
    let (mut scene, first) = leader_of(2, &[]);
    assert!(asked(&scene.step(Event::Qc(Box::new(first.qc.clone())))));

    let (mut scene, first) = leader_of(3, &[1]);
    let tc = scene.tc(round(2), &first.qc);
    assert!(asked(&scene.step(Event::Tc(Box::new(tc)))));
}

/// An engine with work and a chain of filled blocks, and the last two of them. Of the last it has not seen the certificate.
fn chain_of(count: u8, me: Option<ValidatorIndex>) -> (Scene, Certified, Certified) {
    let chain = Chain::new(4);
    let boot = chain.boot(me);
    let mut scene = Scene::boot(chain, boot);
    let _ = scene.step(Event::Work(true));
    let mut parent = scene.genesis();
    for number in 1..count {
        parent = scene.fill(&parent, &[number]);
        let _ = scene.step(Event::Qc(Box::new(parent.qc.clone())));
    }
    let last = scene.fill(&parent, &[count]);
    (scene, parent, last)
}

/// The leader of the round after such a chain, if it is entered by its certificate.
fn elected_by(count: u8) -> ValidatorIndex {
    let (mut onlooker, _, last) = chain_of(count, None);
    let _ = onlooker.step(Event::Qc(Box::new(last.qc)));
    onlooker.engine.status().leader.unwrap()
}

#[test]
fn l4_nobody_waits_for_the_commit_of_a_round_that_was_given_up() {
    let asked = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Propose(_)));
    let chain = Chain::new(4);
    // The TC elects another; and who led before, without a commit, has learnt not to wait.
    let fits = |count: &u8| {
        let leader = elected_by(*count);
        let others = (1..*count).all(|before| elected_by(before) != leader);
        others && rotating(&chain, u64::from(*count) + 1) != leader
    };
    let count = (2..8).find(fits).unwrap();
    let (mut scene, parent, last) = chain_of(count, Some(elected_by(count)));
    let tc = scene.tc(round(u64::from(count)), &parent.qc);
    assert!(!asked(&scene.step(Event::Tc(Box::new(tc)))));
    // It comes late, and elects this engine to extend what it certifies.
    assert!(asked(&scene.step(Event::Qc(Box::new(last.qc)))));
}
