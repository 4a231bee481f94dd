//! Each rule, on one engine that gets crafted messages: what it refuses, what it waits for, what it signs.
#![allow(missing_docs, reason = "a test has a name")]

mod world;

use quorate_consensus::{Authorised, Boot, Effect, Engine, Event, Target};
use quorate_types::evidence::EvidenceKind;
use quorate_types::vote::Signable;
use quorate_types::{
    Block, BlockId, Cc, Claim, CommitVote, Entry, Finality, Header, Height, Justify, Message,
    Proposal, Qc, Reject, Round, SafetyRecord, Signature, Tc, Timeout, ValidatorIndex, Verified,
    Vote,
};
use world::chain::{Chain, MS, SECOND, batch, digest, execute, index, now, round};

const ZERO: Signature = Signature::from_bytes([0; 64]);

struct Scene {
    chain: Chain,
    engine: Engine,
    time: u64,
    me: Option<ValidatorIndex>,
    /// Effects of the start.
    first: Vec<Effect>,
}

/// A block with its certificate.
#[derive(Clone)]
struct Certified {
    block: Block,
    qc: Verified<Qc>,
}

impl Certified {
    fn id(&self) -> BlockId {
        self.block.id()
    }
}

impl Scene {
    fn new(me: usize) -> Scene {
        let chain = Chain::new(4);
        let boot = chain.boot(Some(index(me)));
        Scene::boot(chain, boot)
    }

    fn boot(chain: Chain, boot: Boot) -> Scene {
        let me = boot.me;
        let (engine, first) = Engine::new(boot, now(0));
        Scene {
            me,
            chain,
            engine,
            time: 0,
            first,
        }
    }

    /// An engine that leads neither of the first two rounds.
    fn voter() -> Scene {
        let chain = Chain::new(4);
        let mut boot = chain.boot(None);
        let leaders = [1, 2].map(|r| rotating(&chain, r));
        boot.me = (0..4).map(index).find(|i| !leaders.contains(i));
        Scene::boot(chain, boot)
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.engine.step(now(self.time), event)
    }

    fn genesis(&self) -> Certified {
        Certified {
            block: Block {
                header: self.chain.genesis.clone(),
                batches: Vec::new(),
            },
            qc: Verified::<Qc>::anchor(&self.chain.validators),
        }
    }

    /// An empty block that is right in every respect.
    fn header(&self, parent: &Certified, round: Round, leader: ValidatorIndex) -> Header {
        let before = &parent.block.header;
        Header {
            version: 1,
            round,
            height: before.height.next(),
            parent: parent.id(),
            justify: Justify {
                round: parent.qc.round,
                block: parent.qc.block,
                signers: parent.qc.signers,
            },
            tc: None,
            failed: None,
            proposer: leader,
            payload: Block::payload_root(&[]),
            claim: before.claim,
            time: before.time.plus_nanos(1),
            next_validators: None,
        }
    }

    /// The right block for the engine's current round.
    fn next(&self, parent: &Certified) -> Block {
        let status = self.engine.status();
        let header = self.header(parent, parent.qc.round.next(), status.leader.unwrap());
        Block {
            header,
            batches: Vec::new(),
        }
    }

    fn filled(&self, parent: &Certified, batches: &[u8]) -> Block {
        let mut block = self.next(parent);
        block.batches = batches.iter().map(|i| batch(*i)).collect();
        block.header.payload = Block::payload_root(&block.batches);
        block
    }

    fn proposal(&self, block: Block, qc: &Qc, tc: Option<&Tc>) -> Event {
        let key = &self.chain.keys[block.header.proposer.as_usize()];
        let proposal = Proposal {
            block,
            inline: Vec::new(),
            qc: qc.clone(),
            tc: tc.cloned(),
            finality: None,
            signature: ZERO,
        };
        Event::Proposal(Box::new(proposal.sign(self.chain.id(), key)))
    }

    fn propose(&mut self, block: &Block, parent: &Certified) -> Vec<Effect> {
        let event = self.proposal(block.clone(), &parent.qc, None);
        self.step(event)
    }

    fn vote(&self, i: usize, block: BlockId, round: Round) -> Verified<Vote> {
        let vote = Vote {
            round,
            block,
            voter: index(i),
            signature: ZERO,
            held: Vec::new(),
        };
        vote.sign(self.chain.id(), &self.chain.keys[i])
    }

    fn commit_vote(&self, i: usize, block: &Block) -> Verified<CommitVote> {
        let vote = CommitVote {
            round: block.header.round,
            block: block.id(),
            height: block.header.height,
            voter: index(i),
            signature: ZERO,
        };
        vote.sign(self.chain.id(), &self.chain.keys[i])
    }

    fn timeout(&self, i: usize, round: Round, qc: &Qc, tc: Option<&Tc>) -> Verified<Timeout> {
        let timeout = Timeout {
            round,
            voter: index(i),
            signature: ZERO,
            high_qc: qc.clone(),
            entry_tc: tc.cloned().map(Box::new),
        };
        timeout.sign(self.chain.id(), &self.chain.keys[i])
    }

    fn certify(&self, block: Block) -> Certified {
        let (id, round) = (block.id(), block.header.round);
        let votes: Vec<_> = (0..3).map(|i| self.vote(i, id, round)).collect();
        let qc = Qc::assemble(&votes, &self.chain.validators);
        Certified { block, qc }
    }

