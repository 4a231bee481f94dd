//! `quorate bench`: an open-loop load of signed transactions.
//!
//! Open loop: each transaction has an intended time, which does not depend on how fast earlier ones are answered, and
//! latency counts from it. A stall shows in the latencies of everything that should have been sent meanwhile, instead of
//! hiding them (coordinated omission). Everything is signed before the clock starts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::api::Problem;
use quorate_client::raw::Connection;
use quorate_client::{Client, ClientError};
use quorate_crypto::SecretKey;
use quorate_execution::kv::Command;
use quorate_types::{
    Blob, BlockTime, ChainId, FORMAT_VERSION, Outcome, Receipt, TransactionBody, codec,
};
use serde::Serialize;

use super::OutputFlag;
use super::context::{Context, runtime};
use crate::exit::{ExitStatus, Failure};
use crate::keys;

/// Most connections at a time, over all validators.
const MAX_CONNECTIONS: u32 = 1_024;
/// Fewest connections of an open loop.
const MIN_CONNECTIONS: u32 = 64;
/// Transactions a second that a closed loop signs ahead, in all and for one client.
const CLOSED_LOOP_SUPPLY: (u64, u64) = (12_000, 1_500);
/// Keys that the load writes to, by client.
const KEYS: u64 = 1_000;
/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 120_000_000;

/// Measures throughput and latency under load.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate bench --rate 6000 --size 512 --seconds 30 --clients 64
  quorate bench --rate 0 --clients 1 --seconds 10
  quorate bench --rate 0 --clients 64 --seconds 10 --output json

Open loop: latency counts from the intended send time. --rate 0 is a closed
loop: each client sends when its last transaction has its receipt. Needs a
key for each client; testnet --clients N makes them.")]
pub(super) struct Bench {
    /// Transactions a second, over all clients; 0: a closed loop
    #[arg(long, default_value_t = 1_000, value_name = "R")]
    rate: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 512, value_name = "B")]
    size: usize,
    /// How long
    #[arg(long, default_value_t = 10, value_name = "S")]
    seconds: u64,
    /// How many clients, each with a key
    #[arg(long, default_value_t = 1, value_name = "C")]
    clients: usize,
    /// Where the keys are [default: the profile's]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Only order and receipt the bytes, without writing keys
    #[arg(long)]
    opaque: bool,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Debug, Serialize)]
struct Report {
    offered_per_second: f64,
    committed_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    errors: u64,
    committed: u64,
    seconds: f64,
    clients: usize,
    size: usize,
    error_codes: BTreeMap<String, u64>,
}

/// What a run needs besides the signed transactions.
struct Load {
    /// By client, in order of sequence numbers.
    transactions: Vec<Vec<Bytes>>,
    addresses: Vec<SocketAddr>,
    rate: u64,
    duration: Duration,
    timeout: Duration,
}

