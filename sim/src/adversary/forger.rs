//! Makes certificates, votes and evidence that nobody signed.

use quorate_consensus::Target;
use quorate_types::certificate::TcVote;
use quorate_types::evidence::{EvidenceKind, Statement};
use quorate_types::{BlockId, Evidence, Height, Message, Qc, Round, Signature, Signers, Tc};
use quorate_types::{Timeout, ValidatorIndex, Vote};

use super::notes::{Notes, UNSIGNED, identity, propose, sign};
use super::{Adversary, Stage};
use crate::rng::Rng;

/// What is forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Certificates with more signatures than a quorum.
    Padding,
    /// TCs in which its own Timeout stands q times.
    Repeats,
    /// TCs with signatures that are none.
    Signatures,
    /// TCs with the QC, or a reported round, exchanged for a lower one, and proposals that rest on them.
    LowerRounds,
    /// Certificates without signers, as that of the genesis is.
    Anchors,
    /// Votes in the name of others.
    Names,
    /// Timeouts with a QC whose signatures are none.
    Poison,
    /// Evidence against others.
    Evidence,
}

#[derive(Debug)]
pub(super) struct Forger {
    how: How,
    rng: Rng,
    notes: Notes,
}

fn broken(signature: &Signature) -> Signature {
    let mut bytes = signature.to_bytes();
    bytes[0] ^= 1;
    Signature::from_bytes(bytes)
}

impl Forger {
    pub(super) fn new(how: How, rng: Rng) -> Forger {
        Forger {
            how,
            rng,
            notes: Notes::default(),
        }
    }

    /// With one signer more, whose signature is none.
    fn padded(&self, stage: &Stage<'_>, signers: &mut Signers, signatures: &mut Vec<Signature>) {
        let absent = |index: &ValidatorIndex| !signers.contains(*index);
        // Behind all others, so that the signatures before it keep their places.
        let last = stage.validators.indices().filter(absent).last();
        if let Some(last) = last {
            signers.insert(last);
            let place = signers.iter().position(|index| index == last).unwrap_or(0);
            signatures.insert(place, UNSIGNED);
        }
    }

    fn padded_qc(&self, stage: &Stage<'_>, qc: &Qc) -> Qc {
        let mut qc = qc.clone();
        self.padded(stage, &mut qc.signers, &mut qc.signatures);
        qc
    }

    fn tc(&self, stage: &Stage<'_>, own: bool) -> Option<Tc> {
        let high_qc = self.notes.old_qc(1)?.clone();
        let round = self.notes.round(stage);
        let timeout = Timeout {
            round,
            voter: identity(stage, stage.me),
            signature: UNSIGNED,
            high_qc: high_qc.clone(),
            entry_tc: None,
        };
        let timeout = sign(stage, timeout);
        let vote = |voter| TcVote {
            voter: if own { timeout.voter } else { voter },
            hqc_round: high_qc.round,
            signature: timeout.signature,
        };
        let voters = stage.validators.indices().take(stage.validators.quorum());
        let votes = voters.map(vote).collect();
        Some(Tc {
            round,
            votes,
            high_qc,
        })
    }

    /// A true TC that reports less than its signers did.
    fn lowered(&mut self) -> Option<Tc> {
        let mut tc = self.notes.tcs.last_key_value()?.1.clone();
        let below = self.notes.qcs.range(..tc.high_qc.round).next_back()?.1;
        if self.rng.chance(300) {
            for vote in &mut tc.votes {
                vote.hqc_round = vote.hqc_round.min(below.round);
            }
        }
        tc.high_qc = below.clone();
        Some(tc)
    }

    fn anchor(&mut self, stage: &Stage<'_>) -> Option<Qc> {
        let epoch = stage.validators.epoch();
        let ahead = self.rng.pick(&[0, 0, 1, 5]);
        let round = match ahead {
            0 => Round::new(epoch, 0),
            ahead => self.notes.round(stage).plus(ahead - 1),
        };
        Some(Qc::anchor(round, self.notes.high_qc()?.block))
    }

