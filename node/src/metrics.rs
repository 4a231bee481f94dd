//! The metrics of a validator, under the names that dashboards rely on.
//!
//! Owns names, help texts and labels. Labels are bounded: validator indices of the set, and the enumerated reasons of
//! this release. Derived in the node from the inputs and outputs of the replica; the pure crates know nothing of it.

mod make;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder, core::Collector as _, proto::MetricType,
};

use make::{
    build_info, counter, counters, float_gauge, float_gauges, gauge, gauges, histogram, histograms,
    passing_gauge, process, start_time,
};

/// Media type of the text exposition format.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics, registered. Cheap to clone: each request of a client carries them along.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

/// What [`Metrics`] shares.
#[derive(Debug)]
#[allow(missing_docs)] // each field is named as its metric, and the help text documents it
pub struct Families {
    registry: Registry,
    pub ready: IntGauge,
    pub consensus_round: IntGauge,
    pub consensus_committed_height: IntGauge,
    pub consensus_commit_latency_seconds: Histogram,
    pub consensus_timeouts_total: IntCounter,
    pub consensus_leader: IntGauge,
    pub consensus_fenced: IntGauge,
    pub consensus_idle_interval_seconds: Gauge,
    pub consensus_votes_total: IntCounter,
    pub consensus_votes_missing_total: IntCounterVec,
    pub mempool_transactions: IntGauge,
    pub mempool_bytes: IntGauge,
    pub transactions_total: IntCounterVec,
    pub execution_seconds: Histogram,
    pub storage_sync_seconds: Histogram,
    pub storage_bytes: IntGaugeVec,
    pub storage_free_bytes: IntGauge,
    pub storage_min_free_bytes: IntGauge,
    pub storage_first_height: IntGauge,
    pub snapshot_height: IntGauge,
    pub backups_total: IntCounterVec,
    pub transfer_bytes: IntGauge,
    pub transfer_bytes_total: IntGauge,
    pub transfer_remaining_seconds: IntGaugeVec,
    pub peer_connected: IntGaugeVec,
    pub peer_round_trip_seconds: GaugeVec,
    pub peer_datagram_bytes: GaugeVec,
    pub peer_packets_total: IntCounterVec,
    pub peer_packets_lost_total: IntCounterVec,
    pub peer_sent_bytes_total: IntCounterVec,
    pub peer_received_bytes_total: IntCounterVec,
    pub peer_messages_dropped_total: IntCounterVec,
    pub peer_rejected_total: IntCounterVec,
    pub sync_lag_blocks: IntGauge,
    pub state_divergence_total: IntCounter,
    pub evidence_total: IntCounterVec,
    pub storage_damaged_total: IntCounterVec,
    pub storage_mended_total: IntCounterVec,
    pub key_conflicts_total: IntCounterVec,
    pub api_requests_total: IntCounterVec,
    pub api_request_seconds: HistogramVec,
    pub api_connections: IntGauge,
    pub api_max_connections: IntGauge,
    pub api_streams: IntGauge,
    pub api_submission_streams: IntGauge,
}

/// Results of a transaction, as labels of `quorate_transactions_total`.
pub const RESULTS: [&str; 5] = ["executed", "rejected", "duplicate", "refused", "full"];

/// What `quorate_api_requests_total` tells apart.
pub const STATUSES: [&str; 6] = ["2xx", "3xx", "4xx", "429", "5xx", "canceled"];

/// What `quorate_key_conflicts_total` counts: at a start, a round signed in that the home knows nothing of; then, what
/// bears our name and was not signed here; connections that a peer gave up for a newer one from our network key.
pub const KEY_CONFLICTS: [&str; 3] = ["home", "signature", "connection"];

