//! Which incoming connections may begin a handshake: a stranger costs at most one, and floods leave room for members.
//! A state machine without IO.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use super::config::Limits;

/// What to do with a first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Begin the handshake; [`Admission::done`] follows.
    Accept,
    /// Have the sender prove first that it receives at its address.
    Retry,
    /// Say no.
    Refuse,
    /// Say nothing: the address may be forged.
    Ignore,
}

/// The half-open connections, by address.
pub(crate) struct Admission {
    half_open: BTreeMap<IpAddr, usize>,
    total: usize,
    /// Addresses of members: configured, or authenticated once.
    known: BTreeSet<IpAddr>,
    limits: Limits,
}

/// Most member addresses that are remembered.
const KNOWN_MAX: usize = 1024;

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Admission {
        Admission {
            half_open: BTreeMap::new(),
            total: 0,
            known: BTreeSet::new(),
            limits: limits.clone(),
        }
    }

    /// A member was seen at an address, or is configured there.
    pub(crate) fn know(&mut self, address: IpAddr) {
        if self.known.len() < KNOWN_MAX {
            self.known.insert(scope(address));
        }
    }

    /// Decides about a connection; `validated` if the sender has shown that it receives at its address.
    pub(crate) fn decide(&mut self, address: IpAddr, validated: bool) -> Decision {
        let limits = &self.limits;
        let address = scope(address);
        let here = self.half_open.get(&address).copied().unwrap_or(0);
        let reserved = match validated && self.known.contains(&address) {
            true => 0,
            false => limits.half_open_reserved,
        };
        let full = self.total >= limits.half_open.saturating_sub(reserved);
        let suspicious =
            self.total >= limits.retry_above.total || here >= limits.retry_above.per_address;
        // The order matters: an address counts for nothing until it is validated, so nobody uses up a member's share
        // in its name.
        if !validated {
            return match (suspicious, self.total >= limits.half_open) {
                (_, true) => Decision::Ignore,
                (true, _) => Decision::Retry,
                (false, _) => self.accept(address),
            };
        }
        match full || here >= limits.half_open_per_address {
            true => Decision::Refuse,
            false => self.accept(address),
        }
    }

    fn accept(&mut self, address: IpAddr) -> Decision {
        *self.half_open.entry(address).or_insert(0) += 1;
        self.total += 1;
        Decision::Accept
    }

    /// An accepted connection has said hello, or failed.
    pub(crate) fn done(&mut self, address: IpAddr) {
        let address = scope(address);
        let here = self.half_open.get_mut(&address);
        let here = here.expect("I9: every end of a handshake has its beginning");
        *here -= 1;
        if *here == 0 {
            self.half_open.remove(&address);
        }
        self.total -= 1;
    }
}

/// What one party controls: an IPv4 address, or a /64 of IPv6.
fn scope(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config::PerScope;
    use quorate_types::Parameters;

    fn admission() -> Admission {
        Admission::new(&Limits {
            half_open: 10,
            half_open_per_address: 4,
            half_open_reserved: 3,
            retry_above: PerScope {
                total: 5,
                per_address: 2,
            },
            ..Limits::new(&Parameters::default())
        })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_address_is_validated_and_then_bounded() {
        let mut admission = admission();
        assert_eq!(admission.decide(address(1), false), Decision::Accept);
        assert_eq!(admission.decide(address(1), false), Decision::Accept);
        assert_eq!(admission.decide(address(1), false), Decision::Retry);
        assert_eq!(admission.decide(address(1), true), Decision::Accept);
        assert_eq!(admission.decide(address(1), true), Decision::Accept);
        assert_eq!(admission.decide(address(1), true), Decision::Refuse);
        assert_eq!(admission.decide(address(2), false), Decision::Accept);
        admission.done(address(1));
        assert_eq!(admission.decide(address(1), true), Decision::Accept);
    }

    #[test]
    fn floods_leave_room_for_members() {
        let mut admission = admission();
        admission.know(address(200));
        for last in 0..5 {
            assert_eq!(admission.decide(address(last), false), Decision::Accept);
        }
        assert_eq!(admission.decide(address(9), false), Decision::Retry);
        assert_eq!(admission.decide(address(9), true), Decision::Accept);
        assert_eq!(admission.decide(address(10), true), Decision::Accept);
        assert_eq!(admission.decide(address(11), true), Decision::Refuse);
        assert_eq!(admission.decide(address(200), false), Decision::Retry);
        for _ in 0..3 {
            assert_eq!(admission.decide(address(200), true), Decision::Accept);
        }
        assert_eq!(admission.decide(address(200), true), Decision::Refuse);
        assert_eq!(admission.decide(address(200), false), Decision::Ignore);
    }

    #[test]
    fn everything_is_given_back() {
        let mut admission = admission();
        for _ in 0..1000 {
            assert_eq!(admission.decide(address(1), false), Decision::Accept);
            admission.done(address(1));
        }
        assert_eq!((admission.total, admission.half_open.len()), (0, 0));
    }

    #[test]
    fn a_scope_is_what_one_party_controls() {
        let v6 = |text: &str| scope(text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:2"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:192.0.2.7"), address(7));
    }
}
