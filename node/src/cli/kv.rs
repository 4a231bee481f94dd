//! `quorate kv`.

use std::io::Write as _;
use std::path::PathBuf;

use quorate_client::api::{Base64, KeyReply};
use quorate_client::kv::behind;
use quorate_client::proofs;
use quorate_execution::kv::{LeafRecord, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use serde_json::{Value, json};

use super::OutputFlag;
use super::checkpoint::{self, Revert};
use super::context::Context;
use super::output::text_of;
use crate::exit::{ExitStatus, Failure};

/// Entries of a range unless told otherwise.
const DEFAULT_LIMIT: u32 = 100;

/// Reads and writes keys. Writes, and reads unless told otherwise, are signed
/// transactions through the log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate kv put greeting hello
  quorate kv get greeting
  quorate kv get greeting --consistency local
  quorate kv get greeting --proof greeting.proof
  quorate kv cas greeting --expect hello --value bye
  quorate kv range gree
  quorate kv watch gree
  quorate kv delete greeting
  quorate kv checkpoint before-upgrade
  quorate kv revert before-upgrade --prefix config/ --yes

A key or value that begins with 0x is hexadecimal.")]
pub(super) struct Kv {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Consistency {
    /// In the order of all transactions; needs a key.
    Linearizable,
    /// As one validator has it; may be old, needs no quorum.
    Local,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Set a key
    #[command(after_help = "Example:\n  quorate kv put greeting hello")]
    Put { key: String, value: String },
    /// Read a key; exit status 1 if there is none
    #[command(after_help = "\
Examples:
  quorate kv get greeting
  quorate kv get greeting --consistency local
  quorate kv get greeting --proof greeting.proof")]
    Get {
        key: String,
        /// linearizable needs a key file and a quorum; local may be old
        /// [default: linearizable, without --proof]
        #[arg(long, value_enum, value_name = "LEVEL")]
        consistency: Option<Consistency>,
        /// Fetch a proof, verify it, and write it to this file; what it proves may
        /// be old, and its height is said on standard error
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
    /// Delete a key
    #[command(after_help = "Example:\n  quorate kv delete greeting")]
    Delete { key: String },
    /// Set a key only if it has the expected value; exit status 1 if not
    #[command(after_help = "\
Examples:
  quorate kv cas greeting --expect hello --value bye
  quorate kv cas lock --value mine")]
    Cas {
        key: String,
        /// The value it must have; absent: the key must not exist
        #[arg(long)]
        expect: Option<String>,
        /// The new value
        #[arg(long)]
        value: String,
    },
    /// List the keys with a prefix
    #[command(after_help = "Example:\n  quorate kv range gree --limit 10")]
    Range {
        #[arg(default_value = "")]
        prefix: String,
        /// linearizable needs a key file and a quorum; local may be old
        #[arg(long, value_enum, value_name = "LEVEL", default_value = "linearizable")]
        consistency: Consistency,
        /// Begin at this key: the next of the listing before
        #[arg(long, value_name = "KEY")]
        from: Option<String>,
        /// Most entries
        #[arg(long, default_value_t = DEFAULT_LIMIT)]
        limit: u32,
    },
    /// Show changes of keys with a prefix, until interrupted
    #[command(after_help = "\
Examples:
  quorate kv watch
  quorate kv watch gree --from 1 --count 3 --output json")]
    Watch {
        #[arg(default_value = "")]
        prefix: String,
        /// First height [default: the next]
        #[arg(long, value_name = "H")]
        from: Option<u64>,
        /// End after this many changes
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Name what all keys hold now, so that they can be taken back to it
    #[command(after_help = "\
While it is open, the first write to each key also stores what the key held
before. Release it when it is not needed any more.

Example:
  quorate kv checkpoint before-upgrade")]
    Checkpoint { name: String },
    /// List the checkpoints
    #[command(after_help = "Example:\n  quorate kv checkpoints")]
    Checkpoints,
    /// Take keys back to what they held at a checkpoint
    #[command(after_help = "\
It is a transaction that writes the old values anew: the history stays as it is,
and with a checkpoint made before, the revert can itself be reverted.

Examples:
  quorate kv revert before-upgrade greeting answer --yes
  quorate kv revert before-upgrade --prefix config/ --yes
  quorate kv revert before-upgrade --prefix '' --in-steps --yes")]
    Revert(Revert),
    /// End a checkpoint, and drop what was stored for it
    #[command(after_help = "\
For the client that made it, and admins. What an older open checkpoint still
needs is dropped when that one is released.

Example:
  quorate kv release before-upgrade --yes")]
    Release {
        name: String,
        /// Needed, since nothing can be taken back to it afterwards
        #[arg(long)]
        yes: bool,
    },
}

impl Kv {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Put { key, value } => put(context, &key_of(&key)?, &value_of(&value)?),
            Verb::Get {
                key,
                consistency,
                proof,
            } => match (proof, consistency) {
                (Some(_), Some(Consistency::Linearizable)) => Err(Failure::usage(
                    "a proof is of a height that a quorum has certified, which may lie below what \
                     --consistency linearizable promises to see: leave out --proof or --consistency",
                )),
                (Some(file), _) => get_proved(context, &key_of(&key)?, &file),
                (None, level) => get(
                    context,
                    &key_of(&key)?,
                    level.unwrap_or(Consistency::Linearizable),
                ),
            },
            Verb::Delete { key } => delete(context, &key_of(&key)?),
            Verb::Cas { key, expect, value } => {
                let expect = expect.map(|expect| bytes(&expect)).transpose()?;
                cas(
                    context,
                    &key_of(&key)?,
                    expect.as_deref(),
                    &value_of(&value)?,
                )
            }
            Verb::Range {
                prefix,
                consistency,
                from,
                limit,
            } => {
                let (prefix, from) = (bytes(&prefix)?, from.as_deref().map(bytes).transpose()?);
                range(context, &prefix, from.as_deref(), consistency, limit)
            }
            Verb::Watch {
                prefix,
                from,
                count,
            } => super::follow::watch(context, &bytes(&prefix)?, from, count),
            Verb::Checkpoint { name } => checkpoint::make(context, &bytes(&name)?),
            Verb::Checkpoints => checkpoint::list(context),
            Verb::Revert(revert) => revert.run(context),
            Verb::Release { name, yes } => checkpoint::release(context, &bytes(&name)?, yes),
        }
    }
}

/// An argument as bytes: `0x…` is hexadecimal, everything else text.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Failure> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits)
            .map_err(|error| Failure::usage(format!("{text:?} is not hexadecimal: {error}"))),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// A key, which the state machine would refuse if it were empty or too long.
pub(super) fn key_of(text: &str) -> Result<Vec<u8>, Failure> {
    let key = bytes(text)?;
    match (1..=MAX_KEY_BYTES).contains(&key.len()) {
        true => Ok(key),
        false => Err(Failure::usage(format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes, not {}",
            key.len()
        ))),
    }
}

/// A value, likewise.
fn value_of(text: &str) -> Result<Vec<u8>, Failure> {
    let value = bytes(text)?;
    match value.len() <= MAX_VALUE_BYTES {
        true => Ok(value),
        false => Err(Failure::usage(format!(
            "a value has at most {MAX_VALUE_BYTES} bytes (62 KiB), not {}",
            value.len()
        ))),
    }
}

fn put(context: &Context, key: &[u8], value: &[u8]) -> Result<ExitStatus, Failure> {
    let (client, signer) = (context.client()?, context.key()?);
    let answer = context.block_on(client.kv(&signer).put(key, value))?;
    let (id, height) = (answer.receipt.transaction, answer.receipt.height);
    let json = json!({
        "transaction": id.to_string(), "height": height, "index": answer.receipt.index,
        "version": answer.value,
    });
    context.print.result(&json, |out| {
        writeln!(
            out,
            "version {} at height {height}\ntransaction {id}",
            answer.value
        )
    })
}

fn get(context: &Context, key: &[u8], consistency: Consistency) -> Result<ExitStatus, Failure> {
    let client = context.client()?;
    let reply = match consistency {
        Consistency::Local => context.block_on(client.key(key, false))?,
        Consistency::Linearizable => {
            let signer = context.key()?;
            let answer = context.block_on(client.kv(&signer).get(key))?;
            reply(key, answer.value, answer.receipt.height)
        }
    };
    show(context, &reply)
}

fn get_proved(
    context: &Context,
    key: &[u8],
    file: &std::path::Path,
) -> Result<ExitStatus, Failure> {
    let client = context.client()?;
    let path = client.profile().genesis.clone().ok_or_else(|| {
        Failure::config("the profile names no genesis, which a proof is verified against")
    })?;
    let genesis = crate::genesis::read(&path)?;
    if genesis.chain_id() != client.profile().chain {
        let message = format!("genesis {} is another chain's", path.display());
        return Err(Failure::config(message));
    }
    let (proof, proved) = context.block_on(proofs::prove_key(&client, &genesis, key))?;
    std::fs::write(file, proof)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
    if !context.print.is_json() {
        // Beside the value, which scripts read. Nobody has to read this.
        let _ = writeln!(
            std::io::stderr(),
            "quorate: proved at height {}",
            proved.height
        );
    }
    show(context, &reply(key, proved.record, proved.height))
}

fn reply(key: &[u8], record: Option<LeafRecord>, height: quorate_types::Height) -> KeyReply {
    let number = |field: fn(&LeafRecord) -> u64| record.as_ref().map(field);
    KeyReply {
        key: Base64(key.to_vec()),
        create_revision: number(|r| r.create_revision),
        modify_revision: number(|r| r.modify_revision),
        version: number(|r| r.version),
        value: record.map(|record| Base64(record.value.0)),
        height,
        proof: None,
    }
}

fn show(context: &Context, reply: &KeyReply) -> Result<ExitStatus, Failure> {
    if reply.value.is_none() && !context.print.is_json() {
        return Err(Failure::failed(format!(
            "there is no key {}",
            text_of(&reply.key.0)
        )));
    }
    context.print.result(reply, |out| {
        let value = reply.value.as_ref().map(|value| text_of(&value.0));
        writeln!(out, "{}", value.unwrap_or_default())
    })?;
    Ok(match reply.value {
        Some(_) => ExitStatus::Done,
        None => ExitStatus::Failed,
    })
}

fn delete(context: &Context, key: &[u8]) -> Result<ExitStatus, Failure> {
    let (client, signer) = (context.client()?, context.key()?);
    let answer = context.block_on(client.kv(&signer).delete(key))?;
    let (id, height) = (answer.receipt.transaction, answer.receipt.height);
    let existed = answer.value;
    let json = json!({
        "transaction": id.to_string(), "height": height, "index": answer.receipt.index,
        "existed": existed,
    });
    context.print.result(&json, |out| {
        let what = if existed { "deleted" } else { "was not there" };
        writeln!(out, "{what} at height {height}\ntransaction {id}")
    })
}

fn cas(
    context: &Context,
    key: &[u8],
    expect: Option<&[u8]>,
    value: &[u8],
) -> Result<ExitStatus, Failure> {
    let (client, signer) = (context.client()?, context.key()?);
    let kv = client.kv(&signer);
    let answer = context.block_on(kv.compare_and_set(key, expect, Some(value)))?;
    let (swapped, version) = answer.value;
    let (id, height) = (answer.receipt.transaction, answer.receipt.height);
    let json = json!({
        "transaction": id.to_string(), "height": height, "index": answer.receipt.index,
        "swapped": swapped, "version": version,
    });
    context.print.result(&json, |out| {
        let what = if swapped {
            "set"
        } else {
            "not set: another value is there"
        };
        writeln!(
            out,
            "{what}; version {version} at height {height}\ntransaction {id}"
        )
    })?;
    Ok(if swapped {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

fn range(
    context: &Context,
    prefix: &[u8],
    from: Option<&[u8]>,
    consistency: Consistency,
    limit: u32,
) -> Result<ExitStatus, Failure> {
    let end = behind(prefix);
    if from.is_some_and(|from| end.is_some_and(|end| *end <= *from)) {
        return Err(Failure::usage(
            "--from lies behind all keys with the prefix",
        ));
    }
    let client = context.client()?;
    let (entries, next) = match consistency {
        Consistency::Local => {
            let reply = context.block_on(client.range(prefix, from, limit))?;
            (reply.entries, reply.next)
        }
        Consistency::Linearizable => {
            let signer = context.key()?;
            let answer = context.block_on(client.kv(&signer).range(prefix, from, limit))?;
            let height = answer.receipt.height;
            let next = answer.value.next().map(Base64);
            let entries = answer.value.entries.into_iter();
            let entries = entries.map(|entry| reply(&entry.key.0, Some(entry.record), height));
            (entries.collect(), next)
        }
    };
    let json: Value = json!({ "entries": entries, "more": next.is_some(), "next": next });
    context.print.result(&json, |out| {
        for entry in &entries {
            let value = entry.value.as_ref().map(|value| text_of(&value.0));
            writeln!(
                out,
                "{}\t{}",
                text_of(&entry.key.0),
                value.unwrap_or_default()
            )?;
        }
        if let Some(next) = &next {
            let next = text_of(&next.0);
            writeln!(out, "(more: raise --limit, or go on with --from {next})")?;
        }
        Ok(())
    })
}
