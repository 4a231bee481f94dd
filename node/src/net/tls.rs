//! Mutual TLS 1.3 with raw Ed25519 public keys (RFC 7250): who a peer is, decided in the handshake.
//!
//! Owns the network key and the set of keys that are let in, which may change while running. It must never accept a key
//! because of anything but its presence in the set; names, times and issuers do not exist here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quorate_crypto::{PublicKey, SecretKey};
use quorate_types::ValidatorIndex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error};
use rustls::{PeerIncompatible, ServerConfig, SignatureScheme};

/// What both ends must ask for.
pub(crate) const ALPN: &[u8] = b"quorate/1";
/// rustls wants a name to connect to; it is not sent, and nobody looks at it.
pub(crate) const SERVER_NAME: &str = "quorate";

/// DER of a SubjectPublicKeyInfo with an Ed25519 key, up to the key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];

/// The network keys that are let in.
#[derive(Debug, Default)]
pub(crate) struct Members(RwLock<BTreeMap<PublicKey, ValidatorIndex>>);

impl Members {
    /// Whose key it is.
    pub(crate) fn index_of(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).copied()
    }

    /// From the next handshake on, these are let in.
    pub(crate) fn replace(&self, keys: BTreeMap<PublicKey, ValidatorIndex>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

/// The network key, as TLS wants it.
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// # Errors
    /// If ring refuses the key, which it does not for a key that [`SecretKey`] holds.
    pub(crate) fn new(key: &SecretKey) -> Result<Identity, Error> {
        let der = key.to_pkcs8_der();
        let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
        let spki = CertificateDer::from(encode_spki(&key.public()));
        Ok(Identity {
            certified: Arc::new(CertifiedKey::new(vec![spki], signer)),
            provider: Arc::new(ring::default_provider()),
        })
    }

    /// For accepting: any member.
    ///
    /// # Errors
    /// If the provider lacks TLS 1.3 for QUIC, which ring does not.
    pub(crate) fn server(&self, members: Arc<Members>) -> Result<QuicServerConfig, Error> {
        let verifier = Arc::new(Verifier::new(&self.provider, Accept::Members(members)));
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A key that left the set must not come back with a ticket, nor a replayed packet count for anything.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config).map_err(|_| no_quic())
    }

    /// For dialing: nobody but the peer meant.
    ///
    /// # Errors
    /// As [`Identity::server`].
    pub(crate) fn client(&self, peer: PublicKey) -> Result<QuicClientConfig, Error> {
        let verifier = Arc::new(Verifier::new(&self.provider, Accept::Only(peer)));
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        QuicClientConfig::try_from(config).map_err(|_| no_quic())
    }
}

/// The key that the peer of a finished handshake has proved to hold.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    decode_spki(chain.first()?)
}

fn no_quic() -> Error {
    Error::General(String::from("the TLS provider has no QUIC cipher suite"))
}

fn encode_spki(key: &PublicKey) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), key.as_bytes()].concat()
}

fn decode_spki(der: &[u8]) -> Option<PublicKey> {
    let key = der.strip_prefix(&SPKI_PREFIX)?;
    Some(PublicKey::from_bytes_unchecked(key.try_into().ok()?))
}

/// Which keys pass.
#[derive(Debug)]
enum Accept {
    Members(Arc<Members>),
    Only(PublicKey),
}

/// Looks the peer's key up; the proof of its possession is the signature of the handshake.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    accept: Accept,
}

impl Verifier {
    fn new(provider: &Arc<CryptoProvider>, accept: Accept) -> Verifier {
        Verifier {
            provider: Arc::clone(provider),
            accept,
        }
    }

    fn check(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        let key = decode_spki(end_entity).ok_or(CertificateError::BadEncoding)?;
        let known = match &self.accept {
            Accept::Members(members) => members.index_of(&key).is_some(),
            Accept::Only(peer) => key == *peer,
        };
        match known {
            true => Ok(()),
            // Sent as the alert access_denied, which the other end can tell from a broken handshake.
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        end_entity: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(end_entity.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
