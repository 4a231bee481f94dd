//! Registration of keys, signing, and PKCS#8.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use quorate_crypto::{BadSignature, Domain, KeyError, PublicKey, SecretKey, Signature, verify};

const OPENSSL: &str = include_str!("vectors/openssl.pem");
/// `openssl pkey -pubout` of that file.
const OPENSSL_PUBLIC: &str = "00c0b17e2e354f48dfe1f1986bbcddf4a074df0b8c0a74c9b673cfba9075bd44";

fn key(byte: u8) -> SecretKey {
    SecretKey::from_seed(&[byte; 32])
}

/// The encoding of y = p + `above`, with a sign bit of zero: not canonical.
fn above_p(above: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed + above;
    bytes[31] = 0x7f;
    bytes
}

#[test]
fn good_keys_are_registered() {
    for byte in 0..32 {
        let public = key(byte).public();
        assert_eq!(PublicKey::from_bytes(public.to_bytes()), Ok(public));
        assert_eq!(public.decompress().unwrap().public(), public);
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    for point in EIGHT_TORSION {
        let bytes = point.compress().to_bytes();
        assert_eq!(PublicKey::from_bytes(bytes), Err(KeyError::SmallOrder));
    }
    // Also in encodings that a list of the eight canonical ones would miss.
    for bytes in [above_p(0), above_p(1)] {
        assert_eq!(PublicKey::from_bytes(bytes), Err(KeyError::SmallOrder));
    }
}

#[test]
fn keys_with_another_encoding_are_refused() {
    let mut refused = 0;
    // Only y of 0 to 18 has a second encoding; those of 0 and 1 have small order.
    for above in 2..19 {
        let bytes = above_p(above);
        if CompressedEdwardsY(bytes).decompress().is_some() {
            assert_eq!(PublicKey::from_bytes(bytes), Err(KeyError::NotCanonical));
            // Verification takes it all the same: registration is where keys are judged.
            let lax = PublicKey::from_bytes_unchecked(bytes);
            assert!(lax.decompress().is_ok());
            refused += 1;
        }
    }
    assert!(refused > 0, "no case was tried");
}

#[test]
fn bytes_off_the_curve_are_refused() {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert_eq!(PublicKey::from_bytes(bytes), Err(KeyError::NotAPoint));
    let lax = PublicKey::from_bytes_unchecked(bytes);
    assert_eq!(lax.decompress(), Err(KeyError::NotAPoint));
    let signature = Signature::default();
    assert_eq!(
        verify(&lax, Domain::Vote, b"", &signature),
        Err(BadSignature)
    );
}

/// A signature means something in its own domain only, whatever the two domains.
#[test]
fn domains_separate_signatures() {
    let key = key(1);
    let public = key.public().decompress().unwrap();
    for signed in Domain::ALL {
        let signature = key.sign(signed, b"round 7");
        for read in Domain::ALL {
            let verdict = public.verify(read, b"round 7", &signature);
            assert_eq!(verdict.is_ok(), signed == read, "{signed:?} as {read:?}");
        }
    }
}

/// The tag cannot be moved into the message, nor the message into the tag.
#[test]
fn tag_and_message_have_one_reading() {
    let key = key(2);
    let mut message = Domain::Vote.tag().to_vec();
    message.extend_from_slice(b"round 7");
    let signature = key.sign(Domain::Vote, b"round 7");
    for domain in Domain::ALL {
        assert!(verify(&key.public(), domain, &message, &signature).is_err());
    }
}

#[test]
fn another_key_message_or_signature_is_refused() {
    let (signer, other) = (key(3), key(4));
    let signature = signer.sign(Domain::Vote, b"message");
    let check = |key: &SecretKey, message: &[u8], signature| {
        verify(&key.public(), Domain::Vote, message, signature)
    };
    assert_eq!(check(&signer, b"message", &signature), Ok(()));
    assert_eq!(check(&other, b"message", &signature), Err(BadSignature));
    assert_eq!(check(&signer, b"massage", &signature), Err(BadSignature));
    assert_eq!(
        check(&signer, b"message", &Signature::default()),
        Err(BadSignature)
    );
}

#[test]
fn openssls_pem_round_trips() {
    let key = SecretKey::from_pkcs8_pem(OPENSSL).unwrap();
    assert_eq!(key.public().to_string(), OPENSSL_PUBLIC);
    assert_eq!(*key.to_pkcs8_pem(), OPENSSL, "byte for byte, v1");
    // RFC 8410: a fixed header of 16 bytes, then the seed.
    let der = key.to_pkcs8_der();
    assert_eq!(der.len(), 48);
    let seed = der.last_chunk().unwrap();
    assert_eq!(SecretKey::from_seed(seed).public(), key.public());
}

#[test]
fn pkcs8_v2_is_read_and_its_public_half_checked() {
    let key = SecretKey::from_pkcs8_pem(include_str!("vectors/pkcs8-v2.pem"));
    let public = key.unwrap().public().to_string();
    assert!(public.starts_with("19bf44096984cdfe"), "{public}");
    let bad = SecretKey::from_pkcs8_pem(include_str!("vectors/pkcs8-v2-bad-ver-key.pem"));
    assert_eq!(bad.err(), Some(KeyError::Pkcs8));
}

#[test]
fn other_texts_are_no_keys() {
    let x25519 = include_str!("vectors/x25519.pem");
    let cut = OPENSSL.replace("cbJ\n", "c==\n");
    assert_ne!(cut, OPENSSL);
    for text in ["", "hello", x25519, cut.as_str(), OPENSSL_PUBLIC] {
        let refused = SecretKey::from_pkcs8_pem(text).err();
        assert_eq!(refused, Some(KeyError::Pkcs8), "{text}");
    }
}

#[test]
fn a_secret_key_does_not_print_itself() {
    let secret = [0xa7; 32];
    let text = format!("{:?}", SecretKey::from_seed(&secret));
    assert!(text.starts_with("SecretKey { public: PublicKey("), "{text}");
    assert!(!text.contains("a7a7") && !text.contains("167"), "{text}");
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_only() {
    let key = SecretKey::from_seed(&[7; 32]);
    let pem = key.to_encrypted_pem("correct horse", &[9; 32]);
    assert!(SecretKey::is_encrypted_pem(&pem));
    assert!(!SecretKey::is_encrypted_pem(&key.to_pkcs8_pem()));
    let open = |passphrase| SecretKey::from_encrypted_pem(&pem, passphrase);
    assert_eq!(
        open("correct horse").expect("its own").public(),
        key.public()
    );
    assert_eq!(open("wrong horse").err(), Some(KeyError::Passphrase));
    assert_eq!(open("").err(), Some(KeyError::Passphrase));
    // A plain reader does not take it for a key, nor this one a plain key.
    assert_eq!(SecretKey::from_pkcs8_pem(&pem).err(), Some(KeyError::Pkcs8));
    let plain = key.to_pkcs8_pem();
    let taken = SecretKey::from_encrypted_pem(&plain, "x");
    assert_eq!(taken.err(), Some(KeyError::Pkcs8));
    // Other entropy, other bytes.
    assert_ne!(pem, key.to_encrypted_pem("correct horse", &[10; 32]));
}

#[test]
fn an_encrypted_key_of_openssl_is_read() {
    // openssl pkcs8 -topk8 -scrypt -in key.pem -passout pass:secret
    let pem = include_str!("vectors/openssl-scrypt.pem");
    let key = SecretKey::from_encrypted_pem(pem, "secret").expect("OpenSSL's own");
    let plain = SecretKey::from_seed(&[7; 32]);
    assert_eq!(key.public(), plain.public());
    // openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256
    let pem = include_str!("vectors/openssl-pbkdf2.pem");
    let key = SecretKey::from_encrypted_pem(pem, "secret").expect("OpenSSL's own");
    assert_eq!(key.public(), plain.public());
}
