//! Scenarios about what clients and operators get wrong, and about sending the same thing twice.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use quorate_crypto::SecretKey;
use quorate_types::{Blob, BlockTime, ChainId, Transaction, codec};

use crate::cluster::{Cluster, Options, Run, START, quorate};
use crate::http::Response;
use crate::load::{Writer, check_all_there, in_seconds, is_executed, put_command};
use crate::wait::eventually;

/// The same signed bytes to all validators at once, from as many threads as copies.
pub fn same_transaction(copies: usize) -> Vec<String> {
    let cluster = Cluster::four();
    let mut writer = Writer::new(&cluster, 1);
    let body = writer.body(vec![put_command("same", b"once")]);
    let transaction = writer.sign(body);
    let bytes = codec::encode(&transaction);
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let send = |copy: usize| {
            let (cluster, bytes) = (&cluster, &bytes);
            scope.spawn(move || {
                let mut sender = Writer::new(cluster, 1);
                sender.only(vec![cluster.api(copy % cluster.size())]);
                eventually(START, "an answer to every copy", || {
                    sender.send_once(bytes, "executed").filter(is_executed)
                })
            })
        };
        let senders: Vec<_> = (0..copies).map(send).collect();
        let join = senders.into_iter().map(|sender| sender.join());
        join.map(|answer| answer.expect("an answer")).collect()
    });
    let first = answers[0].json()["receipt"].clone();
    assert_eq!(first["outcome"], "executed");
    for answer in &answers {
        assert_eq!(answer.json()["receipt"], first, "equal receipts");
    }
    cluster.agree(START);
    let path = format!("/v1/transactions/{}", transaction.id());
    for i in 0..cluster.size() {
        let answer = cluster.ask(i, &path).expect("it answers").json();
        assert_eq!(answer["receipt"], first, "the receipt that everybody keeps");
        let key = cluster.ask(i, "/v1/kv/same?consistency=local");
        let version = key.expect("it answers").json()["version"].clone();
        assert_eq!(version, 1, "put once");
    }
    vec![format!("{} equal receipts", answers.len())]
}

/// Each kind of bad transaction, and what becomes of it: a refusal at the door, or a receipt that says why.
pub fn bad_transactions(rounds: usize) -> Vec<String> {
    let cluster = Cluster::four();
    let mut writer = Writer::new(&cluster, 1);
    let mut findings = Vec::new();
    for round in 0..rounds {
        let good = format!("bad-transactions/{round}");
        assert!(writer.put(&good, good.as_bytes(), Instant::now() + START));
        for (kind, expected, bytes) in bad(&mut writer, round) {
            let mut sender = Writer::new(&cluster, 2);
            sender.only(vec![cluster.api(round % cluster.size())]);
            let answer = sender.send_once(&bytes, "executed");
            let answer = answer.unwrap_or_else(|| panic!("no answer to: {kind}"));
            let status = answer.status;
            let reply = answer.json();
            let reason = reply["receipt"]["reason"].as_str();
            let found = reason.map_or_else(|| answer.code(), ToOwned::to_owned);
            assert!(
                !is_executed(&answer),
                "{kind} was executed: {}",
                answer.text()
            );
            let known = expected.iter().any(|word| found.contains(word));
            assert!(known, "{kind}: {status} {}", answer.text());
            if round == 0 {
                findings.push(format!("{kind}: {status} {found}"));
            }
        }
        cluster.agree(START);
        check_all_there(&cluster, &[good]);
        let log = (0..cluster.size())
            .map(|i| cluster.log(i))
            .collect::<String>();
        assert!(!log.contains("panicked"), "nothing crashes");
    }
    findings
}

