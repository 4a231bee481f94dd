//! Kills and lost power while a validator makes snapshots, lets the past go, fetches a snapshot or starts from one.
//!
//! What a blow met is read from what it left, so that the report shows that the work was hit and not only the time
//! between. An [`Observer`] reads every signature that anybody can have received.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chaos::draw::Draw;
use crate::cluster::{Cluster, Options, START};
use crate::faults::random_bits;
use crate::load::{Load, Writer, check_all_there};
use crate::observer::{self, Observer};
use crate::recovery::nobody_signed_twice;

/// Blows between two looks at everything that was acknowledged.
const LOOK: usize = 25;
/// Who was away for so many blocks finds a snapshot that is worth fetching.
const AWAY: u64 = 45;
/// How long the work that a blow is meant for may take to begin; else the blow falls on what there is.
const BEGINS: Duration = Duration::from_secs(10);
/// Bytes of a value that makes the state large, and how many there are.
const VALUE: usize = 50_000;
const VALUES: usize = 80;

/// What a blow falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// A snapshot is being written.
    Snapshot,
    /// The first height that is kept has just moved.
    Truncation,
    /// Chunks of a snapshot are being fetched.
    Transfer,
    /// The state is being replaced by what was fetched.
    Install,
    /// Up to the fence.
    Start,
    /// Anything else: blocks.
    Other,
}

/// What is aimed at of a validator at work, and of one that comes back.
const WORK: &[Phase] = &[Phase::Snapshot, Phase::Truncation];
const RETURN: &[Phase] = &[
    Phase::Transfer,
    Phase::Install,
    Phase::Install,
    Phase::Start,
];

/// Blows on one of four after the other, under load.
pub fn blows(count: usize) -> Vec<String> {
    let settings = [
        ("QUORATE_SNAPSHOTS__INTERVAL_BLOCKS", "25"),
        ("QUORATE_SNAPSHOTS__FETCH_GAP_BLOCKS", "12"),
        ("QUORATE_STORAGE__KEEP_BLOCKS", "1"),
        ("QUORATE_LOG__LEVEL", observer::LEVEL),
    ];
    let environment = settings.map(|(name, value)| (name.into(), value.into()));
    let cluster = Cluster::started(Options {
        power: true,
        environment: environment.to_vec(),
        ..Options::default()
    });
    let mut writers: Vec<_> = (1..4).map(|i| Writer::new(&cluster, i)).collect();
    for value in 0..VALUES {
        let bytes = vec![u8::try_from(value % 251).expect("below 251"); VALUE];
        let done = writers[0].put(&format!("bulk/{value}"), &bytes, Instant::now() + START);
        assert!(done, "a put succeeds");
    }
    // Real processes cannot be replayed, so that the seed need not be known.
    let mut run = Run {
        draw: Draw::new(random_bits()),
        cluster,
        installing: [false; 4],
        met: BTreeMap::new(),
        lost: 0,
    };
    let mut observer = Observer::default();
    let (mut keys, mut signed) = (Vec::new(), 0);
    for from in (0..count).step_by(LOOK) {
        let load = Load::start(&format!("blows/{from}"), writers);
        for _ in from..count.min(from + LOOK) {
            run.blow();
        }
        run.cluster.start_all();
        run.cluster.wait_all_ready(2 * START);
        let (back, acknowledged) = load.stop();
        writers = back;
        run.cluster.agree(2 * START);
        check_all_there(&run.cluster, &acknowledged);
        keys.extend(acknowledged);
        nobody_signed_twice(&run.cluster);
        signed = observer.look(&run.cluster);
    }
    check_all_there(&run.cluster, &keys);
    // Whoever sent what was not durable would be shown a signature that its record does not know.
    for i in 0..run.cluster.size() {
        let outdated = run.cluster.log(i).matches("\"home_outdated\"").count();
        assert_eq!(outdated, 0, "validator {i} forgot what it signed");
    }
    let (height, _) = run.cluster.agree(START);
    let mut findings = vec![
        format!("{} acknowledged keys there, height {height}", keys.len()),
        format!("{signed} signatures observed, none contradicts another"),
        format!("{} unsynced bytes were lost on the way", run.lost),
    ];
    let said =
        |((phase, kind), times): (&(Phase, &str), &usize)| format!("{phase:?} {kind} {times}");
    findings.extend(run.met.iter().map(said));
    findings
}

