//! The two HTTP servers, and how they end: no new connection, then open requests are answered.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use quorate_replica::Setup;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::backend::Backend;
use crate::config::Config;
use crate::exit::Failure;
use crate::http;
use crate::metrics::Metrics;

/// Time for open requests after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// A stream of the log without a block says something at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Connections to the admin port: a few tools, each with one or two.
const ADMIN_CONNECTIONS: usize = 64;

/// The two HTTP servers.
pub(super) struct Servers {
    api: Server,
    admin: Server,
}

struct Server {
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Servers {
    pub(super) fn start(
        (api, admin): (std::net::TcpListener, std::net::TcpListener),
        config: &Config,
        setup: &Setup,
        (backend, metrics, genesis): (Arc<dyn Backend>, Metrics, axum::body::Bytes),
    ) -> Result<Servers, Failure> {
        let limits = http::Limits {
            max_connections: config.api.max_connections,
            idle_timeout: Duration::from_millis(config.api.idle_timeout_ms),
        };
        let (stop_api, stopping) = watch::channel(false);
        let routes = http::router(http::Api {
            backend: Arc::clone(&backend),
            metrics: metrics.clone(),
            genesis,
            max_transaction_bytes: usize::try_from(setup.parameters.max_transaction_bytes)
                .unwrap_or(usize::MAX),
            request_timeout: Duration::from_millis(config.api.request_timeout_ms),
            idle_timeout: limits.idle_timeout,
            keep_alive: limits.idle_timeout.min(KEEP_ALIVE * 4) / 4,
            streams: http::streams(),
            submitters: http::submitters(),
            reading: http::Reading::default(),
            sending: http::Sending::default(),
            stopping,
        });
        let probes = http::admin_router(backend, metrics.clone());
        let few = http::Limits {
            max_connections: ADMIN_CONNECTIONS,
            ..limits
        };
        let open = &metrics.api_connections;
        let most = i64::try_from(limits.max_connections);
        metrics.api_max_connections.set(most.unwrap_or(i64::MAX));
        Ok(Servers {
            api: Server::start(api, routes, limits, Some(open.clone()), stop_api)?,
            // Its own connections would hide how near the API's are to their bound.
            admin: Server::start(admin, probes, few, None, watch::Sender::new(false))?,
        })
    }

    /// No new connection for clients; waits until open requests are answered. Probes see until then that the validator
    /// is not ready.
    pub(super) async fn drain(self) {
        self.api.stop().await;
        self.admin.stop().await;
    }
}

impl Server {
    fn start(
        listener: std::net::TcpListener,
        routes: axum::Router,
        limits: http::Limits,
        connections: Option<IntGauge>,
        stop: watch::Sender<bool>,
    ) -> Result<Server, Failure> {
        let listener = TcpListener::from_std(listener)
            .map_err(|error| Failure::failed(format!("a listening socket: {error}")))?;
        let mut stopping = stop.subscribe();
        // Dropped or used, it says the same.
        let stopped = async move { drop(stopping.wait_for(|stop| *stop).await) };
        let task = tokio::spawn(http::serve(listener, routes, limits, connections, stopped));
        Ok(Server { task, stop })
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(DRAIN, self.task).await.is_err() {
            tracing::warn!(
                event = "drain_timed_out",
                "requests were still open when the time to stop was over"
            );
        }
    }
}
