//! Validators as real processes, in a temporary directory, gone when dropped.
//!
//! Everything goes through what users have: the binary's verbs, its HTTP API and its metrics. When a scenario fails,
//! the directory with the homes and the logs is kept, and its path is printed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Response};
use crate::ports::Ports;
use crate::shim::{self, Control, Lost, Machine, Shadow};
use crate::wait::eventually;

/// How long a start may take, in front of which two busy cores and a cold disk stand.
pub const START: Duration = Duration::from_secs(30);
/// How long one HTTP exchange may take before it counts as no answer.
pub const ANSWER: Duration = Duration::from_secs(10);

/// What the cluster is, and what is wrong with its machines.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of validators.
    pub validators: u16,
    /// Number of clients with a key. The first is the command line's; the others are for [`crate::load`].
    pub clients: u16,
    /// Every sync of the disk takes this much longer.
    pub sync_delay: Option<Duration>,
    /// Follow what is durable, so that [`Cluster::cut_power`] can be called.
    pub power: bool,
    /// The machines' disks and clocks can be made to fail while they run, and all traffic between validators goes
    /// through relays.
    pub chaos: bool,
    /// Bytes of memory of its own that each validator may have, touched or not (RLIMIT_DATA): who asks for more ends.
    pub memory: Option<u64>,
    /// Further variables of the validators' environment.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            validators: 4,
            clients: 9,
            sync_delay: None,
            power: false,
            chaos: false,
            memory: None,
            environment: Vec::new(),
        }
    }
}

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

#[derive(Debug)]
struct Node {
    home: PathBuf,
    log: PathBuf,
    /// Bytes of the log that are of earlier starts.
    said: u64,
    child: Option<Child>,
    shadow: Option<Shadow>,
    control: Option<Control>,
}

/// A cluster of processes.
#[derive(Debug)]
pub struct Cluster {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    ports: Ports,
    options: Options,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Four validators, started and ready.
    #[must_use]
    pub fn four() -> Cluster {
        Cluster::started(Options::default())
    }

    /// A cluster, started and ready.
    #[must_use]
    pub fn started(options: Options) -> Cluster {
        let mut cluster = Cluster::new(options);
        cluster.start_all();
        cluster.wait_all_ready(START);
        cluster
    }

    /// The homes of a cluster, which does not run yet.
    ///
    /// # Panics
    /// If `quorate testnet` fails.
    #[must_use]
    pub fn new(options: Options) -> Cluster {
        Cluster::made_by(options, &["testnet"])
    }

