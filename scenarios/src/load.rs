//! Clients that write without pause, remember what was acknowledged, and check later that it is there.
//!
//! They sign with the formats of `quorate-types` and speak HTTP themselves. An acknowledgement is an executed receipt;
//! a transaction without one is sent again, the same signed bytes, to the next validator (X1 makes that safe).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_crypto::SecretKey;
use quorate_execution::kv::Command;
use quorate_types::{Blob, BlockTime, ChainId, FORMAT_VERSION, Genesis, Rejection};
use quorate_types::{Transaction, TransactionBody, codec};
use serde_json::Value;

use crate::cluster::{ANSWER, Cluster, START};
use crate::http::{Connection, Response};

/// Media type of canonical bytes.
pub const CANONICAL: &str = "application/octet-stream";

/// Reads `genesis.json`, which names the chain.
///
/// # Panics
/// If `testnet` wrote none that this release reads.
#[must_use]
pub fn chain(cluster: &Cluster) -> ChainId {
    let path = cluster.path().join("genesis.json");
    let text = std::fs::read_to_string(path).expect("testnet wrote a genesis");
    let genesis: Genesis = serde_json::from_str(&text).expect("a genesis of this release");
    genesis.chain_id()
}

/// This machine's time, `seconds` from now.
#[must_use]
pub fn in_seconds(seconds: i64) -> BlockTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.expect("after 1970").as_nanos();
    let nanos = u64::try_from(nanos).expect("before 2554");
    let shift = seconds.unsigned_abs() * 1_000_000_000;
    BlockTime(if seconds < 0 {
        nanos - shift
    } else {
        nanos + shift
    })
}

/// A put, as a command of the state machine.
#[must_use]
pub fn put_command(key: &str, value: &[u8]) -> Blob {
    Blob(codec::encode(&Command::Put {
        key: Blob(key.as_bytes().to_vec()),
        value: Blob(value.to_vec()),
        lease: None,
    }))
}

/// One client with a key of its own.
#[derive(Debug)]
pub struct Writer {
    key: SecretKey,
    chain: ChainId,
    sequence: u64,
    endpoints: Vec<SocketAddr>,
    at: usize,
    connection: Option<Connection>,
}

impl Writer {
    /// The client whose key stands at this place among [`Cluster::client_keys`]; it must have signed nothing yet.
    ///
    /// # Panics
    /// If there is no such key.
    #[must_use]
    pub fn new(cluster: &Cluster, client: usize) -> Writer {
        Writer {
            key: read_key(&cluster.client_keys()[client]),
            chain: chain(cluster),
            sequence: 0,
            endpoints: (0..cluster.size()).map(|i| cluster.api(i)).collect(),
            at: client,
            connection: None,
        }
    }

    /// Asks only these.
    pub fn only(&mut self, endpoints: Vec<SocketAddr>) {
        self.endpoints = endpoints;
        self.connection = None;
    }

    /// Leaves numbers out, so that those below the next one fall out of the chain's window.
    pub fn skip(&mut self, numbers: u64) {
        self.sequence += numbers;
    }

    /// The body of the next transaction, valid for ten minutes, for a scenario to spoil.
    #[must_use]
    pub fn body(&mut self, commands: Vec<Blob>) -> TransactionBody {
        self.sequence += 1;
        TransactionBody {
            version: FORMAT_VERSION,
            chain: self.chain,
            client: self.key.public(),
            sequence: self.sequence,
            valid_until: in_seconds(600),
            commands,
        }
    }

    /// Signs a body with this client's key, whatever the body says.
    #[must_use]
    pub fn sign(&self, body: TransactionBody) -> Transaction {
        body.sign(&self.key)
    }

    /// Sends canonical bytes once; none without an answer.
    pub fn send_once(&mut self, transaction: &[u8], wait: &str) -> Option<Response> {
        let endpoint = self.endpoints[self.at % self.endpoints.len()];
        if self.connection.is_none() {
            self.connection = Connection::open(endpoint, ANSWER).ok();
        }
        let path = format!("/v1/transactions?wait={wait}");
        let connection = self.connection.as_mut();
        let answer = connection.map(|c| c.send("POST", &path, CANONICAL, transaction));
        match answer {
            Some(Ok(response)) => Some(response),
            _ => {
                self.connection = None;
                self.at += 1;
                None
            }
        }
    }

