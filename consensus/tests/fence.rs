//! P5: what a validator may do that has just started, and may be a restored backup without knowing it.
#![allow(missing_docs, reason = "a test has a name")]

mod world;

use quorate_consensus::{Authorised, Effect, Engine, Event, Passed, Start, Target};
use quorate_types::fence::{Signed, SignedBy};
use quorate_types::vote::Signable;
use quorate_types::{
    BlockId, CommitVote, Entry, FenceReply, Height, Message, Qc, Round, SafetyRecord, Signature,
    Tc, Timeout, Unverified, ValidatorIndex, Verified, Vote,
};
use world::chain::{Chain, MS, SECOND, digest, index, now, round};

const NONCE: u64 = 7;
const ME: usize = 3;
const ZERO: Signature = Signature::from_bytes([0; 64]);

/// One engine that has just started, and what the others would tell it.
struct Scene {
    chain: Chain,
    engine: Engine,
    time: u64,
}

impl Scene {
    fn new(n: usize, start: Start, recorded: Option<u64>) -> Scene {
        let chain = Chain::new(n);
        let mut boot = chain.boot(Some(index(n - 1)));
        boot.start = start;
        boot.record = recorded.map(|number| {
            let tc = timeouts(&chain, number - 1);
            SafetyRecord {
                round: round(number),
                entry: Entry::Tc(Tc::clone(&tc)),
                high_qc: chain.validators.anchor_qc(),
                highest_timeout: round(number - 1),
            }
        });
        let (engine, effects) = Engine::new(boot, now(0));
        assert!(!signs(&effects) || n == 1);
        Scene {
            chain,
            engine,
            time: 0,
        }
    }

    fn fenced(recorded: Option<u64>) -> Scene {
        Scene::new(4, Start::Fenced { nonce: NONCE }, recorded)
    }

    fn strict(recorded: Option<u64>) -> Scene {
        let (nonce, ceiling) = (NONCE, None);
        Scene::new(4, Start::Forgetful { nonce, ceiling }, recorded)
    }

    /// An answer of somebody whom a TC brought to this round.
    fn reply(&self, entered: u64) -> FenceReply {
        FenceReply {
            nonce: NONCE,
            entry: Entry::Tc(Tc::clone(&timeouts(&self.chain, entered - 1))),
            high_qc: self.chain.validators.anchor_qc(),
            signed: None,
        }
    }

    /// That of somebody who is still where the chain begins.
    fn fresh(&self) -> FenceReply {
        let anchor = self.chain.validators.anchor_qc();
        FenceReply {
            nonce: NONCE,
            entry: Entry::Qc(anchor.clone()),
            high_qc: anchor,
            signed: None,
        }
    }

    fn answer(&mut self, from: usize, reply: FenceReply) -> Vec<Effect> {
        let reply = Unverified::new(reply).verify(&self.chain.validators);
        let reply = Box::new(reply.expect("a true answer"));
        self.step(Event::FenceReply {
            from: index(from),
            reply,
        })
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.engine.step(now(self.time), event)
    }

    fn expire(&mut self) -> Vec<Effect> {
        self.time = self.engine.deadline().unwrap().0.max(self.time);
        self.step(Event::Deadline)
    }

    /// Lets time pass; all that happens by itself meanwhile.
    fn wait(&mut self, nanos: u64) -> Vec<Effect> {
        let (mut effects, end) = (Vec::new(), self.time + nanos);
        while self.engine.deadline().unwrap().0 <= end {
            effects.extend(self.expire());
        }
        self.time = end;
        effects
    }

    fn qc(&self, number: u64) -> Verified<Qc> {
        self.qc_of([0, 1, 2], number)
    }

    fn qc_of(&self, voters: [usize; 3], number: u64) -> Verified<Qc> {
        let id = BlockId(digest(&number.to_le_bytes()));
        let votes = voters.map(|i| self.vote(i, id, number));
        Qc::assemble(&votes, &self.chain.validators)
    }

    fn vote(&self, i: usize, block: BlockId, number: u64) -> Verified<Vote> {
        let vote = Vote {
            round: round(number),
            block,
            voter: index(i),
            signature: ZERO,
            held: Vec::new(),
        };
        vote.sign(self.chain.id(), &self.chain.keys[i])
    }

