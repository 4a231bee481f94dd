//! `quorate bench`: an open-loop load of signed transactions.
//!
//! Open loop: each transaction has an intended time, which does not depend on how fast earlier ones are answered, and
//! latency counts from it. A stall shows in the latencies of everything that should have been sent meanwhile, instead of
//! hiding them (coordinated omission). Everything is signed before the clock starts.

mod drive;
mod trunk;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::{Client, ClientError};
use quorate_crypto::SecretKey;
use quorate_execution::kv::Command;
use quorate_types::{Blob, BlockTime, ChainId, FORMAT_VERSION, TransactionBody, codec};
use serde::Serialize;

use self::drive::{Load, Tally, drive};

use super::OutputFlag;
use super::context::{Context, runtime};
use crate::exit::{ExitStatus, Failure};
use crate::keys;

/// Transactions a second that a closed loop signs ahead, in all and for one client: more than any machine commits.
const CLOSED_LOOP_SUPPLY: (u64, u64) = (30_000, 1_500);
/// Commands a second that it makes ahead at most, so that large batches fit into memory.
const CLOSED_LOOP_COMMANDS: u64 = 150_000;
/// Keys that the load writes to, by client.
const KEYS: u64 = 1_000;
/// Most commands that any chain allows in one transaction.
const MAX_BATCH: u64 = 500;

/// Measures throughput and latency under load.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate bench --rate 6000 --size 512 --seconds 30 --clients 64
  quorate bench --rate 0 --clients 1 --seconds 10
  quorate bench --rate 0 --clients 64 --seconds 10 --output json
  quorate bench --rate 0 --clients 16 --batch 100 --opaque
  quorate bench --rate 30000 --clients 1000 --connections 4000
  quorate bench --rate 0 --clients 1000 --streams 8

Open loop: latency counts from the intended send time. --rate 0 is a closed
loop: each client sends when its last transaction has its receipt. Everything
is signed before the clock starts. Rates and latencies are of transactions;
with --batch, each holds several commands. Needs a key for each client;
testnet --clients N makes them.")]
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
    /// Commands in each transaction, under one signature
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
    /// Transactions that an open loop has under way at most, each on a connection unless there are streams [default: a quarter of the rate, 64 to 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: Option<u16>,
    /// Carry all transactions over so many streams, as a gateway does, in place of a request each; a validator has room for 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    streams: Option<u16>,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Debug, Serialize)]
struct Report {
    offered_per_second: f64,
    committed_per_second: f64,
    commands_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    longest_silence_ms: f64,
    errors: u64,
    errors_p50_ms: f64,
    errors_p99_ms: f64,
    committed: u64,
    seconds: f64,
    clients: usize,
    size: usize,
    batch: u64,
    opaque: bool,
    error_codes: BTreeMap<String, u64>,
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
            connections: self.connections.map(usize::from),
            streams: self.streams.map(usize::from),
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
                let all = all.min(CLOSED_LOOP_COMMANDS.div_ceil(self.batch));
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
            let numbers = number * self.batch..(number + 1) * self.batch;
            let commands = numbers.map(|n| self.command(client, n)).collect();
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
        let of = |times: &Histogram<u64>, q: f64| ms(times.value_at_quantile(q));
        let quantile = |q: f64| of(&tally.latency, q);
        // Nothing at all may have come back: then the time that it was tried for counts.
        let seconds = tally.elapsed.as_secs_f64().max(1e-3);
        let offered = match self.rate {
            0 => tally.sent as f64 / seconds,
            rate => rate as f64,
        };
        let committed = tally.latency.len() as f64 / seconds;
        let report = Report {
            offered_per_second: offered,
            committed_per_second: committed,
            commands_per_second: committed * self.batch as f64,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: ms(tally.latency.max()),
            longest_silence_ms: tally.silence.as_secs_f64() * 1_000.0,
            errors: tally.errors.values().sum(),
            errors_p50_ms: of(&tally.refusal, 0.5),
            errors_p99_ms: of(&tally.refusal, 0.99),
            committed: tally.latency.len(),
            seconds,
            clients: self.clients,
            size: self.size,
            batch: self.batch,
            opaque: self.opaque,
            error_codes: tally.errors,
        };
        context.print.result(&report, |out| {
            writeln!(out, "offered    {:>10.1} /s", report.offered_per_second)?;
            writeln!(out, "committed  {:>10.1} /s", report.committed_per_second)?;
            if report.batch > 1 {
                writeln!(out, "commands   {:>10.1} /s", report.commands_per_second)?;
            }
            writeln!(out, "p50        {:>10.2} ms", report.p50_ms)?;
            writeln!(out, "p99        {:>10.2} ms", report.p99_ms)?;
            writeln!(out, "p99.9      {:>10.2} ms", report.p999_ms)?;
            let silence = report.longest_silence_ms;
            writeln!(
                out,
                "silence    {silence:>10.2} ms at most between two receipts"
            )?;
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

fn style(what: &str) -> ProgressStyle {
    let template = format!("{what} {{wide_bar}} {{pos}}/{{len}} {{eta}}");
    ProgressStyle::with_template(&template).expect("a valid template")
}
