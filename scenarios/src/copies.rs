//! `backup`, `restore`, `fork` and `snapshot restore` ended at random instants: by kill -9, by lost power, by Ctrl-C.
//!
//! What has the name that was asked for is whole, whatever happened; what is in the way of the next attempt is removed by
//! it; who is asked to end takes away what he made. A home that was restored in the end takes its validator's place under
//! load, and votes; an [`Observer`] reads what all of them sign.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chaos::draw::Draw;
use crate::cluster::{Cluster, Options, START, binary, quorate};
use crate::faults::random_bits;
use crate::load::{Load, Writer, check_all_there};
use crate::observer::{self, Observer};
use crate::recovery::{VICTIM, votes_within, writer};
use crate::shim::Shadow;
use crate::wait::eventually;

/// Values that make a copy take its time, and their size.
const VALUES: usize = 300;
const VALUE: usize = 50_000;

/// How a command is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Kill,
    Power,
    Interrupt,
    Terminate,
}

const ENDS: [End; 4] = [End::Kill, End::Power, End::Interrupt, End::Terminate];

/// A command that copies.
struct Verb {
    name: &'static str,
    arguments: Vec<String>,
    target: PathBuf,
    kind: Kind,
    /// From its start to its end when nothing happens.
    takes: Duration,
}

/// What is promised of a command that is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its result gets its name when it is whole; it takes away what it made when it is asked to end.
    Tidy,
    /// It works in a home that is there already, and the next attempt goes on.
    InPlace,
}

impl Verb {
    fn unfinished(&self) -> PathBuf {
        self.target.with_extension("unfinished")
    }

    /// Does its work, with nobody in its way. Whoever works in place may find that all is done.
    fn whole(&self) {
        let run = quorate(&self.arguments);
        let done = run.stderr.contains("the home is at height");
        let status = if done && self.kind == Kind::InPlace {
            1
        } else {
            0
        };
        run.expect(status, "it does its work");
    }

    /// Whether something has begun to be there.
    fn has_begun(&self) -> bool {
        match self.kind {
            Kind::InPlace => self.target.join("data").exists(),
            Kind::Tidy => self.unfinished().exists() || self.target.exists(),
        }
    }
}

/// Where everything is.
struct Places {
    /// A backup of the victim, and a snapshot.
    good: PathBuf,
    snapshot: PathBuf,
    /// The victim's keys.
    keys: PathBuf,
    /// A home with nothing but keys and settings.
    bare: PathBuf,
    /// Where the commands write, and the power goes.
    open: PathBuf,
}

/// Blows on one command after the other.
pub fn copies(blows: usize) -> Vec<String> {
    let settings = [
        ("QUORATE_SNAPSHOTS__INTERVAL_BLOCKS", "200"),
        ("QUORATE_SNAPSHOTS__FETCH_GAP_BLOCKS", "400"),
        ("QUORATE_LOG__LEVEL", observer::LEVEL),
    ];
    let mut cluster = Cluster::started(Options {
        environment: settings
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        ..Options::default()
    });
    let mut bulk = Writer::new(&cluster, 2);
    for value in 0..VALUES {
        let bytes = vec![u8::try_from(value % 251).expect("below 251"); VALUE];
        let done = bulk.put(&format!("bulk/{value}"), &bytes, Instant::now() + START);
        assert!(done, "a put succeeds");
    }
    let places = places(&cluster);
    let image = places.open.with_extension("shadow");
    let mut verbs = verbs(&cluster, &places);
    for verb in &mut verbs {
        let from = Instant::now();
        verb.whole();
        verb.takes = from.elapsed();
    }
    let sample = names(&verbs[2].target);
    let load = Load::start("copies", vec![writer(&cluster)]);
    let (mut draw, mut observer) = (Draw::new(random_bits()), Observer::default());
    let mut met: BTreeMap<(&str, End, &str), usize> = BTreeMap::new();
    let mut signed = 0;
    for _ in 0..blows {
        places.clear();
        let shadow = Shadow::follow(&places.open, &image);
        let (verb, end) = (&verbs[draw.index(verbs.len())], ENDS[draw.index(4)]);
        let found = blow(verb, end, &shadow, &mut draw);
        *met.entry((verb.name, end, found)).or_default() += 1;
        if verb.kind == Kind::InPlace {
            if found != "too late" {
                verb.whole();
            }
        } else if !verb.target.exists() {
            verb.whole();
        } else if verb.name == "fork" {
            assert_eq!(names(&verb.target), sample, "a whole fork");
        } else {
            log_verifies(&verb.target);
        }
        assert!(!verb.unfinished().exists(), "the way is free");
        if verb.name.ends_with("restore") {
            take_place(&mut cluster, verb);
            signed = observer.look(&cluster);
        }
    }
    let left = cluster.home(0).join("backup.checkpoint");
    assert!(!left.exists(), "the last attempt removed it");
    let (_, keys) = load.stop();
    check_all_there(&cluster, &keys);
    let said = |((verb, end, found), times): (&(&str, End, &str), &usize)| {
        format!("{verb} {end:?} {found} {times}")
    };
    let mut findings: Vec<_> = met.iter().map(said).collect();
    findings.push(format!("{} acknowledged keys there", keys.len()));
    findings.push(format!(
        "{signed} signatures observed, none contradicts another"
    ));
    findings
}

