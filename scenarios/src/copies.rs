//! `backup`, `restore` and `fork` ended at random instants: by kill -9, by lost power, by Ctrl-C.
//!
//! What has the name that was asked for is whole, whatever happened; what is in the way of the next attempt is removed by
//! it; and who is asked to end takes away what he made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chaos::draw::Draw;
use crate::cluster::{Cluster, START, binary, quorate};
use crate::load::Writer;
use crate::shim::Shadow;

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
    /// It takes away what it made when it is asked to end.
    tidy: bool,
    /// From its start to its end when nothing happens.
    takes: Duration,
}

impl Verb {
    fn unfinished(&self) -> PathBuf {
        self.target.with_extension("unfinished")
    }

    fn whole(&self) {
        quorate(&self.arguments).expect(0, "it does its work");
    }
}

/// Blows on one command after the other.
pub fn copies(blows: usize) -> Vec<String> {
    let cluster = Cluster::four();
    let mut writer = Writer::new(&cluster, 1);
    for value in 0..VALUES {
        let bytes = vec![u8::try_from(value % 251).expect("below 251"); VALUE];
        let done = writer.put(&format!("bulk/{value}"), &bytes, Instant::now() + START);
        assert!(done, "a put succeeds");
    }
    let place = cluster.path().with_file_name("copies");
    let image = cluster.path().with_file_name("copies-shadow");
    fs::create_dir(&place).expect("writable");
    let mut verbs = verbs(&cluster, &place);
    for verb in &mut verbs {
        let from = Instant::now();
        verb.whole();
        verb.takes = from.elapsed();
    }
    let sample = names(&verbs[2].target);
    let mut draw = Draw::new(u64::try_from(blows).expect("few"));
    let mut met: BTreeMap<(&str, End, &str), usize> = BTreeMap::new();
    for _ in 0..blows {
        fs::remove_dir_all(&place).expect("ours");
        fs::create_dir(&place).expect("writable");
        let shadow = Shadow::follow(&place, &image);
        let (verb, end) = (&verbs[draw.index(3)], ENDS[draw.index(4)]);
        let found = blow(verb, end, &shadow, &mut draw);
        *met.entry((verb.name, end, found)).or_default() += 1;
        if verb.target.exists() {
            match verb.name {
                "fork" => assert_eq!(names(&verb.target), sample, "a whole fork"),
                _ => log_verifies(&verb.target),
            }
        } else {
            verb.whole();
        }
        assert!(!verb.unfinished().exists(), "the way is free");
    }
    let left = cluster.home(0).join("backup.checkpoint");
    assert!(!left.exists(), "the last attempt removed it");
    let said = |((verb, end, found), times): (&(&str, End, &str), &usize)| {
        format!("{verb} {end:?} {found} {times}")
    };
    met.iter().map(said).collect()
}

fn verbs(cluster: &Cluster, place: &Path) -> [Verb; 3] {
    let text = |path: &Path| path.display().to_string();
    let home = cluster.home(0);
    let good = cluster.path().with_file_name("good");
    let line = ["backup", "--home", &text(home), "--output", &text(&good)];
    quorate(&line).expect(0, "a backup to restore and to fork");
    let (good, keys) = (text(&good), text(&home.join("keys")));
    let verb = |name: &'static str, flags: &[&str], tidy| {
        let target = place.join(name);
        let mut arguments = vec![name.to_owned()];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        arguments.push(text(&target));
        Verb {
            name,
            arguments,
            target,
            tidy,
            takes: Duration::ZERO,
        }
    };
    [
        verb("backup", &["--home", &text(home), "--output"], true),
        verb(
            "restore",
            &["--backup", &good, "--keys", &keys, "--home"],
            true,
        ),
        verb("fork", &["--home", &good, "--output"], true),
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
    let early = !verb.unfinished().exists() && !verb.target.exists();
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
    if asked && verb.tidy {
        assert!(!unfinished, "{} takes away what it made", verb.name);
        assert_eq!(status.success(), verb.target.exists());
    }
    match (status.success(), early) {
        (true, _) => "too late",
        (false, true) => "before it wrote",
        (false, false) => "in the middle",
    }
}

fn log_verifies(home: &Path) {
    let home = home.display().to_string();
    quorate(&["log", "verify", "--home", &home]).expect(0, "what has the name is whole");
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
