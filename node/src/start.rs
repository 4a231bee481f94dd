//! Puts a validator together, runs it, and takes it apart again.
//!
//! In this order, so that what is wrong is said before anything is touched: settings, genesis, keys, the home's lock,
//! ports, ledger, threads. A stop goes the other way: not ready, no new connections, requests answered, peers told, the turn
//! in progress persisted.

mod failures;
mod net;
mod prepare;
mod running;
mod servers;
mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::net::{start_network, start_verifiers};
use self::prepare::Prepared;
use self::running::Running;
use self::servers::Servers;
use self::told::Told;
use crate::backend::Backend;
use crate::config::{self, Config};
use crate::exit::{ExitStatus, Failure};
use crate::metrics::Metrics;
use crate::net::verify::{Rules, remembering};
use crate::passphrase::Passphrase;
use crate::snapshot::disk::{Disk, Space};
use crate::snapshot::keeper::{self, Keeper, Policy};
use crate::snapshot::shelf::{self, Shelf};
use crate::trace::{Journeys, Source, Tracer};
use crate::validator::api::{Served, member};
use crate::validator::core::{Inbox, Parts};
use crate::validator::links;
use crate::validator::watch::Watch;
use crate::{logging, service};

pub(crate) use self::failures::{home_failure, store_failure};
pub(crate) use self::prepare::{check_membership, open_home, open_state, open_store, whole};

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
    let ended = start(&options);
    if let Err(failure) = &ended {
        // Standard error gets it as text whatever the log's form is; who collects the log should find it there, too.
        tracing::error!(
            event = "ended",
            status = failure.status.code(),
            error = failure.message,
            hint = failure.hint,
            "the validator has ended"
        );
    }
    ended
}

fn start(options: &StartOptions) -> Result<ExitStatus, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(io_threads())
        .enable_all()
        .thread_name("io")
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let told = {
        let _inside = runtime.enter();
        Told::listen()
            .map_err(|error| Failure::failed(format!("cannot wait for signals: {error}")))?
    };
    let result = match Prepared::new(options, &told)? {
        Some(prepared) => runtime.block_on(async { prepared.launch()?.serve(told).await }),
        None => {
            tracing::info!(event = "stopped", "stopped before it had started");
            Ok(ExitStatus::Done)
        }
    };
    // Tasks that still wait for something have nobody left to answer.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Threads for connections: one for two cores. The others have the replica and the verifiers to run, and threads that
/// take turns at one core spend a tenth of it on waking each other.
fn io_threads() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
}

impl Prepared {
    /// Starts every thread and task; the replica's last, since it sends at once.
    fn launch(self) -> Result<Running, Failure> {
        let metrics = Metrics::new();
        let idle = Duration::from_nanos(self.setup.parameters.idle_interval_ns);
        metrics
            .consensus_idle_interval_seconds
            .set(idle.as_secs_f64());
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
            (
                self.network_key,
                self.sockets.peers,
                self.config.network.congestion_control,
            ),
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
                self.genesis_text.into(),
            ),
        )?;
        let network = Arc::new(network);
        tokio::spawn(links::watch(Arc::downgrade(&network), metrics.clone()));
        let reloading = tokio::spawn(reload_on_hangup(self.options));
        let reader = self.store.reader();
        let own_set = Arc::clone(&self.setup.validators);
        let shelf = Shelf::open(self.snapshots, |manifest| manifest.check(&own_set).is_ok())?;
        let shelf = Arc::new(shelf);
        let disk = Disk {
            home: self.home.clone(),
            min_free: self.config.storage.min_free_bytes,
            space: Arc::clone(&space),
            metrics: metrics.clone(),
        };
        let readers = queue
            .start(
                Arc::clone(&shelf),
                reader.clone(),
                Arc::clone(&network),
                Arc::clone(&stopping),
            )
            .and_then(|serving| {
                disk.clone().watch(Arc::clone(&stopping))?;
                let keeper = Keeper {
                    policy: policy(&self.config),
                    reader,
                    core: core.clone(),
                    shelf,
                    validators: own_set,
                    disk,
                    metrics: metrics.clone(),
                    stopping: Arc::clone(&stopping),
                };
                Ok([serving, keeper.start(orders)?])
            })
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        let (end, ended) = oneshot::channel();
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
        let replica = inbox
            .start(parts, self.first, end)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        tracing::info!(
            event = "started", validator = name, index = self.me.0, %chain, %height,
            peers = %self.config.network.listen, api = %self.config.api.listen,
            admin = %self.config.admin.listen, "started"
        );
        service::feed_watchdog(backend);
        service::ready(&format!("validating chain {chain}"));
        Ok(Running {
            core,
            stopping,
            reloading,
            servers,
            readers,
            replica,
            ended,
            network,
            pool,
            tracer,
        })
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

fn policy(config: &Config) -> Policy {
    Policy {
        interval: config.snapshots.interval_blocks,
        snapshots: usize::try_from(config.snapshots.keep).unwrap_or(usize::MAX),
        blocks: config.storage.keep_blocks,
        max_bytes: config.storage.max_bytes,
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
