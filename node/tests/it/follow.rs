//! `log tail` and `kv watch`, the real binary against several validators.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use quorate_client::Profile;
use quorate_execution::kv::{self, KvResult};
use quorate_types::{Blob, Height, Outcome, Rejection, Transaction, codec};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::mock::{Mock, chain, receipt, serve, transaction_of};

/// A verb that goes on until it has shown as much as it was told to.
struct Followed {
    child: Child,
    lines: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Followed {
    fn start(endpoints: &[SocketAddr], arguments: &[&str]) -> Followed {
        let profile = Profile {
            endpoints: endpoints.iter().map(|a| format!("http://{a}")).collect(),
            chain: chain(),
            genesis: None,
            keys: None,
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("client.toml");
        std::fs::write(&path, profile.to_toml()).expect("writable");
        let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["--output", "json", "--profile"])
            .arg(path)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Followed {
            child,
            lines,
            _directory: directory,
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn height(&mut self) -> u64 {
        self.line()["height"].as_u64().expect("a height")
    }

    /// It says nothing more, and ends well.
    fn ends(mut self) {
        let mut rest = String::new();
        self.lines.read_line(&mut rest).expect("readable");
        assert_eq!(rest, "");
        assert!(self.child.wait().expect("a child").success());
    }
}

#[test]
fn a_tail_goes_on_with_another_validator_at_the_height_that_it_has_reached() {
    let runtime = Runtime::new().expect("threads");
    let (first, second) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
    let endpoints = [
        runtime.block_on(serve(Arc::clone(&first))),
        runtime.block_on(serve(Arc::clone(&second))),
    ];
    let arguments = ["log", "tail", "--from", "5", "--count", "10"];
    let mut tail = Followed::start(&endpoints, &arguments);
    assert_eq!([tail.height(), tail.height(), tail.height()], [5, 6, 7]);
    // One goes away; the other is not as far yet, and gets there.
    first.ledger.stop();
    second.ledger.commit(12);
    assert_eq!((8..=12).map(|_| tail.height()).sum::<u64>(), 50);
    second.ledger.commit(14);
    assert_eq!([tail.height(), tail.height()], [13, 14]);
    tail.ends();
}

#[test]
fn a_tail_without_a_start_shows_what_is_committed_from_now_on() {
    let runtime = Runtime::new().expect("threads");
    let mock = Arc::new(Mock::default());
    let endpoints = [runtime.block_on(serve(Arc::clone(&mock)))];
    let mut tail = Followed::start(&endpoints, &["log", "tail", "--count", "2"]);
    while mock.ledger.opened() == 0 {
        std::thread::yield_now();
    }
    mock.ledger.commit(9);
    assert_eq!([tail.height(), tail.height()], [8, 9]);
    tail.ends();
}

fn put(sequence: u64, key: &str) -> Transaction {
    let command = kv::Command::Put {
        key: Blob(key.as_bytes().to_vec()),
        value: Blob(b"v".to_vec()),
        lease: None,
    };
    transaction_of(sequence, command.encode())
}

/// Orders a transaction at a height; all mocks know its receipt there, and take the first one for its outcome.
fn order(mocks: &[&Mock], height: u64, transaction: &Transaction, outcome: Outcome) {
    let mut receipt = receipt(transaction, outcome);
    receipt.height = Height(height);
    for mock in mocks {
        let mut contents = mock.ledger.contents.lock().expect("unpoisoned");
        let block = contents.entry(height).or_default();
        receipt.index = u32::try_from(block.len()).expect("a few");
        block.push(transaction.clone());
        let mut executed = mock.executed.lock().expect("unpoisoned");
        let first = executed.entry(transaction.id()).or_insert(receipt.clone());
        let mut here = receipt.clone();
        if let Outcome::Executed { .. } = first.outcome
            && *first != receipt
        {
            here.outcome = Outcome::Duplicate {
                height: first.height,
                index: first.index,
            };
        }
        let mut receipts = mock.ledger.receipts.lock().expect("unpoisoned");
        receipts.insert((height, receipt.index), here);
    }
}

#[test]
fn a_watch_shows_every_change_once_whichever_validators_it_comes_from() {
    let runtime = Runtime::new().expect("threads");
    let (first, second) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
    let done = |version| Outcome::Executed {
        revision: version,
        results: vec![Blob(codec::encode(&KvResult::Put { version }))],
    };
    let both: [&Mock; 2] = [&first, &second];
    order(&both, 6, &put(1, "green"), done(1));
    order(&both, 7, &put(2, "blue"), done(2));
    let refused = Outcome::Rejected(Rejection::Forbidden);
    order(&both, 8, &put(3, "greek"), refused);
    // Ordered a second time, and executed where it was first.
    order(&both, 9, &put(1, "green"), done(1));
    order(&both, 9, &put(4, "greet"), done(3));
    // Twice in one block: it was shown twice.
    order(&both, 9, &put(4, "greet"), done(3));
    order(&both, 9, &put(5, "greet"), done(4));
    let endpoints = [
        runtime.block_on(serve(Arc::clone(&first))),
        runtime.block_on(serve(Arc::clone(&second))),
    ];
    let arguments = ["kv", "watch", "gre", "--from", "5", "--count", "3"];
    let mut watch = Followed::start(&endpoints, &arguments);
    let change = watch.line();
    assert_eq!(
        (&change["height"], &change["version"]),
        (&6.into(), &1.into())
    );
    first.ledger.stop();
    second.ledger.commit(9);
    let change = watch.line();
    assert_eq!(
        (&change["height"], &change["version"]),
        (&9.into(), &3.into())
    );
    assert_eq!(watch.line()["version"], 4);
    watch.ends();
}

/// A validator that is behind, or has the first place of all, tells of the block that was full: the change was left out.
#[test]
fn a_change_that_found_its_block_full_before_is_shown_where_it_was_made() {
    let runtime = Runtime::new().expect("threads");
    let mock = Arc::new(Mock::default());
    let done = |version| Outcome::Executed {
        revision: version,
        results: vec![Blob(codec::encode(&KvResult::Put { version }))],
    };
    let full = || Outcome::Rejected(Rejection::BlockFull);
    order(&[&mock], 5, &put(1, "green"), full());
    order(&[&mock], 6, &put(1, "green"), full());
    order(&[&mock], 7, &put(1, "green"), done(1));
    order(&[&mock], 7, &put(2, "greet"), done(2));
    let endpoints = [runtime.block_on(serve(Arc::clone(&mock)))];
    let arguments = ["kv", "watch", "gre", "--from", "5", "--count", "2"];
    let mut watch = Followed::start(&endpoints, &arguments);
    let change = watch.line();
    assert_eq!(
        (&change["height"], &change["version"]),
        (&7.into(), &1.into())
    );
    assert_eq!(watch.line()["version"], 2);
    watch.ends();
}
