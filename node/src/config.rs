//! `config.toml`: what one validator may decide for itself.
//!
//! Owns the settings of a process: addresses, bounds, logging. It must never hold anything that consensus depends on;
//! that stands in the genesis or in the log. Precedence: defaults < file < `QUORATE_SECTION__KEY` < flags. An unknown key
//! is an error that names where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use quorate_client::http::check_endpoint;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::exit::Failure;
use crate::net::CongestionControl;

/// What environment variables with settings begin with.
const PREFIX: &str = "QUORATE_";

/// What each setting means, for `docs/reference/configuration.md`; a test there misses none.
pub const DESCRIPTIONS: &[(&str, &str)] = &[
    (
        "admin.listen",
        "TCP address of metrics and probes; no authentication, so loopback",
    ),
    (
        "api.idle_timeout_ms",
        "a connection without a byte for so long is closed; above the request timeout",
    ),
    ("api.listen", "TCP address of the HTTP API for clients"),
    (
        "api.max_connections",
        "connections at a time; further ones wait in the kernel's queue",
    ),
    (
        "api.request_timeout_ms",
        "longest time for one request; then 504",
    ),
    (
        "log.format",
        "`auto`: text on a terminal, JSON lines otherwise; `text`; `json`",
    ),
    (
        "log.level",
        "a tracing filter such as `info` or `warn,quorate_node=debug`",
    ),
    (
        "mempool.max_bytes",
        "bytes of transactions taken here and not executed yet; beyond, submissions get 429",
    ),
    (
        "mempool.max_transactions",
        "transactions taken here and not executed yet; likewise",
    ),
    (
        "network.congestion_control",
        "how QUIC finds out what a link between validators carries: `cubic`, `bbr` or `new-reno`",
    ),
    (
        "network.listen",
        "UDP address of QUIC between validators; the others dial the one in the genesis",
    ),
    (
        "node.name",
        "name in the genesis, a guard against mixed-up homes; empty: whatever the key says",
    ),
    (
        "snapshots.fetch_gap_blocks",
        "behind by more heights than this, a snapshot is fetched instead of blocks, if a peer has one",
    ),
    (
        "snapshots.interval_blocks",
        "a snapshot is made at every multiple of so many heights; 0: only on demand",
    ),
    ("snapshots.keep", "snapshots kept; one at least"),
    (
        "storage.cache_bytes",
        "memory for cached blocks of the database",
    ),
    (
        "storage.keep_blocks",
        "newest blocks kept, with batches and receipts; older ones go once they are in a snapshot; 0: all are kept",
    ),
    (
        "storage.max_bytes",
        "size of the database above which only as many blocks are kept as are needed; 0: no bound",
    ),
    (
        "storage.min_free_bytes",
        "free space on the disk below which transactions are refused; below half of it the validator halts; 128 MiB at least, or 0: not looked at",
    ),
    (
        "trace.endpoint",
        "http://host:port of an OpenTelemetry collector (OTLP over HTTP) that is sent traces; empty: none",
    ),
    (
        "trace.one_in",
        "of so many transactions, one is traced; all validators with the same number trace the same ones",
    ),
];

/// All settings. Each section has defaults, so an empty file is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this is.
    pub node: Node,
    /// QUIC between validators.
    pub network: Network,
    /// HTTP for clients.
    pub api: Api,
    /// Metrics and health.
    pub admin: Admin,
    /// The database.
    pub storage: Storage,
    /// Snapshots of the state, for peers that join and for the past to go.
    pub snapshots: Snapshots,
    /// Transactions that wait.
    pub mempool: Mempool,
    /// What is written to standard error.
    pub log: Log,
    /// What collectors of traces are sent.
    pub trace: Trace,
}

/// Who this is. The consensus key decides; the name guards against a mixed-up home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name in the genesis; empty: whatever the consensus key says.
    pub name: String,
}

/// QUIC between validators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// UDP address.
    pub listen: SocketAddr,
    /// How much is under way at a time.
    pub congestion_control: CongestionControl,
}

