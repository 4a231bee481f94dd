//! `quorate genesis`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_client::Profile;
use quorate_types::{Client, Digest, Genesis, Parameters, PublicKey, Role};
use serde_json::{Value, json};

use super::OutputFlag;
use super::context::Context;
use super::output::time_of;
use super::work::Work;
use crate::ceremony::{
    CONSENTS_FILE, Consent, DESCRIPTOR_FILE, Descriptor, Signed, check_name, check_own, warnings,
};
use crate::exit::{ExitStatus, Failure};
use crate::staged::{cannot, copy};
use crate::{genesis, keys, origin, owner};

/// Assembles, checks, signs and installs what a chain starts from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples (one operator assembles, everybody signs, everybody installs):
  quorate genesis new genesis.json --name trade
  quorate genesis add-validator genesis.json a.json b.json c.json d.json
  quorate genesis add-client genesis.json alice PUBLIC_KEY
  quorate genesis set genesis.json idle_interval_ns=1000000000
  quorate genesis show genesis.json
  quorate genesis sign genesis.json --home HOME --out org-a.consent.json
  quorate genesis verify genesis.json *.consent.json
  quorate genesis install genesis.json *.consent.json --home HOME
  quorate genesis profile genesis.json --out client.toml \\
    --endpoint http://a.example:7651 --endpoint http://b.example:7651

The chain id is the hash of the genesis, and what is signed. Any change
makes another chain, to which nobody has consented yet.")]
pub(super) struct GenesisVerb {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RoleName {
    /// Reads.
    Reader,
    /// Reads and writes.
    Writer,
    /// Also changes the configuration.
    Admin,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Start a new genesis, without validators yet
    #[command(after_help = "Example:\n  quorate genesis new genesis.json --name trade")]
    New {
        /// The file to make
        genesis: PathBuf,
        /// The chain's name
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Add validators by the descriptors that `init` made
    #[command(
        name = "add-validator",
        after_help = "Example:\n  quorate genesis add-validator genesis.json a.json b.json"
    )]
    AddValidator {
        /// The genesis to change
        genesis: PathBuf,
        /// Descriptors: validator.json of each home
        #[arg(required = true, value_name = "DESCRIPTOR")]
        descriptors: Vec<PathBuf>,
    },
    /// Add a client by its public key
    #[command(
        name = "add-client",
        after_help = "Example:\n  quorate keygen alice.pem\n  \
            quorate genesis add-client genesis.json alice PUBLIC_KEY --role writer"
    )]
    AddClient {
        /// The genesis to change
        genesis: PathBuf,
        /// The client's name
        name: String,
        /// Its public key, as keygen prints it
        key: PublicKey,
        /// What it may do
        #[arg(long, value_enum, default_value = "writer")]
        role: RoleName,
    },
    /// Set the name, the time or parameters
    #[command(after_help = "Example:\n  \
        quorate genesis set genesis.json max_clock_drift_ns=250000000")]
    Set {
        /// The genesis to change
        genesis: PathBuf,
        /// name, time or a parameter, and its value
        #[arg(required = true, value_name = "KEY=VALUE")]
        values: Vec<String>,
    },
    /// Show what is in a genesis, and what is wrong with it
    #[command(after_help = "Example:\n  quorate genesis show genesis.json")]
    Show {
        /// The genesis
        genesis: PathBuf,
    },
    /// Sign a genesis as the validator of a home
    #[command(after_help = "Example:\n  quorate genesis sign genesis.json --home HOME")]
    Sign {
        /// The genesis
        genesis: PathBuf,
        /// The validator's home
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The signature's file [default: NAME.consent.json beside the genesis]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check that all validators have signed; exit status 6 if not
    #[command(after_help = "Example:\n  \
        quorate genesis verify genesis.json *.consent.json")]
    Verify {
        /// The genesis
        genesis: PathBuf,
        /// Signatures
        #[arg(value_name = "SIGNATURE")]
        signatures: Vec<PathBuf>,
    },
    /// Verify a genesis, and put it into a home
    #[command(after_help = "Example:\n  \
        quorate genesis install genesis.json *.consent.json --home HOME")]
    Install {
        /// The genesis
        genesis: PathBuf,
        /// Signatures of all validators
        #[arg(value_name = "SIGNATURE")]
        signatures: Vec<PathBuf>,
        /// The validator's home
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
    },
    /// Write a profile for clients
    #[command(after_help = "Example:\n  \
        quorate genesis profile genesis.json --out client.toml \\\n    \
        --endpoint http://a.example:7651 --endpoint http://b.example:7651")]
    Profile {
        /// The genesis
        genesis: PathBuf,
        /// Where a validator serves clients; may be repeated
        #[arg(long, required = true, value_name = "URL")]
        endpoint: Vec<String>,
        /// The profile's file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl GenesisVerb {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::New { genesis, name } => new(context, &genesis, name),
            Verb::AddValidator {
                genesis,
                descriptors,
            } => add_validators(context, &genesis, &descriptors),
            Verb::AddClient {
                genesis,
                name,
                key,
                role,
            } => add_client(context, &genesis, name, key, role),
            Verb::Set { genesis, values } => set(context, &genesis, &values),
            Verb::Show { genesis } => show(context, &genesis),
            Verb::Sign { genesis, home, out } => sign(context, &genesis, &home, out),
            Verb::Verify {
                genesis,
                signatures,
            } => verify(context, &genesis, &signatures),
            Verb::Install {
                genesis,
                signatures,
                home,
            } => install(context, &genesis, &signatures, &home),
            Verb::Profile {
                genesis,
                endpoint,
                out,
            } => profile(context, &genesis, endpoint, &out),
        }
    }
}

