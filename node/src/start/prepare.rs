//! Everything that is read, checked and opened before the first thread starts.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use quorate_replica::lag::{self, LagLimits};
use quorate_replica::{BootError, Output, Past, Replica, Setup};
use quorate_storage::{Home, Options, RocksStore, ledger};
use quorate_types::{Genesis, ValidatorIndex};

use super::failures::{boot_failure, home_failure, store_failure};
use super::told::Told;
use super::{StartOptions, start_logging};
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::snapshot::files::Directory;
use crate::validator::api::member;
use crate::validator::clock::Clock;
use crate::{backup, ceremony, descriptors, genesis, keys, origin, owner};

/// Everything that was checked before the first thread starts.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) genesis: Genesis,
    pub(super) genesis_text: String,
    pub(super) setup: Setup,
    pub(super) me: ValidatorIndex,
    pub(super) consensus_key: quorate_crypto::SecretKey,
    pub(super) network_key: quorate_crypto::SecretKey,
    pub(super) home: PathBuf,
    pub(super) sockets: Sockets,
    pub(super) snapshots: Directory,
    pub(super) store: RocksStore,
    pub(super) replica: Replica,
    pub(super) first: Output,
    pub(super) clock: Clock,
    pub(super) options: StartOptions,
}

/// Bound after the lock is taken, so that who runs already is told so, and before the ledger is opened.
pub(super) struct Sockets {
    pub(super) peers: UdpSocket,
    pub(super) api: std::net::TcpListener,
    pub(super) admin: std::net::TcpListener,
}

impl Prepared {
    /// `None` if it was told to stop on the way.
    pub(super) fn new(options: &StartOptions, told: &Told) -> Result<Option<Prepared>, Failure> {
        let home = &options.home;
        if !home.is_dir() {
            let message = format!("there is no home at {}", home.display());
            return Err(Failure::config(message).hint(
                "quorate init makes a validator's home, quorate testnet those of a whole chain to try",
            ));
        }
        owner::check(home)?;
        let loaded = config::load(
            Some(&home.join("config.toml")),
            std::env::vars(),
            &options.settings,
        )?;
        let mut config = loaded.config;
        start_logging(&config, options.verbose)?;
        fit_connections(&mut config);
        let genesis_path = home.join("genesis.json");
        let genesis = genesis::read(&genesis_path)?;
        ceremony::check_home(home, &genesis)?;
        let key = |name| keys::read_with(&home.join(name), &options.passphrase);
        let (consensus_key, network_key) = (key("keys/consensus.pem")?, key("keys/network.pem")?);
        let mut setup = Setup::new(&genesis, Some(&consensus_key.public()))
            .map_err(|error| Failure::config(format!("the genesis' validators: {error}")))?;
        setup.limits.max_pending_bytes =
            usize::try_from(config.mempool.max_bytes).unwrap_or(usize::MAX);
        setup.limits.max_pending_transactions =
            usize::try_from(config.mempool.max_transactions).unwrap_or(usize::MAX);
        setup.transfer_gap = config.snapshots.fetch_gap_blocks;
        let me = check_membership(&genesis, &setup, &config, &network_key)?;
        if told.to_stop() {
            return Ok(None);
        }
        let locked = open_home(home)?;
        let sockets = Sockets::bind(&config)?;
        if locked.is_forgetful() {
            setup.past = Past::Forgotten;
        }
        // Before the store is opened, which takes room: on a full disk, what a crash left may be all that there is to free.
        backup::clean(home)?;
        let snapshots = Directory::open(home)?;
        let mut store = open_store(locked, &config)?;
        origin::found(home, &setup, &mut store)?;
        // What a crash left to be executed again takes a while, and so does a snapshot that was fetched.
        if told.to_stop() {
            return Ok(None);
        }
        let clock = Clock::start();
        let (replica, first) =
            Replica::open(setup.clone(), &mut store, clock.now()).map_err(boot_failure)?;
        Ok(Some(Prepared {
            genesis_text: genesis::to_json(&genesis),
            config,
            genesis,
            setup,
            me,
            consensus_key,
            network_key,
            home: home.clone(),
            sockets,
            snapshots,
            store,
            replica,
            first,
            clock,
            options: options.clone(),
        }))
    }
}

impl Sockets {
    fn bind(config: &Config) -> Result<Sockets, Failure> {
        let taken = |what: &str, key: &str, address: SocketAddr, error: std::io::Error| {
            Failure::failed(format!("cannot listen for {what} on {address}: {error}")).hint(
                format!("stop what uses the port, or choose another with {key}"),
            )
        };
        let (peers, api, admin) = (
            config.network.listen,
            config.api.listen,
            config.admin.listen,
        );
        let sockets = Sockets {
            peers: UdpSocket::bind(peers)
                .map_err(|error| taken("validators (QUIC)", "network.listen", peers, error))?,
            api: std::net::TcpListener::bind(api)
                .map_err(|error| taken("clients (HTTP)", "api.listen", api, error))?,
            admin: std::net::TcpListener::bind(admin)
                .map_err(|error| taken("metrics and probes", "admin.listen", admin, error))?,
        };
        for listener in [&sockets.api, &sockets.admin] {
            listener
                .set_nonblocking(true)
                .map_err(|error| Failure::failed(format!("a listening socket: {error}")))?;
        }
        Ok(sockets)
    }
}