impl Bench {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        if self.clients == 0 || self.seconds == 0 || self.seconds > 3_600 {
            return Err(Failure::usage(
                "--clients is at least 1, --seconds is 1 to 3600",
            ));
        }
        let mut client = context.client()?;
        client.set_validity(Duration::from_secs(self.seconds + 600));
        let directory = self.keys.clone().or_else(|| client.profile().keys.clone());
        let directory = directory.ok_or_else(|| Failure::usage("name the keys with --keys DIR"))?;
        let keys = read_keys(&directory, self.clients, context)?;
        let runtime = runtime()?;
        let (starts, valid_until) = runtime.block_on(ask(&client, &keys))?;
        let addresses = client.profile().endpoints.iter().map(|e| resolve(e));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let load = Load {
            transactions: self.sign(client.profile().chain, &keys, &starts, valid_until),
            addresses,
            rate: self.rate,
            duration: Duration::from_secs(self.seconds),
            timeout: context.timeout,
        };
        let local = tokio::task::LocalSet::new();
        let tally = local.block_on(&runtime, drive(load));
        self.report(context, tally)
    }

    /// Transactions of each client.
    fn per_client(&self) -> u64 {
        let clients = u64::try_from(self.clients).unwrap_or(u64::MAX);
        match self.rate {
            0 => {
                let (all, one) = CLOSED_LOOP_SUPPLY;
                self.seconds * (all / clients).clamp(1, one)
            }
            rate => (rate * self.seconds).div_ceil(clients),
        }
    }

    /// Signs everything, on all cores.
    fn sign(
        &self,
        chain: ChainId,
        keys: &[SecretKey],
        starts: &[u64],
        valid_until: BlockTime,
    ) -> Vec<Vec<Bytes>> {
        let each = self.per_client();
        let total = each * u64::try_from(keys.len()).unwrap_or(u64::MAX);
        let bar = ProgressBar::new(total).with_style(style("signing"));
        let sign_one = |client: usize, number: u64| {
            let commands = vec![self.command(client, number)];
            let body = TransactionBody {
                version: FORMAT_VERSION,
                chain,
                client: keys[client].public(),
                sequence: starts[client] + number,
                valid_until,
                commands,
            };
            Bytes::from(codec::encode(&body.sign(&keys[client])))
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let share = keys.len().div_ceil(workers);
        let sign_share = |first: usize| {
            let clients = first..(first + share).min(keys.len());
            let signed = clients.map(|client| {
                let signed: Vec<Bytes> = (0..each).map(|n| sign_one(client, n)).collect();
                bar.inc(each);
                signed
            });
            signed.collect::<Vec<_>>()
        };
        let signed = std::thread::scope(|scope| {
            let firsts = (0..keys.len()).step_by(share);
            let threads: Vec<_> = firsts
                .map(|first| scope.spawn(move || sign_share(first)))
                .collect();
            let parts = threads.into_iter();
            let parts = parts.map(|thread| thread.join().expect("signing does not panic"));
            parts.flatten().collect()
        });
        bar.finish_and_clear();
        signed
    }

    fn command(&self, client: usize, number: u64) -> Blob {
        // Values differ, so that nothing on the way can be compressed to nothing.
        let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let value = Blob(
            (0..self.size)
                .map(|at| seed[at % 8] ^ at.to_le_bytes()[0])
                .collect(),
        );
        if self.opaque {
            return Command::Opaque(value).encode();
        }
        let key = format!("bench/{client:05}/{:04}", number % KEYS);
        let key = Blob(key.into_bytes());
        let lease = None;
        Command::Put { key, value, lease }.encode()
    }

    fn report(&self, context: &Context, tally: Tally) -> Result<ExitStatus, Failure> {
        let ms = |us: u64| us as f64 / 1_000.0;
        let quantile = |q: f64| ms(tally.latency.value_at_quantile(q));
        // Nothing at all may have come back: then the time that it was tried for counts.
        let seconds = tally.elapsed.as_secs_f64().max(1e-3);
        let offered = match self.rate {
            0 => tally.sent as f64 / seconds,
            rate => rate as f64,
        };
        let report = Report {
            offered_per_second: offered,
            committed_per_second: tally.latency.len() as f64 / seconds,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: ms(tally.latency.max()),
            errors: tally.errors.values().sum(),
            committed: tally.latency.len(),
            seconds,
            clients: self.clients,
            size: self.size,
            error_codes: tally.errors,
        };
        context.print.result(&report, |out| {
            writeln!(out, "offered    {:>10.1} /s", report.offered_per_second)?;
            writeln!(out, "committed  {:>10.1} /s", report.committed_per_second)?;
            writeln!(out, "p50        {:>10.2} ms", report.p50_ms)?;
            writeln!(out, "p99        {:>10.2} ms", report.p99_ms)?;
            writeln!(out, "p99.9      {:>10.2} ms", report.p999_ms)?;
            writeln!(out, "errors     {:>10}", report.errors)?;
            for (code, count) in &report.error_codes {
                writeln!(out, "  {code}: {count}")?;
            }
            Ok(())
        })?;
        match report.committed {
            0 => Err(Failure::new(
                ExitStatus::Unavailable,
                "nothing was committed",
            )),
            _ => Ok(ExitStatus::Done),
        }
    }
}

