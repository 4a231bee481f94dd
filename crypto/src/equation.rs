//! The equation of a batch: one multiscalar multiplication in place of a verification for each signature.
//!
//! ZIP-215 accepts a signature (R, s) under a key A if `8 s B = 8 R + 8 k A`, with the challenge k = SHA-512(R ‖ A ‖ signed
//! bytes), s below the order of the group, and R and A any encodings of points. For many at once, each multiplied by a
//! coefficient z of its own ("Faster batch forgery identification", Bernstein et al., 2012, section 2; "High-speed
//! high-security signatures", section 5):
//!
//! ```text
//! 8 (Σ z R  +  Σ over the keys (Σ z k) A  -  (Σ z s) B) = 0
//! ```
//!
//! A batch is sound because its signers cannot predict the coefficients, which have 128 bits. They come from hashing **the whole content of
//! the batch** (keys, domains, messages, signatures) with the caller's entropy. So even a signer who knows the entropy
//! cannot pick signatures that cancel out: changing one changes every coefficient.

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

/// Terms from which on curve25519-dalek sums by buckets (Pippenger's algorithm), and from which on that is quicker
/// with its code for AVX2; with that for AVX-512 IFMA from 90 on, without either from 190 on
/// (docs/OPTIMISATION.md). In between, terms that add nothing are what makes it.
const BUCKET_TERMS: usize = 190;
const QUICKER_BY_BUCKETS: usize = 110;

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
        content.update(&length(batch.len())).update(&entropy);
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
    if (QUICKER_BY_BUCKETS..BUCKET_TERMS).contains(&points.len()) {
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
