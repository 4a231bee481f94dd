//! Validators as real processes, in a temporary directory, gone when dropped.
//!
//! Everything goes through what users have: the binary's verbs, its HTTP API and its metrics. When a scenario fails,
//! the directory with the homes and the logs is kept, and its path is printed.
//!
//! | module | holds |
//! |---|---|
//! | [`run`] | the binary, and commands that run to their end |
//! | [`process`] | starts and ends of validators |
//! | [`ask`] | what they answer |
//! | [`check`] | what they agree on, and what they take |

pub mod ask;
pub mod check;
pub mod process;
pub mod run;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use crate::ports::Ports;
use crate::share::Share;
use crate::shim::{Control, Shadow};
use crate::spaces::Space;

pub use run::{Run, binary, quorate, quorate_within};

/// How long a start may take, in front of which two busy cores and a cold disk stand.
pub const START: Duration = Duration::from_secs(30);
/// How long one HTTP exchange may take before it counts as no answer.
pub const ANSWER: Duration = Duration::from_secs(10);
/// What a validator listens at by default, where it has an address of its own; two more follow.
const DEFAULT_PORT: u16 = 7650;

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
    /// Each validator has a network of its own ([`crate::spaces`]).
    pub spaces: bool,
    /// Bytes of memory of its own that each validator may have, touched or not (RLIMIT_DATA): who asks for more ends.
    pub memory: Option<u64>,
    /// Hundredths of a core that each validator has for itself (as root).
    pub cores: Option<u64>,
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
            spaces: false,
            memory: None,
            cores: None,
            environment: Vec::new(),
        }
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
    share: Option<Share>,
}

/// A cluster of processes.
#[derive(Debug)]
pub struct Cluster {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    ports: Ports,
    options: Options,
    nodes: Vec<Node>,
    /// Of each validator, with [`Options::spaces`].
    spaces: Vec<Space>,
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
        let count = options.validators * u16::from(options.spaces);
        let spaces: Vec<_> = (0..count)
            .map(|i| Space::new(i.try_into().expect("few")))
            .collect();
        let hosts: Vec<_> = spaces
            .iter()
            .map(|space| space.outer().to_string())
            .collect();
        let place = match options.spaces {
            true => ("--hosts", &hosts.join(",")),
            false => ("--base-port", &ports.base().to_string()),
        };
        let flags = [
            ("--validators", &validators),
            ("--clients", &clients),
            ("--output", &output),
            place,
        ];
        let flags = flags
            .iter()
            .flat_map(|(flag, value)| [*flag, value.as_str()]);
        let arguments: Vec<&str> = verb.iter().copied().chain(flags).collect();
        quorate(&arguments).expect(0, "the homes are made");
        clients_inside(&path.join("client.toml"), &spaces);
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
                share: options.cores.map(|percent| {
                    let name = format!("quorate-{}-{}", std::process::id(), ports.base() + i);
                    Share::new(&name, percent)
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
            spaces,
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

    /// Where the others believe a validator to be.
    #[must_use]
    pub fn peer_address(&self, i: usize) -> SocketAddr {
        match self.spaces.get(i) {
            Some(space) => (space.outer(), DEFAULT_PORT).into(),
            None => self.local(i, 0),
        }
    }

    /// Where a validator is with [`Options::chaos`], when a relay has taken its address.
    #[must_use]
    pub fn behind_relay(&self, i: usize) -> SocketAddr {
        match self.spaces.get(i) {
            Some(space) => (space.inner(), DEFAULT_PORT).into(),
            None => self.local(i, 3),
        }
    }

    /// Pulls a validator's cable, or plugs it in; false where it has none, without [`Options::spaces`].
    pub fn plug(&self, i: usize, plugged: bool) -> bool {
        let space = self.spaces.get(i);
        space.inspect(|space| space.plug(plugged)).is_some()
    }

    fn local(&self, i: usize, offset: u16) -> SocketAddr {
        let base = self.ports.base() + 10 * u16::try_from(i).expect("few");
        (Ipv4Addr::LOCALHOST, base + offset).into()
    }

    /// Where a validator serves clients.
    #[must_use]
    pub fn api(&self, i: usize) -> SocketAddr {
        match self.spaces.get(i) {
            Some(space) => (space.inner(), DEFAULT_PORT + 1).into(),
            None => self.local(i, 1),
        }
    }

    /// Where a validator serves its operator.
    #[must_use]
    pub fn admin(&self, i: usize) -> SocketAddr {
        match self.spaces.get(i) {
            Some(space) => (space.inner(), DEFAULT_PORT + 2).into(),
            None => self.local(i, 2),
        }
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

/// Peers know a validator by the relay's end of its cable; clients go to its own.
fn clients_inside(profile: &Path, spaces: &[Space]) {
    if spaces.is_empty() {
        return;
    }
    let mut text = fs::read_to_string(profile).expect("testnet wrote it");
    for space in spaces {
        let (outer, inner) = (space.outer().to_string(), space.inner().to_string());
        text = text.replace(&format!("{outer}:"), &format!("{inner}:"));
    }
    fs::write(profile, text).expect("writable");
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
