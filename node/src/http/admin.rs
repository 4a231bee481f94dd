//! The admin port: metrics for Prometheus, and whether the process lives and is of use.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::{problem, typed};
use crate::backend::Backend;
use crate::metrics::{Metrics, TEXT_FORMAT};

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
        .fallback(|| async { problem("not_found", "no such route") })
        .with_state(Admin { backend, metrics })
}

async fn render(State(admin): State<Admin>) -> Response {
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

/// `ok` with 200, or the failed checks with 503; all of them with `?verbose`, as Kubernetes does.
fn report(
    good: bool,
    name: &str,
    checks: &[&[(&'static str, bool)]],
    query: Option<String>,
) -> Response {
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
    for (check, holds) in checks.iter().flat_map(|list| list.iter()) {
        let mark = if *holds { "[+]" } else { "[-]" };
        let word = if *holds { "ok" } else { "failed" };
        let _ = writeln!(text, "{mark}{check} {word}");
    }
    let _ = writeln!(
        text,
        "{name} check {}",
        if good { "passed" } else { "failed" }
    );
    (status, text).into_response()
}
