//! How a start ends that was told to stop before it was one, and what the log says of one that cannot be.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cli::{quorate, status, stderr, text};

const WITHIN: Duration = Duration::from_secs(30);

/// A home whose settings are a pipe: a start waits there until somebody writes them.
struct Slow {
    _directory: tempfile::TempDir,
    home: PathBuf,
    settings: String,
    child: Child,
}

impl Slow {
    fn start() -> Slow {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let net = directory.path().join("net");
        let made = quorate(&["testnet", "--output", text(&net), "--base-port", "1"]);
        assert_eq!(status(&made), 0, "{}", stderr(&made));
        let home = net.join("validator-0");
        let file = home.join("config.toml");
        let settings = std::fs::read_to_string(&file).expect("made");
        std::fs::remove_file(&file).expect("ours");
        let made = Command::new("mkfifo").arg(&file).status();
        assert!(made.expect("coreutils").success());
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["start", "--home", text(&home)])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let slow = Slow {
            _directory: directory,
            home,
            settings,
            child,
        };
        // It has a handler before it reads anything.
        let file = format!("/proc/{}/status", slow.child.id());
        slow.wait("it catches SIGTERM", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            caught.unwrap_or_default() & (1 << 14) != 0
        });
        slow
    }

    fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let pid = Pid::from_raw(pid).expect("above 0");
        kill_process(pid, Signal::TERM).expect("ours");
    }

    /// Lets it go on.
    fn settings(&self) {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(self.home.join("config.toml"));
        let written = file.and_then(|mut file| file.write_all(self.settings.as_bytes()));
        written.expect("somebody reads it");
    }

    fn end(self) -> (Option<i32>, String, bool) {
        let output = self.child.wait_with_output().expect("ours to wait for");
        let database = self.home.join("data/CURRENT").exists();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, database)
    }
}

/// There was no handler before the validator ran: the first process of a container, which the system shields from signals
/// that it does not handle, went on and was killed at the end of its time.
#[test]
fn a_start_that_is_told_to_stop_ends_before_its_next_long_step() {
    let slow = Slow::start();
    slow.terminate();
    // Long enough to be noted, and not yet too long for a step.
    std::thread::sleep(Duration::from_millis(500));
    slow.settings();
    let (code, said, database) = slow.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped before it had started"), "{said}");
    assert!(!database, "it went on");
}

#[test]
fn a_start_that_hangs_in_a_step_ends_in_the_middle_of_it() {
    let slow = Slow::start();
    let from = Instant::now();
    slow.terminate();
    let (code, said, _) = slow.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(from.elapsed() < WITHIN);
}

/// The events of a start's log that has JSON's form, and the status.
fn failing(home: &Path, more: &[&str]) -> (i32, Vec<serde_json::Value>, String) {
    let start = ["start", "--home", text(home), "--set", "log.format=json"];
    let output = quorate(&[start.as_slice(), more].concat());
    let said = stderr(&output);
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let events = lines.map(|line| serde_json::from_str(line).expect("JSON"));
    (status(&output), events.collect(), said.clone())
}

/// Why it had ended was text on standard error only, which a collector of JSON lines drops.
#[test]
fn the_log_says_once_why_a_validator_ended() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("net");
    let made = quorate(&["testnet", "--output", text(&net), "--base-port", "1"]);
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    let home = net.join("validator-0");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("bound");
    let listen = format!("api.listen={address}");
    let (code, events, said) = failing(
        &home,
        &["--set", "network.listen=127.0.0.1:0", "--set", &listen],
    );
    assert_eq!(code, 1, "{said}");
    let ended: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "ended")
        .collect();
    assert_eq!(ended.len(), 1, "{said}");
    assert_eq!(ended[0]["status"], 1);
    assert_eq!(ended[0]["level"], "ERROR");
    for field in ["error", "hint"] {
        let text = ended[0][field].as_str().expect("text");
        assert!(said.contains(&format!(": {text}\n")), "{field}: {said}");
    }
}