    fn forge(&mut self, stage: &mut Stage<'_>) -> Option<(&'static str, Message)> {
        Some(match self.how {
            How::Padding => {
                let qc = self.padded_qc(stage, self.notes.high_qc()?);
                ("padded a certificate", Message::Qc(Box::new(qc)))
            }
            How::Repeats => {
                let tc = self.tc(stage, true)?;
                ("repeated a signer", Message::Tc(Box::new(tc)))
            }
            How::Signatures => {
                let tc = self.tc(stage, false)?;
                ("forged a TC", Message::Tc(Box::new(tc)))
            }
            How::LowerRounds => {
                let tc = self.lowered()?;
                ("lowered a TC", Message::Tc(Box::new(tc)))
            }
            How::Anchors => {
                let qc = self.anchor(stage)?;
                ("made an anchor", Message::Qc(Box::new(qc)))
            }
            How::Names => {
                let seen = self.notes.votes.back()?.clone();
                let me = stage.me;
                let others = stage.validators.indices();
                for voter in others.filter(|voter| voter.as_usize() != me) {
                    let block = BlockId(quorate_crypto::hash(
                        quorate_crypto::Domain::Header,
                        &[seen.block.as_bytes()],
                    ));
                    let vote = Vote {
                        round: self.notes.round(stage),
                        block,
                        voter,
                        ..seen.clone()
                    };
                    stage.pass(Target::All, &Message::Vote(sign(stage, vote)));
                }
                ("voted for others", Message::Vote(seen))
            }
            How::Poison => {
                let mut high_qc = self.notes.high_qc()?.clone();
                for signature in &mut high_qc.signatures {
                    *signature = broken(signature);
                }
                high_qc.round = high_qc.round.plus(self.rng.below(2));
                let timeout = Timeout {
                    round: high_qc.round.next(),
                    voter: identity(stage, stage.me),
                    signature: UNSIGNED,
                    high_qc,
                    entry_tc: None,
                };
                let timeout = sign(stage, timeout);
                ("poisoned a Timeout", Message::Timeout(Box::new(timeout)))
            }
            How::Evidence => {
                let seen = self.notes.votes.back()?;
                let (first, second) = (seen.block, BlockId::default());
                let statement = |block, signature| Statement {
                    block,
                    height: Height(0),
                    signature,
                };
                let evidence = Evidence {
                    kind: EvidenceKind::Vote,
                    signer: seen.voter,
                    round: seen.round,
                    first: statement(first, seen.signature),
                    second: statement(second, broken(&seen.signature)),
                };
                ("forged evidence", Message::Evidence(Box::new(evidence)))
            }
        })
    }

    /// A proposal of its own replica, with what it rests on replaced.
    fn rest_on(&mut self, stage: &mut Stage<'_>, message: &Message) -> Option<Message> {
        let Message::Proposal(proposal) = message else {
            return None;
        };
        let mut proposal = proposal.as_ref().clone();
        let header = &proposal.block.header;
        match self.how {
            How::Padding => {
                stage.acted("padded a certificate");
                proposal.qc = self.padded_qc(stage, &proposal.qc);
                proposal.block.header.justify.signers = proposal.qc.signers;
                if let Some(finality) = &mut proposal.finality {
                    let cc = &mut finality.cc;
                    self.padded(stage, &mut cc.signers, &mut cc.signatures);
                    finality.qc = self.padded_qc(stage, &finality.qc);
                }
            }
            How::LowerRounds => {
                proposal.tc.as_ref()?;
                let round = header.round;
                let tc = self.lowered().filter(|tc| tc.round.next() == round)?;
                proposal = self.notes.compose(stage, round, &tc.high_qc, Some(&tc))?;
                stage.acted("lowered a TC");
            }
            _ => return None,
        }
        Some(propose(stage, proposal))
    }
}

impl Adversary for Forger {
    fn receive(&mut self, _: &mut Stage<'_>, _: usize, message: &Message) -> bool {
        self.notes.note(message);
        true
    }

    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message) {
        self.notes.note(&message);
        match self.rest_on(stage, &message) {
            Some(lie) => stage.pass(to, &lie),
            None => stage.pass(to, &message),
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        if self.rng.chance(250)
            && let Some((what, lie)) = self.forge(stage)
        {
            stage.acted(what);
            stage.pass(Target::All, &lie);
        }
    }
}
