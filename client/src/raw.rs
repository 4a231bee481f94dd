//! One connection to one validator, for load generators: no pool, no retry, no JSON.
//!
//! It carries one request at a time, canonical bytes both ways.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::CANONICAL;
use crate::http::MAX_ANSWER_BYTES;

/// A connection that submits transactions and waits for their receipts.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    uri: Uri,
}

/// Why a connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The protocol.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// An answer that is too long, or breaks off.
    #[error("the answer cannot be read")]
    Body,
    /// A stream that the validator does not take.
    #[error("the validator takes no stream: HTTP status {0}")]
    Refused(StatusCode),
    /// A stream that has ended.
    #[error("the stream has ended")]
    Ended,
}

impl Connection {
    /// Connects. The caller's runtime drives the connection in a task of its own, which ends with it.
    ///
    /// # Errors
    /// [`ConnectionError::Io`], [`ConnectionError::Http`].
    pub async fn open(address: SocketAddr) -> Result<Connection, ConnectionError> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(socket)).await?;
        // It ends with an error when the peer goes; the next request reports that.
        tokio::spawn(async { driver.await.unwrap_or_default() });
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is ASCII");
        Ok(Connection {
            sender,
            host,
            uri: Uri::from_static("/v1/transactions?wait=executed"),
        })
    }

    /// Submits a canonical transaction, and waits for the status and the canonical receipt or problem document.
    ///
    /// # Errors
    /// [`ConnectionError`]; the connection is then of no further use.
    pub async fn submit(
        &mut self,
        transaction: Bytes,
    ) -> Result<(StatusCode, Bytes), ConnectionError> {
        let mut request = Request::new(Full::new(transaction));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CANONICAL));
        headers.insert(ACCEPT, HeaderValue::from_static(CANONICAL));
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|_| ConnectionError::Body)?;
        Ok((status, body.to_bytes()))
    }
}
