//! A voter's home is put back to an old copy while the network is cut in two, so that what it signed since may be known to
//! nobody whom it can ask.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chaos::relay::{Link, Relays};
use crate::cluster::{Cluster, Options, START};
use crate::load::{Load, Writer, check_all_there};
use crate::observer::{self, Observer};
use crate::recovery::{
    VICTIM, alarms, is_needed, keep, nobody_signed_twice, put_back, votes_within,
};

/// How long the chain goes on after the copy, and how long the network is cut: rounds are made or given up meanwhile.
const AGES: Duration = Duration::from_secs(2);
const APART: Duration = Duration::from_secs(4);

/// Who is on the old copy's side.
const SIDES: [&[usize]; 3] = [
    // Nobody: the others go on, and it has nobody to ask.
    &[VICTIM],
    // One other, which is less than the fence asks for; nobody goes on.
    &[VICTIM, 0],
    // Two others, which is enough, and they need it. What it signed last only the one that is away received.
    &[VICTIM, 0, 1],
];

/// One restore after the other, each with another cut.
pub fn restored_apart(times: usize) -> Vec<String> {
    let cluster = Cluster::new(Options {
        chaos: true,
        environment: vec![("QUORATE_LOG__LEVEL".into(), observer::LEVEL.into())],
        ..Options::default()
    });
    let mut run = Run {
        relays: Relays::of(&cluster, 0),
        observer: Observer::default(),
        cluster,
    };
    run.cluster.start_all();
    run.cluster.wait_all_ready(START);
    let others = (0..VICTIM).map(|i| run.cluster.api(i)).collect();
    let mut writer = Writer::new(&run.cluster, 1);
    writer.only(others);
    let mut writers = vec![writer];
    let mut findings = Vec::new();
    for time in 0..times {
        let load = Load::start(&format!("apart/{time}"), writers);
        findings.push(run.restored(SIDES[time % SIDES.len()], &load));
        let (back, keys) = load.stop();
        writers = back;
        check_all_there(&run.cluster, &keys);
        is_needed(&mut run.cluster);
    }
    let signed = run.observer.look(&run.cluster);
    nobody_signed_twice(&run.cluster);
    findings.push(format!(
        "{signed} signatures observed, none contradicts another"
    ));
    findings
}

struct Run {
    relays: Relays,
    cluster: Cluster,
    observer: Observer,
}

impl Run {
    /// One restore, and what came of it.
    fn restored(&mut self, side: &[usize], load: &Load) -> String {
        assert!(self.cluster.stop(VICTIM).success());
        let copy = keep(self.cluster.home(VICTIM));
        self.cluster.start(VICTIM);
        votes_within(&self.cluster, VICTIM, START, Instant::now());
        sleep(AGES);
        // Whoever will be asked hears nothing of it any more.
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        let asked = side.iter().filter(|&&i| i != VICTIM);
        asked.for_each(|&i| self.relays.set(VICTIM, i, cut));
        sleep(AGES);
        self.cluster.kill(VICTIM);
        self.relays.set_all(Link::default());
        self.relays.part(side);
        let alone = self.starts_old(&copy, side, load);
        self.relays.set_all(Link::default());
        let from = Instant::now();
        let took = votes_within(&self.cluster, VICTIM, START, from);
        self.cluster.wait_all_ready(START);
        assert!(self.observer.look(&self.cluster) > 0);
        format!("{alone}; voted {took:.1?} after the network was whole")
    }

    /// The old copy starts while the network is cut.
    fn starts_old(&mut self, copy: &Path, side: &[usize], load: &Load) -> String {
        let cluster = &mut self.cluster;
        let before = alarms(cluster, VICTIM);
        put_back(copy, cluster.home(VICTIM));
        self.observer.look(cluster);
        let signed = self.observer.of(VICTIM);
        let (from, served) = (Instant::now(), load.served());
        cluster.start(VICTIM);
        let others = side.len() - 1;
        // Of four, a quorum but one: two others.
        if others < 2 {
            sleep(APART);
            self.observer.look(cluster);
            let now = self.observer.of(VICTIM);
            assert_eq!(now, signed, "it signs nothing before it has asked enough");
            return format!("with {others} others it signed nothing");
        }
        let took = votes_within(cluster, VICTIM, START, from);
        assert!(
            alarms(cluster, VICTIM) > before,
            "it says that its home is old"
        );
        sleep(APART);
        let served = load.served() - served;
        assert!(served > 0, "nothing commits on this side without it");
        format!(
            "with {others} others it voted {took:.1?} after its start, and {served} puts were served"
        )
    }
}
