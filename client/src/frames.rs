//! Pieces of a stream: strings of bytes with their length before them, or lines, read from whatever arrives.
//!
//! Owns no socket. A piece that is longer than the reader's bound is refused when its beginning says so: nobody can make
//! a reader hold more.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a length, as the canonical encoding has it: little-endian.
const LENGTH: usize = 8;

/// How pieces are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A piece is a canonical string of bytes: its length in eight bytes, then itself.
    Canonical,
    /// A piece is a line, without its end. Empty lines are none.
    Lines,
}

/// A piece that is longer than its reader's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a piece of a stream is longer than the {limit} bytes allowed")]
pub struct TooLong {
    /// Bytes allowed.
    pub limit: usize,
}

/// What has arrived and was not taken yet.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    limit: usize,
    arrived: BytesMut,
    /// Bytes at the beginning that are known to hold no end of a line.
    searched: usize,
}

impl Frames {
    /// A reader of pieces of at most `limit` bytes.
    #[must_use]
    pub fn new(framing: Framing, limit: usize) -> Frames {
        Frames {
            framing,
            limit,
            arrived: BytesMut::new(),
            searched: 0,
        }
    }

    /// Takes the bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// The next whole piece, if it is there.
    ///
    /// # Errors
    /// [`TooLong`]: where the one after it begins is not known then.
    pub fn pop(&mut self) -> Result<Option<Bytes>, TooLong> {
        match self.framing {
            Framing::Canonical => self.pop_string(),
            Framing::Lines => self.pop_line(),
        }
    }

    /// What is left when nothing more will arrive: of lines, the last may lack its end. Then [`Frames::is_inside`] tells
    /// whether anything else is left.
    pub fn pop_last(&mut self) -> Option<Bytes> {
        if self.framing == Framing::Canonical {
            return None;
        }
        let mut line = self.arrived.split();
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        (!line.is_empty()).then(|| line.freeze())
    }

    /// Whether what has arrived ends within a piece.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        !self.arrived.is_empty()
    }

    fn pop_string(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(length) = self.arrived.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        self.check(length)?;
        if self.arrived.len() < LENGTH + length {
            return Ok(None);
        }
        self.arrived.advance(LENGTH);
        Ok(Some(self.arrived.split_to(length).freeze()))
    }

    fn pop_line(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let mut fresh = self.arrived.iter().skip(self.searched);
            let Some(end) = fresh.position(|byte| *byte == b'\n') else {
                self.searched = self.arrived.len();
                // The end of a line of the greatest length may have arrived by half.
                let half = usize::from(self.arrived.last() == Some(&b'\r'));
                self.check(self.searched - half)?;
                return Ok(None);
            };
            let end = self.searched + end;
            self.searched = 0;
            let mut line = self.arrived.split_to(end + 1);
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.truncate(end - 1);
            }
            if !line.is_empty() {
                self.check(line.len())?;
                return Ok(Some(line.freeze()));
            }
        }
    }

    fn check(&self, length: usize) -> Result<(), TooLong> {
        match length > self.limit {
            true => Err(TooLong { limit: self.limit }),
            false => Ok(()),
        }
    }
}

/// Writes a piece.
pub fn put(framing: Framing, piece: &[u8], out: &mut BytesMut) {
    match framing {
        Framing::Canonical => {
            let length = u64::try_from(piece.len()).expect("no machine has more memory");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(piece);
        }
        Framing::Lines => {
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMINGS: [Framing; 2] = [Framing::Canonical, Framing::Lines];

    fn all(frames: &mut Frames) -> Result<Vec<Bytes>, TooLong> {
        std::iter::from_fn(|| frames.pop().transpose()).collect()
    }

    #[test]
    fn pieces_are_the_same_in_whatever_parts_they_arrive() {
        for framing in FRAMINGS {
            let mut stream = BytesMut::new();
            let pieces: [&[u8]; 3] = [b"one", b"x", b"three and four"];
            for piece in pieces {
                put(framing, piece, &mut stream);
            }
            for size in 1..=stream.len() {
                let mut frames = Frames::new(framing, 14);
                let mut found = Vec::new();
                for part in stream.chunks(size) {
                    frames.push(part);
                    found.extend(all(&mut frames).expect("none is too long"));
                }
                assert_eq!(found, pieces, "{framing:?} in parts of {size}");
                assert!(!frames.is_inside());
            }
        }
    }

    #[test]
    fn a_piece_above_the_bound_is_refused_before_it_is_there() {
        let mut frames = Frames::new(Framing::Canonical, 14);
        frames.push(&15u64.to_le_bytes());
        assert_eq!(frames.pop(), Err(TooLong { limit: 14 }));
        let mut frames = Frames::new(Framing::Canonical, 14);
        frames.push(&u64::MAX.to_le_bytes());
        assert_eq!(frames.pop(), Err(TooLong { limit: 14 }));
        let mut frames = Frames::new(Framing::Lines, 14);
        frames.push(&[b'x'; 14]);
        assert_eq!(frames.pop(), Ok(None));
        frames.push(b"x");
        assert_eq!(frames.pop(), Err(TooLong { limit: 14 }));
        let mut frames = Frames::new(Framing::Lines, 14);
        frames.push(&[&[b'x'; 15][..], b"\n"].concat());
        assert_eq!(frames.pop(), Err(TooLong { limit: 14 }));
    }

    #[test]
    fn the_end_of_a_longest_line_may_arrive_by_half() {
        let mut frames = Frames::new(Framing::Lines, 14);
        frames.push(&[&[b'x'; 14][..], b"\r"].concat());
        assert_eq!(frames.pop(), Ok(None));
        frames.push(b"\n");
        assert_eq!(
            frames.pop().expect("short enough").expect("whole").len(),
            14
        );
    }

    #[test]
    fn lines_end_as_text_does_and_empty_ones_are_none() {
        let mut frames = Frames::new(Framing::Lines, 14);
        frames.push(b"\n\r\none\r\n\ntwo\nthr");
        let found = all(&mut frames).expect("none is too long");
        assert_eq!(found, [&b"one"[..], b"two"]);
        assert!(frames.is_inside());
        assert_eq!(frames.pop_last().as_deref(), Some(&b"thr"[..]));
        assert_eq!(frames.pop_last(), None);
        assert!(!frames.is_inside());
    }
}