/// HTTP for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// TCP address.
    pub listen: SocketAddr,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Longest time for one request, in milliseconds.
    pub request_timeout_ms: u64,
    /// A connection without a byte for this long is closed, in milliseconds.
    pub idle_timeout_ms: u64,
}

/// Metrics and health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// TCP address; loopback unless told otherwise, since there is no authentication.
    pub listen: SocketAddr,
}

/// The database takes space in large pieces, tens of megabytes between two looks: with less than this, it could be full
/// before the validator halts at half of it.
const MIN_FREE_BYTES: u64 = 128 << 20;

/// The database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Memory for cached blocks of the database, in bytes.
    pub cache_bytes: u64,
    /// Newest blocks that are kept, with batches and receipts; older ones go once they are in a snapshot. 0: all are kept.
    pub keep_blocks: u64,
    /// Bytes of the database above which only as many blocks are kept as the protocol needs. 0: no bound.
    pub max_bytes: u64,
    /// Free space on the disk, in bytes, below which clients' transactions are refused; below half of it the validator
    /// halts until there is room again. At least 128 MiB, or 0: not looked at.
    pub min_free_bytes: u64,
}

/// Snapshots of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// A snapshot is made at every multiple of so many heights; 0: only on demand.
    pub interval_blocks: u64,
    /// Snapshots kept, at least 1.
    pub keep: u64,
    /// Behind by more heights than this, a snapshot is fetched instead of blocks, if a peer has one.
    pub fetch_gap_blocks: u64,
}

/// Transactions that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mempool {
    /// Bytes of transactions taken here and not executed yet; beyond, submissions are answered with 429.
    pub max_bytes: u64,
    /// Transactions taken here and not executed yet; likewise.
    pub max_transactions: u64,
}

/// What is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A tracing filter: `info`, `warn,quorate_node=debug`, …
    pub level: String,
    /// Text or JSON lines.
    pub format: LogFormat,
}

/// What collectors of traces are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trace {
    /// `http://host:port` of an OpenTelemetry collector; empty: nothing is traced.
    pub endpoint: String,
    /// Of so many transactions, one is traced.
    pub one_in: u64,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// JSON lines.
    Json,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            listen: SocketAddr::from(([0, 0, 0, 0], 7650)),
            congestion_control: CongestionControl::default(),
        }
    }
}

impl Default for Api {
    fn default() -> Api {
        Api {
            listen: SocketAddr::from(([0, 0, 0, 0], 7651)),
            max_connections: 4_096,
            request_timeout_ms: 30_000,
            idle_timeout_ms: 120_000,
        }
    }
}

impl Default for Admin {
    fn default() -> Admin {
        Admin {
            listen: SocketAddr::from(([127, 0, 0, 1], 7652)),
        }
    }
}

impl Default for Storage {
    fn default() -> Storage {
        Storage {
            cache_bytes: 96 << 20,
            keep_blocks: 0,
            max_bytes: 0,
            min_free_bytes: 256 << 20,
        }
    }
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        Snapshots {
            interval_blocks: 10_000,
            keep: 2,
            fetch_gap_blocks: 10_000,
        }
    }
}

impl Default for Mempool {
    fn default() -> Mempool {
        Mempool {
            // About two seconds of work: what waits longer is better told to come back.
            max_bytes: 32 << 20,
            max_transactions: 8_192,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            level: String::from("info"),
            format: LogFormat::Auto,
        }
    }
}