    /// Puts a key and comes back with the acknowledgement; false if there was none until `deadline`.
    pub fn put(&mut self, key: &str, value: &[u8], deadline: Instant) -> bool {
        let body = self.body(vec![put_command(key, value)]);
        let bytes = codec::encode(&self.sign(body));
        while Instant::now() < deadline {
            match self.send_once(&bytes, "executed") {
                Some(response) if is_executed(&response) => return true,
                Some(response)
                    if (400..500).contains(&response.status) && response.status != 429 =>
                {
                    panic!("refused: {} {}", response.status, response.text())
                }
                Some(_) => {
                    self.connection = None;
                    self.at += 1;
                }
                None => {}
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Sends commands until they are acknowledged, and returns the receipt; none if that takes until `deadline`, or until
    /// `stop`, after which there is one attempt: nobody may answer any more.
    ///
    /// # Panics
    /// If another writer has the key: this one would be refused for ever, and the scenario would measure that.
    pub fn until_executed(
        &mut self,
        commands: Vec<Blob>,
        deadline: Instant,
        stop: &AtomicBool,
    ) -> Option<Value> {
        let body = self.body(commands);
        let bytes = codec::encode(&self.sign(body));
        while Instant::now() < deadline {
            match self.send_once(&bytes, "executed") {
                Some(response) if is_executed(&response) => {
                    return Some(response.json()["receipt"].take());
                }
                Some(response) if is_reused(&response) => panic!("{}", response.text()),
                _ if stop.load(Ordering::Relaxed) => return None,
                Some(_) => {
                    self.connection = None;
                    self.at += 1;
                }
                None => {}
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// Whether an answer is an acknowledgement.
#[must_use]
pub fn is_executed(response: &Response) -> bool {
    let reply = response.json();
    let outcome = reply["receipt"]["outcome"].as_str();
    response.status == 200 && matches!(outcome, Some("executed" | "duplicate"))
}

/// Whether another transaction of the client has the number already.
fn is_reused(response: &Response) -> bool {
    let reused = Rejection::SequenceReused.to_string();
    response.json()["receipt"]["reason"].as_str() == Some(&reused)
}

/// Reads a client's key.
///
/// # Panics
/// If the file holds none.
#[must_use]
pub fn read_key(path: &Path) -> SecretKey {
    let pem = std::fs::read_to_string(path).expect("a readable key");
    SecretKey::from_pkcs8_pem(&pem).expect("a key in PKCS#8")
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    writers: Vec<JoinHandle<(Writer, Vec<String>)>>,
}

impl Load {
    /// Sets the writers to work, each with one transaction at a time, on keys that begin with `name`.
    #[must_use]
    pub fn start(name: &str, writers: Vec<Writer>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let spawn = |(number, mut writer): (usize, Writer)| {
            let (stop, name) = (Arc::clone(&stop), name.to_owned());
            let served = Arc::clone(&served);
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for count in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{name}/{number}/{count}");
                    let deadline = Instant::now() + Duration::from_secs(20);
                    let put = vec![put_command(&key, key.as_bytes())];
                    if writer.until_executed(put, deadline, &stop).is_some() {
                        acknowledged.push(key);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
                (writer, acknowledged)
            })
        };
        let writers = writers.into_iter().enumerate().map(spawn).collect();
        Load {
            stop,
            served,
            writers,
        }
    }

    /// Transactions acknowledged so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends the work; returns the writers, for further work, and every key that was acknowledged. The value of a key is
    /// the key.
    ///
    /// # Panics
    /// If a writer failed.
    #[must_use]
    pub fn stop(self) -> (Vec<Writer>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        let mut writers = Vec::new();
        for handle in self.writers {
            let (writer, keys) = handle.join().expect("a writer does not fail");
            writers.push(writer);
            acknowledged.extend(keys);
        }
        (writers, acknowledged)
    }
}

/// Checks that every key is there, at every running validator, in its own state, once all stand at the same height: who
/// lags behind has not lost what it does not have yet.
///
/// # Panics
/// Names the first keys that are missing.
pub fn check_all_there(cluster: &Cluster, keys: &[String]) {
    cluster.agree(START);
    for i in (0..cluster.size()).filter(|&i| cluster.runs(i)) {
        let mut reader = Reader::new(cluster.api(i));
        let lost: Vec<&String> = keys.iter().filter(|key| !reader.has(key)).collect();
        let first = &lost[..lost.len().min(5)];
        assert!(
            lost.is_empty(),
            "validator {i} lost {} of {} acknowledged keys: {first:?}",
            lost.len(),
            keys.len()
        );
    }
}

/// Reads one validator's own state: neighbours at once, since there are many keys and they differ in their ends.
struct Reader {
    connection: Connection,
    prefix: String,
    there: BTreeSet<String>,
}

impl Reader {
    fn new(api: SocketAddr) -> Reader {
        let connection = Connection::open(api, ANSWER).expect("it serves");
        let (prefix, there) = (String::new(), BTreeSet::new());
        Reader {
            connection,
            prefix,
            there,
        }
    }

    fn has(&mut self, key: &str) -> bool {
        let prefix = &key[..key.len().saturating_sub(2)];
        if prefix != self.prefix {
            let path = format!("?prefix={}&limit=1000", prefix.replace('/', "%2F"));
            let entries = self.get(&path)["entries"].take();
            let keys = entries.as_array().expect("entries").iter();
            let keys = keys.filter(|entry| entry["value"].is_string());
            let keys = keys.filter_map(|entry| entry["key"].as_str().map(ToOwned::to_owned));
            self.there = keys.collect();
            prefix.clone_into(&mut self.prefix);
        }
        // The answer may have been cut: what is not in it is asked for alone.
        let found = self.there.contains(&STANDARD.encode(key));
        found || {
            let path = format!("/{}?consistency=local", key.replace('/', "%2F"));
            self.get(&path)["value"].is_string()
        }
    }

    fn get(&mut self, path: &str) -> Value {
        let path = format!("/v1/kv{path}");
        let answer = self.connection.send("GET", &path, "text/plain", &[]);
        let answer = answer.expect("it answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}