/// Reasons of `quorate_peer_rejected_total` that are there from the start: those that an operator is most likely to ask for.
/// The others appear when they happen; all of them are values of two enums.
const REFUSED_FIRST: [&str; 4] = ["bad_signature", "malformed", "stranger", "wrong_chain"];

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let r = &registry;
        let families = Families {
            ready: gauge(r, "quorate_ready", "1 if /readyz answers 200 now, else 0."),
            consensus_round: gauge(
                r,
                "quorate_consensus_round",
                "Round that the validator is in.",
            ),
            consensus_committed_height: gauge(
                r,
                "quorate_consensus_committed_height",
                "Height of the newest committed block.",
            ),
            consensus_commit_latency_seconds: histogram(
                r,
                "quorate_consensus_commit_latency_seconds",
                "Time from a block's timestamp to its commit here, by this validator's clock.",
            ),
            consensus_timeouts_total: counter(
                r,
                "quorate_consensus_timeouts_total",
                "Rounds that this validator signed a Timeout for.",
            ),
            consensus_leader: gauge(
                r,
                "quorate_consensus_leader",
                "Index of the validator that leads the round; -1 while it is not known.",
            ),
            consensus_fenced: gauge(
                r,
                "quorate_consensus_fenced",
                "1 while the validator asks what it signed before it started, and signs nothing.",
            ),
            consensus_idle_interval_seconds: float_gauge(
                r,
                "quorate_consensus_idle_interval_seconds",
                "Time between two blocks of a chain that nobody writes to, as the genesis says.",
            ),
            consensus_votes_total: counter(
                r,
                "quorate_consensus_votes_total",
                "Blocks that this validator voted for.",
            ),
            consensus_votes_missing_total: counters(
                r,
                "quorate_consensus_votes_missing_total",
                "Certified blocks without a vote of the validator in the certificate.",
                "validator",
            ),
            mempool_transactions: gauge(
                r,
                "quorate_mempool_transactions",
                "Transactions taken here and not executed yet.",
            ),
            mempool_bytes: gauge(
                r,
                "quorate_mempool_bytes",
                "Bytes of what is queued and of the batches held.",
            ),
            transactions_total: counters(
                r,
                "quorate_transactions_total",
                "Transactions by what became of them.",
                "result",
            ),
            execution_seconds: histogram(
                r,
                "quorate_execution_seconds",
                "Time of a turn of the replica that executed blocks.",
            ),
            storage_sync_seconds: histogram(
                r,
                "quorate_storage_sync_seconds",
                "Time of a synced write.",
            ),
            storage_bytes: gauges(r, "quorate_storage_bytes", "Bytes on disk by kind.", "kind"),
            storage_free_bytes: gauge(
                r,
                "quorate_storage_free_bytes",
                "Free space on the disk of the home.",
            ),
            storage_min_free_bytes: gauge(
                r,
                "quorate_storage_min_free_bytes",
                "Free space below which transactions are refused, as storage.min_free_bytes says; 0: none.",
            ),
            storage_first_height: gauge(
                r,
                "quorate_storage_first_height",
                "First height whose block is kept; 0 while all are.",
            ),
            snapshot_height: gauge(
                r,
                "quorate_snapshot_height",
                "Height of the newest snapshot made here.",
            ),
            backups_total: counters(
                r,
                "quorate_backups_total",
                "Checkpoints for backups: begun, or failed.",
                "result",
            ),
            transfer_bytes: gauge(
                r,
                "quorate_transfer_bytes",
                "Bytes of the snapshot being fetched that are here.",
            ),
            transfer_bytes_total: gauge(
                r,
                "quorate_transfer_size_bytes",
                "Bytes of the snapshot being fetched; 0 if none is.",
            ),
            // Without labels, so that it can be gone: a value for "unknown" would count in averages.
            transfer_remaining_seconds: passing_gauge(
                r,
                "quorate_transfer_remaining_seconds",
                "Time until the snapshot is here, at the rate so far; nothing while none is fetched, or it is not known.",
            ),
            peer_connected: gauges(
                r,
                "quorate_peer_connected",
                "Whether the validator is connected: 1 or 0.",
                "validator",
            ),
            peer_round_trip_seconds: float_gauges(
                r,
                "quorate_peer_round_trip_seconds",
                "QUIC's estimate of the time to the validator and back; nothing while it is not connected.",
                "validator",
            ),
            peer_datagram_bytes: float_gauges(
                r,
                "quorate_peer_datagram_bytes",
                "The largest UDP payload that the path to the validator is known to carry; nothing while it is not connected.",
                "validator",
            ),
            peer_packets_total: counters(
                r,
                "quorate_peer_packets_total",
                "QUIC packets sent to the validator.",
                "validator",
            ),
            peer_packets_lost_total: counters(
                r,
                "quorate_peer_packets_lost_total",
                "QUIC packets sent to the validator and held to be lost.",
                "validator",
            ),
            peer_sent_bytes_total: counters(
                r,
                "quorate_peer_sent_bytes_total",
                "Bytes of messages handed to QUIC for the validator.",
                "validator",
            ),
            peer_received_bytes_total: counters(
                r,
                "quorate_peer_received_bytes_total",
                "Bytes of whole messages received from the validator.",
                "validator",
            ),
            peer_messages_dropped_total: counters(
                r,
                "quorate_peer_messages_dropped_total",
                "Messages for the validator that were dropped because too much waited.",
                "validator",
            ),
            peer_rejected_total: counters(
                r,
                "quorate_peer_rejected_total",
                "Messages and connections of peers that were refused.",
                "reason",
            ),
            sync_lag_blocks: gauge(
                r,
                "quorate_sync_lag_blocks",
                "Committed blocks that others have and this validator has not.",
            ),
            state_divergence_total: counter(
                r,
                "quorate_state_divergence_total",
                "Times that a certified claim contradicted this validator's own state.",
            ),
            evidence_total: counters(
                r,
                "quorate_evidence_total",
                "Proofs of misbehaviour found, by kind.",
                "kind",
            ),
            storage_damaged_total: counters(
                r,
                "quorate_storage_damaged_total",
                "Damaged entries that a peer asked for and did not get, by table.",
                "table",
            ),
            storage_mended_total: counters(
                r,
                "quorate_storage_mended_total",
                "Damaged entries that were fetched from a peer and written anew, by table.",
                "table",
            ),
            key_conflicts_total: counters(
                r,
                "quorate_key_conflicts_total",
                "Signs that the home is an old copy, or that its keys are used elsewhere too.",
                "sign",
            ),
            api_requests_total: counters(
                r,
                "quorate_api_requests_total",
                "HTTP requests by class of status; canceled: the client went away before its answer.",
                "status",
            ),
            api_request_seconds: histograms(
                r,
                "quorate_api_request_seconds",
                "Time to answer an HTTP request, waiting for the outcome included; of a stream, until it begins.",
                "method",
            ),
            api_connections: gauge(
                r,
                "quorate_api_connections",
                "Open connections of clients to the HTTP API.",
            ),
            api_max_connections: gauge(
                r,
                "quorate_api_max_connections",
                "Connections of clients that are taken at a time; further ones wait.",
            ),
            api_streams: gauge(r, "quorate_api_streams", "Readers that follow the log."),
            api_submission_streams: gauge(
                r,
                "quorate_api_submission_streams",
                "Streams of submissions, as gateways open them.",
            ),
            registry,
        };
        let metrics = Metrics(Arc::new(families));
        metrics.consensus_leader.set(-1);
        // Series that exist from the start can be watched for their first change.
        for result in RESULTS {
            metrics.transactions_total.with_label_values(&[result]);
        }
        for status in STATUSES {
            metrics.api_requests_total.with_label_values(&[status]);
        }
        for reason in REFUSED_FIRST {
            metrics.peer_rejected_total.with_label_values(&[reason]);
        }
        for kind in ["proposal", "vote", "commit_vote"] {
            metrics.evidence_total.with_label_values(&[kind]);
        }
        for table in ["blocks", "batches"] {
            metrics.storage_damaged_total.with_label_values(&[table]);
            metrics.storage_mended_total.with_label_values(&[table]);
        }
        for result in ["begun", "failed"] {
            metrics.backups_total.with_label_values(&[result]);
        }
        for sign in KEY_CONFLICTS {
            metrics.key_conflicts_total.with_label_values(&[sign]);
        }
        build_info(&metrics.registry);
        start_time(&metrics.registry);
        process(&metrics.registry);
        metrics
    }

    /// Creates the series of the validators `0..count`.
    pub fn add_validators(&self, count: u16) {
        for index in 0..count {
            let index = index.to_string();
            self.peer_connected.with_label_values(&[index.as_str()]);
            self.consensus_votes_missing_total
                .with_label_values(&[index.as_str()]);
        }
    }

    /// What is counted of each peer's connections.
    fn links(&self) -> [&IntCounterVec; 5] {
        [
            &self.peer_packets_total,
            &self.peer_packets_lost_total,
            &self.peer_sent_bytes_total,
            &self.peer_received_bytes_total,
            &self.peer_messages_dropped_total,
        ]
    }

    /// Shows how long the transfer of a snapshot still takes, if that is known.
    pub fn set_transfer_remaining(&self, seconds: Option<i64>) {
        let none: &[&str] = &[];
        match seconds {
            Some(seconds) => {
                let gauge = &self.transfer_remaining_seconds;
                gauge.with_label_values(none).set(seconds);
            }
            // Fails where there is nothing to remove.
            None => drop(self.transfer_remaining_seconds.remove_label_values(none)),
        }
    }

    /// How long the transfer of a snapshot still takes, if that is known.
    #[must_use]
    pub fn transfer_remaining(&self) -> Option<u64> {
        let families = self.transfer_remaining_seconds.collect();
        let metric = families.first()?.get_metric().first()?;
        // Set from a whole number of seconds.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(metric.get_gauge().get_value() as u64)
    }

    /// Sum of the commit latencies since the start, in nanoseconds.
    #[must_use]
    pub fn commit_latency_total_ns(&self) -> u64 {
        let seconds = self.consensus_commit_latency_seconds.get_sample_sum();
        let sum = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        u64::try_from(sum.as_nanos()).unwrap_or(u64::MAX)
    }

    /// What there is, for the reference: name, type, labels, help.
    #[must_use]
    pub fn describe() -> Vec<Described> {
        let metrics = Metrics::new();
        metrics.add_validators(1);
        // A family shows once it has a series; these get theirs while a validator runs.
        metrics.storage_bytes.with_label_values(&["wal"]);
        metrics.set_transfer_remaining(Some(1));
        metrics.peer_round_trip_seconds.with_label_values(&["0"]);
        metrics.peer_datagram_bytes.with_label_values(&["0"]);
        for counter in metrics.links() {
            counter.with_label_values(&["0"]);
        }
        metrics.api_request_seconds.with_label_values(&["GET"]);
        let families = metrics.registry.gather().into_iter();
        let described = families.map(|family| Described {
            name: family.name().to_owned(),
            kind: match family.get_field_type() {
                MetricType::COUNTER => "counter",
                MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            },
            labels: {
                let labels = family.get_metric().iter().flat_map(|one| one.get_label());
                labels.map(|label| label.name().to_owned()).collect()
            },
            help: family.help().to_owned(),
        });
        described.collect()
    }

    /// The text exposition format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        text
    }
}

