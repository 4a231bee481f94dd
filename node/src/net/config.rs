//! What the peer network is told at its start, and every bound that it keeps (I9).

use std::net::UdpSocket;
use std::time::Duration;

use quorate_crypto::{PublicKey, SecretKey};
use quorate_types::codec::MAX_ENCODED_BYTES;
use quorate_types::message::Class;
use quorate_types::{ChainId, Parameters, ValidatorIndex};
use serde::{Deserialize, Serialize};

/// All classes, most urgent first.
pub const CLASSES: [Class; 3] = [Class::Consensus, Class::Batches, Class::Sync];

/// A value for each [`Class`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerClass<T> {
    /// Of [`Class::Consensus`].
    pub consensus: T,
    /// Of [`Class::Batches`].
    pub batches: T,
    /// Of [`Class::Sync`].
    pub sync: T,
}

impl<T> PerClass<T> {
    /// Makes one value a class.
    pub fn from_fn(mut make: impl FnMut(Class) -> T) -> PerClass<T> {
        PerClass {
            consensus: make(Class::Consensus),
            batches: make(Class::Batches),
            sync: make(Class::Sync),
        }
    }

    /// The value of a class.
    pub fn get(&self, class: Class) -> &T {
        match class {
            Class::Consensus => &self.consensus,
            Class::Batches => &self.batches,
            Class::Sync => &self.sync,
        }
    }
}

/// Another validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its place in the set.
    pub index: ValidatorIndex,
    /// What its TLS is pinned to.
    pub network_key: PublicKey,
    /// `host:port`, resolved again at each dial.
    pub address: String,
}

/// What [`crate::net::Network::start`] needs.
pub struct NetConfig {
    /// Bound by the caller, who can report best why that failed. Serves both directions.
    pub socket: UdpSocket,
    /// The network key of this validator.
    pub key: SecretKey,
    /// Its place in the set. It dials the peers above it and is dialed by those below.
    pub me: ValidatorIndex,
    /// Peers of other chains are refused.
    pub chain: ChainId,
    /// The rest of the set.
    pub peers: Vec<Peer>,
    /// Told to peers, for their logs.
    pub software: String,
    /// Every bound.
    pub limits: Limits,
}

/// How QUIC finds out how much a link carries (RFC 9002, 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CongestionControl {
    /// RFC 9438: what is lost says that there was too much.
    #[default]
    Cubic,
    /// Models the link by rate and round trip; loss alone does not slow it down. Experimental in the QUIC library.
    Bbr,
    /// RFC 9002's own.
    NewReno,
}

/// Bounds of the peer network. Sizes are bytes.
///
/// One peer can make this validator hold at most the sum of `inbound_bytes`, twice (encoded and decoded), plus
/// [`Limits::connection_window`]; only members come that far. A stranger gets a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, its length prefix apart. Checked before anything is allocated, and on the way out.
    pub frame_bytes: PerClass<usize>,
    /// Messages waiting to be sent to one peer.
    pub queue_items: PerClass<usize>,
    /// Bytes waiting to be sent to one peer.
    pub queue_bytes: PerClass<usize>,
    /// Bytes of one peer that were received and whose [`crate::net::Credit`] was not dropped yet. When they are used up,
    /// the stream of that class is not read any further. At least one longest frame fits always.
    pub inbound_bytes: PerClass<usize>,
    /// QUIC flow control of one stream.
    pub stream_window: u32,
    /// How much is under way at a time.
    pub congestion_control: CongestionControl,
    /// A connection that is silent for so long is lost.
    pub idle_timeout: Duration,
    /// A silent connection is probed so often.
    pub keep_alive: Duration,
    /// From the first packet to the end of the hello.
    pub handshake_timeout: Duration,
    /// Incoming connections that have not said hello yet.
    pub half_open: usize,
    /// Those of one address (one /64 in IPv6).
    pub half_open_per_address: usize,
    /// The part of `half_open` that is kept for addresses of known members.
    pub half_open_reserved: usize,
    /// With so many half-open connections, in total or of one address, addresses are validated first (QUIC Retry).
    pub retry_above: PerScope,
    /// The first wait before dialing again; it doubles.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

/// A bound on the whole and on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerScope {
    /// On the whole.
    pub total: usize,
    /// On one address.
    pub per_address: usize,
}

impl Limits {
    /// The defaults for a chain: a batch stream takes the chain's largest batch.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Limits {
        const MIB: usize = 1024 * 1024;
        let batch = usize::try_from(parameters.max_batch_bytes).unwrap_or(MAX_ENCODED_BYTES);
        Limits {
            frame_bytes: PerClass {
                consensus: MIB,
                batches: batch.saturating_add(1024).min(MAX_ENCODED_BYTES),
                sync: MAX_ENCODED_BYTES,
            },
            queue_items: PerClass {
                consensus: 4096,
                batches: 1024,
                sync: 256,
            },
            queue_bytes: PerClass {
                consensus: 8 * MIB,
                batches: 32 * MIB,
                sync: 64 * MIB,
            },
            inbound_bytes: PerClass {
                consensus: 4 * MIB,
                batches: 16 * MIB,
                sync: MAX_ENCODED_BYTES,
            },
            stream_window: 2 * 1024 * 1024,
            congestion_control: CongestionControl::default(),
            // A peer that is gone without a word shows in `/readyz` after this. QUIC repeats a probe that is lost, and
            // waits at least three probe timeouts, so that a slow line alone ends nothing; who was cut off wrongly is
            // back after one handshake.
            idle_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_millis(750),
            handshake_timeout: Duration::from_secs(5),
            half_open: 64,
            half_open_per_address: 32,
            half_open_reserved: 16,
            retry_above: PerScope {
                total: 16,
                per_address: 4,
            },
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }

    /// QUIC flow control of one connection. One window more than there are streams, so that bulk that is not read can
    /// never use up what votes need.
    #[must_use]
    pub fn connection_window(&self) -> u64 {
        u64::from(self.stream_window).saturating_mul(4)
    }
}
