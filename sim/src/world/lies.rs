//! Byzantine nodes act: each stands between its replica and everybody else.

use quorate_consensus::Target;
use quorate_types::Message;

use super::{Event, World};
use crate::adversary::{Adversary, Stage, TICK};

impl World {
    /// A message arrived at a Byzantine node. Whether its replica gets it.
    pub(super) fn overhear(&mut self, node: usize, from: usize, message: &Message) -> bool {
        let act = |adversary: &mut dyn Adversary, stage: &mut Stage<'_>| {
            adversary.receive(stage, from, message)
        };
        self.act(node, act).unwrap_or(true)
    }

    /// The replica of a Byzantine node would send this.
    pub(super) fn twist(&mut self, node: usize, to: Target, message: Message) {
        self.act(node, |adversary, stage| adversary.send(stage, to, message));
    }

    /// The clock of a Byzantine node.
    pub(super) fn tick(&mut self, node: usize) {
        self.act(node, |adversary, stage| adversary.tick(stage));
        self.at(self.now + TICK, Event::Tick(node));
    }

    /// Lets an adversary act, and sends what it sends. `None` where there is none: a node that lies only by sharing its
    /// key with another.
    fn act<T>(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut dyn Adversary, &mut Stage<'_>) -> T,
    ) -> Option<T> {
        let mut adversary = self.adversaries[node].take()?;
        let mut stage = Stage {
            now: self.now,
            me: node,
            nodes: self.nodes.len(),
            byzantine: &self.byzantine,
            validators: &self.setup.validators,
            parameters: &self.setup.parameters,
            store: &self.nodes[node].store,
            pens: &self.pens,
            identities: &self.identities,
            out: Vec::new(),
            acts: Vec::new(),
        };
        let result = act(adversary.as_mut(), &mut stage);
        let (out, acts) = (stage.out, stage.acts);
        self.adversaries[node] = Some(adversary);
        for what in acts {
            match self.counters.acts.get_mut(what) {
                Some(times) => *times += 1,
                None => drop(self.counters.acts.insert(what.into(), 1)),
            }
        }
        for posted in out {
            self.post(posted.from, posted.to, &posted.packet);
        }
        Some(result)
    }
}
