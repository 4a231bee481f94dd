//! What the peer network tells: messages with the credit that bounds them, and why connections come and go.

use std::fmt;
use std::net::SocketAddr;

use quinn::{ConnectionError, TransportErrorCode, VarInt};
use quorate_types::{Message, ValidatorIndex};
use tokio::sync::OwnedSemaphorePermit;

/// Something that happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer said hello; messages to it go out from now on, and the latest ones should be sent again.
    Connected(ValidatorIndex),
    /// A connection ended; another may follow at once.
    Disconnected {
        /// Whose.
        peer: ValidatorIndex,
        /// Why.
        reason: Reason,
        /// Who ended it.
        by: By,
    },
    /// A whole message. Nothing in it was checked but its form.
    Message {
        /// Who sent it: certain, TLS says so.
        from: ValidatorIndex,
        /// What.
        message: Message,
        /// Its encoded size.
        bytes: usize,
        /// To be kept as long as the message is held in memory.
        credit: Credit,
    },
    /// Somebody was not let in, or did not let us in.
    Rejected {
        /// If it is (or was dialed as) a member.
        from: Option<ValidatorIndex>,
        /// Its address.
        address: SocketAddr,
        /// Why.
        reason: Reason,
        /// Who refused.
        by: By,
    },
}

/// A share of what one peer may occupy. Dropping it lets the network read on.
#[must_use = "dropping the credit lets the peer send more"]
#[derive(Debug)]
pub struct Credit(#[expect(dead_code, reason = "held for its Drop")] Option<OwnedSemaphorePermit>);

impl Credit {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Credit {
        Credit(Some(permit))
    }

    /// For what did not come from the network.
    pub const fn none() -> Credit {
        Credit(None)
    }
}

/// Which end decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// This one.
    Us,
    /// The other.
    Peer,
}

/// Why a connection was refused or ended. The first group is sent as QUIC application error codes, so that both ends
/// can tell their operators the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The validator stops.
    Shutdown,
    /// The same key connected again.
    Replaced,
    /// The key left the set.
    Removed,
    /// Another chain id.
    WrongChain,
    /// No wire version in common.
    NoCommonVersion,
    /// It claims an index that is not its key's.
    WrongIndex,
    /// The lower index dials, the higher accepts.
    WrongDirection,
    /// No hello, or one that does not decode.
    BadHello,
    /// A frame above its class's bound.
    OversizeFrame,
    /// A frame that does not decode.
    MalformedFrame,
    /// A message on the stream of another class.
    WrongClass,
    /// A stream too many, of no known class, or one that ended.
    BadStream,
    /// An application error code that this release does not know.
    Unknown,

    /// The key is not in the set, or not the dialed peer's; decided in the TLS handshake.
    Stranger,
    /// Nothing heard for too long.
    TimedOut,
    /// The peer forgot the connection: it restarted.
    Reset,
    /// The transport failed, or is of another protocol.
    Transport,
}

impl Reason {
    const CODED: [Reason; 12] = [
        Reason::Shutdown,
        Reason::Replaced,
        Reason::Removed,
        Reason::WrongChain,
        Reason::NoCommonVersion,
        Reason::WrongIndex,
        Reason::WrongDirection,
        Reason::BadHello,
        Reason::OversizeFrame,
        Reason::MalformedFrame,
        Reason::WrongClass,
        Reason::BadStream,
    ];

    /// The application error code: the place in the list above, from 1 on. 0 stands for what needs no telling.
    pub(crate) fn code(self) -> VarInt {
        let place = (1_u32..).zip(Reason::CODED).find(|(_, r)| *r == self);
        VarInt::from_u32(place.map_or(0, |(code, _)| code))
    }

    fn from_code(code: VarInt) -> Reason {
        usize::try_from(code.into_inner())
            .ok()
            .and_then(|code| code.checked_sub(1))
            .and_then(|place| Reason::CODED.get(place).copied())
            .unwrap_or(Reason::Unknown)
    }

    /// For a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Reason::Shutdown => "shutdown",
            Reason::Replaced => "replaced",
            Reason::Removed => "removed",
            Reason::WrongChain => "wrong_chain",
            Reason::NoCommonVersion => "no_common_version",
            Reason::WrongIndex => "wrong_index",
            Reason::WrongDirection => "wrong_direction",
            Reason::BadHello => "bad_hello",
            Reason::OversizeFrame => "oversize_frame",
            Reason::MalformedFrame => "malformed_frame",
            Reason::WrongClass => "wrong_class",
            Reason::BadStream => "bad_stream",
            Reason::Unknown => "unknown",
            Reason::Stranger => "stranger",
            Reason::TimedOut => "timed_out",
            Reason::Reset => "reset",
            Reason::Transport => "transport",
        }
    }

    /// Whether the two ends do not fit together, in contrast to one of them being away.
    pub(crate) fn is_refusal(self) -> bool {
        !matches!(
            self,
            Reason::Shutdown
                | Reason::Replaced
                | Reason::TimedOut
                | Reason::Reset
                | Reason::Transport
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Shutdown => "shutting down",
            Reason::Replaced => "replaced by a newer connection with the same key",
            Reason::Removed => "no longer in the validator set",
            Reason::WrongChain => "of another chain (the genesis differs)",
            Reason::NoCommonVersion => "no wire version in common",
            Reason::WrongIndex => "claims the index of another validator",
            Reason::WrongDirection => "the validator with the lower index has to dial",
            Reason::BadHello => "no valid hello",
            Reason::OversizeFrame => "sent a message above its size limit",
            Reason::MalformedFrame => "sent bytes that are no message",
            Reason::WrongClass => "sent a message on the wrong stream",
            Reason::BadStream => "broke the order of streams",
            Reason::Unknown => "closed with an unknown code",
            Reason::Stranger => "its network key is not the expected one of the validator set",
            Reason::TimedOut => "timed out",
            Reason::Reset => "restarted",
            Reason::Transport => "the transport failed",
        })
    }
}

/// What a lost connection tells.
pub(crate) fn cause(error: &ConnectionError) -> (Reason, By) {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            (Reason::from_code(close.error_code), By::Peer)
        }
        ConnectionError::ConnectionClosed(close) => (transport(close.error_code), By::Peer),
        ConnectionError::TransportError(error) => (transport(error.code), By::Us),
        ConnectionError::Reset => (Reason::Reset, By::Peer),
        ConnectionError::TimedOut => (Reason::TimedOut, By::Us),
        ConnectionError::LocallyClosed => (Reason::Shutdown, By::Us),
        ConnectionError::VersionMismatch => (Reason::NoCommonVersion, By::Us),
        ConnectionError::CidsExhausted => (Reason::Transport, By::Us),
    }
}

/// TLS alerts travel as transport errors 0x100 + alert (RFC 9001, 4.8).
fn transport(code: TransportErrorCode) -> Reason {
    const ACCESS_DENIED: u8 = 49;
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    if code == TransportErrorCode::crypto(ACCESS_DENIED) {
        Reason::Stranger
    } else if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) {
        Reason::NoCommonVersion
    } else {
        Reason::Transport
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_go_both_ways() {
        for reason in Reason::CODED {
            assert_eq!(Reason::from_code(reason.code()), reason);
        }
        assert_eq!(Reason::from_code(VarInt::from_u32(0)), Reason::Unknown);
        assert_eq!(Reason::from_code(VarInt::MAX), Reason::Unknown);
        assert_eq!(
            Reason::WrongChain.code(),
            VarInt::from_u32(4),
            "on the wire for ever"
        );
    }
}