    fn signed(&self, by: usize, number: u64) -> SignedBy {
        let vote = self.vote(by, BlockId(digest(b"forgotten")), number);
        SignedBy {
            signer: vote.voter,
            round: vote.round,
            what: Signed::Vote(vote.block),
            signature: vote.signature,
        }
    }
}

/// Everybody but the last gave up this round, and knows of no certificate.
fn timeouts(chain: &Chain, number: u64) -> Verified<Tc> {
    assert!(number > 0, "nobody gives up the anchor");
    let entry = (number > 1).then(|| Box::new(Tc::clone(&timeouts(chain, number - 1))));
    let one = |i: usize| {
        let timeout = Timeout {
            round: round(number),
            voter: index(i),
            signature: ZERO,
            high_qc: chain.validators.anchor_qc(),
            entry_tc: entry.clone(),
        };
        timeout.sign(chain.id(), &chain.keys[i])
    };
    let all: Vec<Verified<Timeout>> = (0..chain.validators.quorum()).map(one).collect();
    Tc::assemble(&all, &chain.validators)
}

fn signs(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Sign(_)))
}

fn timed_out(effects: &[Effect]) -> Vec<Round> {
    let round = |effect: &Effect| match effect {
        Effect::Sign(Authorised::Timeout(timeout)) => Some(timeout.peek().round),
        _ => None,
    };
    effects.iter().filter_map(round).collect()
}

/// How many messages of its own it sends that it does not sign now.
fn repeated(effects: &[Effect]) -> usize {
    let sent = effects.iter().filter(|effect| match effect {
        Effect::Send { message, .. } => match message.as_ref() {
            Message::Vote(vote) => vote.voter == index(ME),
            Message::CommitVote(vote) => vote.voter == index(ME),
            Message::Timeout(timeout) => timeout.voter == index(ME),
            _ => false,
        },
        _ => false,
    });
    sent.count()
}

fn passed(effects: &[Effect]) -> Option<Passed> {
    effects.iter().find_map(|effect| match effect {
        Effect::Passed(passed) => Some(*passed),
        _ => None,
    })
}

