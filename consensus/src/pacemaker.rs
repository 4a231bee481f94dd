//! How long a round may take: the timer (T1), the wait of an idle leader (L3) and that of a busy one (L4), in integers.
//!
//! Knows time and nothing of blocks. Measures rounds that ended with their own QC; idle rounds and failed ones say
//! nothing about the network's speed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use quorate_types::Instant;

const MILLISECOND: u64 = 1_000_000;
/// The timer is never below this.
pub(crate) const MIN_TIMEOUT_NS: u64 = 100 * MILLISECOND;
/// The timer until a round was measured, and its least until [`FEW_ROUNDS`] were.
pub(crate) const FIRST_TIMEOUT_NS: u64 = 1_000 * MILLISECOND;
/// Who catches up enters rounds late and finds their votes waiting: the first that it measures look shorter than they were.
pub(crate) const FEW_ROUNDS: usize = 8;
/// Rounds that are remembered.
pub(crate) const MEASURED_ROUNDS: usize = 64;
/// The first wait of an idle leader.
pub(crate) const FIRST_WAIT_NS: u64 = 250 * MILLISECOND;
/// How long after the start of its round a leader holds back a block that would be empty. Long enough for the parent's
/// commit votes to arrive and for the client who was answered by them to ask again; nothing beside a timer.
pub(crate) const LINGER_NS: u64 = 4 * MILLISECOND;
/// How long after the start of its round a leader with work waits for the parent's commit at most (L4): a fifth of the
/// shortest timer.
pub(crate) const GATHER_NS: u64 = MIN_TIMEOUT_NS / 5;

#[derive(Debug)]
pub(crate) struct Pacemaker {
    cap: u64,
    idle_interval: u64,
    durations: VecDeque<u64>,
    entered: Instant,
    /// The round's timer without the wait.
    timeout: u64,
    expires: Instant,
    /// Until when a leader may wait for work.
    wait_until: Option<Instant>,
    /// The round has a wait, or had one.
    idle: bool,
    /// Until when this validator, as the leader, holds back its block.
    held_until: Option<Instant>,
    /// L4: a parent is likely to be committed within [`GATHER_NS`], as the last one was that this validator extended.
    commits_are_prompt: bool,
    /// The parent's commit was waited for in this round, and has not come.
    gathering: bool,
    /// When it came, until the turn after that is over.
    parent_committed: Option<Instant>,
}

impl Pacemaker {
    pub(crate) fn new(cap: u64, idle_interval: u64) -> Pacemaker {
        Pacemaker {
            cap,
            idle_interval,
            durations: VecDeque::new(),
            entered: Instant::default(),
            timeout: cap,
            expires: Instant::default(),
            wait_until: None,
            idle: false,
            held_until: None,
            commits_are_prompt: true,
            gathering: false,
            parent_committed: None,
        }
    }

    /// Starts a round's timer. `failures` counts the rounds since the highest QC's that made none.
    pub(crate) fn enter(&mut self, now: Instant, failures: u64) {
        self.entered = now;
        self.timeout = self.timeout_after(failures);
        self.expires = now.plus_nanos(self.timeout);
        self.wait_until = None;
        self.idle = false;
        self.held_until = None;
        self.parent_committed = None;
        if self.gathering {
            self.gathering = false;
            self.commits_are_prompt = false;
        }
    }

    /// The block that the round extends was committed, and this validator leads it: learns whether that is worth waiting for
    /// (L4).
    pub(crate) fn parent_committed(&mut self, now: Instant) {
        self.commits_are_prompt = now.since(self.entered) <= GATHER_NS;
        self.gathering = false;
        self.parent_committed = Some(now);
    }

    /// The round ends with its own QC: learns how long it took.
    pub(crate) fn measure(&mut self, now: Instant) {
        if self.idle {
            return;
        }
        if self.durations.len() >= MEASURED_ROUNDS {
            self.durations.pop_front();
        }
        self.durations.push_back(now.since(self.entered));
    }

    /// L3: the round may begin with a wait, after `empty` ≥ 1 consecutive empty blocks at the end of the branch.
    pub(crate) fn allow_wait(&mut self, empty: u32) {
        let doublings = empty.saturating_sub(1);
        let mut wait = FIRST_WAIT_NS;
        for _ in 0..doublings {
            wait = wait.saturating_mul(2);
            if wait >= self.idle_interval {
                break;
            }
        }
        let until = self.entered.plus_nanos(wait.min(self.idle_interval));
        self.idle = true;
        self.wait_until = Some(until);
        self.expires = until.plus_nanos(self.timeout);
    }

    /// Whether the round has neither had a wait nor expired once.
    pub(crate) fn is_plain(&self) -> bool {
        !self.idle && self.expires == self.entered.plus_nanos(self.timeout)
    }

    /// Whether half the timer has run since the round began.
    pub(crate) fn is_half_over(&self, now: Instant) -> bool {
        now.since(self.entered) >= self.timeout / 2
    }