type Bad = (&'static str, &'static [&'static str], Vec<u8>);

/// Kind, codes or parts of a receipt's reason of which one must come back, and the bytes.
fn bad(writer: &mut Writer, round: usize) -> Vec<Bad> {
    let command = || vec![put_command("bad", b"never")];
    let mut all: Vec<Bad> = Vec::new();
    let mut add = |kind, expected, transaction: &Transaction| {
        all.push((kind, expected, codec::encode(transaction)));
    };

    let body = writer.body(command());
    let mut forged = writer.sign(body.clone());
    let mut other = body.clone();
    other.commands = vec![put_command("bad", b"forged")];
    forged.body = other;
    add("forged signature", &["bad_signature"], &forged);

    let mut wrong = body.clone();
    wrong.chain = ChainId::default();
    add("wrong chain", &["wrong_chain"], &writer.sign(wrong));

    let mut wrong = body.clone();
    wrong.version = 99;
    add("unknown version", &["wrong_version"], &writer.sign(wrong));

    let mut wrong = body.clone();
    wrong.valid_until = in_seconds(-10);
    add("expired", &["expired", "valid_until"], &writer.sign(wrong));

    let mut wrong = body.clone();
    wrong.valid_until = BlockTime(u64::MAX);
    add(
        "valid for ever",
        &["too_far_ahead", "too far ahead"],
        &writer.sign(wrong),
    );

    let mut wrong = body.clone();
    wrong.sequence -= 1; // that of the put before
    add(
        "number used by another",
        &["sequence_reused", "used by another"],
        &writer.sign(wrong),
    );

    let mut wrong = body.clone();
    wrong.commands = vec![put_command("bad", &vec![0; 300 * 1024])];
    add("oversize", &["too_large"], &writer.sign(wrong));

    let mut wrong = body.clone();
    wrong.commands = Vec::new();
    add("no command", &["malformed"], &writer.sign(wrong));

    let mut wrong = body.clone();
    wrong.commands = vec![Blob(vec![0; 4]); 501];
    add("too many commands", &["too_large"], &writer.sign(wrong));

    let stranger = SecretKey::from_seed(&[7; 32]);
    let mut wrong = body.clone();
    wrong.client = stranger.public();
    add(
        "unknown client",
        &["unknown_client", "no registered client"],
        &wrong.sign(&stranger),
    );

    let mut wrong = writer.body(vec![Blob(vec![0xff; 9])]);
    wrong.valid_until = in_seconds(500);
    add(
        "no command of the machine",
        &["bad_command", "not one of"],
        &writer.sign(wrong),
    );

    all.push(("empty body", &["malformed"], Vec::new()));
    all.push(("garbage", &["malformed"], vec![0xaa; 500]));
    let mut trailing = codec::encode(&writer.sign(body));
    trailing.push(0);
    all.push(("trailing byte", &["malformed"], trailing));

    // The next round's good put, 10,000 numbers on, moves the window over number 2, which was never executed.
    if round > 0 {
        let mut wrong = writer.body(command());
        wrong.sequence = 2;
        wrong.commands = vec![put_command("bad", b"too old")];
        all.push((
            "below the window",
            &["too_old", "below"],
            codec::encode(&writer.sign(wrong)),
        ));
    } else {
        writer.skip(10_000);
    }
    all
}

/// No quorum, so that nothing is committed; then the quorum returns. What may be pending is made as small as can be.
pub fn full_queue(rounds: usize) -> Vec<String> {
    const PENDING_BYTES: usize = 1 << 20;
    const VALUE_BYTES: usize = 60_000;
    let most = 2 * PENDING_BYTES / VALUE_BYTES;
    let name = "QUORATE_MEMPOOL__MAX_BYTES".into();
    let setting = (name, PENDING_BYTES.to_string());
    let mut cluster = Cluster::started(Options {
        environment: vec![setting],
        ..Options::default()
    });
    let mut writers: Vec<_> = (1..9).map(|i| Writer::new(&cluster, i)).collect();
    writers
        .iter_mut()
        .for_each(|writer| writer.only(vec![cluster.api(0)]));
    let mut findings = Vec::new();
    for round in 0..rounds {
        (2..4).for_each(|i| cluster.kill(i));
        let mut accepted = Vec::new();
        let mut refused = None;
        for number in 0..most {
            let writer = number % writers.len();
            let key = format!("full/{round}/{number}");
            let body = writers[writer].body(vec![put_command(&key, &[7; VALUE_BYTES])]);
            let bytes = codec::encode(&writers[writer].sign(body));
            let answer = writers[writer]
                .send_once(&bytes, "none")
                .expect("an answer");
            match answer.status {
                200..=299 => accepted.push(key),
                429 => {
                    refused = Some(answer);
                    break;
                }
                status => panic!("{status} {}", answer.text()),
            }
        }
        let refused = refused.expect("the queue is full in the end");
        assert_eq!(refused.code(), "full");
        let retry = refused.header("retry-after").expect("429 names a time");
        assert!(
            retry.parse::<u32>().is_ok_and(|seconds| seconds > 0),
            "{retry}"
        );
        (2..4).for_each(|i| cluster.start(i));
        cluster.wait_all_ready(START);
        eventually(START, "everything accepted is executed", || {
            let last = accepted.last()?.replace('/', "%2F");
            let answer = cluster.ask(0, &format!("/v1/kv/{last}?consistency=local"))?;
            answer.json()["value"].is_string().then_some(())
        });
        cluster.put("full", "room again");
        cluster.agree(START);
        check_all_there(&cluster, &accepted);
        findings.push(format!(
            "{} accepted, then 429, Retry-After {retry}",
            accepted.len()
        ));
    }
    findings
}

/// Homes and machines that a validator must refuse to start with. The cluster around it serves all the time.
pub fn bad_homes(rounds: usize) -> Vec<String> {
    let mut findings = Vec::new();
    for _ in 0..rounds {
        let mut cluster = Cluster::four();
        let other = Cluster::new(Options::default());
        cluster.put("bad-homes", "before");
        cluster.agree(START);
        assert!(cluster.stop(3).success());
        let case = |name: &str| Home::copy(&cluster, name);

        let home = case("unknown-key");
        let config = home.0.join("config.toml");
        let mut text = fs::read_to_string(&config).expect("testnet wrote it");
        text.push_str("\n[surprise]\nkey = 1\n");
        fs::write(&config, text).expect("writable");
        findings.push(refused(&home.0, "unknown config key", &[3], "surprise"));

        let home = case("wide-key");
        let key = home.0.join("keys/consensus.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
        findings.push(refused(&home.0, "wide key mode", &[3], "0644"));

        let home = case("wrong-genesis");
        let genesis = other.path().join("genesis.json");
        fs::copy(&genesis, home.0.join("genesis.json")).expect("writable");
        findings.push(refused(&home.0, "wrong genesis", &[3], "genesis"));

        let home = case("broken-genesis");
        fs::write(home.0.join("genesis.json"), "{").expect("writable");
        findings.push(refused(&home.0, "broken genesis", &[3], "genesis"));

        let home = Home::copy(&other, "another-chain");
        for part in ["data", "safety"] {
            let _ = fs::remove_dir_all(home.0.join(part));
            copy(&cluster.home(3).join(part), &home.0.join(part));
        }
        findings.push(refused(
            &home.0,
            "another chain's data",
            &[3, 7, 8],
            "chain",
        ));

        let home = case("port-taken");
        let port = cluster.api(3).port() - 1;
        let held = UdpSocket::bind(("127.0.0.1", port)).expect("validator 3 is stopped");
        findings.push(refused(&home.0, "port taken", &[1, 3], &port.to_string()));
        drop(held);

        findings.push(refused(
            cluster.home(0),
            "home locked",
            &[7],
            "in use by another process",
        ));

        cluster.put("bad-homes", "after");
        cluster.start(3);
        cluster.wait_ready(3, START);
        cluster.agree(START);
    }
    findings
}

/// A copy of the last validator's home.
struct Home(PathBuf);

impl Home {
    fn copy(cluster: &Cluster, name: &str) -> Home {
        let home = cluster.path().join(name);
        copy(cluster.home(cluster.size() - 1), &home);
        let _ = fs::remove_file(home.join("LOCK"));
        Home(home)
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(
        status.expect("cp").success(),
        "a copy of {}",
        from.display()
    );
}

fn refused(home: &Path, kind: &str, statuses: &[i32], word: &str) -> String {
    let home = home.display().to_string();
    let run: Run = quorate(&["start", "--home", &home]);
    let status = run.status.unwrap_or(-1);
    assert!(
        statuses.contains(&status),
        "{kind}: status {status}\n{}",
        run.stderr
    );
    assert!(
        run.stderr.to_lowercase().contains(&word.to_lowercase()),
        "{kind}: {}",
        run.stderr
    );
    let mut lines = run.stderr.lines();
    let line = lines.find_map(|line| line.strip_prefix("quorate: "));
    let line = line.unwrap_or("no line of its own");
    format!("{kind}: status {status}, {line}")
}