fn asked(effects: &[Effect]) -> Vec<ValidatorIndex> {
    let to = |effect: &Effect| match effect {
        Effect::Send {
            to: Target::One(to),
            message,
        } if matches!(**message, Message::FenceRequest(_)) => Some(*to),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}

fn told(effects: &[Effect]) -> Option<FenceReply> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message, .. } => match &**message {
            Message::FenceReply(reply) => Some((**reply).clone()),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn p5_nothing_is_signed_until_enough_others_have_answered() {
    let mut scene = Scene::fenced(Some(5));
    // Ten seconds, in which the timer runs out again and again.
    let alone = scene.wait(10 * SECOND);
    assert!(!signs(&alone) && scene.engine.status().fenced);
    let reply = scene.reply(5);
    let one = scene.answer(0, reply.clone());
    assert_eq!(passed(&one), None);
    // The same once more is no second answer, and neither is one of ours.
    let again = scene.answer(0, reply.clone());
    let own = scene.answer(ME, reply.clone());
    for effects in [again, own, scene.wait(SECOND)] {
        assert!(passed(&effects).is_none() && !signs(&effects));
    }
    let enough = scene.answer(1, reply);
    assert_eq!(passed(&enough), None, "a third may still come");
    let later = scene.wait(301 * MS);
    assert_eq!(passed(&later).map(|p| p.burnt), Some(round(6)));
    assert!(!scene.engine.status().fenced);
}

#[test]
fn p5_those_who_have_not_answered_are_asked_again_and_at_once_when_they_connect() {
    let mut scene = Scene::fenced(Some(5));
    assert_eq!(asked(&scene.expire()), [index(0), index(1), index(2)]);
    let reply = scene.reply(5);
    scene.answer(1, reply);
    assert_eq!(asked(&scene.wait(251 * MS)), [index(0), index(2)]);
    let known = scene.step(Event::Connected(index(1)));
    assert_eq!(asked(&known), []);
    assert_eq!(asked(&scene.step(Event::Connected(index(2)))), [index(2)]);
}

#[test]
fn p5_an_answer_to_another_start_does_not_count() {
    let mut scene = Scene::fenced(Some(5));
    for from in 0..3 {
        let mut reply = scene.reply(5);
        reply.nonce = NONCE - 1;
        assert_eq!(passed(&scene.answer(from, reply)), None);
    }
    assert_eq!(passed(&scene.wait(SECOND)), None);
    assert!(scene.engine.status().fenced);
}

/// The round that an answerer has entered, one more, and whatever we are shown to have signed: of these the highest.
#[test]
fn p5_all_rounds_in_which_it_may_have_signed_are_burnt() {
    for (recorded, entered, shown, burnt) in [
        (2, 9, None, 10),
        (12, 9, None, 12),
        (2, 9, Some(10), 10),
        (2, 9, Some(14), 14),
    ] {
        let mut scene = Scene::fenced(Some(recorded));
        for from in 0..3 {
            let mut reply = scene.reply(if from == 1 { entered } else { 3 });
            if from == 2 {
                reply.signed = shown.map(|number| scene.signed(ME, number));
            }
            let effects = scene.answer(from, reply);
            let expected = Passed {
                strict: false,
                burnt: round(burnt),
                recorded: Some(round(recorded)),
                shown: shown.map(round),
            };
            assert_eq!(passed(&effects), (from == 2).then_some(expected));
        }
        let status = scene.engine.status();
        assert_eq!(status.last_voted, round(burnt));
        assert_eq!(status.round, round(entered.max(recorded)));
    }
}

/// When a whole set is put back, to copies of different moments, nobody remembers what it has heard of the others; the
/// newest copy's certificates do.
#[test]
fn p5_a_certificate_that_holds_its_signature_shows_that_a_home_is_old() {
    for (voters, shown) in [([1, 2, ME], Some(round(8))), ([0, 1, 2], None)] {
        let mut scene = Scene::fenced(Some(2));
        for from in 0..3 {
            let mut reply = scene.reply(3);
            if from == 1 {
                let qc = Qc::clone(&scene.qc_of(voters, 8));
                (reply.entry, reply.high_qc) = (Entry::Qc(qc.clone()), qc);
            }
            let found = passed(&scene.answer(from, reply));
            assert_eq!(
                found.map(|passed| passed.shown),
                (from == 2).then_some(shown)
            );
        }
        assert_eq!(
            scene.engine.status().last_voted,
            round(10),
            "what is burnt is the same"
        );
    }
}

/// The same, from one who answers when the fence is passed already.
#[test]
fn p5_a_late_answer_can_show_a_twin_and_nothing_that_was_burnt_does() {
    let mut scene = Scene::fenced(Some(2));
    for from in 0..3 {
        let reply = scene.reply(3);
        assert_eq!(passed(&scene.answer(from, reply)).is_some(), from == 2);
    }
    for (number, twin) in [(4, false), (8, true), (8, false), (9, true)] {
        let mut reply = scene.reply(number + 1);
        reply.high_qc = Qc::clone(&scene.qc_of([1, 2, ME], number));
        let effects = scene.answer(1, reply);
        let told = effects.iter().any(|e| matches!(e, Effect::Twin { .. }));
        assert_eq!(told, twin, "round {number}");
    }
}

/// An answer proves what it says: somebody else's signature says nothing about us.
#[test]
fn p5_what_others_signed_burns_nothing() {
    let mut scene = Scene::fenced(Some(2));
    for from in 0..3 {
        let mut reply = scene.reply(3);
        reply.signed = Some(scene.signed(0, 1_000));
        let effects = scene.answer(from, reply);
        assert_eq!(
            passed(&effects).map(|p| p.burnt),
            (from == 2).then_some(round(4))
        );
    }
}

/// What bears our name and arrives while we wait was signed before the start.
#[test]
fn p5_an_own_message_that_arrives_behind_the_fence_is_burnt() {
    let mut scene = Scene::fenced(Some(2));
    let vote = scene.vote(ME, BlockId(digest(b"forgotten")), 8);
    let effects = scene.step(Event::Vote(vote));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Twin { .. })));
    for from in 0..3 {
        let reply = scene.reply(3);
        let effects = scene.answer(from, reply);
        assert_eq!(
            passed(&effects).map(|p| p.burnt),
            (from == 2).then_some(round(8))
        );
    }
}