/// A metric, as the reference has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its whole name.
    pub name: String,
    /// Its type, in Prometheus' words.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
    /// As `/metrics` says it.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promised_name_is_there_with_its_help() {
        let metrics = Metrics::new();
        metrics.add_validators(4);
        metrics.storage_bytes.with_label_values(&["data"]).set(1);
        metrics
            .peer_rejected_total
            .with_label_values(&["bad_signature"])
            .inc();
        let text = String::from_utf8(metrics.render()).expect("text");
        for name in [
            "consensus_round",
            "consensus_committed_height",
            "consensus_commit_latency_seconds",
            "consensus_timeouts_total",
            "consensus_leader",
            "consensus_votes_total",
            "consensus_votes_missing_total",
            "mempool_transactions",
            "mempool_bytes",
            "transactions_total",
            "execution_seconds",
            "storage_sync_seconds",
            "storage_bytes",
            "peer_connected",
            "peer_rejected_total",
            "sync_lag_blocks",
            "state_divergence_total",
            "backups_total",
            "ready",
            "consensus_idle_interval_seconds",
            "storage_min_free_bytes",
            "evidence_total",
            "build_info",
        ] {
            assert!(text.contains(&format!("# HELP quorate_{name} ")), "{name}");
            assert!(text.contains(&format!("# TYPE quorate_{name} ")), "{name}");
        }
        assert!(text.contains("quorate_peer_connected{validator=\"3\"} 0"));
        assert!(text.contains("quorate_consensus_leader -1"));
        for name in [
            "cpu_seconds_total",
            "resident_memory_bytes",
            "open_fds",
            "max_fds",
        ] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name}");
        }
        // What is not there before the first request cannot be seen to rise with it.
        for status in STATUSES {
            let line = format!("\nquorate_api_requests_total{{status=\"{status}\"}} 0\n");
            assert!(text.contains(&line), "{status}");
        }
    }

    /// An unknown time was shown as -1, which counts in minima and averages.
    #[test]
    fn the_time_of_a_transfer_is_shown_while_it_is_known() {
        let metrics = Metrics::new();
        let shown = || String::from_utf8(metrics.render()).expect("text");
        let name = "quorate_transfer_remaining_seconds";
        assert!(!shown().contains(name));
        metrics.set_transfer_remaining(Some(7));
        assert!(shown().contains(&format!("\n{name} 7\n")), "{}", shown());
        assert_eq!(metrics.transfer_remaining(), Some(7));
        for _ in 0..2 {
            metrics.set_transfer_remaining(None);
            assert!(!shown().contains(name));
            assert_eq!(metrics.transfer_remaining(), None);
        }
    }
}
