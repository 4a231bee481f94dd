//! Ctrl-C, SIGTERM and kill -9 while the state of a stopped validator is worked out again: a clear message, nothing left
//! behind, and the next attempt succeeds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use quorate_scenarios::cluster::{Cluster, Options, START, binary};
use quorate_scenarios::load::Writer;

/// Values that make the work take its time, and their size.
const VALUES: usize = 200;
const VALUE: usize = 50_000;
/// Instants, evenly over the time that a command takes.
const INSTANTS: u32 = 8;

/// A home of a stopped validator with some megabytes of state.
fn home() -> Cluster {
    let mut cluster = Cluster::new(Options {
        validators: 1,
        clients: 2,
        ..Options::default()
    });
    cluster.start(0);
    cluster.wait_ready(0, START);
    let mut writer = Writer::new(&cluster, 1);
    for value in 0..VALUES {
        let bytes = vec![u8::try_from(value % 251).expect("below 251"); VALUE];
        assert!(writer.put(&format!("bulk/{value}"), &bytes, Instant::now() + START));
    }
    assert!(cluster.stop(0).success());
    cluster
}

/// A command and where its temporary files go.
struct Verb<'a> {
    arguments: &'a [&'a str],
    temporary: PathBuf,
    /// What is there once its work is done.
    makes: Option<&'a Path>,
}

impl Verb<'_> {
    /// Runs it, sends a signal after so long, and returns its status and what it said.
    fn run(&self, signal: Option<(&str, Duration)>) -> (Option<i32>, String) {
        let log = self.temporary.with_extension("log");
        let mut command = Command::new(binary());
        command.args(self.arguments).env("TMPDIR", &self.temporary);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("writable"));
        let mut child = command.spawn().expect("it starts");
        if let Some((signal, after)) = signal {
            sleep(after);
            let line = format!("kill -{signal} {}", child.id());
            let sent = Command::new("sh").args(["-c", &line]).status();
            assert!(sent.expect("a shell").success(), "{line}");
        }
        let status = child.wait().expect("ours to wait for");
        (status.code(), fs::read_to_string(log).expect("readable"))
    }

    /// Interrupts it at every instant; `clean` must hold after each, and clears the way if it succeeded.
    fn interrupted_at_every_instant(&self, clean: impl Fn(bool)) {
        let from = Instant::now();
        assert_eq!(self.run(None).0, Some(0), "it does its work");
        let takes = from.elapsed();
        clean(true);
        let mut interrupted = 0;
        for instant in 0..INSTANTS {
            let signal = ["INT", "TERM"][usize::from(instant % 2 == 1)];
            let after = takes * (2 * instant + 1) / (2 * INSTANTS);
            let (status, said) = self.run(Some((signal, after)));
            match status {
                Some(0) => clean(true),
                Some(1) => {
                    assert!(
                        said.contains("interrupted: nothing was left behind"),
                        "{said}"
                    );
                    interrupted += 1;
                    clean(false);
                }
                // Before it listened: the signal did what signals do.
                None => clean(false),
                other => panic!("{signal} after {after:?} of {takes:?}: {other:?}\n{said}"),
            }
        }
        assert!(
            interrupted > 0,
            "of {INSTANTS} signals within {takes:?} none met it"
        );
        // What a kill leaves does not stand in the way, and goes. One that comes between the end of the work and that of the
        // process leaves what was made, whole: the first run, which `takes` is of, can be much slower than this one.
        match (self.run(Some(("KILL", takes / 2))).0, self.makes) {
            (Some(0), _) => clean(true),
            (_, Some(made)) => drop(fs::remove_dir_all(made)),
            (_, None) => {}
        }
        assert_eq!(self.run(None).0, Some(0), "the next attempt");
        clean(true);
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).expect("readable").next().is_none()
}

#[test]
fn replay_leaves_nothing() {
    let cluster = home();
    let home = cluster.home(0).display().to_string();
    let temporary = cluster.path().join("temporary");
    fs::create_dir(&temporary).expect("new");
    let verb = Verb {
        arguments: &["replay", "--home", &home],
        temporary: temporary.clone(),
        makes: None,
    };
    verb.interrupted_at_every_instant(|_| assert!(is_empty(&temporary), "its scratch is gone"));
}

#[test]
fn fork_leaves_nothing() {
    let cluster = home();
    let home = cluster.home(0).display().to_string();
    let [temporary, sandbox] = ["temporary", "sandbox"].map(|name| cluster.path().join(name));
    fs::create_dir(&temporary).expect("new");
    let output = sandbox.display().to_string();
    let verb = Verb {
        arguments: &["fork", "--home", &home, "--output", &output],
        temporary: temporary.clone(),
        makes: Some(&sandbox),
    };
    verb.interrupted_at_every_instant(|done| {
        assert_eq!(sandbox.exists(), done, "what has its name is whole");
        assert!(!sandbox.with_extension("unfinished").exists());
        assert!(is_empty(&temporary));
        let _ = fs::remove_dir_all(&sandbox);
    });
}
