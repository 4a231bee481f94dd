//! `quorate status`.

use std::io::Write as _;

use quorate_client::api::StatusReply;
use serde::Serialize;

use super::OutputFlag;
use super::context::{Context, runtime};
use crate::exit::{ExitStatus, Failure};

/// Shows how the validators of the profile are. Exit status 4 if none answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate --profile net/client.toml status
  quorate --profile net/client.toml status --output json")]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Serialize)]
struct Row {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    status: Option<StatusReply>,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let mut rows = Vec::new();
        let mut first_failure = None;
        let runtime = runtime()?;
        for endpoint in &client.profile().endpoints {
            let (status, error) = match runtime.block_on(client.status_of(endpoint)) {
                Ok(status) => (Some(status), None),
                Err(error) => {
                    let shown = error.to_string();
                    first_failure.get_or_insert_with(|| Failure::from(error));
                    (None, Some(shown))
                }
            };
            rows.push(Row {
                endpoint: endpoint.clone(),
                error,
                status,
            });
        }
        context.print.result(&rows, |out| {
            writeln!(
                out,
                "{:<24} {:<14} {:>9} {:>9} {:>6} {:>6}  ready",
                "endpoint", "validator", "height", "executed", "round", "peers"
            )?;
            for Row {
                endpoint,
                error,
                status,
            } in &rows
            {
                match status {
                    Some(s) => writeln!(
                        out,
                        "{endpoint:<24} {:<14} {:>9} {:>9} {:>6} {:>6}  {}",
                        s.validator,
                        s.height.0,
                        s.executed.0,
                        s.round,
                        s.peers_connected,
                        if s.ready { "yes" } else { "no" }
                    )?,
                    None => {
                        writeln!(
                            out,
                            "{endpoint:<24} {}",
                            error.as_deref().unwrap_or_default()
                        )?;
                    }
                }
            }
            Ok(())
        })?;
        match first_failure {
            Some(failure) if rows.iter().all(|row| row.status.is_none()) => Err(failure),
            _ => Ok(ExitStatus::Done),
        }
    }
}
