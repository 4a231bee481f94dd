//! `quorate kv checkpoint | checkpoints | revert | release`.

use std::io::Write as _;

use quorate_client::ClientError;
use quorate_client::api::Base64;
use quorate_client::kv::{Answer, Kv, Reversion};
use quorate_execution::kv::checkpoint::MAX_NAME_BYTES;
use quorate_execution::kv::{Checkpoint, MAX_TXN_OPS, Reverted};
use quorate_types::{Rejection, TransactionId};
use serde_json::{Value, json};

use super::context::Context;
use super::kv::{bytes, key_of};
use super::output::{Progress, text_of, time_of};
use crate::exit::{ExitStatus, Failure};

/// Past records that one transaction of many looks at or drops, at first; halved when they are too large.
const STEP: u32 = 1_024;

#[derive(Debug, clap::Args)]
pub(super) struct Revert {
    /// The checkpoint
    name: String,
    /// Keys
    #[arg(value_name = "KEY", required_unless_present = "prefix")]
    keys: Vec<String>,
    /// All keys with this prefix
    #[arg(long, conflicts_with = "keys")]
    prefix: Option<String>,
    /// In as many transactions as it takes: others may see it half done
    #[arg(long, requires = "prefix")]
    in_steps: bool,
    /// Needed, since it overwrites what the keys hold
    #[arg(long)]
    yes: bool,
}

/// A key that went back, and by which transaction.
type Change = (Reverted, TransactionId);

impl Revert {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let name = name_of(&bytes(&self.name)?)?;
        if !self.yes {
            let message = "a revert overwrites what the keys hold now";
            return Err(Failure::usage(message).hint("add --yes if that is meant"));
        }
        let (client, signer) = (context.client()?, context.key()?);
        let kv = client.kv(&signer);
        let answers = match &self.prefix {
            None => {
                let keys: Result<Vec<_>, _> = self.keys.iter().map(|key| key_of(key)).collect();
                let keys = keys?;
                if keys.len() > MAX_TXN_OPS {
                    let message = format!("one revert names at most {MAX_TXN_OPS} keys");
                    return Err(Failure::usage(message).hint("take a --prefix"));
                }
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                vec![context.block_on(kv.revert(&name, &keys))?]
            }
            Some(prefix) if self.in_steps => in_steps(context, &kv, &name, &bytes(prefix)?)?,
            Some(prefix) => vec![whole(context, &kv, &name, &bytes(prefix)?)?],
        };
        show(context, answers)
    }
}

/// A prefix in one transaction.
fn whole(
    context: &Context,
    kv: &Kv<'_>,
    name: &[u8],
    prefix: &[u8],
) -> Result<Answer<Reversion>, Failure> {
    let done = context.attempt(kv.revert_prefix(name, prefix, None, 0))?;
    done.map_err(|error| match too_much(&error) {
        true => Failure::from(error).hint("--in-steps does it in several transactions"),
        false => Failure::from(error),
    })
}

/// A prefix in as many transactions as it takes.
fn in_steps(
    context: &Context,
    kv: &Kv<'_>,
    name: &[u8],
    prefix: &[u8],
) -> Result<Vec<Answer<Reversion>>, Failure> {
    let (mut answers, mut from, mut step) = (Vec::new(), None::<Vec<u8>>, STEP);
    let (mut changed, mut progress) = (0usize, Progress::start());
    loop {
        match context.attempt(kv.revert_prefix(name, prefix, from.as_deref(), step))? {
            Ok(answer) => {
                changed += answer.value.changes.len();
                from.clone_from(&answer.value.next);
                answers.push(answer);
                let Some(next) = &from else {
                    return Ok(answers);
                };
                progress.say(|| format!("{changed} keys went back; going on at {}", text_of(next)));
            }
            Err(error) if too_much(&error) && step > 1 => step /= 2,
            Err(error) => {
                let failure = Failure::from(error);
                let hint = "what was done stays done; the same command goes on with the rest";
                return Err(match answers.is_empty() {
                    true => failure,
                    false => failure.hint(hint),
                });
            }
        }
    }
}

fn too_much(error: &ClientError) -> bool {
    let ClientError::Rejected { rejection, .. } = error else {
        return false;
    };
    matches!(
        rejection,
        Rejection::CostExceeded | Rejection::ResultTooLarge
    )
}

