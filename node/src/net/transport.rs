//! The settings of QUIC: every limit explicit, and identities that outlive a restart.
//!
//! A restarted validator must answer packets of connections that it forgot with a stateless reset (RFC 9000, 10.3), or
//! its peers would talk to nobody until their idle timeout. So the reset key comes from the network key.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, MtuDiscoveryConfig,
};
use quinn::{ServerConfig, TransportConfig, VarInt};
use quorate_crypto::SecretKey;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::tls13::{Hkdf, OkmBlock};

use super::config::{CongestionControl, Limits};

/// Bytes of our connection ids, as quinn's own.
const CONNECTION_ID_BYTES: usize = 8;
/// Longest datagram. Between machines whose links carry jumbo frames, and on one machine, a batch needs a quarter as many as
/// with Ethernet's 1,500 bytes. The library hands the kernel ten at a time, which together must stay below 64 KiB (UDP GSO).
const DATAGRAM_BYTES: u16 = 6_500;
const _: () = assert!(10 * (DATAGRAM_BYTES as usize) < 65_508, "one GSO send");
/// Bytes that quinn holds for a connection that is not accepted or refused yet.
const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;

/// The endpoint's settings.
pub(crate) fn endpoint(key: &SecretKey) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey::new(key)));
    config.cid_generator(|| Box::new(RandomIds));
    config
        .max_udp_payload_size(DATAGRAM_BYTES)
        .expect("above the least that QUIC allows");
    // A restarted validator has one reset to send to each peer; 127 of them take 0.3 s at this pace.
    config.min_reset_interval(Duration::from_millis(2));
    config
}

/// For accepting.
pub(crate) fn server(tls: QuicServerConfig, limits: &Limits) -> ServerConfig {
    let half_open = u64::try_from(limits.half_open).unwrap_or(u64::MAX);
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(transport(limits))
        // A validator that moves dials again.
        .migration(false)
        .max_incoming(limits.half_open)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_BYTES.saturating_mul(half_open))
        .retry_token_lifetime(limits.handshake_timeout);
    config.validation_token.sent(0);
    config
}

/// For dialing.
pub(crate) fn client(tls: QuicClientConfig, limits: &Limits) -> ClientConfig {
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(transport(limits));
    config
}

/// How far the size of datagrams is tried out (RFC 8899). The library stops at Ethernet's.
fn discovery() -> MtuDiscoveryConfig {
    let mut config = MtuDiscoveryConfig::default();
    config.upper_bound(DATAGRAM_BYTES);
    config
}

fn transport(limits: &Limits) -> Arc<TransportConfig> {
    let varint = |value: u64| VarInt::from_u64(value).unwrap_or(VarInt::MAX);
    let millis = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    let window = limits.connection_window();
    let mut config = TransportConfig::default();
    config
        // One stream a class, and one for the hello.
        .max_concurrent_uni_streams(VarInt::from_u32(3))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(limits.stream_window))
        .receive_window(varint(window))
        // What is unacknowledged counts here and may be a little more than the windows of the other end: twice leaves
        // room, so that bulk can never keep a vote from being buffered.
        .send_window(window.saturating_mul(2))
        .max_idle_timeout(Some(VarInt::from_u32(millis).into()))
        .keep_alive_interval(Some(limits.keep_alive))
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .initial_mtu(1200)
        .mtu_discovery_config(Some(discovery()))
        .crypto_buffer_size(16 * 1024)
        .congestion_controller_factory(controller(limits.congestion_control));
    Arc::new(config)
}

/// With the library's first window: none made a difference that could be measured (docs/BENCHMARKS.md).
fn controller(kind: CongestionControl) -> Arc<dyn ControllerFactory + Send + Sync> {
    match kind {
        CongestionControl::Cubic => Arc::new(CubicConfig::default()),
        CongestionControl::Bbr => Arc::new(BbrConfig::default()),
        CongestionControl::NewReno => Arc::new(NewRenoConfig::default()),
    }
}

/// Random, since what is sent in the clear should tell nothing.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        getrandom::fill(&mut bytes).expect("a running system gives random bytes");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// HMAC-SHA-256 under a key derived from the network key.
struct ResetKey {
    hkdf: &'static dyn Hkdf,
    key: OkmBlock,
}

impl ResetKey {
    fn new(key: &SecretKey) -> ResetKey {
        let suite = TLS13_AES_128_GCM_SHA256
            .tls13()
            .expect("the suite is one of TLS 1.3");
        let hkdf = suite.hkdf_provider;
        let expander = hkdf.extract_from_secret(Some(b"quorate/1"), &key.to_pkcs8_der());
        ResetKey {
            hkdf,
            key: expander.expand_block(&[b"stateless reset"]),
        }
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let tag = self.hkdf.hmac_sign(&self.key, data);
        signature_out.copy_from_slice(tag.as_ref());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let tag = self.hkdf.hmac_sign(&self.key, data);
        let tag = tag.as_ref();
        // Looks at every byte, so that the time taken tells nothing.
        let differing = tag.iter().zip(signature).fold(0, |d, (a, b)| d | (a ^ b));
        match tag.len() == signature.len() && differing == 0 {
            true => Ok(()),
            false => Err(CryptoError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(seed: u8, data: &[u8]) -> Vec<u8> {
        let key = ResetKey::new(&SecretKey::from_seed(&[seed; 32]));
        let mut out = vec![0; key.signature_len()];
        key.sign(data, &mut out);
        assert!(key.verify(data, &out).is_ok());
        assert!(key.verify(data, &out[..31]).is_err());
        out[0] ^= 1;
        assert!(key.verify(data, &out).is_err());
        out
    }

    #[test]
    fn reset_tokens_depend_on_key_and_connection_only() {
        assert_eq!(token(1, b"a"), token(1, b"a"));
        assert_ne!(token(1, b"a"), token(1, b"b"));
        assert_ne!(token(1, b"a"), token(2, b"a"));
    }
}
