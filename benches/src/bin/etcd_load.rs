//! The load of `quorate bench --rate 0` for an etcd, so that `make bench` can put both into one table.
//!
//! ```text
//! cargo run --release -p quorate-benches --bin etcd_load -- --endpoints 127.0.0.1:2379 --clients 64 --seconds 5
//! ```
//!
//! It is built as that one is: one thread, a closed loop a client, keys and values of the same shapes, the endpoints in
//! turn, times in the same histogram. What differs favours etcd: it speaks gRPC as etcd's own clients do, and not its
//! JSON gateway, which would cost another hop inside etcd. As many connections as one likes carry the clients' requests.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use clap::Parser;
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

/// Keys that the load writes to, by client.
const KEYS: u64 = 1_000;
/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 120_000_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// Client addresses of the members
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<SocketAddr>,
    /// How many clients, each with one put under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Most connections that carry them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Bytes of each value
    #[arg(long, default_value_t = 512)]
    size: usize,
    /// How long
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

struct Tally {
    latency: Histogram<u64>,
    errors: u64,
    elapsed: Duration,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let tally = match LocalSet::new().block_on(&runtime, drive(&arguments)) {
        Ok(tally) => tally,
        Err(error) => {
            eprintln!("cannot speak to etcd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ms = |q| tally.latency.value_at_quantile(q) as f64 / 1_000.0;
    let seconds = tally.elapsed.as_secs_f64().max(1e-3);
    let report = serde_json::json!({
        "committed_per_second": tally.latency.len() as f64 / seconds,
        "p50_ms": ms(0.5),
        "p99_ms": ms(0.99),
        "p999_ms": ms(0.999),
        "max_ms": tally.latency.max() as f64 / 1_000.0,
        "errors": tally.errors,
        "committed": tally.latency.len(),
        "seconds": seconds,
        "clients": arguments.clients,
        "size": arguments.size,
    });
    println!("{report}");
    match tally.latency.len() {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// Sends the load until its time is over, and waits for what is under way.
async fn drive(arguments: &Arguments) -> io::Result<Tally> {
    let mut lines = Vec::new();
    for at in 0..arguments.clients.min(arguments.connections) {
        let at = usize::try_from(at).expect("small");
        lines.push(connect(arguments.endpoints[at % arguments.endpoints.len()]).await?);
    }
    let tally = Rc::new(RefCell::new(Tally {
        latency: Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("valid bounds"),
        errors: 0,
        elapsed: Duration::ZERO,
    }));
    let start = Instant::now();
    let end = start + Duration::from_secs(arguments.seconds);
    let size = arguments.size;
    let clients = (0..arguments.clients).zip(lines.iter().cycle());
    let tasks: Vec<_> = clients
        .map(|(client, line)| {
            let (line, tally) = (line.clone(), Rc::clone(&tally));
            spawn_local(async move {
                let mut number = 0;
                while Instant::now() < end {
                    let message = put_request(client, number, size);
                    number += 1;
                    let sent = Instant::now();
                    let result = put(&line, message).await;
                    let mut tally = tally.borrow_mut();
                    match result {
                        Ok(true) => {
                            let us = u64::try_from(sent.elapsed().as_micros());
                            tally.latency.saturating_record(us.unwrap_or(u64::MAX));
                            tally.elapsed = start.elapsed();
                        }
                        Ok(false) => tally.errors += 1,
                        Err(_) => {
                            tally.errors += 1;
                            return; // the connection is gone
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task of the load panics");
    }
    let tally = Rc::try_unwrap(tally).unwrap_or_else(|_| unreachable!("all tasks have ended"));
    Ok(tally.into_inner())
}

async fn connect(endpoint: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(endpoint).await?;
    socket.set_nodelay(true)?;
    let (line, driver) = h2::client::handshake(socket)
        .await
        .map_err(io::Error::other)?;
    // It ends with an error when the peer goes; the next request reports that.
    spawn_local(async { driver.await.unwrap_or_default() });
    line.ready().await.map_err(io::Error::other)
}

/// Sends one request; tells whether etcd reports success.
async fn put(line: &SendRequest<Bytes>, message: Bytes) -> Result<bool, h2::Error> {
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://etcd/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a valid request");
    let mut line = line.clone().ready().await?;
    let (response, mut stream) = line.send_request(request, false)?;
    stream.send_data(message, true)?;
    let mut body = response.await?.into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    let trailers = body.trailers().await?;
    let status = trailers.and_then(|trailers| trailers.get("grpc-status").cloned());
    Ok(status.is_some_and(|status| status == "0"))
}

/// A gRPC message: no compression, the length, and `PutRequest { key = 1; value = 2; }` in protobuf.
fn put_request(client: u32, number: u64, size: usize) -> Bytes {
    let key = format!("bench/{client:05}/{:04}", number % KEYS);
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let value: Vec<u8> = (0..size)
        .map(|at| seed[at % 8] ^ at.to_le_bytes()[0])
        .collect();
    let mut message = BytesMut::with_capacity(size + 64);
    for (field, bytes) in [(1u8, key.as_bytes()), (2, &value)] {
        message.put_u8(field << 3 | 2); // length-delimited
        put_varint(&mut message, bytes.len());
        message.put_slice(bytes);
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a value of less than 4 GiB"));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What protoc writes for `key: "bench/00007/0001", value: 200 bytes`, in a frame of gRPC.
    #[test]
    fn a_put_is_framed_as_protobuf_and_grpc_say() {
        let frame = put_request(7, 1, 200);
        let message = [
            &[0, 0, 0, 0, 221, 0x0a, 16][..],
            b"bench/00007/0001",
            &[0x12, 0xc8, 0x01],
        ]
        .concat();
        assert_eq!(frame[..message.len()], message);
        assert_eq!(frame.len(), 5 + 221);
    }
}
