//! What the judges are shown: every write of a correct replica, everything it sends, and what it says that happened.

use quorate_consensus::{Passed, Target};
use quorate_replica::Notice;
use quorate_types::{Message, Reject};

use super::World;
use crate::check::Violation;

/// What nothing that a correct leader signs is refused for: not by any clock, disk or network.
const HONEST: [Reject; 5] = [
    Reject::WrongTime,
    Reject::WrongClaim,
    Reject::WrongLeader,
    Reject::BadPayload,
    Reject::Malformed,
];

impl World {
    pub(super) fn judge(
        &mut self,
        node: usize,
        sends: &[(Target, Message)],
    ) -> Result<(), Violation> {
        if self.lies(node) {
            return Ok(());
        }
        for (to, message) in sends {
            self.pace.note(self.now, node, *to, message)?;
        }
        let sends: Vec<&Message> = sends.iter().map(|(_, message)| message).collect();
        let workload = &self.workload;
        let by_client = |id: &_| workload.signed(id);
        let store = &self.nodes[node].store;
        self.checker.shows(node, self.nodes[node].wall);
        if self.nodes[node].rotten {
            return self.checker.over_rot(node, store, &sends);
        }
        let found = self.checker.after_turn(node, store, &sends, by_client)?;
        self.within_bounds(node)?;
        self.counters.blocks += found.blocks;
        self.counters.view_changes += found.view_changes;
        self.counters.duplicates += found.duplicates;
        Ok(())
    }

    /// A validator knows what it may have signed before it started. Whoever had forgotten it has a record again.
    pub(super) fn passed(&mut self, node: usize, passed: &Passed) -> Result<(), Violation> {
        if passed.strict && !self.lies(node) {
            self.counters.strict += 1;
            self.forgotten.remove(&node);
            let store = &self.nodes[node].store;
            self.checker.remembers(node, store, passed.burnt)?;
        }
        Ok(())
    }

    pub(super) fn notice(&mut self, node: usize, notice: Notice) -> Result<(), Violation> {
        if self.lies(node) {
            return Ok(());
        }
        let now = self.now;
        match notice {
            Notice::Committed {
                height,
                round,
                synced,
                ..
            } => {
                self.counters.commits += 1;
                self.counters.synced += u64::from(synced);
                self.trace.note(now, &[2, height.0, round.number], || {
                    format!("v{node} commits height {height} of round {}", round.number)
                });
            }
            Notice::TimedOut(round) => {
                self.counters.timeouts += 1;
                self.trace.note(now, &[3, round.number], || {
                    format!("v{node} gives up round {}", round.number)
                });
            }
            Notice::Evidence { signer, .. } => {
                self.counters.evidence += 1;
                if !self.lies(signer.as_usize()) {
                    return Err(Violation::FalseEvidence(signer));
                }
            }
            Notice::Diverged { height, .. } => return Err(Violation::Diverged(height)),
            Notice::Passed(_) => self.counters.fences += 1,
            Notice::Twin(round) => return Err(Violation::FalseTwin(round)),
            Notice::Refused { from, reject } => {
                if let Some(from) = from
                    && !self.lies(from.as_usize())
                    && HONEST.contains(&reject)
                {
                    return Err(Violation::HonestRefused(from, reject));
                }
            }
            Notice::Damaged(_) if !self.nodes[node].rotten => {
                return Err(Violation::Stopped("damage on a sound disk".into()));
            }
            Notice::Damaged(_) => self.counters.unserved += 1,
            Notice::Mended(_) => self.counters.mended += 1,
            Notice::Voted(_) | Notice::VotesMissing(_) | Notice::Expired(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::evidence::EvidenceKind;
    use quorate_types::{Epoch, Round, ValidatorIndex};

    use super::*;
    use crate::plan::Plan;

    #[test]
    fn i10_evidence_against_a_correct_validator_is_seen() {
        let plan = Plan::draw(3).with_liars(&["equivocator"]);
        let liar = plan.byzantine[0].node;
        let mut world = World::new(plan, false).unwrap();
        let reporter = world.correct()[0];
        let mut report = |node: usize| {
            let signer = ValidatorIndex(u16::try_from(node).unwrap());
            let (kind, round) = (EvidenceKind::Vote, Round::new(Epoch(0), 1));
            let evidence = Notice::Evidence {
                kind,
                signer,
                round,
            };
            world.notice(reporter, evidence)
        };
        assert!(report(liar).is_ok());
        let seen = report((liar + 1) % 4);
        assert!(matches!(seen, Err(Violation::FalseEvidence(_))));
    }
}
