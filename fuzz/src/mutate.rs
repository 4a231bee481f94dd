//! Inputs from inputs: the same generator state gives the same one, on every machine.

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("lengths fit");
        let drawn = self.draw().checked_rem(end).unwrap_or(0);
        usize::try_from(drawn).expect("below a length")
    }

    fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }
}

/// Longest input that is made, in bytes.
pub const MAX_INPUT: usize = 1 << 16;
/// What lengths, counts and tags tend to go wrong at, as the eight bytes of an encoded integer.
const INTERESTING: [u64; 12] = [
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    65_535,
    1 << 25,
    u32::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// The same in texts.
const WORDS: [&str; 12] = [
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "4294967296",
    "0",
    "-1",
    "1e999",
    "null",
    "\"\"",
    "{}",
    "[[",
    "\\u0000",
];

/// An input like `seed`, with one to eight changes; `other` is there to be spliced in.
#[must_use]
pub fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(8) {
        change(random, &mut bytes, other);
    }
    bytes.truncate(MAX_INPUT);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let place = random.below(bytes.len());
    let count = random.below(1 + bytes.len().saturating_sub(place).min(32));
    match random.below(10) {
        0 => flip(random, bytes, place),
        1 => set(bytes, place, &[random.byte()]),
        2 => {
            let number = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)];
            set(bytes, place, &number[..width]);
        }
        3 => {
            bytes.drain(place..place + count);
        }
        4 => {
            let copy = bytes[place..place + count].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 => {
            let noise: Vec<u8> = (0..count.max(1)).map(|_| random.byte()).collect();
            bytes.splice(place..place, noise);
        }
        6 => bytes.truncate(place),
        7 => {
            let start = random.below(other.len());
            let end = start + random.below(1 + (other.len() - start).min(256));
            let until = (place + count).min(bytes.len());
            bytes.splice(place..until, other[start..end].iter().copied());
        }
        8 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(place..place + count, word.bytes());
        }
        _ => {
            // A counter or a height that is off by a little.
            if let Some(byte) = bytes.get_mut(place) {
                *byte = byte.wrapping_add([1, 255, 16][random.below(3)]);
            }
        }
    }
}

fn flip(random: &mut Random, bytes: &mut [u8], place: usize) {
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(bytes: &mut [u8], place: usize, value: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(place).zip(value) {
        *byte = *new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_they_differ() {
        let inputs = |seed| -> Vec<Vec<u8>> {
            let mut random = Random::new(seed);
            (0..200)
                .map(|_| mutate(&mut random, b"a seed of some bytes", b"another"))
                .collect()
        };
        assert_eq!(inputs(1), inputs(1));
        let mut kinds = inputs(1);
        kinds.sort();
        kinds.dedup();
        assert!(kinds.len() > 150, "{}", kinds.len());
    }

    #[test]
    fn nothing_is_too_short_to_be_changed() {
        let mut random = Random::new(3);
        for _ in 0..1_000 {
            let _ = mutate(&mut random, b"", b"");
        }
    }
}
