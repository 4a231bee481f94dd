//! What clients do, and when.

use quorate_replica::{Input, Reply, Ticket, Wait};
use quorate_types::BlockTime;

use super::{Event, World};
use crate::check::Violation;
use crate::node::START;
use crate::plan::{MILLISECOND, SECOND};

/// Until a client that was turned away asks again.
const AGAIN: u64 = 250 * MILLISECOND;
/// Until a client of a validator behind the strict fence asks others.
const FENCED: u64 = 10 * SECOND;

impl World {
    // Clients.

    pub(super) fn load(&mut self) {
        if self.calm {
            return;
        }
        for _ in 0..self.workload.due(self.time()) {
            self.request();
        }
        if self.workload.rng.chance(self.plan.load.reads) {
            self.read();
        }
        let interval = self.plan.load.interval;
        let next = self.now + self.workload.rng.between(interval / 2, interval * 3 / 2);
        self.at(next, Event::Load);
    }

    /// A client signs a transaction and submits it to whoever is up, until there is an answer.
    fn request(&mut self) {
        self.counters.submitted += 1;
        let number = self.workload.sign(self.time());
        self.ask(number);
    }

    /// A client signs a transaction and submits it to this replica and no other. Returns its number.
    ///
    /// Behind the strict fence a validator does not lead, so that a batch of it for which the others had no room waits
    /// until it expires: there the client goes to others when its patience is over.
    pub(crate) fn request_at(&mut self, node: usize) -> usize {
        self.counters.submitted += 1;
        let number = self.workload.sign_sound(self.time());
        self.submit(number, node);
        if self.forgotten.contains(&node) {
            self.at(self.now + FENCED, Event::Ask(number));
        }
        number
    }

    /// The chain's time, as far as a client can know. It may be ahead of true time after clocks jumped; any answer tells.
    fn time(&self) -> BlockTime {
        let ahead = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let time = ahead.map(|replica| replica.status().time).max();
        let now = BlockTime(START + self.plan.age() + self.now);
        time.unwrap_or_default().max(now)
    }

    /// Transactions that nobody has answered, although they may still be ordered.
    pub(crate) fn unanswered(&self) -> usize {
        self.workload.open(self.time())
    }

    /// A client asks any replica for a key with a proof.
    fn read(&mut self) {
        let node = self.workload.rng.index(self.nodes.len());
        if self.nodes[node].replica.is_some() {
            let (ticket, key) = self.workload.read();
            self.nodes[node].inbox.push(Input::Prove { ticket, key });
            self.rearm(node);
        }
    }

    /// What a correct replica answered a client.
    pub(super) fn answered(
        &mut self,
        node: usize,
        ticket: Ticket,
        reply: Reply,
    ) -> Result<(), Violation> {
        match reply {
            Reply::Executed(receipt) => {
                let first = self.workload.answered(self.now, ticket, &receipt);
                let first = first.map_err(|_| Violation::BadAnswer)?;
                self.counters.acknowledged += u64::from(first);
                // Where the judges cannot read the disk, they may not know the block yet.
                if first && !self.nodes[node].rotten {
                    let witnesses = self.witnesses();
                    let stores = witnesses.map(|node| (node, &self.nodes[node].store));
                    let liars = self.plan.faulty() + self.restored.len();
                    self.checker.durable_at_quorum(&receipt, stores, liars)?;
                }
            }
            Reply::Proof(proof) => {
                let facts = proof.verify(&self.setup.validators);
                let facts = facts.map_err(|_| Violation::BadAnswer)?;
                self.counters.proved += 1;
                let known = self.workload.proved(ticket, &facts);
                known.map_err(|_| Violation::BadAnswer)?;
            }
            Reply::Refused(why) => {
                self.counters.turned_away += 1;
                self.trace.note(self.now, &[10], || {
                    format!("v{node} turns a client away: {why}")
                });
                // Whoever has to be served here asks here again.
                if self.calm
                    && let Some(number) = self.workload.asked(ticket)
                {
                    self.at(self.now + AGAIN, Event::Insist { node, number });
                }
            }
            Reply::Admitted(_) => {}
        }
        Ok(())
    }

    /// Whose disks tell what a quorum holds. Who was put back counts with the liars, and not a second time for what it has
    /// fetched since.
    fn witnesses(&self) -> impl Iterator<Item = usize> {
        let counts = |node: &usize| !self.lies(*node) && !self.restored.contains(node);
        (0..self.nodes.len()).filter(counts)
    }

    pub(super) fn ask(&mut self, number: usize) {
        if self.workload.request(number).receipt.is_some() {
            return;
        }
        let up: Vec<usize> = (0..self.plan.n)
            .filter(|node| self.nodes[*node].replica.is_some())
            .collect();
        if !up.is_empty() {
            let node = self.workload.rng.pick(&up);
            self.submit(number, node);
            let twice = self.plan.load.twice;
            if self.workload.rng.chance(twice) {
                let node = self.workload.rng.pick(&up);
                self.submit(number, node);
            }
        }
        let until = self.now + self.plan.load.patience;
        self.at(until, Event::Ask(number));
    }

    pub(super) fn submit(&mut self, number: usize, node: usize) {
        let again = self.workload.request(number).attempts > 0;
        self.counters.retries += u64::from(again);
        let (ticket, transaction) = self.workload.submit(self.now, number);
        if self.nodes[node].replica.is_some() {
            self.nodes[node].inbox.push(Input::Submit {
                ticket,
                transaction: Box::new(transaction),
                wait: Wait::Executed,
            });
            self.rearm(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn i8_neither_a_liar_s_disk_nor_that_of_one_that_was_put_back_is_a_witness() {
        let plan = Plan::draw(3).with_liars(&["equivocator"]);
        let liar = plan.byzantine[0].node;
        let mut world = World::new(plan, false).unwrap();
        let back = (liar + 1) % world.nodes.len();
        world.restored.insert(back);
        let witnesses: Vec<usize> = world.witnesses().collect();
        assert_eq!(witnesses.len(), world.nodes.len() - 2);
        assert!(!witnesses.contains(&liar) && !witnesses.contains(&back));
    }
}
