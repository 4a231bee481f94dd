//! The ledger as it grows: `log tail` and `kv watch`.
//!
//! Reads the event stream of one validator, and goes on at the height reached with another when that one goes away or has
//! nothing new: no height is left out, none comes twice. What it shows is one validator's word; `log export` and
//! `log verify` check it.

use std::io::Write as _;

use quorate_client::api::LogEntry;
use quorate_client::{Client, Subscription};
use quorate_execution::kv::{Command, Keys, KvResult, Op, OpResult, Reverted};
use quorate_types::{Batch, Block, Height, Outcome, Transaction, codec};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::context::{Context, runtime};
use super::output::{text_of, time_of};
use crate::exit::{ExitStatus, Failure};

/// Where in the ledger somebody is.
struct Follower<'a> {
    client: &'a Client,
    runtime: Runtime,
    log: Subscription<'a>,
}

impl<'a> Follower<'a> {
    /// From a height; without one, from the next block on.
    fn new(client: &'a Client, from: Option<u64>) -> Result<Follower<'a>, Failure> {
        let runtime = runtime()?;
        let from = match from {
            Some(from) => Height(from),
            None => runtime.block_on(client.status())?.height.next(),
        };
        Ok(Follower {
            client,
            runtime,
            log: client.subscribe(from),
        })
    }

    /// Waits for the next height.
    fn wait(&mut self) -> Result<LogEntry, Failure> {
        Ok(self.runtime.block_on(self.log.next())?)
    }
}

fn damaged(what: &str, height: Height) -> Failure {
    Failure::damaged(format!("{what} at height {height} cannot be read"))
}

fn block(entry: &LogEntry) -> Result<Block, Failure> {
    codec::decode(&entry.block.0, codec::MAX_ENCODED_BYTES)
        .map_err(|_| damaged("the block", entry.height))
}

fn transactions(entry: &LogEntry) -> Result<Vec<Transaction>, Failure> {
    let mut all = Vec::new();
    for bytes in &entry.batches {
        let batch: Batch = codec::decode(&bytes.0, codec::MAX_ENCODED_BYTES)
            .map_err(|_| damaged("a batch", entry.height))?;
        all.extend(batch.transactions);
    }
    Ok(all)
}

/// `quorate log tail`: a line for each height; `count` of them, or until interrupted.
pub(super) fn tail(
    context: &Context,
    from: Option<u64>,
    count: Option<u64>,
) -> Result<ExitStatus, Failure> {
    let client = context.client()?;
    let mut follower = Follower::new(&client, from)?;
    for _ in 0..count.unwrap_or(u64::MAX) {
        let entry = follower.wait()?;
        let (block, transactions) = (block(&entry)?, transactions(&entry)?.len());
        context.print.result(&entry, |out| {
            let header = &block.header;
            writeln!(
                out,
                "{:>9}  {}  round {}  proposer {}  {transactions} transactions  {:.16}",
                entry.height.0,
                time_of(header.time),
                header.round.number,
                header.proposer.0,
                entry.id.to_string(),
            )
        })?;
    }
    Ok(ExitStatus::Done)
}

/// A change of a key.
struct Change {
    key: Vec<u8>,
    /// None: it was deleted, or reverted: a receipt names the keys only.
    value: Option<Vec<u8>>,
    /// 0: it was deleted.
    version: u64,
}

impl Change {
    fn event(&self) -> &'static str {
        match (&self.value, self.version) {
            (Some(_), _) => "put",
            (None, 0) => "delete",
            (None, _) => "revert",
        }
    }
}

/// `quorate kv watch`: a line for each change of a key with the prefix.
pub(super) fn watch(
    context: &Context,
    prefix: &[u8],
    from: Option<u64>,
    count: Option<u64>,
) -> Result<ExitStatus, Failure> {
    let client = context.client()?;
    let mut follower = Follower::new(&client, from)?;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let entry = follower.wait()?;
        for (place, transaction) in (0u32..).zip(transactions(&entry)?) {
            for change in changes(&follower, &entry, place, &transaction, prefix)? {
                if left == 0 {
                    return Ok(ExitStatus::Done);
                }
                left -= 1;
                print(context, &entry, &transaction, &change)?;
            }
        }
    }
    Ok(ExitStatus::Done)
}

