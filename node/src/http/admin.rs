//! The admin port: metrics for Prometheus, and whether the process lives and is of use.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};

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
    Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route(
            "/debug/log-level",
            // PUT only: a browser sends a POST to anybody on behalf of any page, and a PUT to nobody.
            get(log_level).put(set_log_level),
        )
        .layer(DefaultBodyLimit::max(MAX_FILTER_BYTES))
        .route("/snapshots", post(snapshot))
        // PUT for the same reason: what it makes takes room.
        .route("/backups", put(backup))
        .fallback(|| async { problem("not_found", "no such route") })
        .with_state(Admin { backend, metrics })
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
