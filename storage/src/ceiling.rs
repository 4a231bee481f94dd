//! The ceiling: a durable promise, outside the database, that no round above it was ever signed.
//!
//! It is raised well ahead of use, so it costs nothing per round; and since it outlives `data/`, wiping the database
//! cannot forget a vote (P5). It is text, for the operator who has to judge a damaged home:
//!
//! ```text
//! quorate ceiling 1
//! round 0/2048            epoch/round, or "none" while nothing was ever signed
//! check 1c8a7d1e          CRC-32 of the lines before, line ends included
//! ```

use std::fs;
use std::path::Path;

use quorate_types::{Epoch, Round};

use crate::StoreError;
use crate::files::{crc32, replace};

/// Writes the ceiling; durable on return.
pub(crate) fn write(path: &Path, ceiling: Option<Round>) -> Result<(), StoreError> {
    replace(path, encode(ceiling).as_bytes())
}

/// Reads the ceiling. The outer `None`: there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Option<Round>>, StoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(StoreError::io("read", path))?,
    };
    let text = std::str::from_utf8(&bytes).ok();
    match text.and_then(decode) {
        Some(ceiling) => Ok(Some(ceiling)),
        None => Err(StoreError::Damaged {
            path: path.to_path_buf(),
        }),
    }
}

/// The content of the file.
#[must_use]
pub fn encode(ceiling: Option<Round>) -> String {
    let round = match ceiling {
        Some(round) => round.to_string(),
        None => "none".to_owned(),
    };
    let body = format!("quorate ceiling 1\nround {round}\n");
    format!("{body}check {:08x}\n", crc32(body.as_bytes()))
}

/// Reads the content of the file; `None` if it is not exactly what [`encode`] writes.
#[must_use]
pub fn decode(text: &str) -> Option<Option<Round>> {
    let round = text.lines().nth(1)?.strip_prefix("round ")?;
    let ceiling = match round {
        "none" => None,
        round => {
            let (epoch, number) = round.split_once('/')?;
            Some(Round::new(Epoch(epoch.parse().ok()?), number.parse().ok()?))
        }
    };
    (encode(ceiling) == text).then_some(ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        for ceiling in [
            None,
            Some(Round::new(Epoch(0), 0)),
            Some(Round::new(Epoch(u64::MAX), u64::MAX)),
        ] {
            assert_eq!(decode(&encode(ceiling)), Some(ceiling));
        }
    }

    #[test]
    fn refuses_any_changed_byte_and_any_cut() {
        let text = encode(Some(Round::new(Epoch(3), 4_096)));
        for index in 0..text.len() {
            assert_eq!(decode(&text[..index]), None, "cut at {index}");
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                let changed = String::from_utf8(bytes).expect("still ASCII");
                assert_eq!(decode(&changed), None, "bit {bit} of byte {index}");
            }
        }
    }
}
