//! Chaos: a seeded schedule of faults for real validators under load, then an audit.
//!
//! `make chaos SECONDS=60 SEED=7`. The schedule ([`plan`]) is a function of the seed; what the processes do in it is not,
//! so a failing run keeps its directory, and its command runs the same schedule again. At the end everything heals, all
//! validators must be ready and agree, and then, with all of them stopped, [`run`] asks:
//!
//! - is every key there that was acknowledged to a client, at every validator, written exactly once (version 1)?
//! - are heights and roots equal everywhere?
//! - does every ledger verify from the genesis, by executing it again?
//! - has no validator seen another one sign twice, or its own key used elsewhere?
//! - can what clients saw who contend for one key have happened one after the other?
//! - did every process end only when it was made to?

pub mod draw;
pub mod plan;
pub mod relay;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::cluster::{ANSWER, Cluster, Options};
use crate::contend::Contest;
use crate::http::Connection;
use crate::load::{Load, Writer};
use crate::recovery::nobody_signed_twice;
use crate::shim::Machine;
use crate::spaces;
use crate::wait::eventually;
use plan::{Fault, Plan};
use relay::{Link, Relays};

/// One for the command line, eight that write keys of their own, three that contend for one.
const CLIENTS: u16 = 12;

/// How long healing may take: starts with a cold disk and two busy cores, timers at their cap, and catching up.
const HEAL: Duration = Duration::from_secs(90);

/// How long after its disk failed a process may take to end: until its next write.
const EXCUSED: Duration = Duration::from_secs(10);

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Processes killed with SIGKILL, without those that lost power.
    pub kills: u64,
    /// Machines that lost power.
    pub power_losses: u64,
    /// Processes paused.
    pub pauses: u64,
    /// Processes stopped with SIGTERM.
    pub stops: u64,
    /// Spells of a slow or failing disk, or of a wrong clock.
    pub machines: u64,
    /// Of these, how often the process ended by itself, as it should with a disk that fails.
    pub ended: u64,
    /// Spells of bad or cut links.
    pub links: u64,
    /// Cables pulled, of validators with a network of their own.
    pub cables: u64,
    /// Bytes that were written, not synced, and lost with the power.
    pub unsynced: u64,
    /// Transactions acknowledged, without those of the contenders.
    pub acknowledged: u64,
    /// How often contenders set their counter.
    pub contended: u64,
    /// Committed at the end.
    pub height: u64,
    /// Milliseconds from the healing until all were ready and agreed.
    pub healed_ms: u64,
}

struct Run {
    cluster: Cluster,
    relays: Relays,
    weather: Link,
    report: Report,
    /// Until when a process may end by itself, since it met a disk that failed.
    excused: Vec<Option<Instant>>,
}

/// Runs a schedule to its end and audits what is left.
///
/// # Panics
/// If a promise is broken; the directory is kept then.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let cluster = Cluster::new(Options {
        validators: plan.validators,
        power: true,
        chaos: true,
        spaces: spaces::inside(),
        clients: CLIENTS,
        ..Options::default()
    });
    let mut run = Run {
        relays: Relays::of(&cluster, plan.seed),
        weather: plan.weather,
        report: Report::default(),
        excused: vec![None; cluster.size()],
        cluster,
    };
    run.clear_links();
    run.cluster.start_all();
    run.cluster.wait_all_ready(HEAL);
    let writers = |keys: Range<usize>| keys.map(|i| Writer::new(&run.cluster, i)).collect();
    let load = Load::start("chaos", writers(1..9));
    let contest = Contest::start(writers(9..usize::from(CLIENTS)));
    run.follow(plan, &load);
    let healing = Instant::now();
    run.heal();
    run.cluster.put("healed", "yes");
    let (_, keys) = load.stop();
    run.report.contended = u64::try_from(contest.stop()).expect("not that many");
    run.cluster.agree(HEAL);
    let healed = healing.elapsed().as_millis();
    run.report.healed_ms = u64::try_from(healed).expect("not that long");
    run.report.acknowledged = u64::try_from(keys.len()).expect("not that many");
    run.audit(&keys);
    run.report
}

impl Run {
    /// Begins and ends each fault in its time, or as soon after it as what went before allows.
    fn follow(&mut self, plan: &Plan, load: &Load) {
        let mut moments: BTreeMap<(u64, usize, bool), &Fault> = BTreeMap::new();
        for (number, step) in plan.steps.iter().enumerate() {
            moments.insert((step.from, number, true), &step.fault);
            moments.insert((step.to, number, false), &step.fault);
        }
        let start = Instant::now();
        for ((at, _, begins), fault) in moments {
            let due = start + Duration::from_millis(at);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match begins {
                true => {
                    self.at_work(plan.served, load);
                    self.begin(fault);
                }
                false => self.end(fault),
            }
        }
    }

    /// Waits until everybody serves and so many more transactions are acknowledged.
    fn at_work(&mut self, served: u64, load: &Load) {
        if served == 0 {
            return;
        }
        self.cluster.wait_all_ready(HEAL);
        let enough = load.served() + served;
        eventually(HEAL, "the load to be served", || {
            (load.served() >= enough).then_some(())
        });
    }

    fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(victims) => {
                victims.iter().for_each(|&i| self.still_runs(i));
                victims.iter().for_each(|&i| self.cluster.signal(i, "KILL"));
                victims.iter().for_each(|&i| self.cluster.kill(i));
                self.report.kills += u64::try_from(victims.len()).expect("few");
            }
            Fault::Power(victims) => {
                victims.iter().for_each(|&i| self.still_runs(i));
                victims.iter().for_each(|&i| self.cluster.signal(i, "KILL"));
                for &i in victims {
                    self.report.unsynced += self.cluster.cut_power_of(i).bytes;
                    self.report.power_losses += 1;
                }
            }
            Fault::Pause(i) => {
                self.still_runs(*i);
                self.cluster.signal(*i, "STOP");
                self.report.pauses += 1;
            }
            Fault::Stop(i) => {
                self.still_runs(*i);
                // Late blows follow each other closely, and who does not serve yet has no orderly end to come to.
                eventually(HEAL, "the validator to have started", || {
                    let log = self.cluster.log_of_start(*i);
                    log.contains(r#""event":"started""#).then_some(())
                });
                let status = self.cluster.stop(*i);
                assert!(status.success(), "validator {i} stopped with {status}");
                self.report.stops += 1;
            }
            Fault::Machine(i, machine) => {
                self.still_runs(*i);
                if machine.sync_errno != 0 || machine.write_errno != 0 {
                    self.excused[*i] = Some(Instant::now() + HEAL);
                }
                self.cluster.set_machine(*i, *machine);
                self.report.machines += 1;
            }
            Fault::Link(from, to, link) => {
                self.relays.set(*from, *to, *link);
                self.report.links += 1;
            }
            // A machine without a cable hears no client, either.
            Fault::Partition(group) if group.len() == 1 && self.cluster.plug(group[0], false) => {
                self.report.cables += 1;
            }
            Fault::Partition(group) => {
                self.relays.part(group);
                self.report.links += 1;
            }
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(victims) | Fault::Power(victims) => {
                victims.iter().for_each(|&i| self.cluster.start(i));
            }
            Fault::Pause(i) => self.cluster.signal(*i, "CONT"),
            Fault::Stop(i) => self.cluster.start(*i),
            Fault::Machine(i, machine) => {
                self.cluster.set_machine(*i, Machine::default());
                if machine.sync_errno != 0 || machine.write_errno != 0 {
                    self.excused[*i] = Some(Instant::now() + EXCUSED);
                    self.still_runs(*i);
                }
            }
            Fault::Link(..) | Fault::Partition(_) => {
                self.clear_links();
                self.plug_all();
            }
        }
    }

    /// Nothing but this runner may have ended a process, unless it met a disk that failed: then it starts again.
    fn still_runs(&mut self, i: usize) {
        let Some(status) = self.cluster.ended(i) else {
            return;
        };
        let excused = self.excused[i].take();
        let excused = excused.is_some_and(|until| Instant::now() < until);
        assert!(excused, "validator {i} ended by itself, with {status}");
        assert!(!status.success(), "a disk failed, and {i} ended well");
        self.report.ended += 1;
        self.cluster.start(i);
    }

    fn clear_links(&self) {
        self.relays.set_all(self.weather);
    }

    fn plug_all(&self) {
        for i in 0..self.cluster.size() {
            self.cluster.plug(i, true);
        }
    }

    fn heal(&mut self) {
        self.plug_all();
        self.weather = Link::default();
        self.clear_links();
        for i in 0..self.cluster.size() {
            self.still_runs(i);
            // One that met a failing disk a moment ago may be about to end.
            if self.excused[i].take().is_some() {
                self.cluster.kill(i);
            }
        }
        self.cluster.start_all();
        self.cluster.wait_all_ready(HEAL);
    }

    fn audit(&mut self, keys: &[String]) {
        for i in 0..self.cluster.size() {
            self.check_once(i, keys);
        }
        self.report.height = self.cluster.agree(HEAL).0;
        self.cluster.kill_all();
        self.cluster.verify_logs();
        nobody_signed_twice(&self.cluster);
        for i in 0..self.cluster.size() {
            let log = self.cluster.log(i);
            for bad in ["state diverged", "panicked"] {
                let line = log.lines().find(|line| line.contains(bad));
                assert_eq!(line, None, "in the log of validator {i}");
            }
        }
    }

    /// Every key is there, and was written once.
    fn check_once(&self, i: usize, keys: &[String]) {
        let mut connection = Connection::open(self.cluster.api(i), ANSWER).expect("it serves");
        for key in keys {
            let path = format!("/v1/kv/{}?consistency=local", key.replace('/', "%2F"));
            let answer = connection.send("GET", &path, "text/plain", &[]);
            let answer = answer.expect("it answers");
            let version = answer.json()["version"].as_u64();
            assert_eq!(
                (answer.status, version),
                (200, Some(1)),
                "validator {i}, acknowledged key {key}: {}",
                answer.text()
            );
        }
    }
}