fn new(context: &Context, path: &Path, name: String) -> Result<ExitStatus, Failure> {
    check_name(&name).map_err(Failure::usage)?;
    if path.exists() {
        let message = format!("{} exists; nothing is overwritten", path.display());
        return Err(Failure::failed(message));
    }
    let draft = genesis::draft(name);
    save(context, path, draft, "started")
}

fn add_validators(
    context: &Context,
    path: &Path,
    descriptors: &[PathBuf],
) -> Result<ExitStatus, Failure> {
    let mut draft = genesis::read_draft(path)?;
    for descriptor in descriptors {
        draft.validators.push(Descriptor::read(descriptor)?.info);
    }
    check(&draft)?;
    let added = draft.validators.iter().rev().take(descriptors.len()).rev();
    let names: Vec<&str> = added.map(|info| info.name.as_str()).collect();
    let what = format!("added {}", names.join(", "));
    save(context, path, draft, &what)
}

fn add_client(
    context: &Context,
    path: &Path,
    name: String,
    key: PublicKey,
    role: RoleName,
) -> Result<ExitStatus, Failure> {
    check_name(&name).map_err(Failure::usage)?;
    let role = match role {
        RoleName::Reader => Role::Reader,
        RoleName::Writer => Role::Writer,
        RoleName::Admin => Role::Admin,
    };
    let mut draft = genesis::read_draft(path)?;
    let what = format!("added {name}");
    draft.clients.push(Client { name, key, role });
    check(&draft)?;
    save(context, path, draft, &what)
}

fn set(context: &Context, path: &Path, values: &[String]) -> Result<ExitStatus, Failure> {
    let draft = genesis::read_draft(path)?;
    let mut json = serde_json::to_value(&draft).expect("a genesis is JSON");
    for text in values {
        let malformed = || Failure::usage(format!("{text:?}: expected KEY=VALUE"));
        let (key, value) = text.split_once('=').ok_or_else(malformed)?;
        let number = || {
            let parsed = value.replace('_', "").parse::<u64>();
            parsed.map_err(|_| Failure::usage(format!("{text:?}: the value is a whole number")))
        };
        match key {
            "name" => {
                check_name(value).map_err(Failure::usage)?;
                json["name"] = Value::from(value);
            }
            "time" => json["time"] = Value::from(number()?),
            parameter if json["parameters"].get(parameter).is_some() => {
                json["parameters"][parameter] = Value::from(number()?);
            }
            unknown => {
                let parameters = json["parameters"].as_object();
                let known: Vec<&str> = parameters
                    .iter()
                    .flat_map(|p| p.keys())
                    .map(String::as_str)
                    .collect();
                let message = format!("there is no parameter {unknown:?}");
                return Err(
                    Failure::usage(message).hint(format!("name, time, {}", known.join(", ")))
                );
            }
        }
    }
    let draft: Genesis = serde_json::from_value(json).map_err(Failure::config)?;
    draft.parameters.check().map_err(Failure::config)?;
    save(context, path, draft, &format!("set {}", values.join(", ")))
}

/// All rules, except that a draft may have no validators yet.
fn check(draft: &Genesis) -> Result<(), Failure> {
    let checked = draft.check();
    match draft.validators.is_empty() {
        true => draft.parameters.check().map_err(Failure::config),
        false => checked.map_err(Failure::config),
    }
}