fn read_keys(directory: &Path, count: usize, context: &Context) -> Result<Vec<SecretKey>, Failure> {
    let shown = directory.display();
    let entries = std::fs::read_dir(directory)
        .map_err(|error| Failure::config(format!("cannot read {shown}: {error}")))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "pem"))
        .collect();
    paths.sort();
    if paths.len() < count {
        let found = paths.len();
        let message = format!("{shown} holds {found} keys for {count} clients");
        return Err(Failure::config(message).hint("quorate testnet --clients N makes N keys"));
    }
    paths
        .iter()
        .take(count)
        .map(|path| keys::read_with(path, &context.passphrase))
        .collect()
}

/// The first free number of each client, and the deadline.
async fn ask(client: &Client, keys: &[SecretKey]) -> Result<(Vec<u64>, BlockTime), ClientError> {
    let mut starts = Vec::with_capacity(keys.len());
    for key in keys {
        starts.push(client.client_info(&key.public()).await?.next_sequence);
    }
    Ok((starts, client.valid_until().await?))
}

fn resolve(endpoint: &str) -> Result<SocketAddr, Failure> {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let host = host.trim_end_matches('/');
    let mut found = host
        .to_socket_addrs()
        .map_err(|error| Failure::config(format!("{endpoint}: {error}")))?;
    found
        .next()
        .ok_or_else(|| Failure::config(format!("{endpoint} has no address")))
}

/// What came of it.
struct Tally {
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    sent: u64,
    /// From the first intended time to the last receipt.
    elapsed: Duration,
}

