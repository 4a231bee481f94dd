//! The first exchange on a connection, on a stream of its own: what TLS does not say. Who dialed speaks first.
//!
//! Whoever finds a misfit closes the connection with the code of its reason, so both ends know.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use quorate_types::{ChainId, ValidatorIndex};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::event::{By, Reason, cause};
use super::frame::{self, ReadFailure};

/// Wire versions that this release speaks. In version 1 commit votes had no hints.
pub(crate) const WIRE_VERSIONS: [u16; 1] = [2];
/// Longest hello, in bytes.
const HELLO_BYTES: usize = 1024;
/// Most characters of a peer's software version that are kept.
const SOFTWARE_CHARS: usize = 64;

/// What each end says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Wire versions spoken, ascending; the highest in common is used.
    pub(crate) versions: Vec<u16>,
    /// The hash of the genesis.
    pub(crate) chain: ChainId,
    /// The sender's place in the set.
    pub(crate) from: ValidatorIndex,
    /// For people.
    pub(crate) software: String,
}

impl Hello {
    /// Whether the two ends fit, seen from `self`, whose peer's key belongs to `peer`.
    fn check(&self, theirs: &Hello, peer: ValidatorIndex) -> Result<(), Reason> {
        if !theirs.versions.iter().any(|v| self.versions.contains(v)) {
            return Err(Reason::NoCommonVersion);
        }
        if theirs.chain != self.chain {
            return Err(Reason::WrongChain);
        }
        if theirs.from != peer {
            return Err(Reason::WrongIndex);
        }
        Ok(())
    }
}

/// Runs the exchange as the end that dialed. The answer is the peer's software version; on failure the connection is
/// closed already.
pub(crate) async fn dialed(
    connection: &Connection,
    ours: &Hello,
    peer: ValidatorIndex,
) -> Result<String, (Reason, By)> {
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|_| ReadFailure::Lost)?;
        say(&mut send, ours).await?;
        listen(&mut receive).await
    };
    finish(connection, ours, peer, exchange.await)
}

/// As [`dialed`], as the end that accepted. The answer is sent only to who fits.
pub(crate) async fn accepted(
    connection: &Connection,
    ours: &Hello,
    peer: ValidatorIndex,
) -> Result<String, (Reason, By)> {
    let exchange = async {
        let (mut send, mut receive) = connection
            .accept_bi()
            .await
            .map_err(|_| ReadFailure::Lost)?;
        let theirs = listen(&mut receive).await?;
        ours.check(&theirs, peer).map_err(ReadFailure::Fault)?;
        say(&mut send, ours).await?;
        Ok(theirs)
    };
    finish(connection, ours, peer, exchange.await)
}

async fn say(send: &mut SendStream, ours: &Hello) -> Result<(), ReadFailure> {
    let bytes = frame::encode(ours, HELLO_BYTES).ok_or(ReadFailure::Fault(Reason::BadHello))?;
    send.write_chunk(bytes)
        .await
        .map_err(|_| ReadFailure::Lost)?;
    // Fails only where the connection is lost, which the next step finds.
    let _ = send.finish();
    Ok(())
}

async fn listen(receive: &mut RecvStream) -> Result<Hello, ReadFailure> {
    let once = Arc::new(Semaphore::new(frame::budget(0, HELLO_BYTES)));
    let bad = |failure| match failure {
        ReadFailure::Lost => ReadFailure::Lost,
        ReadFailure::Fault(_) => ReadFailure::Fault(Reason::BadHello),
    };
    let (bytes, _credit) = frame::read(receive, HELLO_BYTES, &once)
        .await
        .map_err(bad)?;
    frame::decode(&bytes).map_err(bad)
}

fn finish(
    connection: &Connection,
    ours: &Hello,
    peer: ValidatorIndex,
    exchange: Result<Hello, ReadFailure>,
) -> Result<String, (Reason, By)> {
    let checked = exchange.and_then(|theirs| {
        ours.check(&theirs, peer).map_err(ReadFailure::Fault)?;
        Ok(printable(&theirs.software))
    });
    checked.map_err(|failure| match failure {
        ReadFailure::Fault(reason) => {
            connection.close(reason.code(), reason.to_string().as_bytes());
            (reason, By::Us)
        }
        ReadFailure::Lost => connection
            .close_reason()
            .as_ref()
            .map_or((Reason::Transport, By::Us), cause),
    })
}

/// It goes into logs: nothing that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(SOFTWARE_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_crypto::{Domain, hash};

    fn hello() -> Hello {
        Hello {
            versions: vec![1, 2],
            chain: ChainId(hash(Domain::Genesis, &[b"a"])),
            from: ValidatorIndex(3),
            software: String::from("quorate 0.1.0"),
        }
    }

    #[test]
    fn each_misfit_has_its_reason() {
        let ours = Hello {
            from: ValidatorIndex(0),
            ..hello()
        };
        let check = |theirs: Hello| ours.check(&theirs, ValidatorIndex(3));
        assert_eq!(check(hello()), Ok(()));
        let theirs = Hello {
            versions: vec![2, 7],
            ..hello()
        };
        assert_eq!(check(theirs), Ok(()));
        let theirs = Hello {
            versions: vec![7],
            ..hello()
        };
        assert_eq!(check(theirs), Err(Reason::NoCommonVersion));
        let theirs = Hello {
            chain: ChainId::default(),
            ..hello()
        };
        assert_eq!(check(theirs), Err(Reason::WrongChain));
        let theirs = Hello {
            from: ValidatorIndex(2),
            ..hello()
        };
        assert_eq!(check(theirs), Err(Reason::WrongIndex));
    }

    #[test]
    fn software_cannot_write_to_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb é"), "a[2Jb ");
        assert_eq!(printable(&"x".repeat(1000)).len(), SOFTWARE_CHARS);
    }
}
