//! Keeps a connection to one peer with a higher index: resolves, dials, says hello, waits for the end, dials again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use tokio::time::timeout;
use tracing::debug;

use super::event::{By, NetEvent, Reason, cause};
use super::peer::Link;
use super::shared::Shared;
use super::{hello, session, tls, transport};

/// Never returns; aborted with its link.
pub(crate) async fn keep(shared: Arc<Shared>, link: Arc<Link>) {
    let seed = (u64::from(shared.me.0) << 16) | u64::from(link.index().0);
    let limits = &shared.limits;
    let mut backoff = Backoff::new(limits.backoff_min, limits.backoff_max, seed);
    loop {
        match connect(&shared, &link).await {
            Some((connection, software)) => {
                let (shared, link) = (Arc::clone(&shared), Arc::clone(&link));
                // A task of its own: when this one is aborted, the session still tells its end.
                let session = tokio::spawn(session::run(shared, link, connection, software));
                let ended = session.await.ok();
                // Another process has our key and has taken our place. Each would throw the other out as fast as it can
                // dial, if neither waited longer and longer.
                if ended != Some((Reason::Replaced, By::Peer)) {
                    backoff.reset();
                }
            }
            None => debug!(peer = %link.index(), address = link.peer.address, "dial failed"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn connect(shared: &Shared, link: &Link) -> Option<(Connection, String)> {
    let limit = shared.limits.handshake_timeout;
    let lookup = tokio::net::lookup_host(link.peer.address.as_str());
    let addresses = timeout(limit, lookup).await.ok()?.ok()?;
    let ipv4 = shared.endpoint.local_addr().ok()?.is_ipv4();
    for address in addresses.filter(|address| address.is_ipv4() || !ipv4) {
        match timeout(limit, attempt(shared, link, address)).await {
            Ok(Ok(connected)) => return Some(connected),
            Ok(Err((reason, by))) if reason.is_refusal() => (shared.sink)(NetEvent::Rejected {
                from: Some(link.index()),
                address,
                reason,
                by,
            }),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    None
}

async fn attempt(
    shared: &Shared,
    link: &Link,
    address: SocketAddr,
) -> Result<(Connection, String), (Reason, By)> {
    let failed = |_| (Reason::Transport, By::Us);
    let tls = shared
        .identity
        .client(link.peer.network_key)
        .map_err(|_| (Reason::Transport, By::Us))?;
    let config = transport::client(tls, &shared.limits);
    let connecting = shared
        .endpoint
        .connect_with(config, address, tls::SERVER_NAME)
        .map_err(failed)?;
    let connection = connecting.await.map_err(|error| cause(&error))?;
    let software = hello::dialed(&connection, &shared.hello(), link.index()).await?;
    Ok((connection, software))
}

/// Waits between attempts: doubling, with a jitter of a quarter either way that is a function of the pair and the count,
/// so that a cluster that restarts does not dial in step and a test sees the same waits again.
struct Backoff {
    min: Duration,
    max: Duration,
    seed: u64,
    attempts: u64,
    base: Duration,
}

impl Backoff {
    fn new(min: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff {
            min,
            max,
            seed,
            attempts: 0,
            base: min,
        }
    }

    fn reset(&mut self) {
        self.base = self.min;
    }

    fn next(&mut self) -> Duration {
        let base = self.base;
        self.base = base.saturating_mul(2).min(self.max);
        self.attempts += 1;
        // 192 to 319 of 256.
        let jitter = 192 + u32::from(mix(self.seed ^ (self.attempts << 32)) % 128);
        base.saturating_mul(jitter) / 256
    }
}

/// The finaliser of SplitMix64, of which one byte is enough.
fn mix(seed: u64) -> u8 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap_and_starts_again() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(min, max, 7);
        let mut base = min;
        for _ in 0..12 {
            let wait = backoff.next();
            assert!(wait >= base * 3 / 4 && wait < base * 5 / 4, "{wait:?}");
            base = (base * 2).min(max);
        }
        assert_eq!(base, max);
        backoff.reset();
        assert!(backoff.next() < min * 5 / 4);
    }

    #[test]
    fn pairs_do_not_dial_in_step() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let waits: std::collections::BTreeSet<_> = (0..32)
            .map(|seed| Backoff::new(min, max, seed).next())
            .collect();
        assert!(waits.len() > 16);
    }
}
