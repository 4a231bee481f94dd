//! The explorer: a page for people, in the binary, that reads this API and nothing else.
//!
//! Its policy lets it load and ask only what this validator serves, and run no script but its own file. Whatever comes from
//! the chain is shown as text.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{MethodRouter, get};

use super::Api;

/// What a browser may do with the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, media type and text of each file.
const FILES: [(&str, &str, &str); 4] = [
    (
        "/explorer",
        "text/html; charset=utf-8",
        include_str!("../../explorer/index.html"),
    ),
    (
        "/explorer/style.css",
        "text/css; charset=utf-8",
        include_str!("../../explorer/style.css"),
    ),
    (
        "/explorer/app.js",
        "text/javascript; charset=utf-8",
        include_str!("../../explorer/app.js"),
    ),
    (
        "/explorer/icon.svg",
        "image/svg+xml",
        include_str!("../../explorer/icon.svg"),
    ),
];

/// The routes of the page; `/` leads there.
pub(super) fn routes() -> impl Iterator<Item = (&'static str, MethodRouter<Api>)> {
    let files = FILES.into_iter();
    let files = files.map(|(path, media, text)| (path, get(async move || file(media, text))));
    let root = get(async || Redirect::temporary("/explorer"));
    files.chain([("/", root)])
}

fn file(media: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, media),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A page of another release must not ask this one.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
