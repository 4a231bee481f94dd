//! Results on standard output, as text or JSON.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exit::{ExitStatus, Failure};

/// Form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document, or JSON Lines.
    Json,
}

/// Writes results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    format: Format,
}

impl Printer {
    pub(super) fn new(format: Option<Format>) -> Printer {
        Printer {
            format: format.unwrap_or_default(),
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes the value as JSON, or what `text` writes.
    pub(super) fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<ExitStatus, Failure> {
        let mut bytes = Vec::new();
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut bytes, value).map_err(Failure::failed)?;
                bytes.push(b'\n');
            }
            Format::Text => text(&mut bytes).map_err(Failure::failed)?,
        }
        self.raw(&bytes)
    }

    /// Writes bytes as they are. If nobody reads any more (`quorate … | head`), the process ends quietly.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<ExitStatus, Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(ExitStatus::Done),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
        }
    }
}

/// How far long work is, on standard error; a line a second at most.
#[derive(Debug)]
pub(super) struct Progress {
    shown: Instant,
}

impl Progress {
    pub(super) fn start() -> Progress {
        Progress {
            shown: Instant::now(),
        }
    }

    /// Says where the work is, unless that was said just now.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if self.shown.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.shown = Instant::now();
        // Nobody has to read it.
        let _ = writeln!(io::stderr(), "quorate: {}", line());
    }
}

/// Bytes for people: as they are if they are text, else in hexadecimal.
pub(super) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("0x{}", hex::encode(bytes)),
    }
}

/// A time for people, UTC, to the second; the nanoseconds are in the JSON.
pub(super) fn time_of(time: quorate_types::BlockTime) -> String {
    let seconds = time.0 / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970-01-01 as a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::BlockTime;

    #[test]
    fn times_read_as_dates() {
        let second = 1_000_000_000;
        assert_eq!(time_of(BlockTime(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            time_of(BlockTime(951_827_696 * second)),
            "2000-02-29T12:34:56Z"
        );
        assert_eq!(
            time_of(BlockTime(1_798_761_599 * second)),
            "2026-12-31T23:59:59Z"
        );
    }

    #[test]
    fn bytes_read_as_text_or_hexadecimal() {
        assert_eq!(text_of("höhe".as_bytes()), "höhe");
        assert_eq!(text_of(b"a\n"), "0x610a");
        assert_eq!(text_of(&[0xff]), "0xff");
    }
}
