//! Server-sent events, as the HTML standard has them, read from whatever pieces arrive.
//!
//! Owns no socket. What does not end within [`MAX_ANSWER_BYTES`] is refused: a validator cannot make a client hold more.

use std::collections::VecDeque;

use crate::http::MAX_ANSWER_BYTES;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty if it has none.
    pub name: String,
    /// Lines of data, joined by line feeds.
    pub data: Vec<u8>,
}

/// An event that is longer than a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_ANSWER_BYTES} bytes")]
pub struct TooLong;

/// What has arrived and is no whole event yet.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last line ended with a carriage return: a line feed that follows belongs to it.
    returned: bool,
    event: Event,
    has_data: bool,
    whole: VecDeque<Event>,
}

impl Parser {
    /// Takes the bytes that have arrived.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(*byte),
            }
            if self.line.len().saturating_add(self.event.data.len()) > MAX_ANSWER_BYTES {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// The oldest whole event.
    pub fn pop(&mut self) -> Option<Event> {
        self.whole.pop_front()
    }

    /// Bytes of data that have arrived of the event that is not whole yet. Comments, and fields that nobody reads, are none.
    #[must_use]
    pub fn arrived(&self) -> usize {
        let line = match self.line.starts_with(b"data:") {
            true => self.line.len(),
            false => 0,
        };
        self.event.data.len().saturating_add(line)
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            // Without data it is none: a comment, most often.
            if std::mem::take(&mut self.has_data) {
                self.whole.push_back(event);
            }
            return;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            // Comments, and what the caller knows better: an entry names its own height.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\n\nevent: block\nid: 7\ndata: {\"a\":\ndata:1}\n\ndata: x\r\n\r\nevent: none\n\n";

    fn all(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<(String, Vec<u8>)> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(&piece).expect("short");
            events.extend(std::iter::from_fn(|| parser.pop()).map(|e| (e.name, e.data)));
        }
        events
    }

    #[test]
    fn events_are_the_same_in_whatever_pieces_they_arrive() {
        let whole = all(std::iter::once(STREAM.to_vec()));
        assert_eq!(
            whole,
            [
                (String::from("block"), b"{\"a\":\n1}".to_vec()),
                (String::new(), b"x".to_vec())
            ]
        );
        for size in 1..STREAM.len() {
            assert_eq!(all(STREAM.chunks(size).map(<[u8]>::to_vec)), whole);
        }
    }

    /// A validator that sends nothing but comments was waited for as long as it did.
    #[test]
    fn only_data_has_arrived() {
        let mut parser = Parser::default();
        for (piece, arrived) in [
            (":\n\n", 0),
            (": hel", 0),
            ("lo\nevent: b", 0),
            ("lock\nda", 0),
            ("ta: 1", 7),
            ("2\n", 2),
            ("data:3\n", 4),
            ("unknown: 4", 4),
            ("\n\n", 0),
        ] {
            parser.push(piece.as_bytes()).expect("short");
            assert_eq!(parser.arrived(), arrived, "{piece:?}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; MAX_ANSWER_BYTES / 2];
        assert_eq!(parser.push(&piece), Ok(()));
        assert_eq!(parser.push(&piece), Ok(()));
        assert_eq!(parser.push(b"x"), Err(TooLong));
    }
}
