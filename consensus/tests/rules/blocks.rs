//! Which blocks get no vote, ever: V1 and V2, and what V5 and V6 say of a block alone.

use quorate_consensus::{Effect, Event};
use quorate_types::{Block, Reject, ValidatorIndex};

use crate::effects::{refused, refused_and_no_vote, voted};
use crate::scene::Scene;
use crate::world::chain::{Chain, digest, index, round};

/// Provokes a refusal by changing a right block.
fn refusal(change: impl FnOnce(&mut Block)) -> Vec<Reject> {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let first = scene.extend(&genesis);
    let mut block = scene.next(&first);
    change(&mut block);
    let effects = scene.propose(&block, &first);
    assert_eq!(voted(&effects), None);
    assert!(!effects.contains(&Effect::Store(block)));
    refused(&effects)
}

#[test]
fn v1_refuses_a_proposer_that_is_not_the_leader() {
    let other = |i: ValidatorIndex| index((i.as_usize() + 1) % 4);
    let refused = refusal(|block| block.header.proposer = other(block.header.proposer));
    assert_eq!(refused, [Reject::WrongLeader]);
}

#[test]
fn v1_refuses_a_time_that_is_not_after_the_parents() {
    let refused = refusal(|block| block.header.time.0 -= 1);
    assert_eq!(refused, [Reject::WrongTime]);
}

#[test]
fn v1_refuses_a_malformed_header() {
    assert_eq!(
        refusal(|block| block.header.version = 9),
        [Reject::WrongVersion]
    );
    assert_eq!(
        refusal(|block| block.header.height.0 += 1),
        [Reject::Malformed]
    );
    assert_eq!(
        refusal(|block| block.header.failed = Some(index(0))),
        [Reject::Malformed]
    );
    let closing = |block: &mut Block| block.header.next_validators = Some(digest(b"set"));
    assert_eq!(refusal(closing), [Reject::Malformed]);
}

/// L1: `failed` names whom the branch had elected, or the block is refused.
#[test]
fn v1_refuses_a_wrong_leader_of_the_failed_round() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let elected = scene.engine.status().leader.unwrap();
    let tc = scene.tc(round(1), &genesis.qc);
    scene.step(Event::Tc(Box::new(tc.clone())));
    let leader = scene.engine.status().leader.unwrap();
    let wrong = index((elected.as_usize() + 1) % 4);
    for (failed, rejects) in [(wrong, vec![Reject::WrongLeader]), (elected, vec![])] {
        let mut scene = Scene::voter();
        let mut header = scene.header(&genesis, round(2), leader);
        (header.tc, header.failed) = (Some(tc.digest()), Some(failed));
        let block = Block {
            header,
            batches: Vec::new(),
        };
        let event = scene.proposal(block, &genesis.qc, Some(&tc));
        let effects = scene.step(event);
        assert_eq!(refused(&effects), rejects);
        assert_eq!(voted(&effects).is_some(), rejects.is_empty());
    }
}

#[test]
fn v2_refuses_a_parent_that_is_not_the_certified_block() {
    let scene = Scene::voter();
    let genesis = scene.chain.genesis.id();
    assert_eq!(
        refusal(|block| block.header.parent = genesis),
        [Reject::UnsafeExtension]
    );
}

/// "QC whose round the signatures do not cover": the certificate would be of round 0, its block is of round 1.
#[test]
fn v2_refuses_a_qc_of_another_round_than_its_block() {
    for (claimed, rejects) in [(0, vec![Reject::UnsafeExtension]), (1, vec![])] {
        let mut scene = Scene::voter();
        let genesis = scene.genesis();
        let first = scene.extend(&genesis);
        let elected = scene.engine.status().leader;
        let tc = scene.tc(round(2), &first.qc);
        scene.step(Event::Tc(Box::new(tc.clone())));
        let leader = scene.engine.status().leader.unwrap();
        let mut header = scene.header(&first, round(3), leader);
        (header.tc, header.failed) = (Some(tc.digest()), elected);
        header.justify.round = round(claimed);
        let block = Block {
            header,
            batches: Vec::new(),
        };
        let event = scene.proposal(block, &first.qc, Some(&tc));
        let effects = scene.step(event);
        assert_eq!(refused(&effects), rejects);
        assert_eq!(voted(&effects).is_some(), rejects.is_empty());
    }
}

#[test]
fn v2_refuses_a_skipped_round_without_a_tc() {
    let refused = refusal(|block| block.header.round = round(3));
    // Nobody could be in round 3: it is not even looked at.
    assert_eq!(refused, []);
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    let tc = scene.tc(round(1), &genesis.qc);
    scene.step(Event::Tc(Box::new(tc)));
    let leader = scene.engine.status().leader.unwrap();
    let header = scene.header(&genesis, round(2), leader);
    let block = Block {
        header,
        batches: Vec::new(),
    };
    let effects = scene.propose(&block, &genesis);
    assert_eq!(refused_and_no_vote(&effects), [Reject::UnsafeExtension]);
}

#[test]
fn v5_refuses_a_claim_that_contradicts_the_branch_or_this_replica() {
    let wrong = |block: &mut Block| block.header.claim.roots.state = digest(b"wrong");
    assert_eq!(refusal(wrong), [Reject::WrongClaim]);
}

#[test]
fn v6_refuses_a_filled_block_far_ahead_of_execution() {
    let chain = Chain::new(4);
    let mut boot = chain.boot(None);
    boot.parameters.max_execution_lag = 0;
    let mut scene = Scene::boot(chain, boot);
    let genesis = scene.genesis();
    let block = scene.filled(&genesis, &[1]);
    let effects = scene.propose(&block, &genesis);
    assert_eq!(refused(&effects), [Reject::BadPayload]);
}
