//! One transaction, followed across all validators by a collector of OpenTelemetry traces.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use quorate_scenarios::cluster::{Cluster, Options, START};
use quorate_scenarios::wait::eventually;
use serde_json::Value;

/// A span, and whose it is.
#[derive(Clone, Debug)]
struct Seen {
    validator: String,
    span: Value,
}

impl Seen {
    fn text(&self, field: &str) -> &str {
        self.span[field].as_str().unwrap_or_default()
    }

    fn time(&self, field: &str) -> u64 {
        self.text(field).parse().expect("nanoseconds, as a string")
    }
}

/// Takes what is sent to it, for as long as the test runs.
fn collect(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || serve(stream.expect("a connection"), &seen));
        }
    });
}

/// Requests of one connection, each with a length, as HTTP has them.
fn serve(stream: TcpStream, seen: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut writer = stream;
    loop {
        let (mut length, mut path) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            } else if line.starts_with("post ") {
                path = line;
            }
        }
        assert_eq!(path, "post /v1/traces http/1.1");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body");
        take(&serde_json::from_slice(&body).expect("JSON"), seen);
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        // A validator that is killed does not read it.
        let _ = writer.write_all(answer.as_bytes());
    }
}

fn take(document: &Value, seen: &Mutex<Vec<Seen>>) {
    for resource in document["resourceSpans"].as_array().expect("a list") {
        let attributes = resource["resource"]["attributes"].as_array();
        let attribute = |key: &str| {
            let mut all = attributes.expect("a list").iter();
            let found = all.find(|attribute| attribute["key"] == key);
            let value = found.map(|attribute| &attribute["value"]["stringValue"]);
            value
                .and_then(Value::as_str)
                .expect("it is there")
                .to_owned()
        };
        assert_eq!(attribute("service.name"), "quorate");
        for scope in resource["scopeSpans"].as_array().expect("a list") {
            let spans = scope["spans"].as_array().expect("a list");
            seen.lock()
                .expect("unpoisoned")
                .extend(spans.iter().map(|span| Seen {
                    validator: attribute("service.instance.id"),
                    span: span.clone(),
                }));
        }
    }
}

#[test]
fn a_transaction_is_followed_from_its_submission_to_every_disk() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    collect(listener, Arc::clone(&seen));
    let cluster = Cluster::started(Options {
        environment: vec![
            (String::from("QUORATE_TRACE__ENDPOINT"), endpoint),
            (String::from("QUORATE_TRACE__ONE_IN"), String::from("1")),
        ],
        ..Options::default()
    });
    // Whoever is so slow that it fetches a block has seen no proposal of it: several, of which one is enough.
    let ids: Vec<String> = (0..5)
        .map(|key| {
            let key = key.to_string();
            let run = cluster.cli(&["kv", "put", &key, "b", "--output", "json"]);
            let put = run.expect(0, "a put").json();
            put["transaction"].as_str().expect("an id").to_owned()
        })
        .collect();
    let all = eventually(START, "a whole trace is collected", || {
        let seen = seen.lock().expect("unpoisoned").clone();
        let of_trace = |id: &String| -> Vec<Seen> {
            let spans = seen
                .iter()
                .filter(|seen| id.starts_with(seen.text("traceId")));
            spans.cloned().collect()
        };
        ids.iter().map(of_trace).find(|spans| spans.len() >= 10)
    });
    let of = |name: &str| -> Vec<&Seen> {
        let found = all.iter().filter(|seen| seen.text("name") == name);
        found.collect()
    };
    let names: BTreeSet<&str> = all.iter().map(|seen| seen.text("spanId")).collect();
    assert_eq!((all.len(), names.len()), (10, 10), "{all:#?}");
    let submit = of("quorate.submit")[0];
    assert_eq!(submit.text("parentSpanId"), "");
    let queue = of("quorate.queue")[0];
    assert_eq!(queue.validator, submit.validator);
    for name in ["quorate.order", "quorate.execute"] {
        let validators: BTreeSet<&str> = of(name).iter().map(|s| s.validator.as_str()).collect();
        assert_eq!(validators.len(), 4, "{name}");
    }
    for span in all
        .iter()
        .filter(|span| span.text("name") != "quorate.submit")
    {
        assert_eq!(span.text("parentSpanId"), submit.text("spanId"));
        assert!(span.time("startTimeUnixNano") <= span.time("endTimeUnixNano"));
    }
    // All processes have one clock: what follows from something else does not come before it.
    let start = submit.time("startTimeUnixNano");
    assert!(
        all.iter()
            .all(|span| span.time("startTimeUnixNano") >= start)
    );
    let own = |name: &str| {
        of(name)
            .into_iter()
            .find(|s| s.validator == submit.validator)
    };
    let (order, execute) = (own("quorate.order"), own("quorate.execute"));
    let (order, execute) = (order.expect("own"), execute.expect("own"));
    assert_eq!(
        queue.time("endTimeUnixNano"),
        order.time("startTimeUnixNano")
    );
    assert_eq!(
        order.time("endTimeUnixNano"),
        execute.time("startTimeUnixNano")
    );
    assert!(execute.time("endTimeUnixNano") <= submit.time("endTimeUnixNano"));
    // Somebody proposed it, the others received that, and a quorum voted.
    let events = of("quorate.order");
    let events = events
        .iter()
        .flat_map(|s| s.span["events"].as_array().cloned());
    let events: Vec<Value> = events
        .flatten()
        .map(|event| event["name"].clone())
        .collect();
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert_eq!(
        (count("proposed"), count("proposal here")),
        (1, 3),
        "{events:?}"
    );
    assert!(
        count("voted") >= 3 && count("voted to commit") >= 3,
        "{events:?}"
    );
}
