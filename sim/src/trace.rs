//! The fingerprint of a run: everything that happens goes into it. Two runs of a seed must have the same; it can be read,
//! too.

/// Folds what happens into 64 bits, and prints it if it is on.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    on: bool,
}

impl Trace {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(on: bool) -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            on,
        }
    }

    /// Whether it is printed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The fingerprint so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Something happened: numbers for the fingerprint, text for people.
    pub(crate) fn note(&mut self, now: u64, numbers: &[u64], text: impl FnOnce() -> String) {
        for number in std::iter::once(&now).chain(numbers) {
            // FNV-1a over words: not for adversaries, only for equality.
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
        if self.on {
            println!("{:>12.3} ms  {}", millis(now), text());
        }
    }
}

/// For people only.
fn millis(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e3
}
