//! Puts a validator together, runs it, and takes it apart again.
//!
//! In this order, so that what is wrong is said before anything is touched: settings, genesis, keys, the home's lock,
//! ports, ledger, threads. A stop goes the other way: not ready, no new connections, requests answered, peers told, the turn
//! in progress persisted.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_replica::{BootError, Input, Output, Past, Replica, Setup};
use quorate_storage::ledger::LedgerError;
use quorate_storage::{Home, HomeError, Options, RocksStore, StoreError};
use quorate_types::{Genesis, ValidatorIndex};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::config::{self, Config};
use crate::exit::{ExitStatus, Failure};
use crate::metrics::Metrics;
use crate::net::verify::{PoolLimits, Rules, Verdict, VerifyPool, default_workers, remembering};
use crate::net::{By, Credit, Limits as NetLimits, NetConfig, NetEvent, Network, Peer, Reason};
use crate::passphrase::Passphrase;
use crate::snapshot::files::Directory;
use crate::snapshot::keeper::{self, Keeper, Policy, Space};
use crate::snapshot::shelf::{self, Counter, Shelf};
use crate::trace::{Journeys, Source, Tracer};
use crate::validator::api::{Served, member};
use crate::validator::clock::Clock;
use crate::validator::core::{CoreError, Inbox, Item, Parts};
use crate::validator::watch::{Watch, reason};
use crate::{backup, ceremony, genesis, http, keys, logging, origin, service};

/// Time for open requests after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Time for the last traces after everything else has stopped.
const FLUSH: Duration = Duration::from_secs(1);

/// A stream of the log without a block says something at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What `quorate start` was told.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The validator's home.
    pub home: PathBuf,
    /// Settings from the command line, `section.key=value`.
    pub settings: Vec<String>,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Opens encrypted keys.
    pub passphrase: Passphrase,
}

