//! What breaks, happening; and the end of all faults.

use quorate_storage::{MemStore, Store, ledger};

use super::{Event, World};
use crate::check::Violation;
use crate::faults::{Fault, Link};

/// Something that ends.
#[derive(Debug)]
pub(crate) enum Over {
    /// The power cut, or whatever stopped the process.
    Down(usize),
    /// A cut of these links.
    Cut(Vec<Link>),
    /// A wrong clock.
    Clock(usize),
    /// A slow disk.
    Slow(usize),
}

impl World {
    pub(super) fn schedule_faults(&mut self) {
        for (number, (at, fault)) in self.plan.faults.clone().into_iter().enumerate() {
            self.at(at, Event::Fault(number));
            if let Fault::Backup { age, .. } | Fault::Restore { age, .. } = fault {
                self.at(at.saturating_sub(age), Event::Backup(number));
            }
        }
    }

    /// Lets a fault of the plan happen.
    pub(super) fn fault(&mut self, number: usize) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        let fault = self.plan.faults[number].1.clone();
        self.trace
            .note(self.now, &[6], || format!("fault: {fault:?}"));
        match fault {
            Fault::Crash { node, lasts } => {
                self.crash(node)?;
                self.over_in(lasts, Over::Down(node));
            }
            Fault::Cut { links, lasts } => {
                self.counters.partitions += 1;
                self.network.cut(&links);
                self.refresh();
                self.over_in(lasts, Over::Cut(links));
            }
            Fault::Clog { links, lasts } => self.network.clog(&links, self.now + lasts),
            Fault::Clock {
                node,
                offset,
                lasts,
            } => {
                self.counters.clock_jumps += 1;
                self.nodes[node].offset = offset;
                self.over_in(lasts, Over::Clock(node));
            }
            Fault::Disk { node, fault, lasts } => {
                if self.nodes[node].replica.is_some() {
                    self.nodes[node].store.fail_next(fault.write_fault());
                    self.nodes[node].armed = true;
                }
                self.over_in(lasts, Over::Down(node));
            }
            Fault::Slow { node, extra, lasts } => {
                self.counters.slow_disks += 1;
                self.nodes[node].slow = extra;
                self.over_in(lasts, Over::Slow(node));
            }
            Fault::Pause { node, lasts } => {
                self.counters.pauses += 1;
                self.nodes[node].paused = self.now + lasts;
            }
            Fault::Rot { node, place } => self.rot(node, place),
            Fault::Wipe { node } => {
                self.counters.wipes += 1;
                self.put_back(node, MemStore::new())?;
            }
            Fault::Backup { node, .. } => {
                if let Some(backup) = self.backups.remove(&number) {
                    self.counters.backups += 1;
                    self.put_back(node, backup)?;
                }
            }
            Fault::Restore { node, .. } => {
                if let Some(backup) = self.backups.remove(&number) {
                    self.counters.restored += 1;
                    self.restore(node, backup)?;
                }
            }
            Fault::Forget { node, ceiling } => {
                self.counters.forgotten += 1;
                self.forget(node, ceiling)?;
            }
        }
        Ok(())
    }

    fn over_in(&mut self, lasts: u64, over: Over) {
        self.at(self.now.saturating_add(lasts), Event::Over(over));
    }

    /// What broke is whole again.
    pub(super) fn over(&mut self, over: Over) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        match over {
            Over::Down(node) => self.restart(node)?,
            Over::Cut(links) => {
                self.network.heal(&links);
                self.refresh();
            }
            Over::Clock(node) => self.nodes[node].offset = 0,
            Over::Slow(node) => self.nodes[node].slow = 0,
        }
        Ok(())
    }

    /// Keeps a copy of what a disk holds now.
    pub(super) fn backup(&mut self, number: usize) {
        let fault = &self.plan.faults[number].1;
        if let Fault::Backup { node, .. } | Fault::Restore { node, .. } = *fault {
            self.backups.insert(number, self.nodes[node].store.clone());
        }
    }

    /// A liar starts again from another disk.
    fn put_back(&mut self, node: usize, mut store: MemStore) -> Result<(), Violation> {
        assert!(self.lies(node), "only a validator that counts as faulty");
        self.crash(node)?;
        store.crash(0);
        self.nodes[node].store = store;
        self.restart(node)
    }

    /// A correct validator starts again from an older disk, behind the fence.
    fn restore(&mut self, node: usize, mut backup: MemStore) -> Result<(), Violation> {
        assert!(!self.lies(node), "a liar is not restored, it lies");
        backup.crash(0);
        if self.begins(&backup) {
            return Ok(());
        }
        self.crash(node)?;
        self.checker.restored(node, &backup)?;
        self.nodes[node].store = backup;
        self.restored.insert(node);
        self.restart(node)
    }

    /// Whether a disk is from before the chain's first record while all are still in the first round: what the restart fence
    /// does not cover (docs/RECOVERY.md), because a chain at its beginning burns nothing.
    fn begins(&self, backup: &MemStore) -> bool {
        let round = |store: &MemStore| match ledger::record(store) {
            Ok(record) => record.map_or(0, |record| record.round.number),
            Err(_) => 0,
        };
        round(backup) == 0 && self.nodes.iter().all(|node| round(&node.store) <= 1)
    }

    /// A correct validator starts on a new disk, behind the strict fence.
    fn forget(&mut self, node: usize, ceiling: bool) -> Result<(), Violation> {
        assert!(!self.lies(node), "a liar need not say that it forgot");
        self.crash(node)?;
        let left = self.nodes[node].store.ceiling().filter(|_| ceiling);
        let mut store = MemStore::new();
        if let Some(round) = left {
            let raised = store.raise_ceiling(round);
            raised.expect("a new disk, and no fault is armed");
        }
        self.nodes[node].store = store;
        self.checker.forgotten(node);
        self.restored.insert(node);
        self.forgotten.insert(node);
        self.restart(node)
    }

    /// One entry of a disk cannot be read any more.
    fn rot(&mut self, node: usize, place: u64) {
        let at = &mut self.nodes[node];
        at.rotten = true;
        self.counters.rots += u64::from(at.store.damage(place));
    }

    pub(crate) fn crash(&mut self, node: usize) -> Result<(), Violation> {
        let at = &mut self.nodes[node];
        if at.replica.is_none() {
            return Ok(());
        }
        self.counters.crashes += 1;
        // The power may go after the write and before the first message.
        if let Some(output) = at.pending.take()
            && self.rng.chance(500)
        {
            // Whatever became of it, nothing of it leaves.
            let _ = output.persist(&mut at.store);
        }
        let unsynced = at.store.unsynced();
        let keep = self.rng.index(unsynced + 1);
        self.counters.undone += u64::try_from(unsynced - keep).expect("small");
        at.store.crash(keep);
        at.armed = false;
        at.stop();
        for peer in 0..self.nodes.len() {
            self.network.forget(node, peer);
            if let Some(over) = self.network.seen(peer, node) {
                let (node, peer) = (peer, node);
                let until = self.now + self.network.notice();
                self.at(until, Event::Lost { node, peer, over });
            }
        }
        if !self.lies(node) {
            match self.checker.after_crash(node, &self.nodes[node].store) {
                Err(Violation::Ledger(_)) if self.nodes[node].rotten => {}
                checked => checked?,
            }
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self, node: usize) -> Result<(), Violation> {
        if self.nodes[node].replica.is_some() || self.nodes[node].dead {
            return Ok(());
        }
        self.counters.restarts += 1;
        let store = &self.nodes[node].store;
        if let (Ok(Some(record)), Ok(tip)) = (ledger::record(store), ledger::tip(store)) {
            self.counters.burnt += u64::from(record.round > tip.round);
        }
        self.trace
            .note(self.now, &[7], || format!("v{node} starts"));
        self.start(node)
    }

    /// Nothing breaks any more, everything broken is mended, and nobody adds load.
    pub(crate) fn mend(&mut self) -> Result<(), Violation> {
        self.trace
            .note(self.now, &[8], || "all is well again".into());
        self.calm = true;
        self.network.calm();
        for node in 0..self.nodes.len() {
            let at = &mut self.nodes[node];
            at.offset = 0;
            at.paused = 0;
            at.slow = 0;
            if std::mem::take(&mut at.armed) {
                at.store.disarm();
            }
            self.restart(node)?;
            self.rearm(node);
        }
        self.refresh();
        Ok(())
    }
}
