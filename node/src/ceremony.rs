//! How separate operators agree on a genesis: descriptors, consents, and what a home checks before it takes one.
//!
//! An operator's machine makes keys that never leave it, and a [`Descriptor`] that may be sent about. One operator puts
//! the descriptors into a genesis; each looks at it and signs its chain id ([`Consent`]); a home takes the genesis only
//! with everybody's consent ([`Signed`]). Nothing here trusts the way that a file came: each is checked by signatures.

use std::collections::BTreeMap;
use std::path::Path;

use quorate_crypto::{Domain, PublicKey, SecretKey, Signature, verify};
use quorate_types::{ChainId, Genesis, ValidatorInfo, codec};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Name of a home's descriptor.
pub const DESCRIPTOR_FILE: &str = "validator.json";
/// Name of the consents in a home that took its genesis from a ceremony.
pub const CONSENTS_FILE: &str = "genesis.consents.json";
/// Version of the formats here.
const FORMAT: u16 = 1;
/// Longest name of a validator or client, in bytes.
const MAX_NAME: usize = 64;
/// Longest file that is read here, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a validator tells the others of itself. Public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    quorate_validator: u16,
    /// As it will stand in the genesis.
    #[serde(flatten)]
    pub info: ValidatorInfo,
    /// By the consensus key over name, keys and address: nobody changes them on the way.
    pub signature: Signature,
}

/// As it is read: what is missing is said in words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDescriptor {
    quorate_validator: u16,
    name: String,
    consensus_key: PublicKey,
    network_key: PublicKey,
    address: String,
    proof: Option<Signature>,
    signature: Option<Signature>,
}

impl Descriptor {
    /// Describes the validator that has these keys.
    ///
    /// # Errors
    /// Status 2: a name or address that no genesis may hold.
    pub fn new(
        name: &str,
        address: &str,
        consensus: &SecretKey,
        network: &SecretKey,
    ) -> Result<Descriptor, Failure> {
        check_name(name).map_err(Failure::usage)?;
        check_address(address).map_err(Failure::usage)?;
        let info = ValidatorInfo {
            name: name.to_owned(),
            consensus_key: consensus.public(),
            network_key: network.public(),
            address: address.to_owned(),
            proof: ValidatorInfo::prove(consensus, consensus.public(), network.public()),
        };
        let signature = consensus.sign(Domain::Descriptor, &described(&info));
        Ok(Descriptor {
            quorate_validator: FORMAT,
            info,
            signature,
        })
    }

    /// Parses and checks one.
    ///
    /// # Errors
    /// Status 3 for what is no descriptor or lacks its proof, 6 for a proof or signature that does not verify.
    pub fn parse(text: &str) -> Result<Descriptor, Failure> {
        let raw: RawDescriptor = serde_json::from_str(text).map_err(Failure::config)?;
        if raw.quorate_validator != FORMAT {
            let found = raw.quorate_validator;
            let message = format!("descriptor format {found} is unknown");
            return Err(Failure::config(message));
        }
        let name = &raw.name;
        let missing = |what: &str| {
            let message = format!("{what} of {name:?} is missing");
            Failure::config(message).hint("ask its operator for the file that quorate init wrote")
        };
        let descriptor = Descriptor {
            quorate_validator: FORMAT,
            signature: raw.signature.ok_or_else(|| missing("the signature"))?,
            info: ValidatorInfo {
                proof: raw
                    .proof
                    .ok_or_else(|| missing("the proof of possession"))?,
                name: raw.name.clone(),
                consensus_key: raw.consensus_key,
                network_key: raw.network_key,
                address: raw.address,
            },
        };
        descriptor.check()?;
        Ok(descriptor)
    }

    fn check(&self) -> Result<(), Failure> {
        let info = &self.info;
        check_name(&info.name).map_err(Failure::config)?;
        check_address(&info.address).map_err(Failure::config)?;
        for key in [&info.consensus_key, &info.network_key] {
            key.check().map_err(Failure::config)?;
        }
        let both = codec::encode(&(info.consensus_key, info.network_key));
        verify(
            &info.consensus_key,
            Domain::ProofOfPossession,
            &both,
            &info.proof,
        )
        .map_err(|_| {
            let message = format!("the proof of possession of {:?} does not verify", info.name);
            Failure::verification(message)
                .hint("whoever sent it does not hold the key that it names, or it was changed")
        })?;
        let described = described(info);
        let signature = &self.signature;
        verify(
            &info.consensus_key,
            Domain::Descriptor,
            &described,
            signature,
        )
        .map_err(|_| {
            Failure::verification(format!("the descriptor of {:?} was changed", info.name))
                .hint("ask its operator for the file again")
        })
    }

