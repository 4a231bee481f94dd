//! The targets. Each takes any bytes.

mod bytes;
mod certificates;
mod recovery;
mod schedule;

use std::fmt::Debug;

use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use serde::{Serialize, de::DeserializeOwned};

pub use bytes::{FORMATS, formats, genesis, message, proof};
pub use certificates::{certificates, verifies};
pub use recovery::recovery;
pub use schedule::schedule;

/// Something to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of its corpus, too.
    pub name: &'static str,
    /// To be called with any bytes.
    pub run: fn(&[u8]),
    /// Its first seeds.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// Mutations that its ordinary test tries: about a second of one core.
    pub inputs: u64,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "message",
        run: message,
        seeds: bytes::message_seeds,
        inputs: 6_000,
    },
    Target {
        name: "formats",
        run: formats,
        seeds: bytes::format_seeds,
        inputs: 40_000,
    },
    Target {
        name: "genesis",
        run: genesis,
        seeds: bytes::genesis_seeds,
        inputs: 4_000,
    },
    Target {
        name: "proof",
        run: proof,
        seeds: bytes::proof_seeds,
        inputs: 6_000,
    },
    Target {
        name: "certificates",
        run: certificates,
        seeds: certificates::seeds,
        inputs: 4_000,
    },
    Target {
        name: "schedule",
        run: schedule,
        seeds: schedule::seeds,
        inputs: 30,
    },
    Target {
        name: "recovery",
        run: recovery,
        seeds: recovery::seeds,
        inputs: 200,
    },
];

/// Decodes; what decodes encodes to the same bytes, since identities and signatures are computed over encodings.
fn canonical<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = codec::decode(bytes, MAX_ENCODED_BYTES).ok()?;
    assert_eq!(codec::encode(&value), bytes, "{value:?} has two encodings");
    Some(value)
}
