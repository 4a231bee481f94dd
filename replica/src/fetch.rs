//! Asking peers for what is missing: whom, when, and whom next.
//!
//! Nothing here is paced by the round timer. Everything is bounded; a peer that does not answer within
//! [`RETRY_NANOS`], or says that it has not what was asked for, is followed by the next.

use std::collections::BTreeMap;

use quorate_types::{Height, Instant, Signers, ValidatorIndex};

/// How long a peer may take before another is asked.
pub(crate) const RETRY_NANOS: u64 = 400_000_000;
/// After a useless answer to a question about the ledger, nobody is asked for this long: where nobody has the answer,
/// we do not go round in circles at the speed of the network.
const PAUSE_NANOS: u64 = 50_000_000;
/// How long a peer may take for a stretch of its ledger.
const STRETCH_NANOS: u64 = 5 * RETRY_NANOS;
/// A peer that took longer is asked after all others for this long.
const REST_NANOS: u64 = 10_000_000_000;
/// Most things wanted at once; further ones have to be named again ([`Wanted::has_room_again`]).
const MAX_WANTED: usize = 8_192;

/// Things wanted, by name.
#[derive(Debug)]
pub(crate) struct Wanted<K> {
    items: BTreeMap<K, Want>,
    /// Something was left out since there was no room.
    left_out: bool,
    /// Before the first peer is asked: what is on its way anyway is not asked for.
    patience_nanos: u64,
}

#[derive(Clone, Copy, Debug)]
struct Want {
    /// Who should have it.
    holders: Signers,
    /// Whom to ask next, if it holds it; otherwise the next holder after it.
    next: ValidatorIndex,
    due: Instant,
}

impl<K: Ord + Copy> Wanted<K> {
    pub(crate) fn new(patience_nanos: u64) -> Wanted<K> {
        Wanted {
            items: BTreeMap::new(),
            left_out: false,
            patience_nanos,
        }
    }

    /// Wants something that `holders` should have, `first` first.
    pub(crate) fn want(&mut self, key: K, holders: Signers, first: ValidatorIndex, now: Instant) {
        if let Some(want) = self.items.get_mut(&key) {
            want.holders = want.holders.union(holders);
        } else if self.items.len() < MAX_WANTED {
            let due = now.plus_nanos(self.patience_nanos);
            self.items.insert(
                key,
                Want {
                    holders,
                    next: first,
                    due,
                },
            );
        } else {
            self.left_out = true;
        }
    }

    /// Whether what was left out may be named again: once, as soon as half of the room is free.
    pub(crate) fn has_room_again(&mut self) -> bool {
        let room = self.left_out && self.items.len() <= MAX_WANTED / 2;
        self.left_out &= !room;
        room
    }

    /// It is here, or no longer matters. Whether it was wanted.
    pub(crate) fn done(&mut self, key: &K) -> bool {
        self.items.remove(key).is_some()
    }

    /// The peer asked has not got it: ask the next one at once.
    pub(crate) fn not_there(&mut self, key: &K, now: Instant) {
        if let Some(want) = self.items.get_mut(key) {
            // Not in the same instant again if nobody else holds it: a peer that denies must not make us spin.
            let alone = want.holders.count() < 2;
            want.due = now.plus_nanos(if alone { RETRY_NANOS } else { 5_000_000 });
        }
    }

    /// A peer is there again: what waits may be asked of it at once.
    pub(crate) fn retry_now(&mut self, now: Instant) {
        for want in self.items.values_mut() {
            want.due = want.due.min(now);
        }
    }

    /// Keeps what `keep` says is still wanted.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.items.retain(|key, _| keep(key));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.items.values().map(|want| want.due).min()
    }

    /// What to ask of whom now. Only those in `reachable` are asked; where none of the holders is, anybody is.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        reachable: Signers,
    ) -> BTreeMap<ValidatorIndex, Vec<K>> {
        let mut requests: BTreeMap<ValidatorIndex, Vec<K>> = BTreeMap::new();
        for (key, want) in &mut self.items {
            if want.due > now {
                continue;
            }
            want.due = now.plus_nanos(RETRY_NANOS);
            let holders: Vec<ValidatorIndex> = reachable
                .iter()
                .filter(|peer| want.holders.contains(*peer))
                .collect();
            let candidates = match holders.is_empty() {
                true => reachable.iter().collect(),
                false => holders,
            };
            let after = candidates.iter().position(|peer| *peer >= want.next);
            let Some(peer) = candidates.get(after.unwrap_or(0)) else {
                continue;
            };
            want.next = ValidatorIndex(peer.0.saturating_add(1));
            requests.entry(*peer).or_default().push(*key);
        }
        requests
    }
}

