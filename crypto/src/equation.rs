//! The equation of a batch: one multiscalar multiplication in place of a verification for each signature.
//!
//! ZIP-215 accepts a signature (R, s) under a key A if `8 s B = 8 R + 8 k A`, with the challenge
//! k = SHA-512(R ‖ A ‖ signed bytes), s below the order of the group, and R and A any encodings of points. For many at
//! once, each multiplied by a coefficient z of its own (Bernstein et al., "High-speed high-security signatures", 2012,
//! section 5):
//!
//! ```text
//! 8 (Σ z R  +  Σ over the keys (Σ z k) A  -  (Σ z s) B) = 0
//! ```
//!
//! A batch is sound because the coefficients, of 128 bits, are fixed only once all of its signatures are. They come from
//! hashing **the whole content of the batch** (keys, domains, messages, signatures) with the caller's entropy. So even a
//! signer who knows the entropy cannot pick signatures that cancel out: changing one changes every coefficient.

use alloc::vec::Vec;
use core::ops::Range;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::{Identity, IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest as _, Sha512};

use crate::batch::Signed;
use crate::digest::{DIGEST_BYTES, Digest, Hasher};
use crate::domain::Domain;

/// Terms from which on curve25519-dalek sums by buckets (Pippenger's algorithm). Were it otherwise, it would cost time only.
const BUCKET_TERMS: usize = 190;
/// Terms from which on that is quicker with its code for AVX2: an equation is filled up then. With that for AVX-512 it is
/// from 90 on, and with neither not before the library does so by itself (docs/decisions/0003-dependencies.md).
const FILLED_UP_FROM: usize = match cfg!(target_arch = "x86_64") {
    true => 110,
    false => BUCKET_TERMS,
};

/// The equations of a batch and of its parts.
pub(crate) struct Equations<'a> {
    /// One a signature. `None`: R is no point, or s is not below the order, or the key is no point.
    terms: Vec<Option<Term>>,
    /// The distinct keys; `None` for what is no point.
    keys: &'a [Option<EdwardsPoint>],
    /// The digest of the whole batch, which seeds the coefficients of every equation.
    seed: Digest,
}

struct Term {
    r: EdwardsPoint,
    s: Scalar,
    challenge: Scalar,
    /// Which of the keys.
    key: usize,
}

impl<'a> Equations<'a> {
    /// Those of `batch`, each signed by the key at the same place in `signers`, which is a place in `keys`.
    pub(crate) fn new(
        batch: &[Signed],
        signers: &[usize],
        keys: &'a [Option<EdwardsPoint>],
        entropy: [u8; 32],
    ) -> Self {
        let mut content = Hasher::new(Domain::BatchCoefficients);
        for signed in batch {
            content
                .update(signed.key.as_bytes())
                .update(signed.signature.as_bytes())
                .update(&length(signed.bytes.len()))
                .update(&signed.bytes);
        }
        content.update(&entropy);
        let terms = batch.iter().zip(signers);
        Self {
            terms: terms
                .map(|(signed, &key)| keys[key].and_then(|_| Term::new(signed, key)))
                .collect(),
            keys,
            seed: content.finalize(),
        }
    }

    /// Whether the equation of `range` holds. It does not if one of its signatures has no place in any equation.
    pub(crate) fn holds(&self, range: Range<usize>) -> bool {
        let mut coefficients = Coefficients::new(&self.seed, &range);
        let most = range.len() + self.keys.len() + 1;
        let (mut scalars, mut points) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut of_keys = alloc::vec![Scalar::ZERO; self.keys.len()];
        let mut of_base = Scalar::ZERO;
        for term in &self.terms[range] {
            let Some(term) = term else {
                return false;
            };
            let coefficient = coefficients.next();
            scalars.push(coefficient);
            points.push(term.r);
            of_keys[term.key] += coefficient * term.challenge;
            of_base -= coefficient * term.s;
        }
        for (scalar, key) in of_keys.into_iter().zip(self.keys) {
            if let (true, Some(key)) = (scalar != Scalar::ZERO, key) {
                scalars.push(scalar);
                points.push(*key);
            }
        }
        scalars.push(of_base);
        points.push(ED25519_BASEPOINT_POINT);
        sum(&mut scalars, &mut points)
            .mul_by_cofactor()
            .is_identity()
    }
}