/// What a transaction changed at this place of this height: by its receipt, since a command can be rejected or come to nothing.
fn changes(
    follower: &Follower<'_>,
    entry: &LogEntry,
    place: u32,
    transaction: &Transaction,
    prefix: &[u8],
) -> Result<Vec<Change>, Failure> {
    let commands = transaction.body.commands.iter();
    let commands: Vec<Command> = commands
        .filter_map(|c| Command::decode(&c.0).ok())
        .collect();
    let touches = |command: &Command| {
        // Which keys of a range it changed is in its receipt alone.
        let range = matches!(
            command,
            Command::Revert {
                keys: Keys::Range { .. },
                ..
            }
        );
        range || keys(command).any(|key| key.starts_with(prefix))
    };
    if !commands.iter().any(touches) {
        return Ok(Vec::new());
    }
    // By its place: a transaction that found its block full, or was executed before, has several.
    let id = transaction.id();
    let found = follower.client.receipt_at(entry.height, place, id);
    let receipt = follower.runtime.block_on(found)?;
    let Outcome::Executed { results, .. } = receipt.outcome else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for (command, result) in commands.into_iter().zip(results) {
        let result = KvResult::decode(&result.0).map_err(|_| damaged("a result", entry.height))?;
        all.extend(effects(command, result));
    }
    all.retain(|change| change.key.starts_with(prefix));
    Ok(all)
}

/// Keys that a command may change.
fn keys(command: &Command) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    let of_op = |op: &'_ Op| match op {
        Op::Put { .. } | Op::Delete { .. } => true,
        Op::Get { .. } | Op::Range { .. } => false,
    };
    match command {
        Command::Put { key, .. } | Command::Delete { key } | Command::CompareAndSet { key, .. } => {
            Box::new(std::iter::once(key.0.as_slice()))
        }
        Command::Revert {
            keys: Keys::Named(keys),
            ..
        } => Box::new(keys.iter().map(|key| key.0.as_slice())),
        Command::Txn {
            then, otherwise, ..
        } => {
            let ops = then.iter().chain(otherwise).filter(move |op| of_op(op));
            Box::new(ops.filter_map(|op| match op {
                Op::Put { key, .. } | Op::Delete { key } => Some(key.0.as_slice()),
                Op::Get { .. } | Op::Range { .. } => None,
            }))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn effects(command: Command, result: KvResult) -> Vec<Change> {
    let change = |key: Vec<u8>, value: Option<Vec<u8>>, version| Change {
        key,
        value,
        version,
    };
    match (command, result) {
        (Command::Put { key, value, .. }, KvResult::Put { version }) => {
            vec![change(key.0, Some(value.0), version)]
        }
        (Command::Delete { key }, KvResult::Delete { existed: true }) => {
            vec![change(key.0, None, 0)]
        }
        (
            Command::CompareAndSet { key, value, .. },
            KvResult::CompareAndSet {
                swapped: true,
                version,
            },
        ) => vec![change(key.0, value.map(|value| value.0), version)],
        (
            Command::Txn {
                then, otherwise, ..
            },
            KvResult::Txn { succeeded, results },
        ) => {
            let ops = if succeeded { then } else { otherwise };
            let pairs = ops.into_iter().zip(results);
            pairs
                .filter_map(|pair| match pair {
                    (Op::Put { key, value, .. }, OpResult::Put { version }) => {
                        Some(change(key.0, Some(value.0), version))
                    }
                    (Op::Delete { key }, OpResult::Delete { existed: true }) => {
                        Some(change(key.0, None, 0))
                    }
                    _ => None,
                })
                .collect()
        }
        (Command::Revert { .. }, KvResult::Reverted { changes, .. }) => {
            let changes = changes.into_iter();
            let change = |reverted: Reverted| change(reverted.key.0, None, reverted.version);
            changes.map(change).collect()
        }
        _ => Vec::new(),
    }
}

fn print(
    context: &Context,
    entry: &LogEntry,
    transaction: &Transaction,
    change: &Change,
) -> Result<ExitStatus, Failure> {
    let base64 = |bytes: &Vec<u8>| quorate_client::api::Base64(bytes.clone());
    let value: Value = json!({
        "height": entry.height, "transaction": transaction.id().to_string(),
        "event": change.event(),
        "key": base64(&change.key), "value": change.value.as_ref().map(base64),
        "version": change.version,
    });
    context.print.result(&value, |out| match &change.value {
        Some(value) => writeln!(
            out,
            "put\t{}\t{}\t(version {}, height {})",
            text_of(&change.key),
            text_of(value),
            change.version,
            entry.height
        ),
        None => writeln!(
            out,
            "{}\t{}\t(height {})",
            change.event(),
            text_of(&change.key),
            entry.height
        ),
    })
}