    /// Reads and checks one.
    ///
    /// # Errors
    /// As [`Descriptor::parse`].
    pub fn read(path: &Path) -> Result<Descriptor, Failure> {
        Descriptor::parse(&text_of(path, "descriptor")?).map_err(|failure| at(path, failure))
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

/// What the descriptor's signature is over.
fn described(info: &ValidatorInfo) -> Vec<u8> {
    codec::encode(&(
        &info.name,
        info.consensus_key,
        info.network_key,
        &info.address,
    ))
}

/// Whether a name can stand in file names, metrics and logs.
///
/// # Errors
/// For people.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let sound = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain);
    match sound && !name.starts_with(['.', '-']) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no name: 1 to {MAX_NAME} letters, digits, dots, dashes and underscores"
        )),
    }
}

/// Whether others can dial an address.
fn check_address(address: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("address {address:?}: {why}"));
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong("expected host:port");
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return wrong("the port is 1 to 65535");
    }
    if host.is_empty() || host.chars().any(char::is_whitespace) {
        return wrong("the host is missing");
    }
    if ["0.0.0.0", "[::]", "*"].contains(&host) {
        return wrong("the others cannot dial that; name the host as they see it");
    }
    Ok(())
}

/// A validator's signature of a chain id: it consents to the genesis that it is the hash of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    quorate_consent: u16,
    /// What was signed.
    pub chain: ChainId,
    /// For people; the key decides.
    pub validator: String,
    /// Whose signature it is.
    pub consensus_key: PublicKey,
    /// Over the chain id.
    pub signature: Signature,
}

impl Consent {
    /// Signs a genesis.
    #[must_use]
    pub fn sign(genesis: &Genesis, validator: &str, key: &SecretKey) -> Consent {
        let chain = genesis.chain_id();
        Consent {
            quorate_consent: FORMAT,
            chain,
            validator: validator.to_owned(),
            consensus_key: key.public(),
            signature: key.sign(Domain::GenesisConsent, &codec::encode(&chain)),
        }
    }

    /// Reads one, or the several of a home.
    ///
    /// # Errors
    /// Status 3.
    pub fn read(path: &Path) -> Result<Vec<Consent>, Failure> {
        let text = text_of(path, "signature")?;
        let several = serde_json::from_str::<Vec<Consent>>(&text);
        let consents = several.or_else(|error| {
            serde_json::from_str::<Consent>(&text)
                .map(|consent| vec![consent])
                .map_err(|single| {
                    if text.trim_start().starts_with('[') {
                        error
                    } else {
                        single
                    }
                })
        });
        let consents = consents.map_err(|error| at(path, Failure::config(error)))?;
        match consents
            .iter()
            .find(|consent| consent.quorate_consent != FORMAT)
        {
            Some(consent) => {
                let message = format!("signature format {} is unknown", consent.quorate_consent);
                Err(at(path, Failure::config(message)))
            }
            None => Ok(consents),
        }
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

/// Who of a genesis' validators has signed it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// In the order of the validators.
    pub by: Vec<(String, Option<Consent>)>,
}

impl Signed {
    /// Checks signatures of a genesis.
    ///
    /// # Errors
    /// Status 6: one is of another genesis, by nobody in it, or does not verify.
    pub fn check(genesis: &Genesis, consents: Vec<Consent>) -> Result<Signed, Failure> {
        let chain = genesis.chain_id();
        let mut found = BTreeMap::new();
        for consent in consents {
            let who = &consent.validator;
            if consent.chain != chain {
                let message = format!("{who} signed chain {}, and this is {chain}", consent.chain);
                return Err(Failure::verification(message).hint(
                    "the genesis was changed after the signature, or they are of different chains",
                ));
            }
            let key = consent.consensus_key;
            if genesis.validators.iter().all(|v| v.consensus_key != key) {
                let message = format!("the signature of {who} is by a key of no validator");
                return Err(Failure::verification(message));
            }
            let message = codec::encode(&chain);
            verify(&key, Domain::GenesisConsent, &message, &consent.signature).map_err(|_| {
                Failure::verification(format!("the signature of {who} does not verify"))
            })?;
            found.insert(key, consent);
        }
        let by = genesis.validators.iter();
        let by = by.map(|v| (v.name.clone(), found.remove(&v.consensus_key)));
        Ok(Signed { by: by.collect() })
    }

