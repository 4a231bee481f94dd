//! What can be wrong with a validator's home and its machine. Reads files, binds ports for an instant, asks the admin
//! port; opens no database and takes no lock.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use quorate_types::Genesis;

use super::{Finding, advice};
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::passphrase::Passphrase;
use crate::{ceremony, descriptors, genesis, keys};

/// A disk with less than this is full, in bytes: the next segment of the database's log may not fit.
const FULL: u64 = 64 << 20;
/// Longest wait for this machine's own admin port.
const ANSWER: Duration = Duration::from_secs(2);

/// Everything that is found in a home.
pub(super) fn look(home: &Path, min_free: u64) -> Vec<Finding> {
    if !home.is_dir() {
        let message = format!("there is no home at {}", home.display());
        let action = "name the directory that `quorate init` or `quorate testnet` made";
        return vec![Finding::problem("no_home", message, action)];
    }
    let mut found = Vec::new();
    let settings = config::load(Some(&home.join("config.toml")), std::env::vars(), &[]);
    let settings = settings
        .map_err(|failure| {
            let action = "correct it; `quorate config validate` checks it again";
            found.push(of("bad_config", failure, action));
        })
        .ok()
        .map(|loaded| loaded.config);
    let genesis = look_at_genesis(home, &mut found);
    look_at_keys(home, genesis.as_ref(), settings.as_ref(), &mut found);
    let runs = is_locked(home);
    look_at_data(home, &mut found);
    look_at_disk(home, min_free, &mut found);
    if let Some(settings) = &settings {
        look_at_limits(settings, &mut found);
        match runs {
            true => look_at_running(settings, &mut found),
            false => look_at_ports(settings, &mut found),
        }
    }
    found
}

/// A refusal of the node's own checks as a finding.
fn of(code: &'static str, failure: Failure, action: &str) -> Finding {
    let action = failure.hint.unwrap_or_else(|| action.to_owned());
    Finding::problem(code, failure.message, action)
}

fn look_at_genesis(home: &Path, found: &mut Vec<Finding>) -> Option<Genesis> {
    let path = home.join("genesis.json");
    if !path.exists() {
        let message = format!("{} is missing", path.display());
        let action = "quorate genesis install, or copy the file that all validators have";
        found.push(Finding::problem("no_genesis", message, action));
        return None;
    }
    let genesis = match genesis::read(&path) {
        Ok(genesis) => genesis,
        Err(failure) => {
            let action = "put the file back that all validators have";
            found.push(of("bad_genesis", failure, action));
            return None;
        }
    };
    if let Err(failure) = ceremony::check_home(home, &genesis) {
        found.push(of(
            "changed_genesis",
            failure,
            "take the signed genesis again",
        ));
    }
    for warning in ceremony::warnings(&genesis) {
        let action = "nothing can be done once the chain runs; choose 3f+1 the next time";
        found.push(Finding::note("validator_count", warning, action));
    }
    Some(genesis)
}

fn look_at_keys(
    home: &Path,
    genesis: Option<&Genesis>,
    settings: Option<&Config>,
    found: &mut Vec<Finding>,
) {
    let mut publics = Vec::new();
    for name in ["consensus", "network"] {
        let path = home.join(format!("keys/{name}.pem"));
        if keys::is_encrypted(&path) && !Passphrase::is_at_hand() {
            let message = format!(
                "{} is encrypted, and no passphrase is at hand",
                path.display()
            );
            let action = "start it with --passphrase-file, the systemd credential \
                 quorate.passphrase, or on a terminal";
            found.push(Finding::note("encrypted_key", message, action));
            continue;
        }
        match keys::read(&path) {
            Ok(key) => publics.push((name, key.public())),
            Err(failure) => {
                let action = "put the key back; without it this validator is lost";
                found.push(of("bad_key", failure, action));
            }
        }
    }
    let Some(genesis) = genesis else { return };
    let public = |wanted: &str| {
        publics
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|p| p.1)
    };
    let Some(consensus) = public("consensus") else {
        return;
    };
    let mixed = "put keys, config.toml and genesis.json of one home together";
    let Some(own) = genesis
        .validators
        .iter()
        .find(|v| v.consensus_key == consensus)
    else {
        let message = format!("keys/consensus.pem ({consensus}) is no validator of genesis.json");
        found.push(Finding::problem("not_a_validator", message, mixed));
        return;
    };
    if public("network").is_some_and(|network| network != own.network_key) {
        let message = format!("keys/network.pem is not {}'s key in the genesis", own.name);
        found.push(Finding::problem("wrong_network_key", message, mixed));
    }
    let named = settings.map_or("", |settings| settings.node.name.as_str());
    if !named.is_empty() && named != own.name {
        let message = format!(
            "config.toml is of {named:?}, the keys are of {:?}",
            own.name
        );
        found.push(Finding::problem("mixed_home", message, mixed));
    }
}