impl Tally {
    fn note(&mut self, start: Instant, intended: Instant, result: Result<(), String>) {
        match result {
            Ok(()) => {
                let us = u64::try_from(intended.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(us);
                self.elapsed = start.elapsed();
            }
            Err(code) => *self.errors.entry(code).or_default() += 1,
        }
    }
}

/// Everything that the tasks of a run share; one thread runs them all.
struct Shared {
    load: Load,
    tally: RefCell<Tally>,
    next: Cell<u64>,
    start: Instant,
    bar: ProgressBar,
}

/// Sends the load, and waits for what is under way.
async fn drive(load: Load) -> Tally {
    let latency = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("valid bounds");
    let clients = load.transactions.len();
    let total: usize = load.transactions.iter().map(Vec::len).sum();
    let open = load.rate > 0;
    let workers = match open {
        true => {
            let wanted = u32::try_from(load.rate / 4).unwrap_or(u32::MAX);
            usize::try_from(wanted.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)).expect("small")
        }
        false => clients,
    };
    let shared = Rc::new(Shared {
        bar: ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX))
            .with_style(style("sending")),
        load,
        tally: RefCell::new(Tally {
            latency,
            errors: BTreeMap::new(),
            sent: 0,
            elapsed: Duration::ZERO,
        }),
        next: Cell::new(0),
        start: Instant::now() + Duration::from_millis(200), // all connections stand by then
    });
    let tasks: Vec<_> = (0..workers)
        .map(|worker| {
            let shared = Rc::clone(&shared);
            tokio::task::spawn_local(async move {
                let mut line = Line::new(worker);
                let _ = line.connection(&shared.load).await;
                tokio::time::sleep_until(shared.start.into()).await;
                match open {
                    true => open_loop(&shared, &mut line).await,
                    false => closed_loop(&shared, &mut line, worker).await,
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task of the load panics");
    }
    shared.bar.finish_and_clear();
    let shared = Rc::try_unwrap(shared).unwrap_or_else(|_| unreachable!("all tasks have ended"));
    shared.tally.into_inner()
}

/// Takes the next transaction of all, waits for its time, sends it.
async fn open_loop(shared: &Shared, line: &mut Line) {
    let clients = u64::try_from(shared.load.transactions.len()).expect("small");
    let last = shared
        .load
        .rate
        .saturating_mul(shared.load.duration.as_secs());
    loop {
        let number = shared.next.get();
        if number >= last {
            return;
        }
        shared.next.set(number + 1);
        let offset = u128::from(number) * 1_000_000_000 / u128::from(shared.load.rate);
        let offset = Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX));
        let intended = shared.start + offset;
        tokio::time::sleep_until(intended.into()).await;
        let client = usize::try_from(number % clients).expect("an index");
        let index = usize::try_from(number / clients).expect("an index");
        let transaction = shared.load.transactions[client][index].clone();
        send(shared, line, intended, transaction).await;
    }
}

/// Sends one client's transactions one after another.
async fn closed_loop(shared: &Shared, line: &mut Line, client: usize) {
    for transaction in &shared.load.transactions[client] {
        if shared.start.elapsed() >= shared.load.duration {
            return;
        }
        send(shared, line, Instant::now(), transaction.clone()).await;
    }
}

async fn send(shared: &Shared, line: &mut Line, intended: Instant, transaction: Bytes) {
    shared.tally.borrow_mut().sent += 1;
    let within = shared.load.timeout;
    let answer = line.submit(&shared.load, transaction);
    let result = match tokio::time::timeout(within, answer).await {
        Ok(result) => result,
        Err(_) => {
            line.drop_connection();
            Err(String::from("timed_out"))
        }
    };
    shared
        .tally
        .borrow_mut()
        .note(shared.start, intended, result);
    shared.bar.inc(1);
}

/// A connection that is made again, to the next validator, when it breaks.
struct Line {
    connection: Option<Connection>,
    target: usize,
}

impl Line {
    fn new(target: usize) -> Line {
        Line {
            connection: None,
            target,
        }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        self.target += 1;
    }

    async fn connection(&mut self, load: &Load) -> Result<&mut Connection, String> {
        if self.connection.is_none() {
            let address = load.addresses[self.target % load.addresses.len()];
            self.connection = match Connection::open(address).await {
                Ok(connection) => Some(connection),
                Err(_) => {
                    self.target += 1;
                    return Err(String::from("cannot_connect"));
                }
            };
        }
        Ok(self.connection.as_mut().expect("made a moment ago"))
    }

    /// Sends the same bytes until some validator answers, at most once to each.
    async fn submit(&mut self, load: &Load, transaction: Bytes) -> Result<(), String> {
        let mut trouble = String::new();
        for _ in 0..load.addresses.len() {
            let connection = match self.connection(load).await {
                Ok(connection) => connection,
                Err(error) => {
                    trouble = error;
                    continue;
                }
            };
            match connection.submit(transaction.clone()).await {
                Ok((status, body)) if status.is_success() => return outcome(&body),
                Ok((_, body)) => return Err(code_of(&body)),
                Err(_) => {
                    self.drop_connection();
                    trouble = String::from("connection_lost");
                }
            }
        }
        Err(trouble)
    }
}

fn outcome(body: &[u8]) -> Result<(), String> {
    match codec::decode::<Receipt>(body, codec::MAX_ENCODED_BYTES) {
        Ok(Receipt {
            outcome: Outcome::Executed { .. } | Outcome::Duplicate { .. },
            ..
        }) => Ok(()),
        Ok(Receipt {
            outcome: Outcome::Rejected(rejection),
            ..
        }) => Err(format!("{rejection:?}")),
        Err(_) => Err(String::from("no_receipt")),
    }
}

fn code_of(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body);
    problem.map_or_else(|_| String::from("http"), |problem| problem.code)
}

fn style(what: &str) -> ProgressStyle {
    let template = format!("{what} {{wide_bar}} {{pos}}/{{len}} {{eta}}");
    ProgressStyle::with_template(&template).expect("a valid template")
}