    /// Names of those whose signature is missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&str> {
        let missing = self.by.iter().filter(|(_, consent)| consent.is_none());
        missing.map(|(name, _)| name.as_str()).collect()
    }

    /// Fails unless all have signed.
    ///
    /// # Errors
    /// Status 6.
    pub fn complete(&self) -> Result<(), Failure> {
        let missing = self.missing();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Failure::verification(format!(
                "not signed by {}",
                missing.join(", ")
            ))),
        }
    }

    /// The text of a home's file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let all: Vec<&Consent> = self.by.iter().filter_map(|(_, c)| c.as_ref()).collect();
        pretty(&all)
    }
}

/// Whether the genesis has this validator as it describes itself.
///
/// # Errors
/// Status 3, saying what differs.
pub fn check_own(genesis: &Genesis, own: &ValidatorInfo) -> Result<(), Failure> {
    let key = own.consensus_key;
    let Some(entry) = genesis.validators.iter().find(|v| v.consensus_key == key) else {
        let message = format!("the consensus key of {} is not in this genesis", own.name);
        return Err(Failure::config(message)
            .hint("send validator.json to whoever assembles it: quorate genesis add-validator"));
    };
    let differences = [
        ("name", &entry.name, &own.name),
        ("address", &entry.address, &own.address),
    ];
    for (what, there, here) in differences {
        if there != here {
            let message =
                format!("the genesis has {there:?} as this validator's {what}, not {here:?}");
            return Err(Failure::config(message));
        }
    }
    if entry.network_key != own.network_key {
        let message = "the genesis has another network key for this validator";
        return Err(Failure::config(message));
    }
    Ok(())
}

/// What is allowed, and probably not meant.
#[must_use]
pub fn warnings(genesis: &Genesis) -> Vec<String> {
    let mut warnings = Vec::new();
    let n = genesis.validators.len();
    if n > 0 && n % 3 != 1 {
        let (f, better) = ((n - 1) / 3, n - 1 - (n - 1) % 3 + 1);
        warnings.push(format!(
            "{n} validators tolerate {f} faulty, as {better} do; best are 3f+1: 4, 7, 10, ..."
        ));
    }
    if n == 1 {
        warnings.push(String::from("one validator tolerates no fault at all"));
    }
    if genesis.clients.is_empty() {
        warnings.push(String::from(
            "there is no client: nobody can submit transactions",
        ));
    }
    warnings
}

/// Checks the genesis of a home against the consents that it was taken with, if it was.
///
/// # Errors
/// Status 3: the genesis is not the one that was signed.
pub fn check_home(home: &Path, genesis: &Genesis) -> Result<(), Failure> {
    let path = home.join(CONSENTS_FILE);
    if !path.exists() {
        return Ok(());
    }
    let signed = Signed::check(genesis, Consent::read(&path)?);
    signed
        .and_then(|signed| signed.complete())
        .map_err(|failure| {
            let message = format!(
                "genesis.json is not what its validators signed: {}",
                failure.message
            );
            Failure::config(message).hint("take it again: quorate genesis install")
        })
}