    /// There is work, or a proposal: the wait is over, and the timer counts from now.
    pub(crate) fn end_wait(&mut self, now: Instant) {
        self.held_until = None;
        if self.wait_until.take().is_some() {
            self.expires = self.expires.min(now.plus_nanos(self.timeout));
        }
    }

    /// Whether an idle leader still waits.
    pub(crate) fn waits(&self, now: Instant) -> bool {
        self.wait_until.is_some_and(|until| now < until)
    }

    /// L3: whether the leader holds back an empty block for the moment.
    pub(crate) fn lingers(&mut self, now: Instant) -> bool {
        self.holds_back(now, LINGER_NS)
    }

    /// L4: whether the leader waits for the parent's commit.
    pub(crate) fn gathers(&mut self, now: Instant) -> bool {
        let gathers = self.commits_are_prompt && self.holds_back(now, GATHER_NS);
        self.gathering |= gathers;
        gathers
    }

    /// L4: whether this is the turn that committed the parent, or inputs of the next one are still to come. Executing the
    /// parent takes a while, and all that arrived during it goes into the block as well.
    pub(crate) fn awaits_next_turn(&mut self) -> bool {
        let committed = self.parent_committed.filter(|_| self.commits_are_prompt);
        self.held_until = committed.map(|at| at.plus_nanos(1));
        committed.is_some()
    }

    /// L3, L4: whether less than `most` of the round has passed. The moment at which it will have is a deadline then.
    fn holds_back(&mut self, now: Instant, most: u64) -> bool {
        let until = self.entered.plus_nanos(most);
        self.held_until = (now < until).then_some(until);
        self.held_until.is_some()
    }

    /// Whether the timer ran out; if so it runs again, for half the period (T1).
    pub(crate) fn expired(&mut self, now: Instant) -> bool {
        if now < self.expires {
            return false;
        }
        self.repeat_after(now);
        true
    }

    /// A Timeout was sent now: the next repeat is due in half a period.
    pub(crate) fn repeat_after(&mut self, now: Instant) {
        self.wait_until = None;
        self.expires = now.plus_nanos(self.timeout / 2);
    }