fn save(
    context: &Context,
    path: &Path,
    mut draft: Genesis,
    what: &str,
) -> Result<ExitStatus, Failure> {
    root(path, &mut draft)?;
    write(path, &genesis::to_json(&draft))?;
    let chain = draft.chain_id();
    let (validators, clients) = (draft.validators.len(), draft.clients.len());
    let value = json!({
        "genesis": path, "chain": chain.to_string(), "validators": validators, "clients": clients,
    });
    context.print.result(&value, |out| {
        writeln!(out, "{what}")?;
        writeln!(
            out,
            "chain {chain}\n{}, {}",
            counted(validators, "validator"),
            counted(clients, "client")
        )
    })
}

/// A chain that starts from another chain's state names the root that this leads to, together with what the genesis says.
fn root(path: &Path, draft: &mut Genesis) -> Result<(), Failure> {
    if let Some(mut origin) = draft.origin {
        origin.root = root_beside(path, draft)?;
        draft.origin = Some(origin);
    }
    Ok(())
}

fn root_beside(path: &Path, genesis: &Genesis) -> Result<Digest, Failure> {
    let work = Work::begin()?;
    let stage = work.stage("records hashed", 0);
    origin::root_of_file(genesis, path.parent().unwrap_or(Path::new(".")), |count| {
        stage.done(count)
    })
}