/// Catching up by stretches of a peer's ledger.
#[derive(Debug, Default)]
pub(crate) struct LedgerSync {
    target: Height,
    asked: Option<(ValidatorIndex, Instant)>,
    next: ValidatorIndex,
    /// Who did not answer, and until when others are asked instead.
    resting: BTreeMap<ValidatorIndex, Instant>,
    /// Nobody is asked before.
    due: Instant,
}

impl LedgerSync {
    /// Somebody has proof of a block at this height.
    pub(crate) fn aim(&mut self, height: Height) {
        self.target = self.target.max(height);
    }

    pub(crate) fn target(&self) -> Height {
        self.target
    }

    pub(crate) fn active(&self, committed: Height) -> bool {
        self.target > committed
    }

    /// Whether the answer is to a question that is open.
    pub(crate) fn expects(&self, from: ValidatorIndex) -> bool {
        self.asked.is_some_and(|(peer, _)| peer == from)
    }

    /// The answer was useful: go on at once, with another. One that hands out a block at a time, as late as it may, would
    /// otherwise keep whoever is behind from ever catching up.
    pub(crate) fn answered(&mut self) {
        if let Some((peer, _)) = self.asked.take() {
            self.next = ValidatorIndex(peer.0.saturating_add(1));
        }
    }

    /// The answer was useless, or the peer is gone: go on with another.
    pub(crate) fn failed(&mut self, peer: ValidatorIndex, now: Instant) {
        if self.expects(peer) {
            self.asked = None;
            self.next = ValidatorIndex(peer.0.saturating_add(1));
            self.due = now.plus_nanos(PAUSE_NANOS);
        }
    }