impl Default for Trace {
    fn default() -> Trace {
        Trace {
            endpoint: String::new(),
            one_in: 1_000,
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// `config.toml`.
    File,
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File => f.write_str("file"),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// Settings with their origins, by `section.key`.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each value came from; what is missing is a default.
    pub origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Every setting as `section.key`, with value and origin.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Value, Origin)> {
        let table = Table::try_from(&self.config).expect("settings are TOML");
        let mut entries = Vec::new();
        for (section, keys) in &table {
            for (key, value) in keys.as_table().into_iter().flatten() {
                let name = format!("{section}.{key}");
                let origin = self.origins.get(&name).cloned();
                entries.push((name, value.clone(), origin.unwrap_or(Origin::Default)));
            }
        }
        entries
    }
}

/// Reads the file (none: defaults), then the environment, then the flags `section.key=value`.
///
/// # Errors
/// Status 3, naming the line, the variable or the flag.
pub fn load(
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[String],
) -> Result<Loaded, Failure> {
    let mut table = Table::new();
    let mut origins = BTreeMap::new();
    if let Some(path) = path {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::config(format!("cannot read {shown}: {error}")))?;
        table = parse(&text).map_err(|why| Failure::config(format!("{shown}: {why}")))?;
        for (section, keys) in &table {
            for key in keys.as_table().into_iter().flat_map(|keys| keys.keys()) {
                origins.insert(format!("{section}.{key}"), Origin::File);
            }
        }
    }
    for (name, value) in environment {
        let Some(setting) = name.strip_prefix(PREFIX) else {
            continue;
        };
        // Other variables of this program (QUORATE_PROFILE) have no section.
        let Some((section, key)) = setting.split_once("__") else {
            continue;
        };
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        overlay(&mut table, &section, &key, &value)
            .map_err(|error| Failure::config(format!("environment variable {name}: {error}")))?;
        origins.insert(format!("{section}.{key}"), Origin::Environment(name));
    }
    for flag in flags {
        let malformed = || Failure::usage(format!("--set {flag}: expected section.key=value"));
        let (name, value) = flag.split_once('=').ok_or_else(malformed)?;
        let (section, key) = name.split_once('.').ok_or_else(malformed)?;
        overlay(&mut table, section, key, value)
            .map_err(|error| Failure::config(format!("--set {flag}: {error}")))?;
        origins.insert(name.to_owned(), Origin::Flag);
    }
    let config: Config = table
        .try_into()
        .map_err(|error: toml::de::Error| Failure::config(error.message()))?;
    config.check()?;
    Ok(Loaded { config, origins })
}

/// The text of a file of settings, as a table, to lay the rest over it.
///
/// # Errors
/// What is wrong, with its line and column.
pub fn parse(text: &str) -> Result<Table, String> {
    // Once into its types, so that errors name the line.
    toml::from_str::<Config>(text).map_err(|error| one_line(text, &error))?;
    Ok(toml::from_str(text).expect("parsed a moment ago"))
}

/// Sets one value, and refuses it at once if the whole is no configuration any more. The text is a TOML value, or a
/// string without quotes.
fn overlay(table: &mut Table, section: &str, key: &str, text: &str) -> Result<(), String> {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    let keys = table
        .entry(section)
        .or_insert_with(|| Value::Table(Table::new()));
    let keys = keys.as_table_mut().ok_or("not a section")?;
    keys.insert(key.to_owned(), value);
    let whole: Result<Config, toml::de::Error> = table.clone().try_into();
    whole.map(drop).map_err(|error| error.message().to_owned())
}

/// `line L, column C: message`.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else {
        return error.message().to_owned();
    };
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("line {line}, column {column}: {}", error.message())
}

impl Config {
    /// Whether the values can work.
    fn check(&self) -> Result<(), Failure> {
        let rules = [
            ("api.max_connections", self.api.max_connections >= 1),
            ("api.request_timeout_ms", self.api.request_timeout_ms >= 1),
            (
                "api.idle_timeout_ms",
                self.api.idle_timeout_ms > self.api.request_timeout_ms,
            ),
            ("mempool.max_bytes", self.mempool.max_bytes >= 1 << 20),
            (
                "mempool.max_transactions",
                self.mempool.max_transactions >= 1,
            ),
            ("storage.cache_bytes", self.storage.cache_bytes >= 1 << 20),
            (
                "storage.min_free_bytes",
                matches!(self.storage.min_free_bytes, 0 | MIN_FREE_BYTES..),
            ),
            ("trace.one_in", self.trace.one_in >= 1),
        ];
        match rules.into_iter().find(|(_, holds)| !holds) {
            Some((name, _)) => Err(Failure::config(format!("{name} is out of its range"))),
            None => self.check_trace(),
        }
    }