/// Nobody signs or takes a genesis whose state is not here: what it names is only a digest.
fn check_origin(path: &Path, genesis: &Genesis) -> Result<(), Failure> {
    match genesis.origin {
        Some(origin) if root_beside(path, genesis)? != origin.root => {
            Err(origin::other_state(&path.with_file_name(origin::FILE)))
        }
        _ => Ok(()),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn show(context: &Context, path: &Path) -> Result<ExitStatus, Failure> {
    let draft = genesis::read_draft(path)?;
    let problem = draft.check().err().map(|error| error.to_string());
    let warnings = warnings(&draft);
    let chain = draft.chain_id();
    let n = draft.validators.len();
    let f = n.saturating_sub(1) / 3;
    let value = json!({
        "chain": chain.to_string(), "faulty_tolerated": f, "quorum": n - f, "problem": problem,
        "warnings": warnings, "genesis": draft,
    });
    context.print.result(&value, |out| {
        writeln!(out, "chain      {chain}")?;
        writeln!(out, "name       {}", draft.name)?;
        writeln!(out, "time       {}", time_of(draft.time))?;
        writeln!(out, "machine    {}", draft.machine)?;
        if let Some(origin) = &draft.origin {
            let (height, chain) = (origin.height, origin.chain);
            writeln!(out, "origin     height {height} of {chain}")?;
            writeln!(out, "           state root {}", origin.state)?;
        }
        writeln!(out, "tolerates  {f} faulty of {n}; a quorum is {}", n - f)?;
        for (index, info) in draft.validators.iter().enumerate() {
            writeln!(
                out,
                "validator  {index:>3}  {}  {}",
                info.name, info.address
            )?;
            writeln!(out, "           {}", info.consensus_key)?;
        }
        for client in &draft.clients {
            let role = format!("{:?}", client.role).to_lowercase();
            writeln!(out, "client     {} ({role})", client.name)?;
            writeln!(out, "           {}", client.key)?;
        }
        let (ours, usual) = (&draft.parameters, Parameters::default());
        let [ours, usual] = [ours, &usual].map(|p| serde_json::to_value(p).unwrap_or_default());
        for (key, value) in ours.as_object().into_iter().flatten() {
            if usual.get(key) != Some(value) {
                writeln!(out, "parameter  {key} = {value}")?;
            }
        }
        for warning in &warnings {
            writeln!(out, "warning    {warning}")?;
        }
        match &problem {
            Some(problem) => writeln!(out, "not ready  {problem}"),
            None => writeln!(out, "ready to be signed"),
        }
    })
}

fn sign(
    context: &Context,
    path: &Path,
    home: &Path,
    out: Option<PathBuf>,
) -> Result<ExitStatus, Failure> {
    let genesis = genesis::read(path)?;
    let own = Descriptor::read(&home.join(DESCRIPTOR_FILE))?.info;
    check_own(&genesis, &own)?;
    check_unbound(home, &genesis)?;
    let key = keys::read_with(&home.join("keys/consensus.pem"), &context.passphrase)?;
    if key.public() != own.consensus_key {
        let message = "keys/consensus.pem is not the key of validator.json";
        return Err(Failure::config(message));
    }
    check_origin(path, &genesis)?;
    warn(&genesis);
    let consent = Consent::sign(&genesis, &own.name, &key);
    let beside = path.with_file_name(format!("{}.consent.json", own.name));
    let out = out.unwrap_or(beside);
    write(&out, &consent.to_json())?;
    let chain = genesis.chain_id();
    let value = json!({ "chain": chain.to_string(), "validator": own.name, "signature": out });
    context.print.result(&value, |text| {
        writeln!(text, "{} signed chain {chain}", own.name)?;
        writeln!(text, "signature: {}", out.display())
    })
}

fn warn(genesis: &Genesis) {
    for warning in warnings(genesis) {
        eprintln!("quorate: warning: {warning}");
    }
}

/// A home is of one chain for ever.
fn check_unbound(home: &Path, genesis: &Genesis) -> Result<(), Failure> {
    let there = home.join("genesis.json");
    let chain = genesis.chain_id();
    if there.exists() && genesis::read(&there).map(|other| other.chain_id()) != Ok(chain) {
        let message = format!("{} holds another genesis already", home.display());
        return Err(Failure::new(ExitStatus::Safety, message)
            .hint("a new chain needs a new home: quorate init"));
    }
    Ok(())
}

fn signed(path: &Path, signatures: &[PathBuf]) -> Result<(Genesis, Signed), Failure> {
    let genesis = genesis::read(path)?;
    let mut consents = Vec::new();
    for signature in signatures {
        consents.extend(Consent::read(signature)?);
    }
    let signed = Signed::check(&genesis, consents)?;
    Ok((genesis, signed))
}

fn verify(context: &Context, path: &Path, signatures: &[PathBuf]) -> Result<ExitStatus, Failure> {
    let (genesis, signed) = signed(path, signatures)?;
    warn(&genesis);
    let chain = genesis.chain_id();
    let by = signed.by.iter();
    let by: Vec<Value> = by
        .map(|(name, consent)| json!({ "validator": name, "signed": consent.is_some() }))
        .collect();
    let missing = signed.missing();
    let value =
        json!({ "chain": chain.to_string(), "complete": missing.is_empty(), "validators": by });
    context.print.result(&value, |out| {
        writeln!(out, "chain {chain}")?;
        for (name, consent) in &signed.by {
            let word = if consent.is_some() {
                "signed"
            } else {
                "NOT SIGNED"
            };
            writeln!(out, "{word:<11} {name}")?;
        }
        Ok(())
    })?;
    signed.complete()?;
    Ok(ExitStatus::Done)
}

fn install(
    context: &Context,
    path: &Path,
    signatures: &[PathBuf],
    home: &Path,
) -> Result<ExitStatus, Failure> {
    owner::check(home)?;
    let (genesis, signed) = signed(path, signatures)?;
    let own = Descriptor::read(&home.join(DESCRIPTOR_FILE))?.info;
    check_own(&genesis, &own)?;
    signed.complete()?;
    let chain = genesis.chain_id();
    check_unbound(home, &genesis)?;
    check_origin(path, &genesis)?;
    if genesis.origin.is_some() {
        copy_origin(path, home)?;
    }
    write(&home.join(CONSENTS_FILE), &signed.to_json())?;
    write(&home.join("genesis.json"), &genesis::to_json(&genesis))?;
    warn(&genesis);
    let value = json!({ "chain": chain.to_string(), "home": home, "validator": own.name });
    context.print.result(&value, |out| {
        writeln!(out, "{} is now of chain {chain}", home.display())?;
        writeln!(out, "start it: quorate start --home {}", home.display())
    })
}

/// A crash leaves no half of it under its name.
fn copy_origin(path: &Path, home: &Path) -> Result<(), Failure> {
    let new = home.join(origin::FILE).with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(cannot("remove", &new, &error));
        }
        _ => {}
    }
    copy(&path.with_file_name(origin::FILE), &new)?;
    let synced = std::fs::File::open(&new).and_then(|file| file.sync_all());
    synced.map_err(|error| cannot("sync", &new, &error))?;
    let file = home.join(origin::FILE);
    std::fs::rename(&new, &file).map_err(|error| cannot("rename", &new, &error))
}

fn profile(
    context: &Context,
    path: &Path,
    endpoints: Vec<String>,
    out: &Path,
) -> Result<ExitStatus, Failure> {
    let genesis = genesis::read(path)?;
    let chain = genesis.chain_id();
    // Beside the profile by its name alone, so that the two can move together.
    let same_place = folder(path) == folder(out);
    let named = match same_place {
        true => path.file_name().map(PathBuf::from),
        false => std::path::absolute(path).ok(),
    };
    let profile = Profile {
        endpoints,
        chain,
        genesis: named,
        keys: None,
    };
    quorate_client::Client::new(profile.clone(), context.timeout).map_err(Failure::usage)?;
    write(out, &profile.to_toml())?;
    let value = json!({ "profile": out, "chain": chain.to_string() });
    context
        .print
        .result(&value, |text| writeln!(text, "wrote {}", out.display()))
}

fn folder(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()?.parent().map(Path::to_owned)
}

/// A crash leaves the old text or the new one.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}
