//! One validator: a replica, its disk, its clocks, and what waits for its next turn.

use quorate_replica::{Input, Output, Replica};
use quorate_storage::MemStore;
use quorate_types::{BlockTime, Instant, Now};

use crate::plan::ClockPlan;

/// When every chain begins, and with few exceptions its world, in nanoseconds since the Unix epoch.
pub(crate) const START: u64 = 1_700_000_000_000_000_000;
/// Drift is in so many parts.
const PARTS: u64 = 1_000_000;
/// Later than any world lasts, in nanoseconds.
const FAR: u64 = 1 << 60;
/// Turns in a row that nothing asked for but the replica itself, at most.
const SPIN: u32 = 1_000;

/// A validator.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) store: MemStore,
    /// `None` without power.
    pub(crate) replica: Option<Replica>,
    pub(crate) inbox: Vec<Input>,
    /// Decided and not yet on disk. Until it is, there is no other turn.
    pub(crate) pending: Option<Output>,
    /// Starts so far: what was meant for an earlier one comes too late.
    pub(crate) life: u32,
    /// The wake-up call that counts, and when it comes.
    pub(crate) alarm: Option<(u64, u32)>,
    alarms: u32,
    /// Its next write may fail.
    pub(crate) armed: bool,
    /// Stands still until then.
    pub(crate) paused: u64,
    /// Its clocks, within reason; and how far beyond the wall clock jumped.
    clock: ClockPlan,
    /// True time when the world begins.
    began: u64,
    pub(crate) offset: i64,
    /// A disk that takes longer.
    pub(crate) slow: u64,
    /// Something on its disk is rotten: it may refuse to go on.
    pub(crate) rotten: bool,
    /// It refused, and stays down.
    pub(crate) dead: bool,
    /// When the process started: monotonic time counts from there.
    pub(crate) born: u64,
    /// What its wall clock showed in the latest turn.
    pub(crate) wall: BlockTime,
    idle_turns: u32,
}

impl Node {
    pub(crate) fn new(clock: ClockPlan, age: u64) -> Node {
        Node {
            store: MemStore::new(),
            replica: None,
            inbox: Vec::new(),
            pending: None,
            life: 0,
            alarm: None,
            alarms: 0,
            armed: false,
            paused: 0,
            clock,
            began: START + age,
            offset: 0,
            slow: 0,
            rotten: false,
            dead: false,
            born: 0,
            wall: BlockTime(START),
            idle_turns: 0,
        }
    }

    /// What its clocks show.
    pub(crate) fn clocks(&self, now: u64) -> Now {
        let true_time = self.began + self.drifted(now);
        let wall = true_time.saturating_add_signed(self.clock.offset);
        Now {
            monotonic: Instant(self.drifted(now) - self.drifted(self.born)),
            wall: BlockTime(wall.saturating_add_signed(self.offset)),
        }
    }

    /// What a clock that runs too fast or too slow shows when so much time has passed.
    fn drifted(&self, passed: u64) -> u64 {
        passed
            .saturating_add_signed(i64::try_from(passed / PARTS).expect("short") * self.clock.drift)
    }

    /// When its monotonic clock will show this.
    fn true_time(&self, local: Instant) -> u64 {
        if local.0 >= FAR {
            return u64::MAX;
        }
        let shown = self.drifted(self.born) + local.0;
        let inverse = i64::try_from(shown / PARTS).expect("short") * self.clock.drift;
        let mut time = shown.saturating_add_signed(-inverse);
        // The inverse is off by a millionth of a millionth; a timer never rings too early.
        while self.drifted(time) < shown {
            time += PARTS;
        }
        time
    }

    /// When the next turn is due, if it is idle now.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        let replica = self.replica.as_ref()?;
        if self.pending.is_some() {
            return None;
        }
        let due = match self.inbox.is_empty() {
            false => now,
            true => self.true_time(replica.deadline()?).max(now),
        };
        Some(due.max(self.paused))
    }

    /// Sets the alarm; its number, unless it is set to an earlier time already.
    pub(crate) fn set_alarm(&mut self, at: u64) -> Option<u32> {
        if self.alarm.is_some_and(|(earlier, _)| earlier <= at) {
            return None;
        }
        self.alarms += 1;
        self.alarm = Some((at, self.alarms));
        Some(self.alarms)
    }

    /// Notes a turn with so many inputs; false if there were too many without any.
    pub(crate) fn note_turn(&mut self, inputs: usize) -> bool {
        self.idle_turns = if inputs == 0 { self.idle_turns + 1 } else { 0 };
        self.idle_turns < SPIN
    }

    /// Ends its life.
    pub(crate) fn stop(&mut self) {
        self.life += 1;
        self.replica = None;
        self.pending = None;
        self.alarm = None;
        self.inbox.clear();
    }

    /// One line about it.
    pub(crate) fn describe(&self) -> String {
        let Some(replica) = &self.replica else {
            return "has no power".into();
        };
        let status = replica.status();
        let (height, target, queued) = (status.height, status.target, status.queued);
        format!(
            "height {height} of {target}, {queued} queued, {:?}",
            status.consensus
        )
    }
}