/// Whether a process holds the home, by the kernel's list. To try the lock, even for an instant, could make a start fail.
fn is_locked(home: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(home.join("LOCK")) else {
        return false;
    };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{}", metadata.ino());
    let holds = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"FLOCK") && words.iter().any(|word| word.ends_with(&inode))
    };
    locks.lines().any(holds)
}

fn look_at_data(home: &Path, found: &mut Vec<Finding>) {
    let data = home.join("data/CURRENT").exists();
    let safety = home.join("safety");
    let signed = std::fs::read_to_string(safety.join("ceiling"));
    if safety.join("forgetful").exists() {
        let message = "what this validator signed is lost; it starts behind the strict fence";
        let action = "start it: a quorum of the others has to be up; see docs/RECOVERY.md";
        found.push(Finding::warning("forgetful", message, action));
        return;
    }
    match (data, signed) {
        (true, Err(error)) => {
            let message = format!(
                "{} cannot be read: {error}",
                safety.join("ceiling").display()
            );
            let action = "put the file back from this very home, or see `quorate recover --help`";
            found.push(Finding::problem("safety_lost", message, action));
        }
        (false, Ok(text)) if !text.contains("round none") => {
            let message = "data/ is lost, and this validator has signed before";
            let action = "put the disk back, or see `quorate recover --help`";
            found.push(Finding::problem("data_lost", message, action));
        }
        _ => {}
    }
}

fn look_at_disk(home: &Path, min_free: u64, found: &mut Vec<Finding>) {
    let Ok(disk) = rustix::fs::statvfs(home) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let mib = free >> 20;
    let action = "make room: while it is full the validator stops, and nothing is lost";
    if free < FULL.min(min_free) {
        let message = format!("the disk is full: {mib} MiB are free");
        found.push(Finding::problem("disk_full", message, action));
    } else if free < min_free {
        let message = format!("the disk is nearly full: {mib} MiB are free");
        found.push(Finding::warning("disk_nearly_full", message, action));
    }
}

fn look_at_limits(settings: &Config, found: &mut Vec<Finding>) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let connections = u64::try_from(settings.api.max_connections).unwrap_or(u64::MAX);
    let needed = descriptors::OTHERS.saturating_add(connections);
    // A start raises the soft limit to the hard one.
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        let connections = descriptors::connections(settings.api.max_connections, Some(most));
        let message = format!(
            "a process here may open {most} files, and may need {needed}: it would take {connections} connections of clients"
        );
        let action =
            "LimitNOFILE= in the unit, `ulimit -Hn` in a shell, or a lower api.max_connections";
        found.push(Finding::warning("few_files", message, action));
    }
}

/// What its own probes say.
fn look_at_running(settings: &Config, found: &mut Vec<Finding>) {
    let address = settings.admin.listen;
    let Some(text) = ask(address, "/readyz?verbose") else {
        let message = format!("the validator runs, and its admin port {address} does not answer");
        let action = "it starts, hangs, or was started with other settings; look at its log";
        found.push(Finding::problem("admin_silent", message, action));
        return;
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("[-]")) {
        let (check, seen) = line.split_once(" failed").unwrap_or((line, ""));
        let seen = seen.strip_prefix(": ").unwrap_or(seen);
        let message = format!("its readiness check {check} fails: {seen}");
        found.push(Finding::problem("not_ready", message, advice(check)));
    }
    let message = "the validator of this home runs";
    found.push(Finding::note("runs", message, "nothing"));
}

/// A GET without a library: the client's would need a profile.
fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.set_write_timeout(Some(ANSWER)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: quorate\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // Whatever arrived before the connection ended or the time ran out.
    let _ = stream.take(1 << 16).read_to_string(&mut answer);
    (!answer.is_empty()).then_some(answer)
}

/// Whether it could listen, were it started.
fn look_at_ports(settings: &Config, found: &mut Vec<Finding>) {
    let [peers, api, admin] = [
        settings.network.listen,
        settings.api.listen,
        settings.admin.listen,
    ];
    let tried = [
        ("network.listen", peers, UdpSocket::bind(peers).err()),
        ("api.listen", api, TcpListener::bind(api).err()),
        ("admin.listen", admin, TcpListener::bind(admin).err()),
    ];
    for (key, address, error) in tried {
        if let Some(error) = error {
            let message = format!("{key}: cannot listen on {address}: {error}");
            let action = format!("stop what uses the port, or choose another with {key}");
            found.push(Finding::problem("port_taken", message, action));
        }
    }
    let message = "the validator of this home does not run";
    let action = "quorate start --home, if it should";
    found.push(Finding::note("does_not_run", message, action));
}
