//! The network and the verifiers, joined: from a socket to the core's inbox and to those who serve snapshots.

use std::net::UdpSocket;

use quorate_crypto::SecretKey;
use quorate_replica::{Input, Setup};
use quorate_types::{Genesis, ValidatorIndex};

use crate::exit::Failure;
use crate::metrics::Metrics;
use crate::net::verify::{PoolLimits, Rules, Sink, Verdict, VerifyPool, default_workers};
use crate::net::{
    By, CongestionControl, Credit, Limits as NetLimits, NetConfig, NetEvent, Network, Peer, Reason,
};
use crate::snapshot::shelf::Counter;
use crate::validator::core::{Core, Item};
use crate::validator::watch::reason;

/// Hands verdicts over: what is good to the core, or to those who serve snapshots.
struct Verified {
    core: Core,
    counter: Counter,
    metrics: Metrics,
}

impl Sink for Verified {
    fn tell(&self, verdict: Verdict) {
        match verdict {
            Verdict::Message {
                from,
                message,
                credit,
            } if Counter::takes(&message) => self.counter.push(from, message, credit),
            Verdict::Message {
                from,
                message,
                credit,
            } => self.core.put(Item {
                input: Input::Message { from, message },
                credit,
            }),
            Verdict::Refused { from, reject, .. } => {
                self.metrics
                    .peer_rejected_total
                    .with_label_values(&[reason(reject)])
                    .inc();
                tracing::debug!(%from, %reject, "refused a message");
            }
        }
    }

    fn flush(&self) {
        self.core.wake();
    }
}

pub(super) fn start_verifiers(
    rules: Rules,
    core: Core,
    counter: Counter,
    metrics: Metrics,
) -> Result<VerifyPool, Failure> {
    let sink = Verified {
        core,
        counter,
        metrics,
    };
    VerifyPool::start(default_workers(), PoolLimits::default(), rules, sink)
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

pub(super) fn start_network(
    setup: &Setup,
    genesis: &Genesis,
    me: ValidatorIndex,
    (key, socket, congestion_control): (SecretKey, UdpSocket, CongestionControl),
    (pool, core, metrics): (&VerifyPool, Core, Metrics),
) -> Result<Network, Failure> {
    let verifier = pool.verifier();
    let peers = setup.validators.indices().zip(&genesis.validators);
    let config = NetConfig {
        socket,
        key,
        me,
        chain: setup.validators.chain(),
        peers: peers
            .filter(|(index, _)| *index != me)
            .map(|(index, info)| Peer {
                index,
                network_key: info.network_key,
                address: info.address.clone(),
            })
            .collect(),
        software: format!("quorate/{}", env!("CARGO_PKG_VERSION")),
        limits: NetLimits {
            congestion_control,
            ..NetLimits::new(&setup.parameters)
        },
    };
    let sink = move |event| match event {
        NetEvent::Message {
            from,
            message,
            credit,
            ..
        } => verifier.message(from, message, credit),
        NetEvent::Connected(peer) => {
            tracing::info!(event = "peer_connected", %peer, "connected");
            core.push(Item {
                input: Input::Connected(peer),
                credit: Credit::none(),
            });
        }
        NetEvent::Disconnected { peer, reason, by } => {
            tracing::info!(event = "peer_disconnected", %peer, %reason, "disconnected");
            if (reason, by) == (Reason::Replaced, By::Peer) {
                // We did not dial again: that we do only when a connection has ended.
                metrics
                    .key_conflicts_total
                    .with_label_values(&["connection"])
                    .inc();
                tracing::error!(
                    event = "key_used_elsewhere", %peer,
                    "that peer has a newer connection with this validator's network key: another process has the key. Stop one of the two"
                );
            }
            core.push(Item {
                input: Input::Disconnected(peer),
                credit: Credit::none(),
            });
        }
        NetEvent::Rejected {
            from,
            address,
            reason,
            by,
        } => {
            metrics
                .peer_rejected_total
                .with_label_values(&[reason.label()])
                .inc();
            let peer = from.map(|index| index.0);
            tracing::warn!(event = "connection_refused", peer, %address, %reason, ?by, "a connection was refused");
        }
    };
    Network::start(config, sink).map_err(Failure::failed)
}