fn show(context: &Context, answers: Vec<Answer<Reversion>>) -> Result<ExitStatus, Failure> {
    let transactions: Vec<String> = answers
        .iter()
        .map(|answer| answer.receipt.transaction.to_string())
        .collect();
    let changes: Vec<Change> = answers
        .into_iter()
        .flat_map(|answer| {
            let id = answer.receipt.transaction;
            answer
                .value
                .changes
                .into_iter()
                .map(move |change| (change, id))
        })
        .collect();
    let row = |(change, id): &Change| {
        json!({
            "key": Base64(change.key.0.clone()), "version": change.version,
            "transaction": id.to_string(),
        })
    };
    let rows: Vec<Value> = changes.iter().map(row).collect();
    let json = json!({ "changes": rows, "transactions": transactions });
    context.print.result(&json, |out| {
        for (change, _) in &changes {
            let key = text_of(&change.key.0);
            match change.version {
                0 => writeln!(out, "{key}\tdeleted")?,
                version => writeln!(out, "{key}\tversion {version}")?,
            }
        }
        writeln!(
            out,
            "{} keys went back, the others held the same",
            changes.len()
        )
    })
}

pub(super) fn make(context: &Context, name: &[u8]) -> Result<ExitStatus, Failure> {
    let name = name_of(name)?;
    let (client, signer) = (context.client()?, context.key()?);
    let answer = context.block_on(client.kv(&signer).checkpoint(&name))?;
    let id = answer.receipt.transaction.to_string();
    let mut json = describe(&answer.value);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("transaction".into(), Value::String(id.clone()));
    }
    context.print.result(&json, |out| {
        let (name, height) = (text_of(&name), answer.value.height);
        writeln!(
            out,
            "checkpoint {name} at height {height}\ntransaction {id}"
        )
    })
}

pub(super) fn list(context: &Context) -> Result<ExitStatus, Failure> {
    let (client, signer) = (context.client()?, context.key()?);
    let answer = context.block_on(client.kv(&signer).checkpoints())?;
    let rows: Vec<Value> = answer.value.iter().map(describe).collect();
    context.print.result(&rows, |out| {
        writeln!(out, "{:>10}  {:<20}  {:<9}  name", "height", "time", "")?;
        for checkpoint in &answer.value {
            let state = if checkpoint.released {
                "released"
            } else {
                "open"
            };
            let (time, name) = (time_of(checkpoint.time), text_of(&checkpoint.name.0));
            writeln!(
                out,
                "{:>10}  {time:<20}  {state:<9}  {name}",
                checkpoint.height.0
            )?;
        }
        Ok(())
    })
}

pub(super) fn release(context: &Context, name: &[u8], yes: bool) -> Result<ExitStatus, Failure> {
    let name = name_of(name)?;
    if !yes {
        let message = "nothing can be taken back to a checkpoint that is released";
        return Err(Failure::usage(message).hint("add --yes if that is meant"));
    }
    let (client, signer) = (context.client()?, context.key()?);
    let kv = client.kv(&signer);
    // First of all it ends; what it leaves is dropped in steps, by whomever.
    let (mut total, mut more) = context.block_on(kv.release(Some(&name), 0))?.value;
    let (mut step, mut progress) = (STEP, Progress::start());
    while more {
        let dropped;
        match context.attempt(kv.release(None, step))? {
            Ok(answer) => (dropped, more) = answer.value,
            Err(error) if too_much(&error) && step > 1 => {
                step /= 2;
                continue;
            }
            Err(error) => {
                let hint = "it is released; the next release drops the rest of what it left";
                return Err(Failure::from(error).hint(hint));
            }
        }
        total += dropped;
        progress.say(|| format!("{total} records dropped"));
    }
    context.print.result(&json!({ "dropped": total }), |out| {
        writeln!(
            out,
            "checkpoint {} released, {total} records dropped",
            text_of(&name)
        )
    })
}

fn describe(checkpoint: &Checkpoint) -> Value {
    json!({
        "name": text_of(&checkpoint.name.0),
        "height": checkpoint.height.0,
        "time": time_of(checkpoint.time),
        "revision": checkpoint.revision,
        "owner": checkpoint.owner.to_string(),
        "released": checkpoint.released,
    })
}

/// A name, which the state machine would refuse if it were empty or too long.
fn name_of(name: &[u8]) -> Result<Vec<u8>, Failure> {
    match (1..=MAX_NAME_BYTES).contains(&name.len()) {
        true => Ok(name.to_vec()),
        false => Err(Failure::usage(format!(
            "the name of a checkpoint has 1 to {MAX_NAME_BYTES} bytes, not {}",
            name.len()
        ))),
    }
}