impl Term {
    fn new(signed: &Signed, key: usize) -> Option<Self> {
        let (r, s) = signed.signature.as_bytes().split_at(32);
        let compressed = CompressedEdwardsY::from_slice(r).expect("half a signature");
        let s = s.try_into().expect("the other half");
        let challenge = Sha512::new()
            .chain_update(r)
            .chain_update(signed.key.as_bytes())
            .chain_update(&signed.bytes)
            .finalize();
        Some(Self {
            r: compressed.decompress()?,
            s: Option::from(Scalar::from_canonical_bytes(s))?,
            challenge: Scalar::from_bytes_mod_order_wide(&challenge.into()),
            key,
        })
    }
}

/// The sum of `points`, each multiplied by its scalar.
fn sum(scalars: &mut Vec<Scalar>, points: &mut Vec<EdwardsPoint>) -> EdwardsPoint {
    if (FILLED_UP_FROM..BUCKET_TERMS).contains(&points.len()) {
        scalars.resize(BUCKET_TERMS, Scalar::ZERO);
        points.resize(BUCKET_TERMS, EdwardsPoint::identity());
    }
    EdwardsPoint::vartime_multiscalar_mul(&*scalars, &*points)
}

/// SHA-256 in counter mode: the generator of an equation's coefficients, deterministic in its seed.
struct Coefficients {
    seed: Hasher,
    counter: u64,
    /// The half of the last block that is not used yet.
    left: Option<[u8; DIGEST_BYTES / 2]>,
}

impl Coefficients {
    /// The stream of the part `range` of the batch with this seed.
    fn new(seed: &Digest, range: &Range<usize>) -> Self {
        let mut hasher = Hasher::new(Domain::BatchCoefficients);
        hasher
            .update(seed.as_bytes())
            .update(&length(range.start))
            .update(&length(range.end));
        Self {
            seed: hasher,
            counter: 0,
            left: None,
        }
    }

    /// 128 bits.
    fn next(&mut self) -> Scalar {
        let bytes = self.left.take().unwrap_or_else(|| {
            let mut hasher = self.seed.clone();
            hasher.update(&self.counter.to_le_bytes());
            self.counter = self
                .counter
                .checked_add(1)
                .expect("2^64 blocks are never drawn");
            let block = hasher.finalize();
            let half = |at: usize| core::array::from_fn(|byte| block.as_bytes()[at + byte]);
            self.left = Some(half(DIGEST_BYTES / 2));
            half(0)
        });
        Scalar::from(u128::from_le_bytes(bytes))
    }
}