/// A vote is a promise to hold a block. A liar sent a validator on a new disk its own old vote, which the validator took
/// for one of its own and repeated to whoever connected, and its old commit vote to all (seed 4701 of the simulator).
#[test]
fn p5_what_it_signed_before_and_forgot_is_not_said_again() {
    for mut scene in [Scene::strict(None), Scene::fenced(Some(2))] {
        let old = BlockId(digest(b"forgotten"));
        let vote = scene.vote(ME, old, 6);
        let commit_vote = CommitVote {
            round: round(6),
            block: old,
            height: Height(5),
            voter: index(ME),
            signature: ZERO,
            held: vec![],
        };
        let timeout = Timeout {
            round: round(7),
            voter: index(ME),
            signature: ZERO,
            high_qc: Qc::clone(&scene.qc(6)),
            entry_tc: None,
        };
        let (chain, key) = (scene.chain.id(), &scene.chain.keys[ME]);
        let commit_vote = commit_vote.sign(chain, key);
        let timeout = Box::new(timeout.sign(chain, key));
        let all = [
            Event::Vote(vote),
            Event::CommitVote(commit_vote),
            Event::Timeout(timeout),
        ];
        let again = |scene: &mut Scene| {
            let mut effects = Vec::new();
            for event in all.clone() {
                effects.extend(scene.step(event));
            }
            effects.extend(scene.step(Event::Connected(index(1))));
            effects.extend(scene.wait(SECOND));
            repeated(&effects)
        };
        assert_eq!(again(&mut scene), 0, "behind the fence");
        for from in 0..3 {
            let reply = scene.reply(7);
            scene.answer(from, reply);
        }
        let qc = Box::new(scene.qc(8));
        scene.step(Event::Qc(qc));
        assert!(!scene.engine.status().fenced);
        scene.time += 10 * MS;
        assert_eq!(again(&mut scene), 0, "with the fence behind it");
    }
}

/// In burnt rounds it gives up at once, with the highest certificate of the answers.
#[test]
fn p5_a_burnt_round_is_given_up_with_the_highest_certificate() {
    let mut scene = Scene::fenced(Some(2));
    let qc = scene.qc(8);
    for from in 0..3 {
        let mut reply = scene.reply(3);
        if from == 0 {
            reply.entry = Entry::Qc(Qc::clone(&qc));
            reply.high_qc = Qc::clone(&qc);
        }
        scene.answer(from, reply);
    }
    let effects = scene.expire();
    assert_eq!(timed_out(&effects), [round(9)]);
    let reports = effects.iter().any(|effect| match effect {
        Effect::Sign(Authorised::Timeout(t)) => t.peek().high_qc == *qc,
        _ => false,
    });
    assert!(reports);
    // Round 10 is burnt as well, and 11 is not.
    let tc = |scene: &Scene, number: u64| {
        let all = (0..3).map(|i| {
            let timeout = Timeout {
                round: round(number),
                voter: index(i),
                signature: ZERO,
                high_qc: Qc::clone(&qc),
                entry_tc: None,
            };
            timeout.sign(scene.chain.id(), &scene.chain.keys[i])
        });
        let all: Vec<Verified<Timeout>> = all.collect();
        Box::new(Tc::assemble(&all, &scene.chain.validators))
    };
    let event = Event::Tc(tc(&scene, 9));
    scene.step(event);
    assert_eq!(timed_out(&scene.expire()), [round(10)]);
    let event = Event::Tc(tc(&scene, 10));
    scene.step(event);
    assert_eq!(timed_out(&scene.wait(10 * MS)), []);
}

#[test]
fn p5_where_a_chain_begins_nothing_is_burnt() {
    let mut scene = Scene::fenced(None);
    for from in 0..3 {
        let reply = scene.fresh();
        let effects = scene.answer(from, reply);
        assert_eq!(
            passed(&effects).map(|p| p.burnt),
            (from == 2).then_some(round(0))
        );
    }
    // Whoever finds a record there has signed.
    let mut scene = Scene::fenced(Some(2));
    for from in 0..3 {
        let reply = scene.fresh();
        let effects = scene.answer(from, reply);
        assert_eq!(
            passed(&effects).map(|p| p.burnt),
            (from == 2).then_some(round(2))
        );
    }
}

#[test]
fn p5_one_alone_has_nobody_to_ask() {
    let scene = Scene::new(1, Start::Fenced { nonce: NONCE }, None);
    assert!(!scene.engine.status().fenced);
}

