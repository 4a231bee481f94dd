//! Metrics and logs, derived from what a turn led to. The replica knows neither.

use std::time::Duration;

use quorate_replica::Notice;
use quorate_replica::replica::Status;
use quorate_storage::RocksStore;
use quorate_types::evidence::EvidenceKind;
use quorate_types::{Reject, Round, Signers, ValidatorIndex};

use super::clock::wall;
use crate::metrics::Metrics;

/// Turns between two readings of the disk usage.
const USAGE_TURNS: u32 = 512;

/// Counts and logs what happens.
pub struct Watch {
    metrics: Metrics,
    /// Label values by validator, made once.
    names: Vec<String>,
    me: Option<ValidatorIndex>,
    connected: Signers,
    turns: u32,
    /// How long the turn took whose notices come next.
    turn_time: Duration,
    /// The last round counted as timed out: its Timeout is sent again and again.
    timed_out: Round,
}

impl Watch {
    /// Watches a validator of a set of `count`.
    #[must_use]
    pub fn new(metrics: Metrics, count: usize, me: Option<ValidatorIndex>) -> Watch {
        Watch {
            metrics,
            names: (0..count).map(|index| index.to_string()).collect(),
            me,
            connected: Signers::NONE,
            turns: 0,
            turn_time: Duration::ZERO,
            timed_out: Round::default(),
        }
    }

    /// A synced write took so long.
    pub fn synced(&self, time: Duration) {
        self.metrics
            .storage_sync_seconds
            .observe(time.as_secs_f64());
    }

    /// The replica took so long for a turn.
    pub fn turned(&mut self, time: Duration) {
        self.turn_time = time;
    }

    /// A turn was released.
    pub fn turn(&mut self, status: &Status, notices: &[Notice], store: &RocksStore) {
        let metrics = &self.metrics;
        metrics
            .consensus_round
            .set(gauge(status.consensus.round.number));
        metrics
            .consensus_committed_height
            .set(gauge(status.height.0));
        let leader = status
            .consensus
            .leader
            .map_or(-1, |leader| i64::from(leader.0));
        metrics.consensus_leader.set(leader);
        metrics
            .mempool_transactions
            .set(gauge(u64::try_from(status.queued).unwrap_or(u64::MAX)));
        metrics
            .mempool_bytes
            .set(gauge(u64::try_from(status.pool_bytes).unwrap_or(u64::MAX)));
        metrics
            .sync_lag_blocks
            .set(gauge(status.target.0.saturating_sub(status.height.0)));
        if status.connected != self.connected || self.turns == 0 {
            self.connected = status.connected;
            for (index, name) in self.names.iter().enumerate() {
                let index = u16::try_from(index).map(ValidatorIndex).ok();
                let there =
                    index.is_some_and(|i| Some(i) == self.me || status.connected.contains(i));
                metrics
                    .peer_connected
                    .with_label_values(&[name])
                    .set(i64::from(there));
            }
        }
        if self.turns.is_multiple_of(USAGE_TURNS) {
            match store.usage() {
                Ok(usage) => usage.into_iter().for_each(|(kind, bytes)| {
                    let kind = metrics.storage_bytes.with_label_values(&[kind]);
                    kind.set(gauge(bytes));
                }),
                Err(error) => tracing::warn!(%error, "the disk usage cannot be read"),
            }
        }
        self.turns = self.turns.wrapping_add(1);
        if notices
            .iter()
            .any(|n| matches!(n, Notice::Committed { .. }))
        {
            metrics
                .execution_seconds
                .observe(self.turn_time.as_secs_f64());
        }
        for notice in notices {
            self.notice(notice);
        }
    }

    fn notice(&mut self, notice: &Notice) {
        let metrics = &self.metrics;
        match notice {
            Notice::Committed {
                height,
                round,
                time,
                executed,
                rejected,
                duplicates,
                synced,
            } => {
                let results = &metrics.transactions_total;
                results.with_label_values(&["executed"]).inc_by(*executed);
                results.with_label_values(&["rejected"]).inc_by(*rejected);
                results
                    .with_label_values(&["duplicate"])
                    .inc_by(*duplicates);
                if !synced {
                    let latency = Duration::from_nanos(wall().0.saturating_sub(time.0));
                    metrics
                        .consensus_commit_latency_seconds
                        .observe(latency.as_secs_f64());
                }
                tracing::debug!(%height, %round, executed, rejected, duplicates, "committed");
            }
            Notice::VotesMissing(absent) => {
                for index in absent {
                    if let Some(name) = self.names.get(index.as_usize()) {
                        metrics
                            .consensus_votes_missing_total
                            .with_label_values(&[name])
                            .inc();
                    }
                }
            }
            Notice::TimedOut(round) if *round <= self.timed_out => {}
            Notice::TimedOut(round) => {
                self.timed_out = *round;
                metrics.consensus_timeouts_total.inc();
                tracing::info!(%round, "round timed out");
            }
            Notice::Evidence {
                kind,
                signer,
                round,
            } => {
                let kind = match kind {
                    EvidenceKind::Proposal => "proposal",
                    EvidenceKind::Vote => "vote",
                    EvidenceKind::CommitVote => "commit_vote",
                };
                metrics.evidence_total.with_label_values(&[kind]).inc();
                tracing::warn!(kind, %signer, %round, "a validator signed twice");
            }
            Notice::Diverged {
                height,
                ours,
                certified,
            } => {
                metrics.state_divergence_total.inc();
                tracing::error!(
                    %height, ours = %ours.state, certified = %certified.state,
                    "state diverged: a quorum certified another state, so this validator has stopped voting and serving"
                );
            }
            Notice::Refused { from, reject } => {
                metrics
                    .peer_rejected_total
                    .with_label_values(&[reason(*reject)])
                    .inc();
                tracing::debug!(from = from.map(|index| index.0), %reject, "refused");
            }
            Notice::Expired(count) => {
                tracing::info!(count, "transactions expired before they were ordered");
            }
        }
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The label of a refusal.
pub fn reason(reject: Reject) -> &'static str {
    match reject {
        Reject::WrongVersion => "wrong_version",
        Reject::WrongChain => "wrong_chain",
        Reject::WrongEpoch => "wrong_epoch",
        Reject::Malformed => "malformed",
        Reject::TooLarge => "too_large",
        Reject::BadSignature => "bad_signature",
        Reject::UnknownSigner => "unknown_signer",
        Reject::NoQuorum => "no_quorum",
        Reject::WrongHighQc => "wrong_high_qc",
        Reject::CertificateMismatch => "certificate_mismatch",
        Reject::WrongLeader => "wrong_leader",
        Reject::WrongTime => "wrong_time",
        Reject::UnsafeExtension => "unsafe_extension",
        Reject::BadPayload => "bad_payload",
        Reject::WrongClaim => "wrong_claim",
        Reject::OutOfWindow => "out_of_window",
        Reject::Duplicate => "duplicate",
        _ => "other",
    }
}