/// A length in 8 bytes, little-endian, whatever the width of `usize`.
fn length(length: usize) -> [u8; 8] {
    u64::try_from(length)
        .expect("a usize has at most 64 bits")
        .to_le_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec;

    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;
    use crate::{PublicKey, SecretKey, Signature};

    /// The order of the group, little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    /// What the equations of a batch say, without the search behind them, which would find out that a wrong one is wrong.
    fn with<T>(batch: &[Signed], entropy: [u8; 32], ask: impl FnOnce(&Equations<'_>) -> T) -> T {
        let decompress = |signed: &Signed| CompressedEdwardsY(signed.key.to_bytes()).decompress();
        let keys: Vec<_> = batch.iter().map(decompress).collect();
        let signers: Vec<_> = (0..batch.len()).collect();
        ask(&Equations::new(batch, &signers, &keys, entropy))
    }

    pub(crate) fn holds(batch: &[Signed]) -> bool {
        with(batch, [0; 32], |equations| equations.holds(0..batch.len()))
    }

    fn good(count: usize) -> Vec<Signed> {
        let sign = |at: usize| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&length(at));
            let key = SecretKey::from_seed(&seed);
            Signed {
                key: key.public(),
                bytes: b"message".to_vec(),
                signature: key.sign_parts(&[b"message"]),
            }
        };
        (0..count).map(sign).collect()
    }

    fn with_signature(mut signed: Signed, change: impl FnOnce(&mut [u8; 64])) -> Signed {
        let mut bytes = signed.signature.to_bytes();
        change(&mut bytes);
        signed.signature = Signature::from_bytes(bytes);
        signed
    }

    /// In sums of each kind: as they are, filled up (109 and 111 terms, 189), and large by themselves.
    #[test]
    fn of_good_signatures_it_holds_and_so_does_that_of_each_part() {
        for count in [0, 1, 2, 54, 55, 94, 95, 130] {
            let batch = good(count);
            with(&batch, [3; 32], |equations| {
                for part in [0..count, 0..count / 2, count / 3..count] {
                    assert!(equations.holds(part.clone()), "{part:?} of {count}");
                }
            });
        }
    }

    #[test]
    fn of_one_bad_signature_among_good_ones_it_does_not() {
        for count in [1, 2, 55, 95] {
            let mut batch = good(count);
            batch[count - 1].bytes.push(0);
            assert!(!holds(&batch), "{count}");
        }
    }

    /// Without the factor 8 it would hold for few of these.
    #[test]
    fn zip_215_points_of_small_order_hold() {
        let points = EIGHT_TORSION.map(|point| point.compress().to_bytes());
        let pairs = points
            .iter()
            .flat_map(|key| points.iter().map(move |r| (key, r)));
        let signed = pairs.map(|(key, r)| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            Signed {
                key: PublicKey::from_bytes_unchecked(*key),
                bytes: b"anything".to_vec(),
                signature: Signature::from_bytes(signature),
            }
        });
        assert!(holds(&signed.collect::<Vec<_>>()));
    }

    /// The same signature modulo the order of the group, which single verification refuses.
    #[test]
    fn s_above_the_order_does_not_hold() {
        let above = |bytes: &mut [u8; 64]| {
            let mut carry = 0;
            for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
                carry += u16::from(*byte) + u16::from(order);
                let [low, high] = carry.to_le_bytes();
                (*byte, carry) = (low, u16::from(high));
            }
            assert_eq!(carry, 0);
        };
        let mut batch = good(3);
        assert!(holds(&batch));
        batch[1] = with_signature(batch[1].clone(), above);
        assert!(!holds(&batch));
    }

    /// R = 0 and s = 0 would do if such a key counted for nothing.
    #[test]
    fn under_a_key_that_is_no_point_nothing_holds() {
        let mut batch = good(3);
        // 2 is the y of no point of the curve.
        let mut key = [0; 32];
        key[0] = 2;
        batch[1].key = PublicKey::from_bytes_unchecked(key);
        batch[1] = with_signature(batch[1].clone(), |bytes| {
            *bytes = [0; 64];
            bytes[0] = 1;
        });
        assert!(!holds(&batch));
    }

    /// Each is another one, of 128 bits, once anything that was signed, or the part that is asked about, is another.
    #[test]
    fn coefficients_are_of_everything() {
        let batch = good(3);
        let changed = |change: &dyn Fn(&mut Signed)| {
            let mut batch = batch.clone();
            change(&mut batch[1]);
            batch
        };
        let flipped = |at: usize| {
            changed(&|signed| {
                *signed = with_signature(signed.clone(), |bytes| bytes[at] ^= 1);
            })
        };
        let batches = vec![
            batch.clone(),
            batch[..2].to_vec(),
            flipped(0),
            flipped(31),
            flipped(32),
            flipped(63),
            changed(&|signed| signed.bytes[0] ^= 1),
            changed(&|signed| signed.bytes.push(0)),
            changed(&|signed| signed.key = batch[0].key),
        ];
        let mut draws = BTreeSet::new();
        let mut count = 0;
        let mut draw = |batch: &[Signed], entropy, range| {
            with(batch, entropy, |equations| {
                let mut coefficients = Coefficients::new(&equations.seed, &range);
                for _ in 0..4 {
                    let bytes = coefficients.next().to_bytes();
                    assert!(bytes[8..16] != [0; 8] && bytes[16..] == [0; 16]);
                    draws.insert(bytes);
                    count += 1;
                }
            });
        };
        for batch in &batches {
            draw(batch, [0; 32], 0..3);
        }
        draw(&batch, [0; 32], 0..2);
        draw(&batch, [0; 32], 1..3);
        draw(&batch, [1; 32], 0..3);
        assert_eq!(draws.len(), count);
    }
}
