//! The network between validators: QUIC, authenticated by raw public keys, one connection a pair.
//!
//! Owns the sockets of the validator set: who is let in, what is sent first, what is dropped when too much waits. It
//! hands on messages as they came, unverified; [`verify`] checks them. It must never block who sends, never read more
//! than the receiver has room for, never let bulk delay a vote, and never let a stranger cost more than a handshake.
//!
//! ```text
//!   send ─► Frame (encoded once) ─► Outbox a peer: ┌ consensus ┐      ┌ consensus ┐ ─► credit ─► decode ─► sink
//!                                                  ├ batches   ├ QUIC ┤ batches   │
//!                                                  └ sync      ┘      └ sync      ┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `config`, `event` | what comes in from and goes out to the node, every bound |
//! | `tls`, `transport` | keys and settings of QUIC |
//! | `admission`, `accept`, `dial`, `hello` | how a connection begins |
//! | `session`, `frame`, `outbox`, `peer` | how it lives |
//! | [`verify`] | the pool that checks signatures |
//!
//! Of each pair the lower index dials. The newest connection with a key replaces the one before it, so a restarted
//! dialer is back at once; a restarted acceptor answers old packets with stateless resets, which makes the other end
//! dial again.

mod accept;
mod admission;
mod config;
mod dial;
mod event;
mod frame;
mod hello;
mod outbox;
mod peer;
mod session;
mod shared;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
pub mod verify;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use quinn::{Endpoint, TokioRuntime};
use quorate_consensus::Target;
use quorate_types::message::Class;
use quorate_types::{Message, ValidatorIndex};
use tracing::error;

pub use config::{CLASSES, CongestionControl, Limits, NetConfig, Peer, PerClass, PerScope};
pub use event::{By, Credit, NetEvent, Reason};
pub use peer::{Packets, PeerStats};

use admission::Admission;
use frame::Frame;
use peer::Link;
use shared::Shared;
use tls::{Identity, Members};

/// How long a stop waits for peers to take note.
const LINGER: Duration = Duration::from_millis(500);

/// Why the network cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The socket cannot be used.
    #[error("the socket for validators: {0}")]
    Socket(#[from] io::Error),
    /// The key or the provider does not work for TLS.
    #[error("TLS between validators: {0}")]
    Tls(#[from] rustls::Error),
    /// Two peers share an index or a key, or one is this validator.
    #[error("validator {0} appears twice in the set")]
    Repeated(ValidatorIndex),
}

/// The running network. Stops when dropped; [`Network::shutdown`] also waits.
pub struct Network {
    shared: Arc<Shared>,
}

impl Network {
    /// Starts to accept and to dial. To be called in a tokio runtime.
    ///
    /// `sink` gets every event, from many tasks. It must not block, nor call this network: it is told under locks, so that
    /// events come in order. What it may hold is bounded: messages by their
    /// [`Credit`], the others by the rate of handshakes.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn start(
        config: NetConfig,
        sink: impl Fn(NetEvent) + Send + Sync + 'static,
    ) -> Result<Network, NetError> {
        let members = Arc::new(Members::default());
        let identity = Identity::new(&config.key)?;
        let tls = identity.server(Arc::clone(&members))?;
        config.socket.set_nonblocking(true)?;
        let endpoint = Endpoint::new(
            transport::endpoint(&config.key),
            Some(transport::server(tls, &config.limits)),
            config.socket,
            Arc::new(TokioRuntime),
        )?;
        let network = Network {
            shared: Arc::new(Shared {
                me: config.me,
                chain: config.chain,
                software: config.software,
                admission: Mutex::new(Admission::new(&config.limits)),
                limits: config.limits,
                endpoint,
                identity,
                members,
                links: RwLock::default(),
                sink: Box::new(sink),
            }),
        };
        network.set_peers(config.peers)?;
        tokio::spawn(accept::serve(Arc::clone(&network.shared)));
        Ok(network)
    }

    /// Makes these the other members of the set, from now on: connections to those that left, or that changed key or
    /// address, end; new ones are dialed or let in. To be called in a tokio runtime.
    ///
    /// # Errors
    /// [`NetError::Repeated`]; nothing changes.
    pub fn set_peers(&self, peers: Vec<Peer>) -> Result<(), NetError> {
        let shared = &self.shared;
        let mut keys = BTreeMap::new();
        let mut wanted = BTreeMap::new();
        for peer in peers {
            let index = peer.index;
            let twice = keys.insert(peer.network_key, index).is_some();
            if twice || index == shared.me || wanted.insert(index, peer).is_some() {
                return Err(NetError::Repeated(index));
            }
        }
        let mut links = shared.links.write().unwrap_or_else(PoisonError::into_inner);
        // First the keys, so that nobody who left comes back in between.
        shared.members.replace(keys);
        links.retain(|index, link| {
            let stays = wanted.get(index) == Some(&link.peer);
            if !stays {
                link.retire(Reason::Removed, &*shared.sink);
            }
            stays
        });
        for (index, peer) in wanted {
            links.entry(index).or_insert_with(|| self.begin(peer));
        }
        Ok(())
    }

    fn begin(&self, peer: Peer) -> Arc<Link> {
        let shared = &self.shared;
        if let Some(address) = literal(&peer.address) {
            let mut admission = shared
                .admission
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            admission.know(address);
        }
        let link = Arc::new(Link::new(peer, &shared.limits));
        if link.index() > shared.me {
            let task = tokio::spawn(dial::keep(Arc::clone(shared), Arc::clone(&link)));
            link.set_dialer(task.abort_handle());
        }
        link
    }

    /// Where the socket is bound.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// Queues a message to one or all peers. Encodes it once and never waits; who is not connected gets nothing, and
    /// where a queue is full something is dropped and counted. [`Target::One`] of nobody we know is nothing.
    pub fn send(&self, target: Target, message: &Message) {
        let links = match target {
            Target::All => self.shared.links(),
            Target::One(index) => self.shared.link(index).into_iter().collect(),
        };
        if links.is_empty() {
            return;
        }
        let class = message.class();
        let limit = *self.shared.limits.frame_bytes.get(class);
        match Frame::new(message, limit) {
            Some(frame) => links.iter().for_each(|link| link.send(frame.clone())),
            None => too_long(&links, class, limit),
        }
    }

    /// How each peer is doing, in the order of their indices.
    #[must_use]
    pub fn stats(&self) -> Vec<PeerStats> {
        let links = self.shared.links();
        links.iter().map(|link| link.stats()).collect()
    }

    /// Closes every connection with [`Reason::Shutdown`] and waits, half a second at most, until the peers know.
    pub async fn shutdown(self) {
        self.stop();
        // Peers that are away cannot take note: not worth waiting for.
        let _ = tokio::time::timeout(LINGER, self.shared.endpoint.wait_idle()).await;
    }

    fn stop(&self) {
        for link in self.shared.links() {
            link.retire(Reason::Shutdown, &*self.shared.sink);
        }
        let reason = Reason::Shutdown;
        let text = reason.to_string();
        self.shared.endpoint.close(reason.code(), text.as_bytes());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A message that no peer would accept: our own mistake, or limits that do not fit the chain's parameters.
fn too_long(links: &[Arc<Link>], class: Class, limit: usize) {
    error!(
        event = "frame_too_long",
        ?class,
        limit,
        "message above the frame limit dropped"
    );
    links.iter().for_each(|link| link.count_dropped(class));
}

/// The address in a `host:port` that needs no resolving.
fn literal(address: &str) -> Option<IpAddr> {
    address.parse().ok().map(|address: SocketAddr| address.ip())
}