fn text_of(path: &Path, what: &str) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| Failure::config(format!("cannot read {what} {shown}: {error}"));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > MAX_FILE {
        let message = format!("{what} {shown} is larger than {MAX_FILE} bytes");
        return Err(Failure::config(message));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn at(path: &Path, failure: Failure) -> Failure {
    Failure {
        message: format!("{}: {}", path.display(), failure.message),
        ..failure
    }
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("it is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;
    use crate::testnet::tests::sample;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn descriptor(seed: u8) -> Descriptor {
        let address = format!("host-{seed}:7650");
        Descriptor::new(
            &format!("org-{seed}"),
            &address,
            &key(seed),
            &key(seed + 100),
        )
        .expect("a name and an address")
    }

    #[test]
    fn a_descriptor_survives_its_file_and_no_change() {
        let own = descriptor(1);
        let text = own.to_json();
        assert_eq!(Descriptor::parse(&text).expect("unchanged"), own);
        let other = descriptor(2);
        let swap = |from: &dyn ToString, to: &dyn ToString| {
            text.replacen(&from.to_string(), &to.to_string(), 1)
        };
        let proof = serde_json::to_string(&own.info.proof).expect("text");
        let foreign = serde_json::to_string(&other.info.proof).expect("text");
        let network = swap(&own.info.network_key, &other.info.network_key);
        let consensus = swap(&own.info.consensus_key, &other.info.consensus_key);
        for (changed, status, message) in [
            (swap(&"org-1", &"org-9"), 6, "was changed"),
            (swap(&"host-1", &"host-9"), 6, "was changed"),
            (network, 6, "proof of possession"),
            (consensus, 6, "proof of possession"),
            (swap(&proof, &foreign), 6, "proof of possession"),
            (text.replace("\"proof\"", "\"poof\""), 3, "unknown field"),
            (
                text.replace(&format!("\"proof\": {proof}"), "\"proof\": null"),
                3,
                "proof of possession of \"org-1\" is missing",
            ),
            (
                swap(&"\"quorate_validator\": 1", &"\"quorate_validator\": 2"),
                3,
                "format 2",
            ),
            (String::from("{"), 3, "line 1"),
        ] {
            let failure = Descriptor::parse(&changed).expect_err("changed");
            assert_eq!(failure.status.code(), status, "{}", failure.message);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
    }

    #[test]
    fn names_and_addresses_that_cannot_work_are_refused() {
        for name in ["", "a b", "../x", ".x", "-x", "ü", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for address in [
            "",
            "a",
            "a:0",
            "a:70000",
            ":1",
            "0.0.0.0:1",
            "[::]:1",
            "a b:1",
        ] {
            assert!(check_address(address).is_err(), "{address}");
        }
        for address in ["a.example:1", "10.0.0.1:7650", "[::1]:7650"] {
            assert!(check_address(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn all_must_sign_the_very_genesis() {
        let genesis = sample();
        let sign = |seed: u8| Consent::sign(&genesis, &format!("v{seed}"), &key(seed));
        let all: Vec<Consent> = (1..=4).map(sign).collect();
        let check = |consents: Vec<Consent>| Signed::check(&genesis, consents);
        assert!(check(all.clone()).expect("valid").complete().is_ok());
        let three = check(all[..3].to_vec()).expect("valid");
        assert_eq!(three.missing(), ["validator-3"]);
        assert_eq!(
            three.complete().expect_err("one is missing").status,
            ExitStatus::Verification
        );
        let mut changed = genesis.clone();
        changed.name.push('x');
        let mut forged = sign(1);
        forged.signature = sign(2).signature;
        let refusals = [
            (Signed::check(&changed, all), "signed chain"),
            (check(vec![sign(77)]), "no validator"),
            (check(vec![forged]), "does not verify"),
        ];
        for (refused, message) in refusals {
            let failure = refused.expect_err("refused");
            assert_eq!(failure.status, ExitStatus::Verification);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
    }

    #[test]
    fn a_home_is_not_taken_for_another() {
        let genesis = sample();
        let own = genesis.validators[0].clone();
        assert!(check_own(&genesis, &own).is_ok());
        let strange = descriptor(9).info;
        let cases = [
            (strange.clone(), "not in this genesis"),
            (
                ValidatorInfo {
                    name: "x".into(),
                    ..own.clone()
                },
                "name",
            ),
            (
                ValidatorInfo {
                    address: "x:1".into(),
                    ..own.clone()
                },
                "address",
            ),
            (
                ValidatorInfo {
                    network_key: strange.network_key,
                    ..own
                },
                "network key",
            ),
        ];
        for (own, message) in cases {
            let failure = check_own(&genesis, &own).expect_err("another");
            assert_eq!(failure.status, ExitStatus::Config);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
    }

    #[test]
    fn a_set_that_wastes_validators_is_warned_about() {
        let mut genesis = sample();
        assert!(warnings(&genesis).is_empty());
        genesis.validators.truncate(3);
        assert!(warnings(&genesis)[0].contains("as 1 do"));
        genesis.validators.truncate(1);
        genesis.clients.clear();
        assert_eq!(warnings(&genesis).len(), 2);
    }
}
