//! The binary, and commands that run to their end.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// Exit status; none after a signal.
    pub status: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Logs and errors.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// Bytes of memory that it had at most at a time.
    pub peak: u64,
}

impl Run {
    /// The command must have ended with this status.
    ///
    /// # Panics
    /// With what it printed, if it did not.
    pub fn expect(self, status: i32, what: &str) -> Run {
        let (out, err) = (&self.stdout, &self.stderr);
        assert_eq!(self.status, Some(status), "{what}\n{out}{err}");
        self
    }

    /// The results as JSON, null if they are none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_default()
    }
}

/// The `quorate` binary: `QUORATE_BIN`, or what stands beside the running one.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().expect("a running program has a path");
        let mut folders = own.ancestors().skip(1);
        folders.find_map(|folder| Some(folder.join("quorate")).filter(|path| path.is_file()))
    };
    let named = std::env::var_os("QUORATE_BIN").map(PathBuf::from);
    let found = named.filter(|path| path.is_file()).or_else(beside);
    found.expect("the binary quorate: build it first, with `make build`")
}

/// How long a command may take, and one that works on a large state.
const SOON: Duration = Duration::from_secs(120);
const LATE: Duration = Duration::from_secs(900);

/// Runs the binary to its end.
///
/// # Panics
/// If it cannot be started, or does not end within two minutes.
#[must_use]
pub fn quorate<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    complete(Command::new(binary()), arguments, SOON)
}

/// As [`quorate`], for up to a quarter of an hour and with so many bytes of memory of its own at most.
///
/// # Panics
/// If it cannot be started, or does not end in that time.
#[must_use]
pub fn quorate_within<S: AsRef<OsStr>>(memory: u64, arguments: &[S]) -> Run {
    complete(limited(memory), arguments, LATE)
}

/// The binary, under a limit of its memory.
pub(super) fn limited(bytes: u64) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d \"$0\" && exec \"$@\""]);
    command.arg((bytes >> 10).to_string()).arg(binary());
    command
}

/// Bytes of memory that a process had at most at a time, since its start; none once it has ended.
pub(super) fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

fn complete<S: AsRef<OsStr>>(mut command: Command, arguments: &[S], within: Duration) -> Run {
    // Files and not pipes, so that a talkative command never waits for a reader.
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
    let from = Instant::now();
    command.args(arguments).stdin(Stdio::null());
    command.stdout(out.try_clone().expect("a second handle"));
    command.stderr(err.try_clone().expect("a second handle"));
    let mut child = command.spawn().expect("the binary starts");
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("ours to wait for") {
            break status;
        }
        peak = peak_memory(child.id()).unwrap_or(peak);
        if from.elapsed() > within {
            child.kill().expect("ours to kill");
            let line: Vec<_> = arguments.iter().map(|a| a.as_ref().to_owned()).collect();
            panic!("still running after {within:?}: quorate {line:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let took = from.elapsed();
    let [stdout, stderr] = [&mut out, &mut err].map(|file| {
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0)).expect("a file");
        file.read_to_end(&mut text).expect("a file");
        String::from_utf8_lossy(&text).into_owned()
    });
    Run {
        status: status.code(),
        stdout,
        stderr,
        took,
        peak,
    }
}