    fn check_trace(&self) -> Result<(), Failure> {
        match self.trace.endpoint.as_str() {
            "" => Ok(()),
            endpoint => check_endpoint(endpoint)
                .map_err(|error| Failure::config(format!("trace.endpoint: {error}"))),
        }
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    fn load_text(text: &str, env: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, Failure> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).expect("writable");
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        load(Some(&path), env, &flags)
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_what_is_written_is_read() {
        assert_eq!(
            load_text("", &[], &[]).expect("valid").config,
            Config::default()
        );
        let text = Config::default().to_toml();
        assert_eq!(
            load_text(&text, &[], &[]).expect("valid").config,
            Config::default()
        );
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let text =
            "[api]\nlisten = \"127.0.0.1:1\"\nmax_connections = 5\n[log]\nlevel = \"warn\"\n";
        let env = [
            ("QUORATE_API__LISTEN", "127.0.0.1:2"),
            ("QUORATE_LOG__LEVEL", "debug"),
        ];
        let env = [env.as_slice(), &[("QUORATE_PROFILE", "x"), ("HOME", "y")]].concat();
        let loaded = load_text(text, &env, &["api.listen=127.0.0.1:3"]).expect("valid");
        assert_eq!(loaded.config.api.listen.port(), 3);
        assert_eq!(loaded.config.log.level, "debug");
        assert_eq!(loaded.config.api.max_connections, 5);
        let origin = |name: &str| {
            let entries = loaded.entries();
            let entry = entries.into_iter().find(|(found, ..)| found == name);
            entry.expect("a setting").2.to_string()
        };
        assert_eq!(origin("api.listen"), "flag");
        assert_eq!(origin("log.level"), "QUORATE_LOG__LEVEL");
        assert_eq!(origin("api.max_connections"), "file");
        assert_eq!(origin("admin.listen"), "default");
    }

    #[test]
    fn each_mistake_names_its_place() {
        type Case<'a> = (
            &'a str,
            &'a [(&'a str, &'a str)],
            &'a [&'a str],
            ExitStatus,
            &'a str,
        );
        let cases: [Case<'_>; 10] = [
            (
                "[api]\nlisten = \"a\"\n",
                &[],
                &[],
                ExitStatus::Config,
                "line 2",
            ),
            (
                "[api]\n\nport = 1\n",
                &[],
                &[],
                ExitStatus::Config,
                "line 3",
            ),
            ("[apo]\n", &[], &[], ExitStatus::Config, "line 1"),
            ("[api\n", &[], &[], ExitStatus::Config, "line 1"),
            (
                "",
                &[("QUORATE_API__PORT", "1")],
                &[],
                ExitStatus::Config,
                "QUORATE_API__PORT",
            ),
            (
                "",
                &[("QUORATE_API__MAX_CONNECTIONS", "many")],
                &[],
                ExitStatus::Config,
                "MAX_CONN",
            ),
            (
                "",
                &[],
                &["api.port=1"],
                ExitStatus::Config,
                "--set api.port=1",
            ),
            ("", &[], &["api"], ExitStatus::Usage, "section.key=value"),
            (
                "",
                &[],
                &["api.max_connections=0"],
                ExitStatus::Config,
                "out of its range",
            ),
            (
                "",
                &[],
                &["storage.min_free_bytes=134217727"],
                ExitStatus::Config,
                "storage.min_free_bytes is out of its range",
            ),
        ];
        for (text, env, flags, status, place) in cases {
            let failure = load_text(text, env, flags).expect_err("invalid");
            assert_eq!(failure.status, status, "{}", failure.message);
            assert!(failure.message.contains(place), "{}", failure.message);
        }
    }
}