/// q others, and then a certificate of a round in which it cannot have signed; until then not even a Timeout.
#[test]
fn p5_strict_it_signs_nothing_before_a_certificate_that_it_cannot_have_undone() {
    let mut scene = Scene::strict(None);
    for from in 0..3 {
        let reply = scene.reply(6);
        assert_eq!(passed(&scene.answer(from, reply)), None);
    }
    assert!(!signs(&scene.wait(10 * SECOND)));
    for number in [5, 6] {
        let qc = Box::new(scene.qc(number));
        let effects = scene.step(Event::Qc(qc));
        assert!(!signs(&effects) && passed(&effects).is_none());
    }
    assert!(!signs(&scene.wait(10 * SECOND)));
    let qc = Box::new(scene.qc(7));
    let effects = scene.step(Event::Qc(qc));
    assert!(matches!(effects.first(), Some(Effect::Save(_))), "a record");
    let expected = Passed {
        strict: true,
        burnt: round(7),
        recorded: None,
        shown: None,
    };
    assert_eq!(passed(&effects), Some(expected));
    assert_eq!(timed_out(&scene.wait(10 * SECOND)).first(), Some(&round(8)));
}

#[test]
fn p5_strict_a_quorum_of_others_has_to_answer() {
    let mut scene = Scene::strict(Some(2));
    for from in 0..2 {
        let reply = scene.reply(6);
        scene.answer(from, reply);
    }
    let qc = Box::new(scene.qc(20));
    assert_eq!(passed(&scene.step(Event::Qc(qc))), None);
    assert_eq!(passed(&scene.wait(SECOND)), None);
    let reply = scene.reply(6);
    assert!(passed(&scene.answer(2, reply)).is_some());
}

#[test]
fn p5_strict_no_round_up_to_the_ceiling_is_signed() {
    let (nonce, ceiling) = (NONCE, Some(round(30)));
    let mut scene = Scene::new(4, Start::Forgetful { nonce, ceiling }, None);
    for from in 0..3 {
        let reply = scene.reply(6);
        scene.answer(from, reply);
    }
    let qc = Box::new(scene.qc(29));
    assert_eq!(passed(&scene.step(Event::Qc(qc))), None);
    let qc = Box::new(scene.qc(30));
    let effects = scene.step(Event::Qc(qc));
    assert_eq!(passed(&effects).map(|p| p.burnt), Some(round(30)));
}

/// A fenced validator answers, or a whole set could never start; one that has forgotten all would be counted for nothing.
#[test]
fn p5_who_answers_and_what() {
    let request = |from: usize| Event::FenceRequest {
        from: index(from),
        nonce: 99,
    };
    let mut scene = Scene::fenced(Some(5));
    let vote = scene.vote(1, BlockId(digest(b"seen")), 4);
    scene.step(Event::Vote(vote.clone()));
    let older = scene.vote(1, BlockId(digest(b"older")), 3);
    scene.step(Event::Vote(older));
    let reply = told(&scene.step(request(1))).expect("an answer");
    assert_eq!((reply.nonce, reply.entry.enters()), (99, round(5)));
    let signed = reply.signed.expect("its vote");
    assert_eq!((signed.signer, signed.round), (index(1), round(4)));
    assert_eq!(signed.what, Signed::Vote(vote.block));
    // Not as often as it likes to ask, and nobody else's.
    assert_eq!(told(&scene.step(request(1))), None);
    let other = told(&scene.step(request(2))).expect("an answer");
    assert_eq!(other.signed, None);
    scene.time += 200 * MS;
    assert!(told(&scene.step(request(1))).is_some());
    assert_eq!(told(&scene.step(request(ME))), None);
    let mut scene = Scene::strict(Some(5));
    assert_eq!(told(&scene.step(request(1))), None);
}

/// Whatever bears our name above what is burnt was signed by us since the start, or by somebody else.
#[test]
fn a_signature_of_ours_that_we_did_not_make_is_reported_once_a_round() {
    let mut scene = Scene::fenced(Some(2));
    for from in 0..3 {
        let reply = scene.reply(3);
        scene.answer(from, reply);
    }
    let twin = |scene: &mut Scene, number: u64| {
        let vote = scene.vote(ME, BlockId(digest(b"twin")), number);
        let effects = scene.step(Event::Vote(vote));
        effects.iter().any(|e| {
            *e == Effect::Twin {
                round: round(number),
            }
        })
    };
    assert!(!twin(&mut scene, 4), "it may be ours from before");
    assert!(twin(&mut scene, 5));
    assert!(!twin(&mut scene, 5));
    assert!(twin(&mut scene, 6));
}
