//! HTTP/1.1 to several validators over pooled connections.
//!
//! Owns sockets and nothing of the protocol: it says what an endpoint answered, or why there is no answer. Answers are
//! read up to a bound; a validator cannot make a client allocate without end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
pub use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::api::Problem;
use crate::error::ClientError;

/// Longest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A request, ready to be sent to any endpoint any number of times.
#[derive(Clone, Debug)]
pub struct Call {
    /// GET or POST.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// What the answer should be.
    pub accept: &'static str,
    /// Media type and bytes.
    pub body: Option<(&'static str, Bytes)>,
}

impl Call {
    /// A GET of JSON.
    #[must_use]
    pub fn get(path: String) -> Call {
        Call {
            method: Method::GET,
            path,
            accept: "application/json",
            body: None,
        }
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Seconds to wait, from `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Media type.
    pub content_type: String,
    /// Whole body.
    pub body: Bytes,
}

impl Answer {
    /// The problem document that it is, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The answer as an error: the problem document if it is one.
    #[must_use]
    pub fn refusal(&self) -> ClientError {
        let status = self.status.as_u16();
        match self.problem() {
            Some(problem) => ClientError::Refused {
                status,
                code: problem.code,
                detail: problem.detail,
            },
            None => ClientError::Refused {
                status,
                code: String::from("http"),
                detail: format!("HTTP status {}", self.status),
            },
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection came about: the endpoint has not seen the request.
    #[error("{0}: cannot connect: {1}")]
    Connect(String, String),
    /// The connection broke: the endpoint may have seen the request.
    #[error("{0}: connection lost: {1}")]
    Broken(String, String),
    /// Nothing came in time: the endpoint may have seen the request.
    #[error("{0}: no answer within {1:?}")]
    Timeout(String, Duration),
}

/// Connections to all endpoints.
#[derive(Clone, Debug)]
pub struct Http {
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Default for Http {
    fn default() -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Http { pool }
    }
}

impl Http {
    /// Sends a request to one endpoint and reads the whole answer.
    ///
    /// # Errors
    /// [`NoAnswer`], which tells whether the endpoint may have seen the request.
    pub async fn call(
        &self,
        endpoint: &str,
        call: &Call,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        match tokio::time::timeout(within, self.exchange(endpoint, call)).await {
            Ok(result) => result,
            Err(_) => Err(NoAnswer::Timeout(endpoint.to_owned(), within)),
        }
    }

    /// Sends a request to one endpoint whose answer has no end: its body if the status is 200, else the whole answer.
    /// Only the beginning of the answer has to come `within`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn open(
        &self,
        endpoint: &str,
        call: &Call,
        within: Duration,
    ) -> Result<Result<Incoming, Answer>, NoAnswer> {
        let opening = async {
            let response = self.send(endpoint, call).await?;
            match response.status() {
                StatusCode::OK => Ok(Ok(response.into_body())),
                _ => whole(endpoint, response).await.map(Err),
            }
        };
        match tokio::time::timeout(within, opening).await {
            Ok(result) => result,
            Err(_) => Err(NoAnswer::Timeout(endpoint.to_owned(), within)),
        }
    }

    async fn exchange(&self, endpoint: &str, call: &Call) -> Result<Answer, NoAnswer> {
        whole(endpoint, self.send(endpoint, call).await?).await
    }

    async fn send(&self, endpoint: &str, call: &Call) -> Result<Response<Incoming>, NoAnswer> {
        let uri = format!("{}{}", endpoint.trim_end_matches('/'), call.path);
        let mut request = Request::builder()
            .method(&call.method)
            .uri(uri)
            .header(ACCEPT, call.accept);
        let mut body = Bytes::new();
        if let Some((media, bytes)) = &call.body {
            request = request.header(CONTENT_TYPE, *media);
            body = bytes.clone();
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| NoAnswer::Connect(endpoint.to_owned(), error.to_string()))?;
        self.pool.request(request).await.map_err(|error| {
            let why = innermost(&error);
            match error.is_connect() {
                true => NoAnswer::Connect(endpoint.to_owned(), why),
                false => NoAnswer::Broken(endpoint.to_owned(), why),
            }
        })
    }
}

async fn whole(endpoint: &str, response: Response<Incoming>) -> Result<Answer, NoAnswer> {
    let (head, body) = response.into_parts();
    let header = |name| head.headers.get(name).and_then(|v| v.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let body = Limited::new(body, MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| NoAnswer::Broken(endpoint.to_owned(), error.to_string()))?;
    Ok(Answer {
        status: head.status,
        retry_after: retry_after.map(Duration::from_secs),
        content_type,
        body: body.to_bytes(),
    })
}

/// Checks that `text` is `http://host:port` without a path.
///
/// # Errors
/// [`ClientError::Endpoint`].
pub fn check_endpoint(text: &str) -> Result<(), ClientError> {
    let wrong = || ClientError::Endpoint(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() == "/";
    plain.then_some(()).ok_or_else(wrong)
}

/// The last cause of an error: "connection refused" instead of "client error (Connect)".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http_urls() {
        assert!(check_endpoint("http://127.0.0.1:7651").is_ok());
        assert!(check_endpoint("http://[::1]:7651/").is_ok());
        for wrong in [
            "127.0.0.1:7651",
            "https://a:1",
            "http://a/path",
            "",
            "http://",
        ] {
            assert!(check_endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
