//! Starts and ends of validators: in order, by signals, with the power, by themselves.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::run::limited;
use super::{ANSWER, Cluster, binary, tail};
use crate::http;
use crate::shim::{self, Lost, Machine};
use crate::wait::eventually;

impl Cluster {
    /// Starts a validator.
    ///
    /// # Panics
    /// If it runs.
    pub fn start(&mut self, i: usize) {
        let environment = self.environment(i);
        let node = &mut self.nodes[i];
        assert!(node.child.is_none(), "validator {i} runs already");
        let log = File::options().create(true).append(true).open(&node.log);
        let mut log = log.expect("the directory is writable");
        // A kill may have left half a line.
        writeln!(log).expect("the directory is writable");
        node.said = log.metadata().map_or(0, |metadata| metadata.len());
        let mut command = match self.options.memory {
            Some(bytes) => limited(bytes),
            None => match self.spaces.get(i) {
                Some(space) => space.command(&binary()),
                None => Command::new(binary()),
            },
        };
        command.arg("start").arg("--home").arg(&node.home);
        command.envs(environment).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle"));
        let child = command.stderr(log).spawn();
        let child = child.expect("the binary starts");
        if let Some(share) = &node.share {
            share.take(child.id());
        }
        node.child = Some(child);
    }

    fn environment(&self, i: usize) -> Vec<(String, String)> {
        let mut all = self.options.environment.clone();
        if let Some(shadow) = &self.nodes[i].shadow {
            all.extend(shadow.environment());
        }
        if let Some(control) = &self.nodes[i].control {
            all.extend(control.environment());
            let listen = self.behind_relay(i).to_string();
            all.push(("QUORATE_NETWORK__LISTEN".into(), listen));
        }
        if self.options.spaces {
            let listen = self.admin(i).to_string();
            all.push(("QUORATE_ADMIN__LISTEN".into(), listen));
        }
        if let Some(delay) = self.options.sync_delay {
            let library = shim::library().display().to_string();
            all.push(("LD_PRELOAD".into(), library));
            let millis = delay.as_millis().to_string();
            all.push(("QUORATE_SHIM_SYNC_DELAY_MS".into(), millis));
        }
        all
    }

    /// Starts all validators that do not run.
    pub fn start_all(&mut self) {
        for i in 0..self.size() {
            if self.nodes[i].child.is_none() {
                self.start(i);
            }
        }
    }

    /// kill -9.
    pub fn kill(&mut self, i: usize) {
        if let Some(mut child) = self.nodes[i].child.take() {
            child.kill().expect("ours to kill");
            child.wait().expect("ours to wait for");
        }
    }

    /// kill -9 of all, as near to one instant as signals go.
    pub fn kill_all(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            child.kill().expect("ours to kill");
        }
        for mut child in self.nodes.iter_mut().filter_map(|node| node.child.take()) {
            child.wait().expect("ours to wait for");
        }
    }

    /// The power goes, everywhere at once: kill -9, and what was not synced is gone.
    ///
    /// # Panics
    /// Without [`super::Options::power`].
    pub fn cut_power(&mut self) -> Vec<Lost> {
        self.kill_all();
        let shadows = self.nodes.iter().map(|node| node.shadow.as_ref());
        shadows
            .map(|shadow| shadow.expect("started with Options::power").cut_power())
            .collect()
    }

    /// The power of one goes.
    ///
    /// # Panics
    /// Without [`super::Options::power`].
    pub fn cut_power_of(&mut self, i: usize) -> Lost {
        self.kill(i);
        let shadow = self.nodes[i].shadow.as_ref();
        shadow.expect("started with Options::power").cut_power()
    }

    /// Changes the machine of one.
    ///
    /// # Panics
    /// Without [`super::Options::chaos`].
    pub fn set_machine(&self, i: usize, machine: Machine) {
        let control = self.nodes[i].control.as_ref();
        control.expect("started with Options::chaos").set(machine);
    }

    /// How a process has ended by itself, if it has; it may be started again then.
    ///
    /// # Panics
    /// If the kernel does not tell.
    pub fn ended(&mut self, i: usize) -> Option<ExitStatus> {
        let child = self.nodes[i].child.as_mut()?;
        let status = child.try_wait().expect("ours to wait for")?;
        self.nodes[i].child = None;
        Some(status)
    }

    /// SIGTERM; returns how it ended.
    ///
    /// # Panics
    /// If it does not run, or takes more than the 20 s that are promised.
    pub fn stop(&mut self, i: usize) -> ExitStatus {
        self.signal(i, "TERM");
        let mut child = self.nodes[i].child.take().expect("it runs");
        let what = format!("validator {i} ends after SIGTERM");
        eventually(Duration::from_secs(20), &what, || {
            child.try_wait().expect("ours to wait for")
        })
    }

    /// Sends a signal, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, i: usize, signal: &str) {
        let pid = self.pid(i).to_string();
        let kill = format!("kill -{signal} {pid}");
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell").success(), "{kill}");
    }

    /// The process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self, i: usize) -> u32 {
        self.nodes[i].child.as_ref().expect("it runs").id()
    }

    /// Whether the validator's process is there.
    #[must_use]
    pub fn runs(&self, i: usize) -> bool {
        self.nodes[i].child.is_some()
    }

    /// Waits for a process to end by itself, and returns its exit status.
    ///
    /// # Panics
    /// If it does not run or does not end in time.
    pub fn wait_end(&mut self, i: usize, within: Duration) -> ExitStatus {
        let what = format!("validator {i} ends by itself");
        let child = self.nodes[i].child.as_mut().expect("it runs");
        let status = eventually(within, &what, || child.try_wait().expect("ours"));
        self.nodes[i].child = None;
        status
    }

    /// Waits until a validator answers `/readyz` with 200.
    ///
    /// # Panics
    /// If that takes longer than `within`, or the process ends.
    pub fn wait_ready(&mut self, i: usize, within: Duration) {
        let admin = self.admin(i);
        let log = self.nodes[i].log.clone();
        let child = self.nodes[i].child.as_mut().expect("it runs");
        let what = format!("validator {i} is ready (log: {})", log.display());
        eventually(within, &what, || {
            if let Some(status) = child.try_wait().expect("ours to wait for") {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("validator {i} ended with {status}:\n{}", tail(&log));
            }
            let answer = http::get(admin, "/readyz", ANSWER).ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Waits until all that run are ready.
    pub fn wait_all_ready(&mut self, within: Duration) {
        for i in 0..self.size() {
            if self.runs(i) {
                self.wait_ready(i, within);
            }
        }
    }
}