    /// As [`Cluster::new`], made by another verb that takes the same flags.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn made_by(options: Options, verb: &[&str]) -> Cluster {
        let ports = Ports::reserve(options.validators);
        let directory = tempfile::Builder::new().prefix("quorate-").tempdir();
        let directory = directory.expect("a temporary directory");
        let path = directory.path().join("net");
        let output = path.display().to_string();
        let [validators, clients] = [options.validators, options.clients].map(|n| n.to_string());
        let base = ports.base().to_string();
        let flags = [
            ("--validators", &validators),
            ("--clients", &clients),
            ("--output", &output),
            ("--base-port", &base),
        ];
        let flags = flags
            .iter()
            .flat_map(|(flag, value)| [*flag, value.as_str()]);
        let arguments: Vec<&str> = verb.iter().copied().chain(flags).collect();
        quorate(&arguments).expect(0, "the homes are made");
        let node = |i: u16| {
            let home = path.join(format!("validator-{i}"));
            let image = directory.path().join(format!("shadow-{i}"));
            Node {
                log: directory.path().join(format!("validator-{i}.log")),
                shadow: options.power.then(|| Shadow::follow(&home, &image)),
                control: options.chaos.then(|| {
                    let file = directory.path().join(format!("machine-{i}"));
                    Control::at(file)
                }),
                said: 0,
                child: None,
                home,
            }
        };
        let nodes = (0..options.validators).map(node).collect();
        Cluster {
            directory: Some(directory),
            path,
            ports,
            options,
            nodes,
        }
    }

    /// The number of validators.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Where `testnet` wrote.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A validator's home.
    #[must_use]
    pub fn home(&self, i: usize) -> &Path {
        &self.nodes[i].home
    }

    /// What a validator has logged, over all its starts.
    #[must_use]
    pub fn log(&self, i: usize) -> String {
        fs::read_to_string(&self.nodes[i].log).unwrap_or_default()
    }

    /// What a validator has logged since its last start.
    #[must_use]
    pub fn log_of_start(&self, i: usize) -> String {
        self.log_from(i, self.nodes[i].said)
    }

    /// What a validator has logged behind the first `said` bytes.
    #[must_use]
    pub fn log_from(&self, i: usize, said: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut log) = File::open(&self.nodes[i].log) {
            let found = log.seek(SeekFrom::Start(said));
            found
                .and_then(|_| log.read_to_end(&mut bytes))
                .expect("a file");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// PEM files of the clients' keys, in the order of their names.
    ///
    /// # Panics
    /// If `testnet` wrote none.
    #[must_use]
    pub fn client_keys(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path.join("clients")).expect("testnet wrote clients");
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_key = |path: &PathBuf| path.extension().is_some_and(|end| end == "pem");
        let mut keys: Vec<_> = paths.filter(is_key).collect();
        keys.sort();
        assert!(!keys.is_empty(), "testnet wrote keys");
        keys
    }

    /// Changes the environment of what is started from now on.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.options.environment = environment;
    }

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
            None => Command::new(binary()),
        };
        command.arg("start").arg("--home").arg(&node.home);
        command.envs(environment).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle"));
        let child = command.stderr(log).spawn();
        node.child = Some(child.expect("the binary starts"));
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
    /// Without [`Options::power`].
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
    /// Without [`Options::power`].
    pub fn cut_power_of(&mut self, i: usize) -> Lost {
        self.kill(i);
        let shadow = self.nodes[i].shadow.as_ref();
        shadow.expect("started with Options::power").cut_power()
    }

    /// Changes the machine of one.
    ///
    /// # Panics
    /// Without [`Options::chaos`].
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

    /// Where the others believe a validator to be.
    #[must_use]
    pub fn peer_address(&self, i: usize) -> SocketAddr {
        local(self.ports.base() + 10 * u16::try_from(i).expect("few"))
    }

    /// Where a validator is with [`Options::chaos`], when a relay has taken its address.
    #[must_use]
    pub fn behind_relay(&self, i: usize) -> SocketAddr {
        local(self.ports.base() + 10 * u16::try_from(i).expect("few") + 3)
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
        let log = self.nodes[i].log.clone();
        let child = self.nodes[i].child.as_mut().expect("it runs");
        let admin = self.ports.base() + 10 * u16::try_from(i).expect("few") + 2;
        let what = format!("validator {i} is ready (log: {})", log.display());
        eventually(within, &what, || {
            if let Some(status) = child.try_wait().expect("ours to wait for") {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("validator {i} ended with {status}:\n{}", tail(&log));
            }
            let answer = http::get(local(admin), "/readyz", ANSWER).ok()?;
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

    /// Where a validator serves clients.
    #[must_use]
    pub fn api(&self, i: usize) -> SocketAddr {
        local(self.ports.base() + 10 * u16::try_from(i).expect("few") + 1)
    }

    /// Where a validator serves its operator.
    #[must_use]
    pub fn admin(&self, i: usize) -> SocketAddr {
        local(self.ports.base() + 10 * u16::try_from(i).expect("few") + 2)
    }

    /// GET from the operator's port; none without an answer.
    #[must_use]
    pub fn ask_admin(&self, i: usize, path: &str) -> Option<Response> {
        http::get(self.admin(i), path, ANSWER).ok()
    }

    /// GET from the clients' port; none without an answer.
    #[must_use]
    pub fn ask(&self, i: usize, path: &str) -> Option<Response> {
        http::get(self.api(i), path, ANSWER).ok()
    }

    /// `/v1/status`; null without an answer.
    #[must_use]
    pub fn status(&self, i: usize) -> Value {
        let answer = self.ask(i, "/v1/status");
        answer.map(|answer| answer.json()).unwrap_or_default()
    }

    /// Highest committed height of a validator, 0 without an answer.
    #[must_use]
    pub fn height(&self, i: usize) -> u64 {
        self.status(i)["height"].as_u64().unwrap_or(0)
    }

    /// The first sample of a metric, whatever its labels.
    #[must_use]
    pub fn metric(&self, i: usize, name: &str) -> Option<f64> {
        let text = self.ask_admin(i, "/metrics")?.text();
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let line = text.lines().find(is_it)?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The leader of the newest block's round, as some running validator knows it.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let running = (0..self.size()).filter(|&i| self.runs(i));
        let mut leaders = running.filter_map(|i| self.status(i)["leader"].as_u64());
        usize::try_from(leaders.next()?).ok()
    }

    /// Runs a verb as the first client, with the profile of `testnet`.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Run {
        let profile = self.path.join("client.toml").display().to_string();
        self.cli_with(&profile, arguments)
    }

    /// As [`Cluster::cli`], against one validator only.
    ///
    /// # Panics
    /// If the profile of `testnet` has no line of endpoints.
    #[must_use]
    pub fn cli_at(&self, i: usize, arguments: &[&str]) -> Run {
        let profile = fs::read_to_string(self.path.join("client.toml")).expect("written");
        let mut table: Vec<String> = Vec::new();
        let mut inside = false;
        for line in profile.lines() {
            // The endpoints may stand on one line or on several.
            if line.starts_with("endpoints") {
                inside = true;
                let endpoint = format!("endpoints = [\"http://{}\"]", self.api(i));
                table.push(endpoint);
            }
            if !inside {
                table.push(line.to_owned());
            }
            inside &= !line.contains(']');
        }
        let path = self.path.join(format!("only-{i}.toml"));
        fs::write(&path, table.join("\n")).expect("writable");
        self.cli_with(&path.display().to_string(), arguments)
    }

    fn cli_with(&self, profile: &str, arguments: &[&str]) -> Run {
        let key = self.client_keys()[0].display().to_string();
        let mut all = vec!["--profile", profile, "--key", &key];
        all.extend(arguments);
        quorate(&all)
    }

    /// `kv put`, which must succeed; returns how long it took.
    pub fn put(&self, key: &str, value: &str) -> Duration {
        let run = self.cli(&["kv", "put", key, value]);
        run.expect(0, "a put succeeds").took
    }

    /// `kv get` of a key that must be there, linearizable.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn get(&self, key: &str) -> String {
        let run = self.cli(&["kv", "get", key]).expect(0, "a get succeeds");
        run.stdout.trim_end().to_owned()
    }

    /// Waits until all running validators have executed the same height with the same roots; returns height and roots.
    ///
    /// # Panics
    /// If they do not within `within`.
    pub fn agree(&self, within: Duration) -> (u64, Value) {
        let running: Vec<_> = (0..self.size()).filter(|&i| self.runs(i)).collect();
        eventually(within, "equal heights and roots everywhere", || {
            let states = running.iter().map(|&i| self.status(i));
            let mut states = states.map(|s| (s["executed"].as_u64(), s["roots"].clone()));
            let (height, roots) = states.next()?;
            let equal = states.all(|other| other == (height, roots.clone()));
            (equal && !roots.is_null()).then(|| Some((height?, roots)))?
        })
    }

    /// `log verify` of every home whose validator does not run.
    ///
    /// # Panics
    /// If a log does not verify.
    pub fn verify_logs(&self) {
        for i in (0..self.size()).filter(|&i| !self.runs(i)) {
            let home = self.nodes[i].home.display().to_string();
            let run = quorate(&["log", "verify", "--home", &home]);
            run.expect(0, &format!("the log of validator {i} verifies"));
        }
    }

    /// Processor time that a validator has used.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn cpu(&self, i: usize) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid(i))).expect("it runs");
        // Behind the name in brackets, which may hold blanks: user and system time, in hundredths of a second.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| -> u64 { fields[at].parse().expect("a number") };
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Bytes of memory that a validator had at most at a time, since its start.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn peak_memory(&self, i: usize) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(i)));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib
            .and_then(|kib| kib.parse().ok())
            .expect("a number of kB");
        kib << 10
    }

    /// Bytes that a validator's home takes on the disk.
    #[must_use]
    pub fn disk(&self, i: usize) -> u64 {
        allocated(&self.nodes[i].home)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            for i in (0..self.size()).filter(|&i| !self.log(i).is_empty()) {
                eprintln!("--- the end of validator {i}'s log\n{}", tail(&self.log(i)));
            }
            eprintln!("--- kept for inspection: {}", directory.keep().display());
        }
    }
}

/// The binary, under a limit of its memory.
fn limited(bytes: u64) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d \"$0\" && exec \"$@\""]);
    command.arg((bytes >> 10).to_string()).arg(binary());
    command
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn allocated(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0; // A compaction removed it meanwhile.
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
