//! Metrics of the connections to the other validators, looked at once a second.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use prometheus::IntCounter;
use quorate_types::ValidatorIndex;
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;
use crate::net::{Network, Packets, PeerStats};

const LOOK: Duration = Duration::from_secs(1);

/// Shows how the peers are doing for as long as there is a network.
pub async fn watch(network: Weak<Network>, metrics: Metrics) {
    let mut seen: BTreeMap<ValidatorIndex, Packets> = BTreeMap::new();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(network) = network.upgrade() else {
            return;
        };
        for peer in network.stats() {
            let before = seen.remove(&peer.index);
            show(&metrics, &peer, before);
            seen.extend(peer.packets.map(|packets| (peer.index, packets)));
        }
    }
}

/// `before` is what was seen of the packets last, perhaps of a connection that is no more.
fn show(metrics: &Metrics, peer: &PeerStats, before: Option<Packets>) {
    let name = peer.index.0.to_string();
    let name = &[name.as_str()];
    let of_connection = [
        (
            &metrics.peer_round_trip_seconds,
            peer.rtt.map(|rtt| rtt.as_secs_f64()),
        ),
        (
            &metrics.peer_datagram_bytes,
            peer.datagram_bytes.map(f64::from),
        ),
    ];
    for (gauges, value) in of_connection {
        match value {
            Some(value) => gauges.with_label_values(name).set(value),
            // There was none, or it is gone.
            None => drop(gauges.remove_label_values(name)),
        }
    }
    if let Some(now) = peer.packets {
        let same = before.filter(|before| before.sent <= now.sent && before.lost <= now.lost);
        let before = same.unwrap_or(Packets { sent: 0, lost: 0 });
        let [sent, lost] = [
            &metrics.peer_packets_total,
            &metrics.peer_packets_lost_total,
        ];
        sent.with_label_values(name).inc_by(now.sent - before.sent);
        lost.with_label_values(name).inc_by(now.lost - before.lost);
    }
    let totals = [
        (&metrics.peer_sent_bytes_total, peer.sent_bytes),
        (&metrics.peer_received_bytes_total, peer.received_bytes),
        (&metrics.peer_messages_dropped_total, peer.dropped),
    ];
    for (counter, by_class) in totals {
        let sum = by_class.consensus + by_class.batches + by_class.sync;
        raise(&counter.with_label_values(name), sum);
    }
}

/// To what has been counted elsewhere since the start.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::PerClass;

    fn stats(packets: Option<Packets>) -> PeerStats {
        let count = |count| PerClass::from_fn(|_| count);
        PeerStats {
            index: ValidatorIndex(2),
            connected: packets.is_some(),
            rtt: packets.map(|_| Duration::from_millis(50)),
            packets,
            datagram_bytes: packets.map(|_| 1_452),
            software: None,
            queued_bytes: PerClass::default(),
            dropped: count(1),
            unsent: 0,
            sent_bytes: count(100),
            received_bytes: count(200),
        }
    }

    #[test]
    fn what_a_connection_counts_goes_on_over_the_next_and_what_it_measures_ends_with_it() {
        let metrics = Metrics::new();
        let text = || String::from_utf8(metrics.render()).expect("text");
        let first = Packets { sent: 10, lost: 1 };
        let later = Packets { sent: 15, lost: 3 };
        let next = Packets { sent: 2, lost: 0 };
        show(&metrics, &stats(Some(first)), None);
        show(&metrics, &stats(Some(later)), Some(first));
        assert!(text().contains("quorate_peer_round_trip_seconds{validator=\"2\"} 0.05"));
        assert!(text().contains("quorate_peer_datagram_bytes{validator=\"2\"} 1452"));
        show(&metrics, &stats(None), Some(later));
        assert!(!text().contains("quorate_peer_round_trip_seconds{"));
        assert!(!text().contains("quorate_peer_datagram_bytes{"));
        show(&metrics, &stats(Some(next)), Some(later));
        for line in [
            "quorate_peer_packets_total{validator=\"2\"} 17",
            "quorate_peer_packets_lost_total{validator=\"2\"} 3",
            "quorate_peer_sent_bytes_total{validator=\"2\"} 300",
            "quorate_peer_received_bytes_total{validator=\"2\"} 600",
            "quorate_peer_messages_dropped_total{validator=\"2\"} 3",
        ] {
            assert!(text().contains(line), "{line} in\n{}", text());
        }
    }
}