/// Runs a validator until it is told to stop.
///
/// # Errors
/// Whatever ends it before, with the status that INTERFACES gives it.
pub fn run(options: StartOptions) -> Result<ExitStatus, Failure> {
    let prepared = Prepared::new(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("io")
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(prepared.serve());
    // Tasks that still wait for something have nobody left to answer.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Everything that was checked before the first thread starts.
struct Prepared {
    config: Config,
    genesis: Genesis,
    genesis_text: String,
    setup: Setup,
    me: ValidatorIndex,
    consensus_key: quorate_crypto::SecretKey,
    network_key: quorate_crypto::SecretKey,
    home: PathBuf,
    sockets: Sockets,
    store: RocksStore,
    replica: Replica,
    first: Output,
    clock: Clock,
    options: StartOptions,
}

/// Bound after the lock is taken, so that who runs already is told so, and before the ledger is opened.
struct Sockets {
    peers: UdpSocket,
    api: std::net::TcpListener,
    admin: std::net::TcpListener,
}

impl Prepared {
    fn new(options: &StartOptions) -> Result<Prepared, Failure> {
        let home = &options.home;
        if !home.is_dir() {
            let message = format!("there is no home at {}", home.display());
            return Err(Failure::config(message).hint("quorate testnet makes homes"));
        }
        let loaded = config::load(
            Some(&home.join("config.toml")),
            std::env::vars(),
            &options.settings,
        )?;
        let config = loaded.config;
        start_logging(&config, options.verbose)?;
        let genesis_path = home.join("genesis.json");
        let genesis = genesis::read(&genesis_path)?;
        ceremony::check_home(home, &genesis)?;
        let key = |name| keys::read_with(&home.join(name), &options.passphrase);
        let (consensus_key, network_key) = (key("keys/consensus.pem")?, key("keys/network.pem")?);
        let mut setup = Setup::new(&genesis, Some(&consensus_key.public()))
            .map_err(|error| Failure::config(format!("the genesis' validators: {error}")))?;
        setup.limits.max_queued_bytes =
            usize::try_from(config.mempool.max_bytes).unwrap_or(usize::MAX);
        setup.limits.max_queued_transactions =
            usize::try_from(config.mempool.max_transactions).unwrap_or(usize::MAX);
        setup.transfer_gap = config.snapshots.fetch_gap_blocks;
        let me = check_membership(&genesis, &setup, &config, &network_key)?;
        let locked = open_home(home)?;
        let sockets = Sockets::bind(&config)?;
        if locked.is_forgetful() {
            setup.past = Past::Forgotten;
        }
        let mut store = open_store(locked, &config)?;
        backup::clean(home)?;
        origin::found(home, &setup, &mut store)?;
        let clock = Clock::start();
        let (replica, first) =
            Replica::open(setup.clone(), &mut store, clock.now()).map_err(boot_failure)?;
        Ok(Prepared {
            genesis_text: genesis::to_json(&genesis),
            config,
            genesis,
            setup,
            me,
            consensus_key,
            network_key,
            home: home.clone(),
            sockets,
            store,
            replica,
            first,
            clock,
            options: options.clone(),
        })
    }

    /// Runs until a signal or a failure.
    async fn serve(self) -> Result<ExitStatus, Failure> {
        let metrics = Metrics::new();
        let stopping = Arc::new(AtomicBool::new(false));
        let status = self.replica.status();
        let (height, chain) = (status.height, self.setup.validators.chain());
        let inbox = Inbox::new(status, self.clock);
        let core = inbox.core.clone();
        let validators = remembering(&self.setup.validators);
        let rules = Rules {
            validators: Arc::clone(&validators),
            parameters: self.setup.parameters.clone(),
        };
        let (counter, queue) = shelf::counter();
        let (hook, orders) = keeper::hook();
        let space = Arc::new(Space::default());
        let pool = start_verifiers(rules, core.clone(), counter, metrics.clone())?;
        let network = start_network(
            &self.setup,
            &self.genesis,
            self.me,
            (self.network_key, self.sockets.peers),
            (&pool, core.clone(), metrics.clone()),
        )?;
        let name = member(&self.genesis, self.setup.me).map(|info| info.name.clone());
        let source = Source {
            chain: self.genesis.name.clone(),
            validator: name.clone().unwrap_or_default(),
            index: self.me,
        };
        let tracer = start_tracer(&self.config, source)?;
        let backend: Arc<dyn Backend> = Arc::new(Served {
            core: core.clone(),
            reader: self.store.reader(),
            verifier: pool.verifier(),
            setup: self.setup.clone(),
            genesis: self.genesis.clone(),
            name: name.clone().unwrap_or_default(),
            metrics: metrics.clone(),
            stopping: Arc::clone(&stopping),
            space: Arc::clone(&space),
            hook: hook.clone(),
            tracer: tracer.clone(),
            home: self.home.clone(),
        });
        let servers = Servers::start(
            (self.sockets.api, self.sockets.admin),
            &self.config,
            &self.setup,
            (
                Arc::clone(&backend),
                metrics.clone(),
                Arc::from(self.genesis_text),
            ),
        )?;
        let network = Arc::new(network);
        let reloading = tokio::spawn(reload_on_hangup(self.options));
        let reader = self.store.reader();
        let own_set = Arc::clone(&self.setup.validators);
        let shelf = Directory::open(&self.home)
            .and_then(|directory| {
                Shelf::open(directory, |manifest| manifest.check(&own_set).is_ok())
            })
            .map(Arc::new)
            .map_err(|error| Failure::failed(&error))?;
        let threads = queue
            .start(
                Arc::clone(&shelf),
                reader.clone(),
                Arc::clone(&network),
                Arc::clone(&stopping),
            )
            .and_then(|serving| {
                let keeper = Keeper {
                    home: self.home.clone(),
                    policy: policy(&self.config),
                    reader,
                    core: core.clone(),
                    shelf,
                    validators: own_set,
                    space: Arc::clone(&space),
                    metrics: metrics.clone(),
                    stopping: Arc::clone(&stopping),
                };
                Ok([serving, keeper.start(orders)?])
            })
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        let (ended, mut end) = oneshot::channel();
        let parts = Parts {
            replica: self.replica,
            store: self.store,
            key: self.consensus_key,
            validators,
            network: Arc::clone(&network),
            watch: Watch::new(metrics, self.setup.validators.count(), self.setup.me),
            clock: self.clock,
            setup: self.setup,
            hook,
            space,
            journeys: tracer.clone().map(|tracer| Journeys::new(tracer, self.me)),
        };
        let thread = inbox
            .start(parts, self.first, ended)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        tracing::info!(
            event = "started", validator = name, index = self.me.0, %chain, %height,
            peers = %self.config.network.listen, api = %self.config.api.listen,
            admin = %self.config.admin.listen, "started"
        );
        service::feed_watchdog(backend);
        service::ready(&format!("validating chain {chain}"));
        let outcome = tokio::select! {
            signal = terminated() => signal.map(|()| None),
            result = &mut end => Ok(Some(result)),
        }
        .map_err(|error| Failure::failed(format!("cannot wait for signals: {error}")))?;
        stopping.store(true, Ordering::Relaxed);
        reloading.abort();
        core.end_heads();
        service::stopping();
        if let Some(result) = outcome {
            // The core is gone: there is nothing left to drain.
            return match result {
                Ok(Err(error)) => Err(core_failure(&error)),
                Ok(Ok(())) | Err(_) => Err(Failure::failed("the replica's thread ended")),
            };
        }
        tracing::info!(event = "stopping", "stopping");
        servers.drain().await;
        core.stop();
        let joined = tokio::task::spawn_blocking(move || {
            // They hold the store open.
            for thread in threads {
                let _ = thread.join();
            }
            thread.join()
        });
        // The thread hands over what it ended with before it ends.
        let _ = joined.await;
        if let Ok(Err(error)) = end.try_recv() {
            return Err(core_failure(&error));
        }
        if let Ok(network) = Arc::try_unwrap(network) {
            network.shutdown().await;
        }
        drop(pool);
        if let Some(tracer) = tracer {
            tracer.flush(FLUSH);
        }
        tracing::info!(event = "stopped", "stopped");
        Ok(ExitStatus::Done)
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

/// The two HTTP servers.
struct Servers {
    api: Server,
    admin: Server,
}

struct Server {
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Servers {
    fn start(
        (api, admin): (std::net::TcpListener, std::net::TcpListener),
        config: &Config,
        setup: &Setup,
        (backend, metrics, genesis): (Arc<dyn Backend>, Metrics, Arc<str>),
    ) -> Result<Servers, Failure> {
        let limits = http::Limits {
            max_connections: config.api.max_connections,
            idle_timeout: Duration::from_millis(config.api.idle_timeout_ms),
        };
        let routes = http::router(http::Api {
            backend: Arc::clone(&backend),
            metrics: metrics.clone(),
            genesis,
            max_transaction_bytes: usize::try_from(setup.parameters.max_transaction_bytes)
                .unwrap_or(usize::MAX),
            request_timeout: Duration::from_millis(config.api.request_timeout_ms),
            keep_alive: limits.idle_timeout.min(KEEP_ALIVE * 4) / 4,
            streams: http::streams(),
        });
        let probes = http::admin_router(backend, metrics.clone());
        Ok(Servers {
            api: Server::start(api, routes, limits, metrics.clone())?,
            admin: Server::start(admin, probes, limits, metrics)?,
        })
    }

    /// No new connection for clients; waits until open requests are answered. Probes see until then that the validator
    /// is not ready.
    async fn drain(self) {
        self.api.stop().await;
        self.admin.stop().await;
    }
}

impl Server {
    fn start(
        listener: std::net::TcpListener,
        routes: axum::Router,
        limits: http::Limits,
        metrics: Metrics,
    ) -> Result<Server, Failure> {
        let listener = TcpListener::from_std(listener)
            .map_err(|error| Failure::failed(format!("a listening socket: {error}")))?;
        let (stop, stopped) = oneshot::channel();
        // Dropped or used, it says the same.
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(http::serve(listener, routes, limits, metrics, stopped));
        Ok(Server { task, stop })
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(DRAIN, self.task).await.is_err() {
            tracing::warn!(
                event = "drain_timed_out",
                "requests were still open when the time to stop was over"
            );
        }
    }
}

fn level_of(config: &Config, verbose: u8) -> &str {
    match verbose {
        0 => config.log.level.as_str(),
        1 => "debug",
        _ => "trace",
    }
}

/// SIGHUP reads the settings anew, and changes what can change in a running process: the log level.
async fn reload_on_hangup(options: StartOptions) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    while hangup.recv().await.is_some() {
        let file = options.home.join("config.toml");
        let loaded = config::load(Some(&file), std::env::vars(), &options.settings);
        let set = loaded
            .map_err(|failure| failure.message)
            .and_then(|loaded| {
                let level = level_of(&loaded.config, options.verbose);
                logging::set_level(level).map_err(|error| error.to_string())
            });
        if let Err(error) = set {
            tracing::warn!(
                event = "reload_failed",
                error,
                "the settings cannot be read anew: nothing changes"
            );
        }
    }
    Ok(())
}

fn start_logging(config: &Config, verbose: u8) -> Result<(), Failure> {
    let level = level_of(config, verbose);
    logging::init(level, config.log.format)
        .map_err(|error| Failure::config(format!("log.level {level:?}: {error}")))
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

pub(crate) fn open_home(path: &Path) -> Result<Home, Failure> {
    Home::open(path).map_err(|error| home_failure(&error))
}

pub(crate) fn home_failure(error: &HomeError) -> Failure {
    match error {
        HomeError::Store(error) => store_failure(error),
        error if error.is_unsafe() => Failure::new(ExitStatus::Safety, error),
        error => Failure::failed(error),
    }
}

pub(crate) fn open_store(home: Home, config: &Config) -> Result<RocksStore, Failure> {
    let options = Options {
        cache_bytes: usize::try_from(config.storage.cache_bytes).unwrap_or(usize::MAX),
        ..Options::default()
    };
    RocksStore::open(home, &options).map_err(|error| store_failure(&error))
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::LostWrites { .. } => Failure::new(ExitStatus::Safety, error).hint(
            "put the newest data back; if it is lost, move data/ away and see `quorate recover --help`",
        ),
        error if error.is_damage() => damaged_data(error),
        error if error.is_disk_full() => {
            Failure::failed(error).hint("make room on the disk, and start again: nothing is lost")
        }
        error => Failure::failed(error),
    }
}

fn boot_failure(error: BootError) -> Failure {
    match &error {
        BootError::Store(store) => store_failure(store),
        BootError::Ledger(LedgerError::OtherChain { .. } | LedgerError::OtherSchema { .. }) => {
            Failure::config(&error).hint("data/ and genesis.json of a home must be of one chain")
        }
        BootError::Ledger(LedgerError::Store(store)) => store_failure(store),
        _ => damaged_data(&error),
    }
}

/// Status 8. Nothing here repairs a home on its own: what was signed must not be forgotten with what is damaged.
fn damaged_data(error: impl std::fmt::Display) -> Failure {
    Failure::damaged(error).hint(
        "delete nothing: check the disk, and put back the newest copy of data/ that this home itself wrote (an older one is refused); \
         the other validators go on without this one",
    )
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Failure {
        boot_failure(error)
    }
}

fn core_failure(error: &CoreError) -> Failure {
    match error {
        CoreError::Store(store) => store_failure(store),
        CoreError::Replica(error) => damaged_data(error),
        CoreError::Boot(error) => damaged_data(error),
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        interval: config.snapshots.interval_blocks,
        snapshots: usize::try_from(config.snapshots.keep).unwrap_or(usize::MAX),
        blocks: config.storage.keep_blocks,
        max_bytes: config.storage.max_bytes,
        min_free: config.storage.min_free_bytes,
    }
}

fn start_tracer(config: &Config, source: Source) -> Result<Option<Tracer>, Failure> {
    let trace = &config.trace;
    if trace.endpoint.is_empty() {
        return Ok(None);
    }
    let tracer = Tracer::start(&trace.endpoint, trace.one_in, source);
    tracer
        .map(Some)
        .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))
}

fn start_verifiers(
    rules: Rules,
    core: crate::validator::core::Core,
    counter: Counter,
    metrics: Metrics,
) -> Result<VerifyPool, Failure> {
    let sink = move |verdict| match verdict {
        Verdict::Message {
            from,
            message,
            credit,
        } if Counter::takes(&message) => counter.push(from, message, credit),
        Verdict::Message {
            from,
            message,
            credit,
        } => core.push(Item {
            input: Input::Message { from, message },
            credit,
        }),
        Verdict::Refused { from, reject, .. } => {
            metrics
                .peer_rejected_total
                .with_label_values(&[reason(reject)])
                .inc();
            tracing::debug!(%from, %reject, "refused a message");
        }
    };
    VerifyPool::start(default_workers(), PoolLimits::default(), rules, sink)
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

fn start_network(
    setup: &Setup,
    genesis: &Genesis,
    me: ValidatorIndex,
    (key, socket): (quorate_crypto::SecretKey, UdpSocket),
    (pool, core, metrics): (&VerifyPool, crate::validator::core::Core, Metrics),
) -> Result<Network, Failure> {
    let verifier = pool.verifier();
    let peers = setup.validators.indices().zip(&genesis.validators);
    let config = NetConfig {
        socket,
        key,
        me,
        chain: setup.validators.chain(),
        peers: peers
            .filter(|(index, _)| *index != me)
            .map(|(index, info)| Peer {
                index,
                network_key: info.network_key,
                address: info.address.clone(),
            })
            .collect(),
        software: format!("quorate/{}", env!("CARGO_PKG_VERSION")),
        limits: NetLimits::new(&setup.parameters),
    };
    let sink = move |event| match event {
        NetEvent::Message {
            from,
            message,
            credit,
            ..
        } => verifier.message(from, message, credit),
        NetEvent::Connected(peer) => {
            tracing::info!(event = "peer_connected", %peer, "connected");
            core.push(Item {
                input: Input::Connected(peer),
                credit: Credit::none(),
            });
        }
        NetEvent::Disconnected { peer, reason, by } => {
            tracing::info!(event = "peer_disconnected", %peer, %reason, "disconnected");
            if (reason, by) == (Reason::Replaced, By::Peer) {
                // We did not dial again: that we do only when a connection has ended.
                metrics
                    .key_conflicts_total
                    .with_label_values(&["connection"])
                    .inc();
                tracing::error!(
                    event = "key_used_elsewhere", %peer,
                    "that peer has a newer connection with this validator's network key: another process has the key. Stop one of the two"
                );
            }
            core.push(Item {
                input: Input::Disconnected(peer),
                credit: Credit::none(),
            });
        }
        NetEvent::Rejected {
            from,
            address,
            reason,
            by,
        } => {
            metrics
                .peer_rejected_total
                .with_label_values(&[reason.label()])
                .inc();
            let peer = from.map(|index| index.0);
            tracing::warn!(event = "connection_refused", peer, %address, %reason, ?by, "a connection was refused");
        }
    };
    Network::start(config, sink).map_err(Failure::failed)
}

/// Resolves when the process is told to stop.
async fn terminated() -> std::io::Result<()> {
    let mut terminate: Signal = signal(SignalKind::terminate())?;
    let mut interrupt: Signal = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
