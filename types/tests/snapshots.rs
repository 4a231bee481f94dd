//! Manifests: what is changed in one is refused.

mod common;

use common::*;
use quorate_types::accumulator::Accumulator;
use quorate_types::{ChainId, Digest, Height, Manifest, Reject};

fn check(change: impl FnOnce(&mut Manifest)) -> Result<(), Reject> {
    let mut manifest = manifest();
    change(&mut manifest);
    manifest.check(&validators())
}

#[test]
fn a_manifest_is_believed_for_its_certificates_only() {
    assert_eq!(check(|_| ()), Ok(()));
    assert_eq!(check(|m| m.version = 2), Err(Reject::WrongVersion));
    assert_eq!(
        check(|m| m.chain = ChainId::default()),
        Err(Reject::WrongChain)
    );
    // Another state, another height, another history of receipts.
    let other = Digest::from_bytes([8; 32]);
    assert_eq!(
        check(|m| m.roots.state = other),
        Err(Reject::CertificateMismatch)
    );
    assert_eq!(
        check(|m| m.roots.receipts = other),
        Err(Reject::CertificateMismatch)
    );
    assert_eq!(check(|m| m.height = Height(1)), Err(Reject::Malformed));
    assert_eq!(
        check(|m| m.accumulator = Accumulator::default()),
        Err(Reject::WrongClaim)
    );
    // Certificates of other blocks, or none.
    assert_eq!(
        check(|m| m.finality = m.claim.clone()),
        Err(Reject::CertificateMismatch)
    );
    assert_eq!(
        check(|m| m.claim = m.finality.clone()),
        Err(Reject::CertificateMismatch)
    );
    assert_eq!(check(|m| m.above.clear()), Err(Reject::CertificateMismatch));
    assert_eq!(
        check(|m| m.claim.cc.signatures.swap(0, 1)),
        Err(Reject::BadSignature)
    );
    // A chain with a hole, or too short to elect a leader from.
    assert_eq!(check(|m| drop(m.blocks.remove(1))), Err(Reject::Malformed));
    assert_eq!(check(|m| drop(m.blocks.remove(0))), Err(Reject::Malformed));
    assert_eq!(check(|m| m.blocks.swap(1, 2)), Err(Reject::Malformed));
    assert_eq!(
        check(|m| m.blocks[2].batches.clear()),
        Err(Reject::BadPayload)
    );
    // Pieces that leave something out, or overlap.
    assert_eq!(check(|m| m.pieces.clear()), Err(Reject::Malformed));
    assert_eq!(check(|m| m.pieces.swap(0, 1)), Err(Reject::Malformed));
    assert_eq!(check(|m| drop(m.pieces.remove(0))), Err(Reject::Malformed));
}

#[test]
fn the_content_is_what_two_snapshots_share() {
    let (mut one, two) = (manifest(), manifest());
    one.claim = one.finality.clone();
    assert_eq!(one.content(), two.content(), "certificates may differ");
    one.pieces[1].digest = Digest::from_bytes([9; 32]);
    assert_ne!(one.content(), two.content());
}