/// No more connections of clients than there are files for.
fn fit_connections(config: &mut Config) {
    let (wanted, files) = (config.api.max_connections, descriptors::raise());
    config.api.max_connections = descriptors::connections(wanted, files);
    if config.api.max_connections < wanted {
        tracing::warn!(
            event = "connections_limited",
            wanted,
            connections = config.api.max_connections,
            files,
            "the limit of open files leaves fewer connections than api.max_connections"
        );
    }
}

/// Whose home it is: the consensus key decides, and everything else has to agree.
pub(crate) fn check_membership(
    genesis: &Genesis,
    setup: &Setup,
    config: &Config,
    network_key: &quorate_crypto::SecretKey,
) -> Result<ValidatorIndex, Failure> {
    let Some((me, info)) = setup.me.zip(member(genesis, setup.me)) else {
        let message = "the consensus key is not in the genesis: this home belongs to another chain, or to no validator";
        return Err(Failure::config(message));
    };
    if info.network_key != network_key.public() {
        let message = format!(
            "keys/network.pem is not the key that the genesis names for {}",
            info.name
        );
        return Err(Failure::config(message));
    }
    let name = &config.node.name;
    if !name.is_empty() && *name != info.name {
        let message = format!(
            "config.toml is of validator {name:?}, but the consensus key is that of {:?}: the homes are mixed up",
            info.name
        );
        return Err(Failure::config(message));
    }
    Ok(me)
}

/// Takes a home for this process alone. Even who only reads it then writes in it: the lock, and the database's own files.
pub(crate) fn open_home(path: &Path) -> Result<Home, Failure> {
    owner::check(path)?;
    Home::open(path).map_err(|error| home_failure(&error))
}

pub(crate) fn open_store(home: Home, config: &Config) -> Result<RocksStore, Failure> {
    let options = Options {
        cache_bytes: usize::try_from(config.storage.cache_bytes).unwrap_or(usize::MAX),
        ..Options::default()
    };
    RocksStore::open(home, &options).map_err(|error| store_failure(&error))
}

/// A home's store with the state at the end of the ledger, for tools that look at it; or at the height before a block that
/// cannot be executed again or leads to other roots than those stored, and why.
pub(crate) fn open_state(
    path: &Path,
    config: &Config,
) -> Result<(RocksStore, Option<Failure>), Failure> {
    let genesis = genesis::read(&path.join("genesis.json"))?;
    let mut store = open_store(open_home(path)?, config)?;
    let tip = ledger::open(&store, genesis.chain_id()).map_err(BootError::Ledger)?;
    if tip.is_none() {
        let message = format!("{} holds no ledger", path.display());
        return Err(Failure::damaged(message));
    }
    whole(&store)?;
    let ended = lag::catch_up(&mut store, LagLimits::default()).err();
    Ok((store, ended.map(boot_failure)))
}

/// Whether there is a state to look at: none while a fetched snapshot takes its place, which only a start goes on with.
///
/// # Errors
/// Status 1: there is none now. That is no damage.
pub(crate) fn whole(store: &RocksStore) -> Result<(), Failure> {
    // At 0 everything is staged, and the state before it still there.
    let mark = ledger::install_mark(store).map_err(|error| boot_failure(error.into()))?;
    match mark.unwrap_or(0) {
        0 => Ok(()),
        _ => {
            let message =
                "a snapshot takes the place of this home's state, and has not done so yet";
            let hint = "start the validator first: it goes on with that, and says snapshot_installed; then try again";
            Err(Failure::failed(message).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_storage::{Store as _, Sync, WriteBatch};

    use super::*;
    use crate::exit::ExitStatus;
    use crate::testnet::tests::sample;

    /// The home of a validator at its genesis, with this mark of an installation.
    fn home(mark: u32) -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a temporary directory");
        let text = genesis::to_json(&sample());
        std::fs::write(home.path().join("genesis.json"), text).expect("written");
        let setup = Setup::new(&sample(), None).expect("a sound genesis");
        let locked = open_home(home.path()).expect("a fresh home");
        let mut store = open_store(locked, &Config::default()).expect("opens");
        let opened = Replica::open(setup, &mut store, Clock::start().now());
        drop(opened.expect("a genesis"));
        let mut writes = WriteBatch::new();
        ledger::put_install_mark(&mut writes, mark);
        // As install.rs does with the first mark above 0: the old state goes.
        if mark > 0 {
            writes.delete_range(quorate_storage::Table::State, vec![], vec![u8::MAX]);
        }
        store.write(writes, Sync::Yes).expect("written");
        home
    }

    /// Backup, `snapshot create` and `diff-state` called a home damaged whose validator was killed while it installed a
    /// snapshot.
    #[test]
    fn a_home_in_the_middle_of_an_installation_is_not_called_damaged() {
        for (mark, whole) in [(0, true), (1, false), (7, false)] {
            let home = home(mark);
            let config = Config::default();
            let failures = [
                open_state(home.path(), &config).err(),
                backup::verify(home.path(), &config, false).err(),
            ];
            for failure in failures {
                match (whole, failure) {
                    (true, failure) => assert_eq!(failure, None),
                    (false, failure) => {
                        let failure = failure.expect("there is no state");
                        assert_eq!(failure.status, ExitStatus::Failed, "{failure}");
                        let hint = failure.hint.unwrap_or_default();
                        assert!(hint.contains("start the validator first"), "{hint}");
                    }
                }
            }
        }
    }
}
