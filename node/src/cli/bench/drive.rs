//! Sends a load that is signed already, and notes what came of it. One thread runs it all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use quorate_client::api::Problem;
use quorate_client::raw::Connection;
use quorate_types::{Outcome, Receipt, codec};

use super::style;
use super::trunk::Trunk;

/// Most connections of an open loop at a time, over all validators, unless the user says otherwise.
const MAX_CONNECTIONS: u32 = 1_024;
/// Fewest connections of an open loop.
const MIN_CONNECTIONS: u32 = 64;
/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 120_000_000;

/// What a run needs.
pub(super) struct Load {
    /// By client, in order of sequence numbers.
    pub(super) transactions: Vec<Vec<Bytes>>,
    pub(super) addresses: Vec<SocketAddr>,
    /// Transactions a second; 0: a closed loop.
    pub(super) rate: u64,
    /// Connections of an open loop; as many as the rate suggests unless given.
    pub(super) connections: Option<usize>,
    /// Streams that carry everything, in place of a connection for each transaction under way.
    pub(super) streams: Option<usize>,
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
}

impl Load {
    /// How many are under way at most.
    fn workers(&self) -> usize {
        let open = || {
            let wanted = u32::try_from(self.rate / 4).unwrap_or(u32::MAX);
            usize::try_from(wanted.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)).expect("small")
        };
        match self.rate {
            0 => self.transactions.len(),
            _ => self.connections.unwrap_or_else(open),
        }
    }
}

/// What came of it.
pub(super) struct Tally {
    /// From the intended time to the receipt, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// From sending to an answer that is none, in microseconds: refusals must come at once.
    pub(super) refusal: Histogram<u64>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) sent: u64,
    /// From the first intended time to the last receipt.
    pub(super) elapsed: Duration,
    /// The longest time between two receipts: under load, a stall of the service.
    pub(super) silence: Duration,
}

impl Tally {
    fn new() -> Tally {
        let histogram = || Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("valid bounds");
        Tally {
            latency: histogram(),
            refusal: histogram(),
            errors: BTreeMap::new(),
            sent: 0,
            elapsed: Duration::ZERO,
            silence: Duration::ZERO,
        }
    }

    /// The times are when it was to be sent, and when it was.
    fn note(
        &mut self,
        start: Instant,
        intended: Instant,
        sent: Instant,
        result: Result<(), String>,
    ) {
        let us = |from: Instant| u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                self.latency.saturating_record(us(intended));
                let elapsed = start.elapsed();
                self.silence = self.silence.max(elapsed - self.elapsed);
                self.elapsed = elapsed;
            }
            Err(code) => {
                self.refusal.saturating_record(us(sent));
                *self.errors.entry(code).or_default() += 1;
            }
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
pub(super) async fn drive(load: Load) -> Tally {
    let total: usize = load.transactions.iter().map(Vec::len).sum();
    let open = load.rate > 0;
    let workers = load.workers();
    let shared = Rc::new(Shared {
        bar: ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX))
            .with_style(style("sending")),
        load,
        tally: RefCell::new(Tally::new()),
        next: Cell::new(0),
        start: Instant::now() + Duration::from_millis(200), // all connections stand by then
    });
    let trunks = (0..shared.load.streams.unwrap_or(0)).map(|at| Rc::new(Trunk::new(at)));
    let trunks: Vec<_> = trunks.collect();
    let tasks: Vec<_> = (0..workers)
        .map(|worker| {
            let shared = Rc::clone(&shared);
            let mut line = match trunks.get(worker % trunks.len().max(1)) {
                Some(trunk) => Line::Trunk(Rc::clone(trunk)),
                None => Line::Own(Own::new(worker)),
            };
            tokio::task::spawn_local(async move {
                line.open(&shared.load).await;
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
    let sent = Instant::now();
    let within = shared.load.timeout;
    let answer = line.submit(&shared.load, transaction);
    let result = match tokio::time::timeout(within, answer).await {
        Ok(result) => result,
        Err(_) => {
            line.timed_out(sent).await;
            Err(String::from("timed_out"))
        }
    };
    shared
        .tally
        .borrow_mut()
        .note(shared.start, intended, sent, result);
    shared.bar.inc(1);
}

/// What carries a worker's transactions.
enum Line {
    Own(Own),
    Trunk(Rc<Trunk>),
}

impl Line {
    /// Connects, so that the first transaction does not wait for that. A failure shows again then.
    async fn open(&mut self, load: &Load) {
        match self {
            Line::Own(own) => drop(own.connection(load).await),
            Line::Trunk(trunk) => trunk.open(load).await,
        }
    }

    /// A transaction has no answer in time since it was sent.
    async fn timed_out(&mut self, sent: Instant) {
        match self {
            Line::Own(own) => own.drop_connection(),
            Line::Trunk(trunk) => trunk.give_up(sent).await,
        }
    }

    /// Sends the same bytes until some validator answers, at most once to each.
    async fn submit(&mut self, load: &Load, transaction: Bytes) -> Result<(), String> {
        let mut trouble = String::new();
        for _ in 0..load.addresses.len() {
            let answer = match self {
                Line::Own(own) => own.submit(load, transaction.clone()).await,
                Line::Trunk(trunk) => trunk.submit(load, transaction.clone()).await,
            };
            match answer {
                Ok(outcome) => return outcome,
                Err(lost) => trouble = String::from(lost),
            }
        }
        Err(trouble)
    }
}

/// A connection that is made again, to the next validator, when it breaks. It carries one transaction at a time.
struct Own {
    connection: Option<Connection>,
    target: usize,
}

impl Own {
    fn new(target: usize) -> Own {
        Own {
            connection: None,
            target,
        }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        self.target += 1;
    }

    async fn connection(&mut self, load: &Load) -> Result<&mut Connection, &'static str> {
        if self.connection.is_none() {
            let address = load.addresses[self.target % load.addresses.len()];
            self.connection = match Connection::open(address).await {
                Ok(connection) => Some(connection),
                Err(_) => {
                    self.target += 1;
                    return Err(CANNOT_CONNECT);
                }
            };
        }
        Ok(self.connection.as_mut().expect("made a moment ago"))
    }

    async fn submit(&mut self, load: &Load, transaction: Bytes) -> Result<Sent, &'static str> {
        let connection = self.connection(load).await?;
        match connection.submit(transaction).await {
            Ok((status, body)) if status.is_success() => Ok(outcome(&body)),
            Ok((_, body)) => Ok(Err(code_of(&body))),
            Err(_) => {
                self.drop_connection();
                Err(CONNECTION_LOST)
            }
        }
    }
}

/// What came of a transaction that some validator has answered: executed, or a code.
pub(super) type Sent = Result<(), String>;

pub(super) const CANNOT_CONNECT: &str = "cannot_connect";
pub(super) const CONNECTION_LOST: &str = "connection_lost";

fn outcome(body: &[u8]) -> Sent {
    match codec::decode::<Receipt>(body, codec::MAX_ENCODED_BYTES) {
        Ok(receipt) => executed(&receipt),
        Err(_) => Err(String::from("no_receipt")),
    }
}

/// Whether a receipt says that a transaction took effect.
pub(super) fn executed(receipt: &Receipt) -> Sent {
    match receipt.outcome {
        Outcome::Executed { .. } | Outcome::Duplicate { .. } => Ok(()),
        Outcome::Rejected(rejection) => Err(format!("{rejection:?}")),
    }
}

fn code_of(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body);
    problem.map_or_else(|_| String::from("http"), |problem| problem.code)
}