struct Run {
    cluster: Cluster,
    draw: Draw,
    /// Whose state was being replaced when it was hit last.
    installing: [bool; 4],
    met: BTreeMap<(Phase, &'static str), usize>,
    /// Bytes that the power took.
    lost: u64,
}

impl Run {
    /// One blow. Who was hit at its work may stay away until it needs a snapshot; who comes back is often hit again before
    /// it is ready.
    fn blow(&mut self) {
        let back = (0..4).find(|&i| !is_ready(&self.cluster, i));
        let back = back.filter(|_| self.draw.below(4) > 0);
        if back.is_none() {
            // No more than one at a time is down: the others are a quorum.
            self.cluster.wait_all_ready(2 * START);
        }
        let victim = back.unwrap_or_else(|| self.draw.index(4));
        let aims = if back.is_some() { RETURN } else { WORK };
        let aim = aims[self.draw.index(aims.len())];
        let truncated = self.begins(victim, aim);
        let longest = if aim == Phase::Start { 500 } else { 60 };
        sleep(Duration::from_millis(self.draw.below(longest)));
        self.cluster.kill(victim);
        let met = match phase(&self.cluster, victim, self.installing[victim]) {
            Phase::Other if truncated => Phase::Truncation,
            met => met,
        };
        self.installing[victim] = met == Phase::Install;
        let power = self.draw.below(6) == 0;
        if power {
            self.lost += self.cluster.cut_power_of(victim).bytes;
        }
        let kind = if power { "power" } else { "kill" };
        *self.met.entry((met, kind)).or_default() += 1;
        if back.is_none() && self.draw.below(3) > 0 {
            let other = (victim + 1) % 4;
            let head = self.cluster.height(other);
            wait_for(|| self.cluster.height(other) >= head + AWAY);
        }
        self.cluster.start(victim);
    }

    /// Waits for what is meant to begin; whoever is ready before it does is hit at something else. Whether the past was
    /// just being removed.
    fn begins(&self, victim: usize, aim: Phase) -> bool {
        let cluster = &self.cluster;
        let first = first_kept(cluster, victim);
        let mut truncated = false;
        wait_for(|| match aim {
            Phase::Start | Phase::Other => true,
            Phase::Snapshot => writes_snapshot(cluster, victim),
            Phase::Transfer => {
                logged(cluster, victim, "snapshot_progress") || is_ready(cluster, victim)
            }
            Phase::Install => {
                logged(cluster, victim, "snapshot_complete") || is_ready(cluster, victim)
            }
            Phase::Truncation => {
                let now = first_kept(cluster, victim);
                truncated = first.zip(now).is_some_and(|(first, now)| now > first);
                truncated
            }
        });
        truncated
    }
}

/// What a validator was at, by what it leaves on the disk and has logged since its start. An installation that was cut off
/// goes on first thing at the next start.
fn phase(cluster: &Cluster, i: usize, installing: bool) -> Phase {
    let log = cluster.log_of_start(i);
    let last = |event: &str| log.rfind(&format!("\"event\":\"{event}\""));
    let [progress, complete, installed] = [
        "snapshot_progress",
        "snapshot_complete",
        "snapshot_installed",
    ]
    .map(last);
    if last("started").is_none() {
        match installing {
            true => Phase::Install,
            false => Phase::Start,
        }
    } else if complete > installed {
        Phase::Install
    } else if progress > complete {
        Phase::Transfer
    } else if writes_snapshot(cluster, i) {
        Phase::Snapshot
    } else if last("fence_passed").is_none() {
        Phase::Start
    } else {
        Phase::Other
    }
}

fn logged(cluster: &Cluster, i: usize, event: &str) -> bool {
    let event = format!("\"event\":\"{event}\"");
    cluster.log_of_start(i).contains(&event)
}

/// Whether a snapshot is there that has not its name yet.
fn writes_snapshot(cluster: &Cluster, i: usize) -> bool {
    let snapshots = fs::read_dir(cluster.home(i).join("snapshots"));
    let mut entries = snapshots.into_iter().flatten().flatten();
    let unfinished = |path: PathBuf| path.extension().is_some_and(|end| end == "new");
    entries.any(|entry| unfinished(entry.path()))
}

fn is_ready(cluster: &Cluster, i: usize) -> bool {
    let answer = cluster.ask_admin(i, "/readyz");
    answer.is_some_and(|answer| answer.status == 200)
}

fn first_kept(cluster: &Cluster, i: usize) -> Option<f64> {
    cluster.metric(i, "quorate_storage_first_height")
}

/// Waits, but not for ever: what does not begin is not hit, and the report says so.
fn wait_for(mut begun: impl FnMut() -> bool) {
    let from = Instant::now();
    while from.elapsed() < BEGINS && !begun() {
        sleep(Duration::from_millis(5));
    }
}
