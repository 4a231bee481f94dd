//! Free ports for a cluster, so that scenarios can run at the same time, and beside anything else.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports that a validator is given: its base, and what follows.
const STRIDE: u16 = 10;
/// Below the ports that the kernel hands out for outgoing connections.
const LOWEST: u16 = 10_000;
const HIGHEST: u16 = 32_000;

/// Ports that are ours until this is dropped. Each validator's last port, which it does not use, is kept bound; two
/// scenarios cannot hold the same.
#[derive(Debug)]
pub struct Ports {
    base: u16,
    _held: Vec<TcpListener>,
}

impl Ports {
    /// Reserves the ports of that many validators.
    ///
    /// # Panics
    /// If the machine has none left.
    #[must_use]
    pub fn reserve(validators: u16) -> Ports {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let span = validators * STRIDE;
        let room = HIGHEST - LOWEST - span;
        // Processes start at different places, so that they seldom meet.
        let start = u16::try_from(u32::from(room) * (std::process::id() % 997) / 997);
        let start = start.expect("a part of a u16");
        for _ in 0..500 {
            let offset = NEXT.fetch_add(span, Ordering::Relaxed);
            // At multiples of the stride only: then whoever overlaps meets the port that is held.
            let base = LOWEST + start.wrapping_add(offset) % room / STRIDE * STRIDE;
            if let Some(held) = try_hold(base, validators) {
                return Ports { base, _held: held };
            }
        }
        panic!("no {span} free ports in a row");
    }

    /// What `--base-port` is given.
    #[must_use]
    pub fn base(&self) -> u16 {
        self.base
    }
}

fn try_hold(base: u16, validators: u16) -> Option<Vec<TcpListener>> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let mut held = Vec::new();
    for first in (0..validators).map(|i| base + i * STRIDE) {
        held.push(bind(first + STRIDE - 1)?);
        for port in first..first + 3 {
            bind(port)?;
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        }
    }
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_what_another_holds() {
        let first = Ports::reserve(4);
        assert!(try_hold(first.base(), 1).is_none());
        assert_ne!(first.base(), Ports::reserve(4).base());
    }
}