    fn finality(&self, of: &Certified) -> Verified<Finality> {
        let votes: Vec<_> = (0..3).map(|i| self.commit_vote(i, &of.block)).collect();
        Verified::<Finality>::join(&Cc::assemble(&votes, &self.chain.validators), &of.qc)
    }

    fn tc(&self, round: Round, qc: &Qc) -> Verified<Tc> {
        let timeouts: Vec<_> = (0..3).map(|i| self.timeout(i, round, qc, None)).collect();
        Tc::assemble(&timeouts, &self.chain.validators)
    }

    /// Proposes and certifies the next right block.
    fn extend(&mut self, parent: &Certified) -> Certified {
        let block = self.next(parent);
        self.propose(&block, parent);
        let certified = self.certify(block);
        self.step(Event::Qc(Box::new(certified.qc.clone())));
        certified
    }

    /// Runs the timer out.
    fn expire(&mut self) -> Vec<Effect> {
        self.time = self.engine.deadline().unwrap().0;
        self.step(Event::Deadline)
    }
}

/// L2 as an engine that nobody talks to shows it.
fn rotating(chain: &Chain, number: u64) -> ValidatorIndex {
    let (mut engine, _) = Engine::new(chain.boot(None), now(0));
    if number > 1 {
        let scene = Scene::new(0);
        let anchor = chain.validators.anchor_qc();
        let tc = scene.tc(round(number - 1), &anchor);
        let _ = engine.step(now(0), Event::Tc(Box::new(tc)));
    }
    engine.status().leader.unwrap()
}

fn refused(effects: &[Effect]) -> Vec<Reject> {
    let reject = |effect: &Effect| match effect {
        Effect::Refused { reject, .. } => Some(*reject),
        _ => None,
    };
    effects.iter().filter_map(reject).collect()
}

fn voted(effects: &[Effect]) -> Option<BlockId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::Vote(vote)) => Some(vote.peek().block),
        _ => None,
    })
}

fn commit_voted(effects: &[Effect]) -> Option<BlockId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::CommitVote(vote)) => Some(vote.peek().block),
        _ => None,
    })
}

fn timed_out(effects: &[Effect]) -> Option<Round> {
    effects.iter().find_map(|effect| match effect {
        Effect::Sign(Authorised::Timeout(timeout)) => Some(timeout.peek().round),
        _ => None,
    })
}

fn committed(effects: &[Effect]) -> Vec<Height> {
    let heights = |effect: &Effect| match effect {
        Effect::Commit { blocks, .. } => blocks.iter().map(|b| b.header.height).collect(),
        _ => Vec::new(),
    };
    effects.iter().flat_map(heights).collect()
}

fn saved(effects: &[Effect]) -> Option<&SafetyRecord> {
    match effects.first() {
        Some(Effect::Save(record)) => Some(record),
        _ => None,
    }
}

fn evidence(effects: &[Effect]) -> Vec<(EvidenceKind, ValidatorIndex)> {
    let case = |effect: &Effect| match effect {
        Effect::Evidence(evidence) => Some((evidence.kind, evidence.signer)),
        _ => None,
    };
    effects.iter().filter_map(case).collect()
}

fn fetched(effects: &[Effect]) -> Vec<BlockId> {
    let block = |effect: &Effect| match effect {
        Effect::Fetch { block, .. } => Some(*block),
        _ => None,
    };
    effects.iter().filter_map(block).collect()
}

fn sent(effects: &[Effect], to: Target) -> Vec<&Message> {
    let message = |effect: &'_ Effect| matches!(effect, Effect::Send { to: at, .. } if *at == to);
    effects
        .iter()
        .filter(|effect| message(effect))
        .map(|effect| match effect {
            Effect::Send { message, .. } => &**message,
            _ => unreachable!("filtered"),
        })
        .collect()
}

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

fn refused_and_no_vote(effects: &[Effect]) -> Vec<Reject> {
    assert_eq!(voted(effects), None);
    refused(effects)
}

#[test]
fn v5_refuses_a_claim_that_contradicts_the_branch_or_this_replica() {
    let wrong = |block: &mut Block| block.header.claim.roots.state = digest(b"wrong");
    assert_eq!(refusal(wrong), [Reject::WrongClaim]);
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

#[test]
fn v3_no_vote_after_a_timeout_of_the_round() {
    let mut scene = Scene::voter();
    let genesis = scene.genesis();
    assert_eq!(timed_out(&scene.expire()), Some(round(1)));
    let block = scene.next(&genesis);
    assert_eq!(refused_and_no_vote(&scene.propose(&block, &genesis)), []);
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
    let block = scene.filled(&genesis, batches);
    scene.propose(&block, &genesis);
    scene.step(Event::PayloadReady(block.id()));
    let first = scene.certify(block);
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
    assert!(asked(&scene.step(finality)));
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
        let block = scene.filled(&parent, &[number]);
        scene.propose(&block, &parent);
        scene.step(Event::PayloadReady(block.id()));
        parent = scene.certify(block);
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
    assert!(asked(&commit(&mut scene, &third, 19 * MS)));
}

#[test]
fn l4_nobody_waits_on_an_empty_parent_nor_after_a_tc() {
    let (mut scene, first) = leader_of(2, &[]);
    assert!(asked(&scene.step(Event::Qc(Box::new(first.qc.clone())))));

    let (mut scene, first) = leader_of(3, &[1]);
    let tc = scene.tc(round(2), &first.qc);
    assert!(asked(&scene.step(Event::Tc(Box::new(tc)))));
}
