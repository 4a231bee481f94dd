//! HTTP/1.1, as little as the scenarios need, on blocking sockets.
//!
//! Its own and not the SDK's, so that a mistake which the node and the SDK share is seen here.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// Whole.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first header of that name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The `code` of a problem, empty if there is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection, kept open between requests.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects; every later read and write is bounded by `timeout` too.
    ///
    /// # Errors
    /// Those of the sockets.
    pub fn open(to: SocketAddr, timeout: Duration) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&to, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// Those of the sockets, and `InvalidData` for what is no HTTP.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> io::Result<Response> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: quorate\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.0.get_mut().write_all(&request)?;
        self.receive()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn receive(&mut self) -> io::Result<Response> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let status = self.line()?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut response = Response {
            status: code.ok_or_else(invalid)?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(invalid)?;
            let pair = (name.to_ascii_lowercase(), value.trim().to_owned());
            response.headers.push(pair);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| invalid())?;
                let mut chunk = vec![0; size];
                self.0.read_exact(&mut chunk)?;
                response.body.append(&mut chunk);
                self.line()?;
                if size == 0 {
                    return Ok(response);
                }
            }
        }
        let length = response.header("content-length");
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        response.body.resize(length, 0);
        self.0.read_exact(&mut response.body)?;
        Ok(response)
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// As [`Connection::send`].
pub fn get(to: SocketAddr, path: &str, timeout: Duration) -> io::Result<Response> {
    Connection::open(to, timeout)?.send("GET", path, "text/plain", &[])
}
