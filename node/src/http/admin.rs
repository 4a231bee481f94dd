//! The admin port: metrics for Prometheus, and whether the process lives and is of use.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};

use super::{problem, typed};
use crate::backend::{Backend, Check};
use crate::logging;
use crate::metrics::{Metrics, TEXT_FORMAT};

/// Longest filter of the log.
const MAX_FILTER_BYTES: usize = 1024;

#[derive(Clone)]
struct Admin {
    backend: Arc<dyn Backend>,
    metrics: Metrics,
}

pub(super) fn router(backend: Arc<dyn Backend>, metrics: Metrics) -> Router {
    let probes = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz));
    // What changes something is a PUT: a browser sends a POST to anybody on behalf of any page, and a PUT to nobody.
    let tools = Router::new()
        .route("/debug/log-level", get(log_level).put(set_log_level))
        .layer(DefaultBodyLimit::max(MAX_FILTER_BYTES))
        .route("/snapshots", put(snapshot))
        .route("/backups", put(backup))
        .route_layer(middleware::from_fn(by_address));
    probes
        .merge(tools)
        .fallback(|| async { problem("not_found", "no such route") })
        .with_state(Admin { backend, metrics })
}

/// Refuses who names this port by a name: to a browser, a page whose name leads here all of a sudden is this port's own
/// page, and may send anything. Probes and scrapers know a name only, and are not asked.
async fn by_address(headers: HeaderMap, request: Request, next: Next) -> Response {
    match headers.get(HOST).is_none_or(is_address) {
        true => next.run(request).await,
        false => problem(
            "malformed",
            "name the admin port by its address, or as localhost",
        ),
    }
}

/// Whether a host is an IP address or this machine, with a port or without.
fn is_address(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else {
        return false;
    };
    let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if port(digits) => name,
        Some(_) | None => host,
    };
    let v6 = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok())
}

/// Makes a snapshot; answers with its height.
async fn snapshot(State(admin): State<Admin>) -> Response {
    made(admin.backend.snapshot().await)
}

/// Makes a copy of the database in the home; answers with its height.
async fn backup(State(admin): State<Admin>) -> Response {
    made(admin.backend.backup().await)
}

fn made(result: Result<quorate_types::Height, String>) -> Response {
    match result {
        Ok(height) => typed("application/json", format!("{{\"height\":{height}}}\n")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn render(State(admin): State<Admin>) -> Response {
    // Looked at for each scrape, so that it is what `/readyz` says, and not what it said.
    let ready = admin.backend.health().ready();
    admin.metrics.ready.set(i64::from(ready));
    typed(TEXT_FORMAT, admin.metrics.render())
}

async fn livez(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let health = admin.backend.health();
    report(health.live(), "livez", &[&health.loops], query)
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let health = admin.backend.health();
    let checks = [health.loops.as_slice(), &health.conditions];
    report(health.ready(), "readyz", &checks, query)
}

async fn log_level() -> Response {
    format!("{}\n", logging::level().unwrap_or_default()).into_response()
}

/// Takes the text of a filter, such as `debug` or `info,quorate_node::net=debug`, and answers with what is in force.
async fn set_log_level(body: Bytes) -> Response {
    let text = std::str::from_utf8(&body).map(str::trim);
    let set = match text {
        Ok("") | Err(_) => Err(String::from("send a level or a filter as text")),
        Ok(text) => logging::set_level(text).map_err(|error| error.to_string()),
    };
    match set {
        Ok(()) => log_level().await,
        Err(detail) => problem("malformed", &detail),
    }
}

/// `ok` with 200, or the failed checks with 503; all of them with `?verbose`, as Kubernetes does.
fn report(good: bool, name: &str, checks: &[&[Check]], query: Option<String>) -> Response {
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let status = match good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    if good && !verbose {
        return (status, "ok\n").into_response();
    }
    let mut text = String::new();
    for Check { name, holds, seen } in checks.iter().copied().flatten() {
        let _ = match holds {
            true => writeln!(text, "[+]{name} ok"),
            false => writeln!(text, "[-]{name} failed: {seen}"),
        };
    }
    let _ = writeln!(
        text,
        "{name} check {}",
        if good { "passed" } else { "failed" }
    );
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_no_name() {
        for address in [
            "127.0.0.1:7652",
            "10.1.2.3",
            "[::1]:7652",
            "[fd00::7]",
            "localhost:7652",
            "LocalHost",
        ] {
            assert!(is_address(&HeaderValue::from_static(address)), "{address}");
        }
        for name in [
            "",
            ":7652",
            "example.org:7652",
            "127.0.0.1.example.org",
            "localhost.example.org",
            "validator-0",
            "::1",
            "[::1",
            "127.0.0.1:x",
        ] {
            assert!(!is_address(&HeaderValue::from_static(name)), "{name}");
        }
    }
}