/// The home that was restored takes its validator's place, and votes.
fn take_place(cluster: &mut Cluster, verb: &Verb) {
    let mark = cluster.home(VICTIM).join("safety/forgetful");
    cluster.kill(VICTIM);
    fs::remove_dir_all(cluster.home(VICTIM)).expect("ours");
    fs::rename(&verb.target, cluster.home(VICTIM)).expect("one file system");
    let forgotten = verb.kind == Kind::InPlace;
    assert_eq!(mark.exists(), forgotten, "who knows nothing is marked");
    let from = Instant::now();
    cluster.start(VICTIM);
    votes_within(cluster, VICTIM, START, from);
    eventually(START, "it has a record", || (!mark.exists()).then_some(()));
    cluster.wait_ready(VICTIM, START);
}

fn places(cluster: &Cluster) -> Places {
    let place = |name: &str| cluster.path().with_file_name(name);
    let home = text(cluster.home(VICTIM));
    let good = place("good");
    let line = ["backup", "--home", &home, "--output", &text(&good)];
    quorate(&line).expect(0, "a backup to restore and to fork");
    let line = ["snapshot", "create", "--output", "json", "--home", &home];
    let made = quorate(&line).expect(0, "a snapshot to restore").json();
    let made = made["path"].as_str().expect("a path").to_owned();
    // The shelf keeps only the newest.
    let snapshot = place("snapshot").join(Path::new(&made).file_name().expect("a height"));
    copy(Path::new(&made), &snapshot);
    let (keys, bare) = (place("keys"), place("bare"));
    for name in ["consensus.pem", "network.pem"] {
        copy(
            &cluster.home(VICTIM).join("keys").join(name),
            &keys.join(name),
        );
    }
    copy(&keys, &bare.join("keys"));
    for name in ["config.toml", "genesis.json"] {
        copy(&cluster.home(VICTIM).join(name), &bare.join(name));
    }
    let places = Places {
        good,
        snapshot,
        keys,
        bare,
        open: place("copies"),
    };
    places.clear();
    places
}

impl Places {
    /// Nothing but the bare home.
    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.open);
        copy(&self.bare, &self.open.join("bare"));
    }
}

fn verbs(cluster: &Cluster, places: &Places) -> [Verb; 4] {
    let (good, keys) = (text(&places.good), text(&places.keys));
    let snapshot = text(&places.snapshot);
    let verb = |name: &'static str, kind, words: &[&str], target: &str| {
        let target = places.open.join(target);
        let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        arguments.push(text(&target));
        if kind == Kind::InPlace {
            arguments.push(snapshot.clone());
        }
        Verb {
            name,
            arguments,
            target,
            kind,
            takes: Duration::ZERO,
        }
    };
    let home = text(cluster.home(0));
    let restore = ["restore", "--backup", &good, "--keys", &keys, "--home"];
    let backup = ["backup", "--home", &home, "--output"];
    let fork = ["fork", "--home", &good, "--output"];
    [
        verb("backup", Kind::Tidy, &backup, "backup"),
        verb("restore", Kind::Tidy, &restore, "restore"),
        verb("fork", Kind::Tidy, &fork, "fork"),
        verb(
            "snapshot restore",
            Kind::InPlace,
            &["snapshot", "restore", "--home"],
            "bare",
        ),
    ]
}

/// Starts a command and ends it; what that met.
fn blow(verb: &Verb, end: End, shadow: &Shadow, draw: &mut Draw) -> &'static str {
    let mut command = Command::new(binary());
    command.args(&verb.arguments).envs(shadow.environment());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let longest = u64::try_from(verb.takes.as_millis()).expect("seconds");
    sleep(Duration::from_millis(draw.below(longest + longest / 4)));
    let early = !verb.has_begun();
    let signal = match end {
        End::Kill | End::Power => "KILL",
        End::Interrupt => "INT",
        End::Terminate => "TERM",
    };
    let line = format!("kill -{signal} {}", child.id());
    // One that has ended is there until it is waited for.
    let sent = Command::new("sh").args(["-c", &line]).status();
    assert!(sent.expect("a shell").success(), "{line}");
    let status = child.wait().expect("ours to wait for");
    let unfinished = verb.unfinished().exists();
    if end == End::Power {
        shadow.cut_power();
    }
    let asked = matches!(end, End::Interrupt | End::Terminate);
    if asked && verb.kind == Kind::Tidy {
        assert!(!unfinished, "{} takes away what it made", verb.name);
        assert_eq!(status.success(), verb.target.exists());
    }
    match (status.success(), early) {
        (true, _) => "too late",
        (false, true) => "before it wrote",
        (false, false) => "in the middle",
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("not the root")).expect("writable");
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(
        status.expect("cp runs").success(),
        "a copy of {}",
        from.display()
    );
}

fn log_verifies(home: &Path) {
    quorate(&["log", "verify", "--home", &text(home)]).expect(0, "what has the name is whole");
}

/// Files below a directory that hold something.
fn names(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("readable").flatten() {
            let metadata = entry.metadata().expect("readable");
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.len() > 0 {
                let relative = entry.path().strip_prefix(directory).map(Path::to_path_buf);
                found.push(relative.expect("below it"));
            }
        }
    }
    found.sort();
    found
}
