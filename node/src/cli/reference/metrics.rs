//! `docs/reference/metrics.md`: what `/metrics` says of each metric, and when to look at it.

use std::fmt::Write as _;

use crate::metrics::Metrics;

/// What an operator should know beside the help text: what its labels may say, and when to look.
const LOOK: &[(&str, &str)] = &[
    ("process_cpu_seconds_total", ""),
    ("process_max_fds", ""),
    (
        "process_open_fds",
        "near `process_max_fds`: connections are not taken, and RocksDB may fail to open a table",
    ),
    (
        "process_resident_memory_bytes",
        "it should be flat under a steady load ([BENCHMARKS.md](../BENCHMARKS.md))",
    ),
    ("process_start_time_seconds", ""),
    ("process_threads", ""),
    ("process_virtual_memory_bytes", ""),
    (
        "quorate_api_connections",
        "near `quorate_api_max_connections`: more are not taken",
    ),
    (
        "quorate_api_max_connections",
        "below `api.max_connections`: the limit of open files leaves no more (`connections_limited` in the log)",
    ),
    ("quorate_api_request_seconds", ""),
    (
        "quorate_api_requests_total",
        "`status` is `2xx` to `5xx`, and `429` for itself. `5xx` rises: something is damaged or does not serve; `4xx`: clients make mistakes; `429`: queues are full, or clients ask for more than is read or sent at a time; `canceled`: clients do not wait as long as it takes",
    ),
    ("quorate_api_streams", "64 are taken, then 429"),
    ("quorate_api_submission_streams", "64 are taken, then 429"),
    (
        "quorate_backups_total",
        "`result` is `begun` or `failed`. It stands still for longer than your interval; `failed` rises",
    ),
    ("quorate_build_info", ""),
    (
        "quorate_consensus_commit_latency_seconds",
        "clocks that differ move it: it is measured from the leader's clock to this one",
    ),
    (
        "quorate_consensus_committed_height",
        "it stands still. An idle chain makes a block every 5 s",
    ),
    (
        "quorate_consensus_fenced",
        "1 for a minute: too few others answer ([RECOVERY.md](../RECOVERY.md))",
    ),
    (
        "quorate_consensus_idle_interval_seconds",
        "a head that is older by seconds stands still; alerts compare with it",
    ),
    ("quorate_consensus_leader", ""),
    (
        "quorate_consensus_round",
        "it runs ahead of the height: rounds fail",
    ),
    (
        "quorate_consensus_timeouts_total",
        "it rises steadily: a leader is dead or slow",
    ),
    (
        "quorate_consensus_votes_missing_total",
        "a certificate holds exactly a quorum, so some are missing always; one validator's rises with every block: it is away, or far away",
    ),
    (
        "quorate_consensus_votes_total",
        "it stands still while the height rises: this validator follows and does not vote",
    ),
    (
        "quorate_evidence_total",
        "`kind` is `proposal`, `vote` or `commit_vote`. Above 0: a validator lies, or two processes share its key; the log names it",
    ),
    ("quorate_execution_seconds", ""),
    (
        "quorate_key_conflicts_total",
        "`sign` is `home`: its home is older than what it signed; `signature`, `connection`: another process has its keys. Above 0: stop the other process; if there is none, the home was restored",
    ),
    (
        "quorate_mempool_bytes",
        "batches that are held count too, so a chain that stands still shows some. Near `mempool.max_bytes`: clients get 429",
    ),
    (
        "quorate_mempool_transactions",
        "taken here and not executed yet, packed into a batch or not. Near `mempool.max_transactions`: clients get 429",
    ),
    (
        "quorate_peer_connected",
        "`validator` is the index in the set. 0 for minutes: start it, or open its udp port",
    ),
    (
        "quorate_peer_datagram_bytes",
        "it stays at 1,200 beyond the first second: the path carries no more, or drops what is longer without a word (a tunnel, a VPN)",
    ),
    (
        "quorate_peer_messages_dropped_total",
        "it rises: the link is too slow for what is to be said; what was dropped is asked for again",
    ),
    (
        "quorate_peer_packets_lost_total",
        "a hundredth of `quorate_peer_packets_total` or more: the link is full, or loses; then see `network.congestion_control`",
    ),
    (
        "quorate_peer_packets_total",
        "of all connections with it; read once a second, like all of the connections",
    ),
    ("quorate_peer_received_bytes_total", ""),
    (
        "quorate_peer_rejected_total",
        "it rises: a peer is broken, or a stranger knocks; `connection_refused` in the log says who",
    ),
    (
        "quorate_peer_round_trip_seconds",
        "a transaction takes about two of them to be final. It rises: the link is full, or the route has changed",
    ),
    ("quorate_peer_sent_bytes_total", ""),
    (
        "quorate_ready",
        "0 for longer than a start takes: `/readyz?verbose` and `quorate doctor` name the reason",
    ),
    (
        "quorate_snapshot_height",
        "it stands still while the height rises by more than `snapshots.interval_blocks`",
    ),
    (
        "quorate_start_time_seconds",
        "it changes: the process was started anew",
    ),
    (
        "quorate_state_divergence_total",
        "above 0: this validator has stopped signing. Keep its home; it is evidence of a bug or of bad hardware",
    ),
    (
        "quorate_storage_bytes",
        "`kind` is a table, or `wal`. Read every 512 turns",
    ),
    (
        "quorate_storage_damaged_total",
        "above 0: check the disk. What this validator itself needs ends it with status 8",
    ),
    ("quorate_storage_first_height", ""),
    (
        "quorate_storage_free_bytes",
        "near `quorate_storage_min_free_bytes`: below it, clients are turned away",
    ),
    ("quorate_storage_mended_total", ""),
    (
        "quorate_storage_min_free_bytes",
        "alerts compare `quorate_storage_free_bytes` with it",
    ),
    (
        "quorate_storage_sync_seconds",
        "two are on the way of a block. p99 above 0.1 s: the disk is slow",
    ),
    ("quorate_sync_lag_blocks", "it does not fall"),
    (
        "quorate_transactions_total",
        "`result` is `executed`, `rejected`, `duplicate` in blocks; `refused`, `full` at this API",
    ),
    ("quorate_transfer_bytes", ""),
    ("quorate_transfer_remaining_seconds", ""),
    ("quorate_transfer_size_bytes", ""),
];

pub(super) fn page() -> String {
    let mut text = String::from(
        "# Metrics\n\nWritten from the code by a test (`node/tests/it/cli.rs`; `QUORATE_BLESS=1` writes it anew).\n\n\
         `GET /metrics` on the admin port (7652), in Prometheus' text format. Labels are bounded: indices of the set, and words of this release.\n\
         Histograms have buckets from half a millisecond to 32 s. What to do about them: [OPERATIONS.md](../OPERATIONS.md#metrics).\n\n\
         | metric | type | meaning, and when to look |\n|---|---|---|\n",
    );
    let described = Metrics::describe();
    for metric in &described {
        let look = LOOK.iter().find(|(name, _)| *name == metric.name);
        let (_, look) = look.unwrap_or_else(|| panic!("nothing is said about {}", metric.name));
        let labels: Vec<&str> = metric.labels.iter().map(String::as_str).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(", ")),
        };
        let more = if look.is_empty() { "" } else { " *Look:* " };
        let _ = writeln!(
            text,
            "| `{}{labels}` | {} | {}{more}{look} |",
            metric.name, metric.kind, metric.help
        );
    }
    assert_eq!(LOOK.len(), described.len(), "a metric that is no more");
    text
}