    /// A peer is there again: it may be asked at once.
    pub(crate) fn retry_now(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    pub(crate) fn deadline(&self, committed: Height) -> Option<Instant> {
        let asked = self.asked.map(|(_, since)| since.plus_nanos(STRETCH_NANOS));
        self.active(committed).then(|| asked.unwrap_or(self.due))
    }

    /// Whom to ask now, if anybody.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        committed: Height,
        reachable: Signers,
    ) -> Option<ValidatorIndex> {
        if !self.active(committed) {
            self.asked = None;
            return None;
        }
        if let Some((peer, since)) = self.asked {
            if now.since(since) < STRETCH_NANOS && reachable.contains(peer) {
                return None;
            }
            if reachable.contains(peer) {
                self.resting.insert(peer, now.plus_nanos(REST_NANOS));
            }
            self.next = ValidatorIndex(peer.0.saturating_add(1));
        } else if now < self.due {
            return None;
        }
        self.resting.retain(|_, until| *until > now);
        let rested = reachable.iter();
        let rested: Signers = rested
            .filter(|peer| !self.resting.contains_key(peer))
            .collect();
        let peers = match rested.count() {
            0 => reachable,
            _ => rested,
        };
        let next = peers.iter().find(|peer| *peer >= self.next);
        let Some(peer) = next.or_else(|| peers.iter().next()) else {
            self.asked = None;
            self.due = now.plus_nanos(STRETCH_NANOS);
            return None;
        };
        self.asked = Some((peer, now));
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peers that have not got the stretch were asked again the moment that they said so: with a target that nobody
    /// reaches, a replica and its peers exchanged questions and empty answers as fast as they could, for ever.
    #[test]
    fn useless_answers_are_followed_by_a_pause() {
        let mut sync = LedgerSync::default();
        let peers: Signers = [1, 2].map(ValidatorIndex).into_iter().collect();
        let (tip, start) = (Height(5), Instant(1_000));
        sync.aim(Height(50));
        assert_eq!(sync.due(start, tip, peers), Some(ValidatorIndex(1)));
        sync.failed(ValidatorIndex(1), start);
        assert_eq!(sync.due(start, tip, peers), None);
        let later = start.plus_nanos(PAUSE_NANOS);
        assert_eq!(sync.deadline(tip), Some(later));
        assert_eq!(sync.due(later, tip, peers), Some(ValidatorIndex(2)));
        // A useful answer is followed by the next question at once, to another.
        sync.answered();
        assert_eq!(sync.due(later, tip, peers), Some(ValidatorIndex(1)));
    }

    /// A peer that says nothing would otherwise cost its patience in every round over all of them.
    #[test]
    fn who_does_not_answer_is_passed_over_for_a_while() {
        let mut sync = LedgerSync::default();
        let [one, two] = [1, 2].map(ValidatorIndex);
        let peers: Signers = [one, two].into_iter().collect();
        let (tip, start) = (Height(5), Instant(1_000));
        sync.aim(Height(50));
        assert_eq!(sync.due(start, tip, peers), Some(one));
        let late = start.plus_nanos(STRETCH_NANOS);
        for _ in 0..3 {
            assert_eq!(sync.due(late, tip, peers), Some(two));
            sync.answered();
        }
        // Nobody else is there.
        let alone: Signers = [one].into_iter().collect();
        assert_eq!(sync.due(late, tip, alone), Some(one));
        sync.answered();
        let rested = late.plus_nanos(REST_NANOS);
        assert_eq!(sync.due(rested, tip, peers), Some(two));
        sync.answered();
        assert_eq!(sync.due(rested, tip, peers), Some(one));
    }

    /// A peer that says at once that it has not got what was asked for would otherwise be asked again at once, and so on.
    #[test]
    fn a_denial_is_followed_by_a_pause() {
        let mut wanted = Wanted::new(0);
        let (now, soon) = (Instant(1_000), Instant(1_001));
        let one: Signers = [1].map(ValidatorIndex).into_iter().collect();
        let two: Signers = [1, 2].map(ValidatorIndex).into_iter().collect();
        wanted.want('a', one, ValidatorIndex(1), now);
        wanted.want('b', two, ValidatorIndex(1), now);
        let asked = wanted.due(now, two);
        assert_eq!(asked[&ValidatorIndex(1)], ['a', 'b']);
        wanted.not_there(&'a', now);
        wanted.not_there(&'b', now);
        assert!(wanted.due(soon, two).is_empty());
        // Another holder soon, the same one not before it would be asked again anyway.
        let later = wanted.due(now.plus_nanos(5_000_000), two);
        assert_eq!(later[&ValidatorIndex(2)], ['b']);
        let last = wanted.due(now.plus_nanos(RETRY_NANOS), two);
        assert_eq!(last[&ValidatorIndex(1)], ['a']);
    }

    /// What found no room was forgotten: a block that waited for it waited until somebody named it again, which nobody had
    /// to do.
    #[test]
    fn what_was_left_out_is_wanted_once_there_is_room() {
        let mut wanted = Wanted::new(0);
        let (now, nobody) = (Instant(1_000), Signers::NONE);
        let want = |wanted: &mut Wanted<usize>, key| {
            wanted.want(key, nobody, ValidatorIndex(0), now);
        };
        (0..MAX_WANTED).for_each(|key| want(&mut wanted, key));
        assert!(!wanted.has_room_again(), "nothing was left out");
        want(&mut wanted, MAX_WANTED);
        assert!(!wanted.done(&MAX_WANTED), "it is not asked for");
        assert!(!wanted.has_room_again(), "there is no room yet");
        wanted.retain(|key| *key < MAX_WANTED / 2);
        assert!(wanted.has_room_again());
        assert!(!wanted.has_room_again(), "it was said");
        want(&mut wanted, MAX_WANTED);
        assert!(wanted.done(&MAX_WANTED));
    }

    /// Without anybody to ask the deadline must not lie in the past, or the driver would spin.
    #[test]
    fn with_nobody_to_ask_it_waits() {
        let mut sync = LedgerSync::default();
        sync.aim(Height(50));
        let now = Instant(1_000);
        assert_eq!(sync.due(now, Height(5), Signers::NONE), None);
        assert!(sync.deadline(Height(5)).is_some_and(|due| due > now));
        sync.retry_now(now);
        let peers: Signers = [ValidatorIndex(3)].into_iter().collect();
        assert_eq!(sync.due(now, Height(5), peers), Some(ValidatorIndex(3)));
        // The one that was asked is gone, and nobody else is there.
        assert_eq!(sync.due(now, Height(5), Signers::NONE), None);
        assert!(sync.deadline(Height(5)).is_some_and(|due| due > now));
    }
}
