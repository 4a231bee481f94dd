//! Metrics and logs, derived from what a turn led to. The replica knows neither.

use std::time::{Duration, Instant};

use quorate_replica::replica::Status;
use quorate_replica::{Notice, Passed, Progress};
use quorate_storage::RocksStore;
use quorate_types::evidence::EvidenceKind;
use quorate_types::{Height, Message, Reject, Round, Signers, ValidatorIndex};

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
    /// It has voted since the start.
    voted: bool,
    transfer: Option<Transfer>,
}

/// A snapshot that is being fetched, since this process knows of it.
struct Transfer {
    height: Height,
    since: Instant,
    from_bytes: u64,
    logged: Instant,
}

/// Time between two lines about a transfer.
const TRANSFER_LOG: Duration = Duration::from_secs(5);

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
            voted: false,
            transfer: None,
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
            .consensus_fenced
            .set(i64::from(status.consensus.fenced));
        metrics
            .mempool_transactions
            .set(gauge(u64::try_from(status.queued).unwrap_or(u64::MAX)));
        metrics
            .mempool_bytes
            .set(gauge(u64::try_from(status.pool_bytes).unwrap_or(u64::MAX)));
        metrics
            .sync_lag_blocks
            .set(gauge(status.target.0.saturating_sub(status.height.0)));
        self.transfer(status.transfer);
        let metrics = &self.metrics;
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
                Err(error) => {
                    tracing::warn!(event = "disk_usage_unread", %error, "the disk usage cannot be read")
                }
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

    /// Shows how far the transfer of a snapshot is.
    fn transfer(&mut self, progress: Option<Progress>) {
        let metrics = &self.metrics;
        let Some(progress) = progress else {
            if self.transfer.take().is_some() {
                metrics.transfer_bytes.set(0);
                metrics.transfer_bytes_total.set(0);
                metrics.set_transfer_remaining(None);
            }
            return;
        };
        let now = Instant::now();
        let same = self
            .transfer
            .take_if(|transfer| transfer.height == progress.height);
        let mut transfer = same.unwrap_or(Transfer {
            height: progress.height,
            since: now,
            from_bytes: progress.bytes,
            logged: now,
        });
        let millis =
            u64::try_from(now.duration_since(transfer.since).as_millis()).unwrap_or(u64::MAX);
        let fetched = progress.bytes.saturating_sub(transfer.from_bytes);
        let open = progress.bytes_total.saturating_sub(progress.bytes);
        let remaining = open.saturating_mul(millis).checked_div(fetched);
        let seconds = remaining.map(|millis| gauge(millis.div_ceil(1_000)));
        metrics.transfer_bytes.set(gauge(progress.bytes));
        metrics
            .transfer_bytes_total
            .set(gauge(progress.bytes_total));
        metrics.set_transfer_remaining(seconds);
        if now.duration_since(transfer.logged) >= TRANSFER_LOG || transfer.since == now {
            transfer.logged = now;
            tracing::info!(event = "snapshot_progress",
                height = %progress.height, chunks = progress.chunks, of = progress.chunks_total,
                bytes = progress.bytes, bytes_total = progress.bytes_total,
                remaining_seconds = seconds, "fetching a snapshot"
            );
        }
        self.transfer = Some(transfer);
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
            Notice::Voted(round) => {
                metrics.consensus_votes_total.inc();
                if !std::mem::replace(&mut self.voted, true) {
                    tracing::info!(event = "first_vote", %round, "voted for the first time since the start");
                }
            }
            Notice::TimedOut(round) if *round <= self.timed_out => {}
            Notice::TimedOut(round) => {
                self.timed_out = *round;
                metrics.consensus_timeouts_total.inc();
                tracing::info!(event = "round_timed_out", %round, "round timed out");
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
                tracing::warn!(event = "evidence", kind, %signer, %round, "a validator signed twice");
                if Some(*signer) == self.me {
                    self.twin(*round);
                }
            }
            Notice::Diverged {
                height,
                ours,
                certified,
            } => {
                metrics.state_divergence_total.inc();
                tracing::error!(
                    event = "state_diverged", %height, ours = %ours.state, certified = %certified.state,
                    "state diverged: a quorum certified another state, so this validator has stopped voting and serving"
                );
            }
            Notice::Passed(passed) => self.passed(passed),
            Notice::Twin(round) => self.twin(*round),
            Notice::Refused { from, reject } => {
                metrics
                    .peer_rejected_total
                    .with_label_values(&[reason(*reject)])
                    .inc();
                tracing::debug!(from = from.map(|index| index.0), %reject, "refused");
            }
            Notice::Damaged(table) => {
                let table = table.name();
                metrics
                    .storage_damaged_total
                    .with_label_values(&[table])
                    .inc();
                tracing::error!(
                    event = "entry_damaged",
                    table,
                    "an entry that a peer asked for is damaged: it was not served; check the disk"
                );
            }
            Notice::Mended(table) => {
                let table = table.name();
                metrics
                    .storage_mended_total
                    .with_label_values(&[table])
                    .inc();
                tracing::warn!(
                    event = "entry_mended",
                    table,
                    "a damaged entry was fetched from a peer and written anew"
                );
            }
            Notice::Expired(count) => {
                tracing::info!(
                    event = "transactions_expired",
                    count,
                    "transactions expired before they were ordered"
                );
            }
        }
    }
}

impl Watch {
    /// Two processes have the key. The chain stands it as it stands any faulty validator; the operator has to end it.
    fn twin(&self, round: Round) {
        self.metrics
            .key_conflicts_total
            .with_label_values(&["signature"])
            .inc();
        tracing::error!(
            event = "key_used_elsewhere", %round,
            "something was signed with this validator's key that it did not sign: another process has the key. Stop one of the two"
        );
    }

    /// P5: the restart fence, or the strict one, is behind this validator.
    fn passed(&self, passed: &Passed) {
        let (burnt, strict) = (passed.burnt, passed.strict);
        tracing::info!(event = "fence_passed", %burnt, strict, "asked the others what was signed before; taking part");
        let Some((shown, recorded)) = passed.shown.zip(passed.recorded) else {
            return;
        };
        if shown > recorded {
            self.metrics
                .key_conflicts_total
                .with_label_values(&["home"])
                .inc();
            tracing::error!(
                event = "home_outdated", %recorded, %shown,
                "this home is older than what its validator signed: it was restored from a copy, or another process has the key"
            );
        }
    }
}

/// Writes down what this validator signed in consensus, before it is sent. An observer that reads this of all validators
/// (`log.level` = `info,quorate_node::signed=trace`) knows every signature that anybody can have received.
pub fn signed(message: &Message) {
    if !tracing::enabled!(target: "quorate_node::signed", tracing::Level::TRACE) {
        return;
    }
    let (kind, round, block) = match message {
        Message::Proposal(proposal) => {
            let header = &proposal.block.header;
            ("proposal", header.round, Some(header.id()))
        }
        Message::Vote(vote) => ("vote", vote.round, Some(vote.block)),
        Message::CommitVote(vote) => ("commit_vote", vote.round, Some(vote.block)),
        Message::Timeout(timeout) => ("timeout", timeout.round, None),
        _ => return,
    };
    let block = block.map(tracing::field::display);
    tracing::trace!(target: "quorate_node::signed", kind, %round, block, "signed");
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
