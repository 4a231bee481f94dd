//! `quorate verify`.

use std::io::Write as _;
use std::path::PathBuf;

use quorate_client::proofs;
use quorate_execution::kv::LeafRecord;
use quorate_execution::proof::{Facts, FinalBlock};
use serde_json::{Value, json};

use super::OutputFlag;
use super::context::Context;
use super::output::{text_of, time_of};
use crate::exit::{ExitStatus, Failure};

/// Verifies a proof offline, against the genesis alone, and prints what it
/// shows. Exit status 6 if it does not verify.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate kv get greeting --proof greeting.proof
  quorate verify --genesis net/genesis.json greeting.proof
  quorate tx show ID --proof receipt.proof
  quorate verify --genesis net/genesis.json receipt.proof")]
pub(super) struct Verify {
    /// What the chain started from; the only thing that is trusted
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The proof's file
    proof: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Verify {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let genesis = crate::genesis::read(&self.genesis)?;
        let shown = self.proof.display();
        let proof = std::fs::read(&self.proof)
            .map_err(|error| Failure::failed(format!("cannot read {shown}: {error}")))?;
        report(context, &proofs::verify(&genesis, &proof)?)
    }
}

/// Prints what a verified proof shows.
pub(super) fn report(context: &Context, facts: &Facts) -> Result<ExitStatus, Failure> {
    let (json, lines) = match facts {
        Facts::Key(facts) => {
            let key = facts.key.strip_prefix(b"kv/").unwrap_or(&facts.key);
            let record = facts.record.as_deref().map(LeafRecord::decode);
            let record = record.transpose().map_err(Failure::verification)?;
            let value = record.as_ref().map(|record| text_of(&record.value.0));
            let height = facts.height;
            let line = match &record {
                Some(record) => format!(
                    "key {} has the value {} (version {}, revision {}) at height {height}",
                    text_of(key),
                    text_of(&record.value.0),
                    record.version,
                    record.modify_revision
                ),
                None => format!("there is no key {} at height {height}", text_of(key)),
            };
            let json = json!({
                "proves": "key", "key": text_of(key), "value": value, "height": height,
                "version": record.as_ref().map(|r| r.version), "claimed_by": block(&facts.claimed_by),
            });
            (json, vec![line, claimed("claimed by", &facts.claimed_by)])
        }
        Facts::Receipt(facts) => {
            let receipt = quorate_client::api::ReceiptReply::from(&facts.receipt);
            let line = format!(
                "transaction {} was {} at height {}, index {}, {}",
                receipt.transaction,
                receipt.outcome,
                receipt.height,
                receipt.index,
                time_of(receipt.time)
            );
            let json = json!({
                "proves": "receipt", "receipt": receipt, "claimed_by": block(&facts.claimed_by),
            });
            (json, vec![line, claimed("claimed by", &facts.claimed_by)])
        }
        Facts::Inclusion(facts) => {
            let line = format!("transaction {} is ordered", facts.transaction);
            let json = json!({
                "proves": "inclusion", "transaction": facts.transaction.to_string(),
                "batch": facts.batch.to_string(), "ordered_by": block(&facts.ordered_by),
            });
            (json, vec![line, claimed("ordered by", &facts.ordered_by)])
        }
    };
    context.print.result(&json, |out| {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        writeln!(out, "verified")
    })
}

fn claimed(what: &str, by: &FinalBlock) -> String {
    format!(
        "{what} final block {} at height {}, {}",
        by.id,
        by.height,
        time_of(by.time)
    )
}

fn block(by: &FinalBlock) -> Value {
    json!({ "id": by.id.to_string(), "height": by.height, "time": by.time })
}
