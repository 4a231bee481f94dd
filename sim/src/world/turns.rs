//! The life of a validator: it starts, takes turns, writes, loses power, starts again.

use quorate_replica::{Notice, Past, Replica};

use super::{Event, World};
use crate::check::Violation;
use crate::genesis::index;
use crate::plan::MILLISECOND;

impl World {
    pub(super) fn start(&mut self, node: usize) -> Result<(), Violation> {
        let mut setup = self.setup.clone();
        setup.me = Some(index(self.identities[node]));
        if self.lies(node) {
            // It goes on from whatever disk it has, as the worst of the faulty would.
            setup.past = Past::Believed;
        }
        if self.forgotten.contains(&node) {
            setup.past = Past::Forgotten;
        }
        let at = &mut self.nodes[node];
        at.stop();
        at.born = self.now;
        let clocks = at.clocks(self.now);
        at.wall = clocks.wall;
        let (replica, output) = match Replica::open(setup, &mut at.store, clocks) {
            Ok(opened) => opened,
            Err(error) => return self.refuse(node, &error.to_string()),
        };
        at.replica = Some(replica);
        at.pending = Some(output);
        let life = at.life;
        let until = self.now + self.rng.between(1, 20) * MILLISECOND;
        self.at(until, Event::Done { node, life });
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let until = self.now + self.network.dial();
            self.at(until, Event::Dial { a: node, b: peer });
        }
        Ok(())
    }

    pub(super) fn rearm(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        if let Some(due) = at.due(self.now)
            && let Some(alarm) = at.set_alarm(due)
        {
            self.at(due, Event::Wake { node, alarm });
        }
    }

    pub(super) fn wake(&mut self, node: usize, alarm: u32) -> Result<(), Violation> {
        let now = self.now;
        let at = &mut self.nodes[node];
        if at.alarm.is_none_or(|(_, number)| number != alarm) {
            return Ok(());
        }
        at.alarm = None;
        // The alarm may be older than what it was set for.
        if at.due(now).is_none_or(|due| due > now) {
            self.rearm(node);
            return Ok(());
        }
        let inputs = std::mem::take(&mut at.inbox);
        if !at.note_turn(inputs.len()) {
            return Err(Violation::Spins);
        }
        let clocks = at.clocks(now);
        at.wall = clocks.wall;
        let replica = at.replica.as_mut().expect("due");
        self.counters.turns += 1;
        let count = u64::try_from(inputs.len()).expect("small");
        self.counters.events += u64::from(inputs.is_empty());
        let output = match replica.turn(&at.store, clocks, inputs) {
            Ok(output) => output,
            Err(error) => return self.refuse(node, &error.to_string()),
        };
        let mut cost = self.rng.between(10_000, self.plan.work.turn.max(10_001));
        if output.must_sync() {
            cost += self.rng.between(1, self.plan.work.sync);
            cost += at.slow;
        }
        at.pending = Some(output);
        let life = at.life;
        self.trace.note(now, &[1, u64::from(life), count], || {
            format!("v{node} turn with {count} inputs")
        });
        self.at(now + cost, Event::Done { node, life });
        Ok(())
    }

    /// A replica cannot go on: right if its disk is rotten, and only then.
    fn refuse(&mut self, node: usize, error: &str) -> Result<(), Violation> {
        if !self.nodes[node].rotten {
            return Err(Violation::Stopped(error.into()));
        }
        self.trace
            .note(self.now, &[9], || format!("v{node} refuses: {error}"));
        self.counters.refusals += 1;
        self.nodes[node].dead = true;
        self.crash(node)
    }

    pub(super) fn done(&mut self, node: usize, life: u32) -> Result<(), Violation> {
        let at = &mut self.nodes[node];
        if at.life != life {
            return Ok(());
        }
        let Some(output) = at.pending.take() else {
            return Ok(());
        };
        self.counters.events += u64::from(output.must_sync());
        // A failed write aborts the process.
        let Ok(released) = output.persist(&mut at.store) else {
            self.counters.disk_faults += 1;
            return self.crash(node);
        };
        let signed = released.sign(&self.pens[node]);
        at.inbox.splice(0..0, signed.own);
        // What passes a fence may be followed at once by what it allows.
        for notice in &signed.notices {
            if let Notice::Passed(passed) = notice {
                self.passed(node, passed)?;
            }
        }
        self.judge(node, &signed.sends)?;
        for notice in signed.notices {
            self.notice(node, notice)?;
        }
        for (ticket, reply) in signed.replies {
            if !self.lies(node) {
                self.answered(node, ticket, reply)?;
            }
        }
        for (to, message) in signed.sends {
            self.send(node, to, message);
        }
        self.rearm(node);
        Ok(())
    }
}