    /// The timer runs out now.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.wait_until = None;
        self.expires = now;
    }

    /// When something happens next.
    pub(crate) fn deadline(&self) -> Instant {
        let wait = self.wait_until.unwrap_or(self.expires);
        let held = self.held_until.unwrap_or(self.expires);
        wait.min(held).min(self.expires)
    }

    /// Drops a wait that is over, so that it is no deadline any more.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.wait_until = self.wait_until.filter(|until| now < *until);
        self.held_until = self.held_until.filter(|until| now < *until);
        self.parent_committed = self.parent_committed.filter(|at| now <= *at);
    }

    fn timeout_after(&self, failures: u64) -> u64 {
        let measured = self.p95().map(|p95| p95.saturating_mul(4));
        let least = match self.durations.len() < FEW_ROUNDS {
            true => FIRST_TIMEOUT_NS,
            false => MIN_TIMEOUT_NS,
        };
        let mut timeout = measured.unwrap_or_default().max(least).min(self.cap);
        for _ in 0..failures {
            timeout = timeout.saturating_mul(3) / 2;
            if timeout >= self.cap {
                return self.cap;
            }
        }
        timeout
    }

    /// The smallest measured duration that 95 % do not exceed.
    fn p95(&self) -> Option<u64> {
        let mut sorted: Vec<u64> = self.durations.iter().copied().collect();
        sorted.sort_unstable();
        let rank = sorted.len().saturating_mul(95).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: u64 = 5_000 * MILLISECOND;

    fn pacemaker(durations_ms: &[u64]) -> Pacemaker {
        let mut pacemaker = Pacemaker::new(CAP, 5_000 * MILLISECOND);
        for duration in durations_ms {
            pacemaker.enter(Instant(0), 0);
            pacemaker.measure(Instant(duration * MILLISECOND));
        }
        pacemaker
    }

    fn expiry_ms(pacemaker: &mut Pacemaker, failures: u64) -> u64 {
        pacemaker.enter(Instant(0), failures);
        pacemaker.deadline().0 / MILLISECOND
    }

    #[test]
    fn the_timer_is_four_times_the_p95_within_its_limits() {
        assert_eq!(expiry_ms(&mut pacemaker(&[]), 0), 1_000);
        assert_eq!(expiry_ms(&mut pacemaker(&[1; FEW_ROUNDS]), 0), 100);
        assert_eq!(expiry_ms(&mut pacemaker(&[50; FEW_ROUNDS]), 0), 200);
        assert_eq!(expiry_ms(&mut pacemaker(&[60_000; FEW_ROUNDS]), 0), 5_000);
        // 3 of 60 are slow: 95 % are not.
        let mut durations = [50; 60];
        durations[..3].fill(1_000);
        assert_eq!(expiry_ms(&mut pacemaker(&durations), 0), 200);
        durations[3] = 1_000;
        assert_eq!(expiry_ms(&mut pacemaker(&durations), 0), 4_000);
    }

    /// A validator that came back entered a round whose votes were there, measured 25 ms, and gave up each round of half a
    /// second before anything could be committed in it (seed 26064 of the simulator).
    #[test]
    fn a_few_short_rounds_do_not_make_a_short_timer() {
        assert_eq!(expiry_ms(&mut pacemaker(&[25]), 0), 1_000);
        assert_eq!(expiry_ms(&mut pacemaker(&[25; FEW_ROUNDS - 1]), 0), 1_000);
        assert_eq!(expiry_ms(&mut pacemaker(&[25; FEW_ROUNDS]), 0), 100);
        assert_eq!(expiry_ms(&mut pacemaker(&[500]), 0), 2_000);
    }

    #[test]
    fn old_rounds_are_forgotten() {
        let mut durations = [50; 2 * MEASURED_ROUNDS];
        durations[..MEASURED_ROUNDS].fill(1_000);
        let mut pacemaker = pacemaker(&durations);
        assert_eq!(pacemaker.durations.len(), MEASURED_ROUNDS);
        assert_eq!(expiry_ms(&mut pacemaker, 0), 200);
    }

    #[test]
    fn the_timer_grows_by_half_a_failure_up_to_the_cap_and_never_overflows() {
        let mut pacemaker = pacemaker(&[50; FEW_ROUNDS]);
        assert_eq!(expiry_ms(&mut pacemaker, 1), 300);
        assert_eq!(expiry_ms(&mut pacemaker, 2), 450);
        assert_eq!(expiry_ms(&mut pacemaker, 60), 5_000);
        assert_eq!(expiry_ms(&mut pacemaker, u64::MAX), 5_000);
    }

    #[test]
    fn t1_repeats_every_half_period() {
        let mut pacemaker = pacemaker(&[50; FEW_ROUNDS]);
        pacemaker.enter(Instant(0), 0);
        let ms = |ms: u64| Instant(ms * MILLISECOND);
        assert!(!pacemaker.expired(ms(199)));
        assert!(pacemaker.expired(ms(200)));
        assert!(!pacemaker.expired(ms(299)));
        assert!(pacemaker.expired(ms(300)));
    }

    #[test]
    fn l3_waits_double_up_to_the_idle_interval_and_lengthen_the_timer() {
        let mut pacemaker = pacemaker(&[50; FEW_ROUNDS]);
        for (empty, wait) in [
            (1, 250),
            (2, 500),
            (3, 1_000),
            (6, 5_000),
            (u32::MAX, 5_000),
        ] {
            pacemaker.enter(Instant(0), 0);
            pacemaker.allow_wait(empty);
            assert!(pacemaker.waits(Instant(wait * MILLISECOND - 1)));
            assert!(!pacemaker.waits(Instant(wait * MILLISECOND)));
            assert_eq!(pacemaker.expires.0 / MILLISECOND, wait + 200);
        }
    }

    #[test]
    fn l3_work_ends_the_wait_and_never_lengthens_the_timer() {
        let mut pacemaker = pacemaker(&[50; FEW_ROUNDS]);
        pacemaker.enter(Instant(0), 0);
        pacemaker.allow_wait(3);
        pacemaker.end_wait(Instant(10 * MILLISECOND));
        assert!(!pacemaker.waits(Instant(10 * MILLISECOND)));
        assert_eq!(pacemaker.expires.0 / MILLISECOND, 210);
        // The second time there is no wait to end.
        pacemaker.end_wait(Instant(150 * MILLISECOND));
        assert_eq!(pacemaker.expires.0 / MILLISECOND, 210);
        // Just before the timer runs out anyway, work does not prolong it.
        pacemaker.enter(Instant(0), 0);
        pacemaker.allow_wait(1);
        pacemaker.end_wait(Instant(400 * MILLISECOND));
        assert_eq!(pacemaker.expires.0 / MILLISECOND, 450);
    }

    #[test]
    fn l4_who_waited_for_a_commit_in_vain_does_not_until_one_was_prompt_again() {
        let mut pacemaker = pacemaker(&[]);
        let ms = |ms: u64| Instant(ms * MILLISECOND);
        pacemaker.enter(ms(0), 0);
        assert!(pacemaker.gathers(ms(0)), "before anything is known");
        assert_eq!(pacemaker.deadline(), ms(20));
        assert!(pacemaker.gathers(ms(19)) && !pacemaker.gathers(ms(20)));
        pacemaker.enter(ms(100), 0);
        assert!(!pacemaker.gathers(ms(100)), "no commit came in the round");
        pacemaker.parent_committed(ms(121));
        pacemaker.enter(ms(200), 0);
        assert!(!pacemaker.gathers(ms(200)), "it came after 21 ms");
        pacemaker.parent_committed(ms(220));
        pacemaker.enter(ms(300), 0);
        assert!(pacemaker.gathers(ms(300)), "it came within 20 ms");
    }

    #[test]
    fn idle_rounds_are_not_measured() {
        let mut pacemaker = pacemaker(&[]);
        pacemaker.enter(Instant(0), 0);
        pacemaker.allow_wait(1);
        pacemaker.end_wait(Instant(1));
        pacemaker.measure(Instant(1_000 * MILLISECOND));
        assert!(pacemaker.durations.is_empty());
    }
}
