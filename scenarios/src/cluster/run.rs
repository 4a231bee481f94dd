//! The binary, and commands that run to their end.

use std::ffi::OsStr;
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

/// Runs the binary to its end.
///
/// # Panics
/// If it cannot be started, or does not end within two minutes.
#[must_use]
pub fn quorate<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    // Files and not pipes, so that a talkative command never waits for a reader.
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
    let from = Instant::now();
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command.stdout(out.try_clone().expect("a second handle"));
    command.stderr(err.try_clone().expect("a second handle"));
    let mut child = command.spawn().expect("the binary starts");
    let status = loop {
        if let Some(status) = child.try_wait().expect("ours to wait for") {
            break status;
        }
        if from.elapsed() > Duration::from_secs(120) {
            child.kill().expect("ours to kill");
            let line: Vec<_> = arguments.iter().map(|a| a.as_ref().to_owned()).collect();
            panic!("still running after two minutes: quorate {line:?}");
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
    }
}
