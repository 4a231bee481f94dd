//! `quorate tx`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_client::api::SubmitReply;
use quorate_client::{Client, ClientError, Submission, Wait, proofs};
use quorate_types::{Blob, Outcome, Transaction, TransactionId, codec};
use serde_json::json;

use super::OutputFlag;
use super::context::Context;
use super::output::time_of;
use crate::exit::{ExitStatus, Failure};
use crate::staged;

/// Largest transaction file that is read, in bytes; the chain's own bound is smaller.
const MAX_FILE: usize = 16 << 20;

/// Submits transactions and follows them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate tx submit --command 06000000020000000000000000ff
  quorate tx submit --command HEX --save t.tx --wait none
  quorate tx submit t.tx
  quorate tx wait ID
  quorate tx show ID --proof receipt.proof

FILE holds a signed transaction in canonical bytes. The same file can be
submitted any number of times: it executes once, and every submit answers
with the first one's receipt. --command takes canonical state machine
commands, one transaction for all of them.")]
pub(super) struct Tx {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WaitFor {
    /// Until a validator holds it.
    None,
    /// Until it has its place in the ledger.
    Committed,
    /// Until there is a receipt.
    Executed,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Submit a signed transaction, or sign commands and submit them
    #[command(after_help = "\
Examples:
  quorate tx submit --command 06000000020000000000000000ff --save t.tx
  quorate tx submit t.tx --wait none

Exit status 5 if it was rejected for good, also when it has a receipt that says
so; 4 if its outcome is open: submit the same file again. A FILE may have been
submitted before, so no refusal of it is an outcome.")]
    Submit {
        /// A signed transaction, canonical bytes
        #[arg(required_unless_present = "command", conflicts_with = "command")]
        file: Option<PathBuf>,
        /// A command in hexadecimal, to be signed; may be repeated
        #[arg(long, value_name = "HEX")]
        command: Vec<String>,
        /// Keep the signed transaction in this file, a new one, before it is sent
        #[arg(long, value_name = "FILE", requires = "command")]
        save: Option<PathBuf>,
        /// How far to follow it
        #[arg(long, value_enum, default_value = "executed", value_name = "STATE")]
        wait: WaitFor,
    },
    /// Wait for the receipt of a transaction
    #[command(after_help = "Example:\n  quorate --timeout 60 tx wait ID")]
    Wait { id: TransactionId },
    /// Show where a transaction stands
    #[command(after_help = "Example:\n  quorate tx show ID --proof receipt.proof")]
    Show {
        id: TransactionId,
        /// Fetch the proof of its receipt, verify it, write it to a file
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
}

impl Tx {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        match self.verb {
            Verb::Submit {
                file,
                command,
                save,
                wait,
            } => {
                let wait = match wait {
                    WaitFor::None => Wait::None,
                    WaitFor::Committed => Wait::Committed,
                    WaitFor::Executed => Wait::Executed,
                };
                let submission = match file {
                    // Whoever kept it may have sent it.
                    Some(file) => context.block_on(client.submit_again(&read(&file)?, wait))?,
                    None => {
                        let transaction = sign(context, &client, &command, save.as_deref())?;
                        context.block_on(client.submit(&transaction, wait))?
                    }
                };
                show(context, &submission)
            }
            Verb::Wait { id } => wait(context, &client, id),
            Verb::Show { id, proof: None } => {
                show(context, &context.block_on(client.transaction(id, false))?)
            }
            Verb::Show {
                id,
                proof: Some(file),
            } => prove(context, &client, id, &file),
        }
    }
}

fn wait(context: &Context, client: &Client, id: TransactionId) -> Result<ExitStatus, Failure> {
    match super::context::runtime()?.block_on(client.wait(id)) {
        Ok(found) => show(context, &found),
        // Nothing but the end of the patience tells a transaction that nobody knows from a slow one.
        Err(ClientError::TimedOut { .. }) => {
            let seconds = context.timeout.as_secs_f64();
            let message =
                format!("no validator has a receipt of transaction {id} after {seconds} s");
            Err(Failure::new(ExitStatus::Unavailable, message).hint(
                "submitted, and not ordered yet: wait longer with --timeout. Never submitted, or \
                 past its valid_until: there will be none",
            ))
        }
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<Transaction, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
    codec::decode(&bytes, MAX_FILE)
        .map_err(|error| Failure::usage(format!("{} is no transaction: {error}", path.display())))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// Signs, and keeps what it has signed before anybody gets it: without the bytes nobody could send the same again.
fn sign(
    context: &Context,
    client: &Client,
    commands: &[String],
    save: Option<&Path>,
) -> Result<Transaction, Failure> {
    let key = context.key()?;
    let commands = commands.iter().map(|text| {
        hex::decode(text)
            .map(Blob)
            .map_err(|error| Failure::usage(format!("--command {text:?}: {error}")))
    });
    let commands = commands.collect::<Result<Vec<_>, _>>()?;
    let transaction = context.block_on(client.sign(&key, commands))?;
    if let Some(path) = save {
        staged::keep(path, &codec::encode(&transaction)).map_err(|failure| {
            match path.exists() {
                true => failure.hint(
                    "the outcome of what it holds may be open: submit the file, or name a new one",
                ),
                false => failure,
            }
        })?;
    }
    Ok(transaction)
}

fn prove(
    context: &Context,
    client: &Client,
    id: TransactionId,
    file: &Path,
) -> Result<ExitStatus, Failure> {
    let path = client.profile().genesis.clone();
    let path = path.ok_or_else(|| Failure::config("the profile names no genesis"))?;
    let genesis = crate::genesis::read(&path)?;
    if genesis.chain_id() != client.profile().chain {
        let message = format!("genesis {} is another chain's", path.display());
        return Err(Failure::config(message));
    }
    let (proof, facts) = context.block_on(proofs::prove_receipt(client, &genesis, id))?;
    write(file, &proof)?;
    super::verify::report(context, &quorate_execution::proof::Facts::Receipt(facts))
}

fn show(context: &Context, submission: &Submission) -> Result<ExitStatus, Failure> {
    let reply = &submission.reply;
    context
        .print
        .result(&json!(reply), |out| text(out, reply))?;
    let receipt = reply
        .receipt
        .as_ref()
        .and_then(|receipt| receipt.decode().ok());
    Ok(match receipt.map(|receipt| receipt.outcome) {
        Some(Outcome::Rejected(rejection)) if rejection.is_final() => ExitStatus::Rejected,
        Some(Outcome::Rejected(_)) => ExitStatus::Unavailable,
        _ => ExitStatus::Done,
    })
}

fn text(out: &mut Vec<u8>, reply: &SubmitReply) -> std::io::Result<()> {
    writeln!(out, "transaction {}", reply.id)?;
    let Some(receipt) = &reply.receipt else {
        let state = format!("{:?}", reply.state).to_lowercase();
        return match reply.height {
            Some(height) => writeln!(out, "{state} at height {height}"),
            None => writeln!(out, "{state}"),
        };
    };
    let reason = receipt.reason.as_ref().map(|reason| format!(": {reason}"));
    writeln!(out, "{}{}", receipt.outcome, reason.unwrap_or_default())?;
    writeln!(
        out,
        "height {}, index {}, {}",
        receipt.height,
        receipt.index,
        time_of(receipt.time)
    )?;
    for result in &receipt.results {
        writeln!(out, "result 0x{}", hex::encode(&result.0))?;
    }
    Ok(())
}
