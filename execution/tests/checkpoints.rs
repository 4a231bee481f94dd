//! Checkpoints of the key-value machine: the way back, what it costs, each refusal, and a model of all of it.

mod common;

use std::collections::BTreeMap;

use common::*;
use quorate_execution::kv::checkpoint::{MAX_CHECKPOINTS, MAX_NAME_BYTES};
use quorate_execution::kv::{Checkpoint, Command, Keys, KvResult, LeafRecord, MAX_KEY_BYTES};
use quorate_execution::kv::{MAX_TXN_OPS, MAX_VALUE_BYTES, Reverted};
use quorate_execution::snapshot::{Chunk, Cutter, Installer};
use quorate_execution::{Reader, Space};
use quorate_types::{Height, Outcome, Rejection};

const BAD: Result<KvResult, Rejection> = Err(Rejection::BadCommand(0));

fn checkpoint(name: &str) -> Command {
    Command::Checkpoint { name: blob(name) }
}

fn named(checkpoint: &str, keys: &[&str]) -> Command {
    Command::Revert {
        checkpoint: blob(checkpoint),
        keys: Keys::Named(keys.iter().map(blob).collect()),
    }
}

fn between(checkpoint: &str, start: &[u8], end: Option<&[u8]>, limit: u32) -> Command {
    let keys = Keys::Range {
        start: blob(start),
        end: end.map(blob),
        limit,
    };
    let checkpoint = blob(checkpoint);
    Command::Revert { checkpoint, keys }
}

fn all(checkpoint: &str) -> Command {
    between(checkpoint, b"", None, 0)
}

fn release(name: Option<&str>, limit: u32) -> Command {
    let checkpoint = name.map(blob);
    Command::Release { checkpoint, limit }
}

fn value(chain: &mut Chain, key: &str) -> Option<String> {
    match chain.kv(get(key)) {
        Ok(KvResult::Get(record)) => record.map(|r| String::from_utf8(r.value.0).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn reverted(result: Result<KvResult, Rejection>) -> Vec<(String, u64)> {
    let Ok(KvResult::Reverted { changes, next }) = result else {
        panic!("{result:?}")
    };
    assert_eq!(next, None, "all of it");
    let pair = |change: Reverted| (String::from_utf8(change.key.0).unwrap(), change.version);
    changes.into_iter().map(pair).collect()
}

fn past(chain: &Chain) -> usize {
    chain.memory.count(Space::State, b"past/c")
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected
        .iter()
        .map(|(k, v)| ((*k).to_owned(), *v))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_encodings_are_what_they_were() {
    let commands = [
        (checkpoint("cp"), "07000000 0200000000000000 6370"),
        (
            named("cp", &["k"]),
            "08000000 0200000000000000 6370 00000000 0100000000000000 0100000000000000 6b",
        ),
        (
            between("cp", b"a", Some(b"b"), 9),
            "08000000 0200000000000000 6370 01000000 0100000000000000 61 01 0100000000000000 62 09000000",
        ),
        (
            release(Some("cp"), 5),
            "09000000 01 0200000000000000 6370 05000000",
        ),
        (release(None, 5), "09000000 00 05000000"),
        (Command::Checkpoints, "0a000000"),
    ];
    for (command, expected) in commands {
        assert_eq!(hexadecimal(&command.encode().0), expected.replace(' ', ""));
        assert_eq!(Command::decode(&command.encode().0), Ok(command));
    }
    let results = [
        (
            KvResult::Reverted {
                changes: vec![Reverted {
                    key: blob("k"),
                    version: 3,
                }],
                next: Some(blob("l")),
            },
            "08000000 0100000000000000 0100000000000000 6b 0300000000000000 01 0100000000000000 6c",
        ),
        (
            KvResult::Released {
                dropped: 2,
                more: true,
            },
            "09000000 02000000 01",
        ),
        (KvResult::Checkpoints(vec![]), "0a000000 0000000000000000"),
    ];
    for (result, expected) in results {
        assert_eq!(
            hexadecimal(&quorate_types::codec::encode(&result)),
            expected.replace(' ', "")
        );
    }
}

#[test]
fn the_records_in_the_state_are_what_they_were() {
    let mut chain = Chain::new();
    chain.kv(put("k", "1")).unwrap();
    chain.kv(checkpoint("cp")).unwrap();
    chain.kv(put("k", "2")).unwrap();
    let stored = chain
        .memory
        .scan(Space::State, b"past/", Some(b"past0"), 9)
        .unwrap();
    let shown: Vec<_> = stored
        .iter()
        .map(|(k, v)| (hexadecimal(k), hexadecimal(v)))
        .collect();
    let owner = hexadecimal(public(WRITER).as_bytes());
    let time = hexadecimal(&START.plus_nanos(2 * SECOND).0.to_le_bytes());
    let head = format!(
        "01 0100000000000000 0000000000000000 0200000000000000 6370 {owner} 0200000000000000 {time} 0200000000000000 00"
    );
    let record = "01 01 0100000000000000 31 0100000000000000 0100000000000000 0100000000000000 00";
    let bare = |text: &str| text.replace(' ', "");
    assert_eq!(
        shown,
        [
            (bare("706173742f 63 0000000000000000 6b"), bare(record)),
            (bare("706173742f 68656164"), bare(&head)),
        ]
    );
}

#[test]
fn keys_go_back_to_what_they_held() {
    let mut chain = Chain::new();
    for (key, value) in [("changed", "1"), ("deleted", "1"), ("left", "1")] {
        chain.kv(put(key, value)).unwrap();
    }
    let made = chain.kv(checkpoint("before"));
    let expected = Checkpoint {
        id: 0,
        name: blob("before"),
        owner: public(WRITER),
        height: Height(4),
        time: START.plus_nanos(4 * SECOND),
        revision: 4,
        released: false,
    };
    assert_eq!(made, Ok(KvResult::Checkpoint(expected.clone())));
    assert_eq!(past(&chain), 0, "a checkpoint copies nothing");
    for value in ["2", "3"] {
        chain.kv(put("changed", value)).unwrap();
    }
    chain.kv(delete("deleted")).unwrap();
    chain.kv(put("new", "1")).unwrap();
    assert_eq!(
        past(&chain),
        3,
        "one record a key, however often it is written"
    );
    chain.reopen();
    assert_eq!(
        reverted(chain.kv(named("before", &["new", "left", "none"]))),
        pairs(&[("new", 0)])
    );
    assert_eq!(
        value(&mut chain, "changed").as_deref(),
        Some("3"),
        "not named"
    );
    let changes = reverted(chain.kv(all("before")));
    assert_eq!(
        changes,
        pairs(&[("changed", 4), ("deleted", 1)]),
        "versions go on"
    );
    for (key, expected) in [
        ("changed", Some("1")),
        ("deleted", Some("1")),
        ("left", Some("1")),
        ("new", None),
    ] {
        assert_eq!(value(&mut chain, key).as_deref(), expected, "{key}");
    }
    let revision = chain.executor.revision();
    assert_eq!(
        reverted(chain.kv(all("before"))),
        [],
        "nothing is left to do"
    );
    assert_eq!(chain.executor.revision(), revision, "and nothing was done");
    assert_eq!(
        chain.kv(Command::Checkpoints),
        Ok(KvResult::Checkpoints(vec![expected]))
    );
}

#[test]
fn a_revert_can_be_reverted() {
    let mut chain = Chain::new();
    chain.kv(put("k", "old")).unwrap();
    chain.kv(checkpoint("a")).unwrap();
    chain.kv(put("k", "new")).unwrap();
    chain.kv(checkpoint("b")).unwrap();
    assert_eq!(reverted(chain.kv(all("a"))).len(), 1);
    assert_eq!(value(&mut chain, "k").as_deref(), Some("old"));
    assert_eq!(reverted(chain.kv(all("b"))).len(), 1);
    assert_eq!(value(&mut chain, "k").as_deref(), Some("new"));
    assert_eq!(reverted(chain.kv(all("a"))).len(), 1);
    assert_eq!(value(&mut chain, "k").as_deref(), Some("old"));
}

#[test]
fn a_lease_comes_back_with_its_value() {
    let mut chain = Chain::new();
    let lease = |lease| Command::Put {
        key: blob("k"),
        value: blob("v"),
        lease,
    };
    chain.kv(lease(Some(7))).unwrap();
    chain.kv(checkpoint("cp")).unwrap();
    chain.kv(lease(None)).unwrap();
    assert_eq!(reverted(chain.kv(all("cp"))), pairs(&[("k", 3)]));
    let Ok(KvResult::Get(Some(record))) = chain.kv(get("k")) else {
        panic!("it is there")
    };
    assert_eq!(record.lease, Some(7));
}

#[test]
fn what_stands_before_it_in_its_transaction_is_in_a_checkpoint_and_what_follows_is_not() {
    let mut chain = Chain::new();
    let commands = [
        put("k", "before"),
        checkpoint("cp"),
        put("k", "after"),
        put("new", "x"),
    ];
    let transaction = chain.next(WRITER, &commands);
    assert!(executed(&chain.one(transaction)));
    assert_eq!(reverted(chain.kv(all("cp"))).len(), 2);
    assert_eq!(value(&mut chain, "k").as_deref(), Some("before"));
    assert_eq!(value(&mut chain, "new"), None);
}

#[test]
fn a_range_goes_back_in_steps() {
    let mut chain = Chain::new();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n:02}")).collect();
    chain.kv(checkpoint("a")).unwrap();
    for (n, key) in keys.iter().enumerate() {
        if n == 50 {
            // From here on they stand with the second checkpoint, and some with both.
            chain.kv(checkpoint("b")).unwrap();
        }
        chain.kv(put(key, "x")).unwrap();
    }
    for key in keys.iter().step_by(3) {
        chain.kv(delete(key)).unwrap();
    }
    let (mut from, mut gone, mut steps) = (Vec::new(), 0, 0);
    loop {
        let result = chain.kv(between("a", &from, Some(b"k90"), 7));
        let Ok(KvResult::Reverted { changes, next }) = result else {
            panic!("{result:?}")
        };
        assert!(
            changes.iter().all(|change| change.version == 0),
            "none was there at a"
        );
        gone += changes.len();
        steps += 1;
        match next {
            Some(next) => from = next.0,
            None => break,
        }
    }
    assert_eq!(gone, 60, "two of three of the first ninety were there");
    assert!(steps >= 90 / 14, "{steps} steps");
    assert_eq!(value(&mut chain, "k89"), None);
    assert_eq!(
        value(&mut chain, "k91").as_deref(),
        Some("x"),
        "outside of the range"
    );
}

/// Who follows `next` is not sent to the end of what it asked for: from there to there is no range, and the step was refused.
#[test]
fn a_range_that_ends_with_its_limit_is_done() {
    let mut chain = Chain::new();
    chain.kv(checkpoint("cp")).unwrap();
    for key in ["a", "b", "c"] {
        chain.kv(put(key, "x")).unwrap();
    }
    for (end, expected) in [
        (b"b\0".as_slice(), None),
        (b"b\0\0".as_slice(), Some(blob("b\0"))),
        (b"c".as_slice(), Some(blob("b\0"))),
    ] {
        let result = chain.kv(between("cp", b"a", Some(end), 2));
        let Ok(KvResult::Reverted { changes, next }) = result else {
            panic!("{result:?}");
        };
        assert_eq!((changes.len(), next), (2, expected));
        for key in ["a", "b"] {
            chain.kv(put(key, "x")).unwrap();
        }
    }
    let empty = between("cp", b"b\0", Some(b"b\0"), 2);
    assert_eq!(chain.kv(empty), Err(Rejection::BadCommand(0)));
}

#[test]
fn a_released_checkpoint_is_kept_for_older_ones() {
    let mut chain = Chain::new();
    chain.kv(put("k", "0")).unwrap();
    chain.kv(put("l", "0")).unwrap();
    chain.kv(checkpoint("a")).unwrap();
    chain.kv(checkpoint("b")).unwrap();
    chain.kv(put("k", "1")).unwrap();
    let result = chain.kv(release(Some("b"), 100));
    assert_eq!(
        result,
        Ok(KvResult::Released {
            dropped: 0,
            more: false
        })
    );
    assert_eq!(past(&chain), 1, "a needs it");
    chain.kv(put("k", "2")).unwrap();
    chain.kv(put("l", "2")).unwrap();
    // The name is free again, for another checkpoint.
    chain.kv(checkpoint("b")).unwrap();
    chain.kv(put("k", "3")).unwrap();
    assert_eq!(reverted(chain.kv(all("b"))).len(), 1);
    assert_eq!(value(&mut chain, "k").as_deref(), Some("2"));
    assert_eq!(reverted(chain.kv(all("a"))).len(), 2);
    assert_eq!(value(&mut chain, "k").as_deref(), Some("0"));
    let result = chain.kv(release(Some("a"), 1));
    assert_eq!(
        result,
        Ok(KvResult::Released {
            dropped: 1,
            more: true
        })
    );
    let result = chain.kv(release(None, 100));
    let Ok(KvResult::Released { more: false, .. }) = result else {
        panic!("{result:?}")
    };
    chain.kv(put("l", "4")).unwrap();
    assert_eq!(
        reverted(chain.kv(all("b"))).len(),
        2,
        "the younger one is untouched"
    );
    let result = chain.kv(release(Some("b"), u32::MAX));
    let Ok(KvResult::Released { more: false, .. }) = result else {
        panic!("{result:?}")
    };
    assert_eq!(
        chain.memory.count(Space::State, b"past/"),
        0,
        "nothing is left behind"
    );
    let before = chain.executor.revision();
    let result = chain.kv(release(None, 5));
    assert_eq!(
        result,
        Ok(KvResult::Released {
            dropped: 0,
            more: false
        })
    );
    assert_eq!(chain.executor.revision(), before);
}

#[test]
fn writes_between_a_release_and_the_next_checkpoint_leave_nothing() {
    let mut chain = Chain::new();
    chain.kv(put("k", "0")).unwrap();
    chain.kv(checkpoint("a")).unwrap();
    chain.kv(put("l", "1")).unwrap();
    // Nothing may be dropped yet, so the checkpoint is kept; but nobody can go back to it.
    chain.kv(release(Some("a"), 0)).unwrap();
    chain.kv(put("k", "1")).unwrap();
    assert_eq!(past(&chain), 1);
    chain.kv(checkpoint("a")).unwrap();
    chain.kv(put("k", "2")).unwrap();
    assert_eq!(reverted(chain.kv(all("a"))), pairs(&[("k", 4)]));
    assert_eq!(value(&mut chain, "k").as_deref(), Some("1"));
}

#[test]
fn each_refusal_has_its_name() {
    let mut chain = Chain::new();
    chain.kv(checkpoint("a")).unwrap();
    assert_eq!(
        chain.kv(checkpoint("a")),
        Err(Rejection::CheckpointExists(0))
    );
    assert_eq!(chain.kv(all("b")), Err(Rejection::UnknownCheckpoint(0)));
    assert_eq!(
        chain.kv(named("b", &["k"])),
        Err(Rejection::UnknownCheckpoint(0))
    );
    assert_eq!(
        chain.kv(release(Some("b"), 1)),
        Err(Rejection::UnknownCheckpoint(0))
    );
    for n in 1..MAX_CHECKPOINTS {
        chain.kv(checkpoint(&format!("{n}"))).unwrap();
    }
    assert_eq!(
        chain.kv(checkpoint("more")),
        Err(Rejection::TooManyCheckpoints(0))
    );
    chain.kv(release(Some("1"), 9)).unwrap();
    assert_eq!(
        chain.kv(all("1")),
        Err(Rejection::UnknownCheckpoint(0)),
        "it was released"
    );
    assert_eq!(
        chain.kv(checkpoint("more")),
        Err(Rejection::TooManyCheckpoints(0)),
        "kept for the oldest"
    );
    chain.kv(release(Some("a"), 9)).unwrap();
    chain.kv(checkpoint("more")).unwrap();

    let longest = "n".repeat(MAX_NAME_BYTES);
    assert!(chain.kv(checkpoint(&longest)).is_ok());
    for name in [String::new(), format!("{longest}n")] {
        assert_eq!(chain.kv(checkpoint(&name)), BAD);
        assert_eq!(chain.kv(all(&name)), BAD);
        assert_eq!(chain.kv(release(Some(&name), 1)), BAD);
    }
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    assert_eq!(chain.kv(named("more", &[])), BAD);
    assert_eq!(chain.kv(named("more", &vec!["k"; MAX_TXN_OPS + 1])), BAD);
    assert!(chain.kv(named("more", &vec!["k"; MAX_TXN_OPS])).is_ok());
    assert_eq!(chain.kv(named("more", &[&long])), BAD);
    assert_eq!(chain.kv(named("more", &[""])), BAD);
    assert_eq!(chain.kv(between("more", b"b", Some(b"a"), 0)), BAD);
    let behind = vec![b'k'; MAX_KEY_BYTES + 1];
    assert!(
        chain.kv(between("more", &behind, None, 0)).is_ok(),
        "where a range goes on"
    );
    assert_eq!(
        chain.kv(between("more", &[b'k'; MAX_KEY_BYTES + 2], None, 0)),
        BAD
    );
}

#[test]
fn a_refusal_takes_the_whole_transaction_back() {
    let mut chain = Chain::new();
    let commands = [checkpoint("a"), put("k", "1"), all("b")];
    let transaction = chain.next(WRITER, &commands);
    assert_eq!(
        chain.one(transaction),
        Outcome::Rejected(Rejection::UnknownCheckpoint(2))
    );
    assert_eq!(chain.memory.count(Space::State, b"past/"), 0);
    assert_eq!(value(&mut chain, "k"), None);
    assert!(chain.kv(checkpoint("a")).is_ok());
}

#[test]
fn readers_only_look_and_only_the_owner_or_an_admin_releases() {
    let mut chain = Chain::new();
    let mut run = |client, command| {
        let transaction = chain.next(client, &[command]);
        chain.one(transaction)
    };
    let forbidden = Outcome::Rejected(Rejection::Forbidden);
    assert!(executed(&run(OTHER, checkpoint("admins"))));
    assert!(executed(&run(WRITER, checkpoint("writers"))));
    for command in [checkpoint("x"), all("admins"), release(None, 1)] {
        assert_eq!(run(READER, command), forbidden);
    }
    assert!(executed(&run(READER, Command::Checkpoints)));
    assert_eq!(run(WRITER, release(Some("admins"), 1)), forbidden);
    assert!(
        executed(&run(WRITER, all("admins"))),
        "a writer may write all of that"
    );
    assert!(
        executed(&run(OTHER, release(Some("writers"), 1))),
        "an admin may"
    );
    assert!(executed(&run(OTHER, release(Some("admins"), 1))));
}

#[test]
fn the_cost_limit_holds_for_reverts_releases_and_the_writes_under_a_checkpoint() {
    let mut chain = Chain::with(|p| p.max_transaction_cost = 38_000);
    let large = |n: u8| put([b'k', n], vec![b'x'; MAX_VALUE_BYTES]);
    for n in 0..12 {
        chain.kv(large(n)).unwrap();
        chain.kv(large(n)).unwrap();
    }
    chain.kv(checkpoint("cp")).unwrap();
    // The past record comes on top.
    assert_eq!(chain.kv(large(0)), Err(Rejection::CostExceeded));
    for n in 0..12 {
        chain.kv(delete([b'k', n])).unwrap();
    }
    chain.kv(large(0)).unwrap();
    chain.kv(delete([b'k', 0])).unwrap();
    let before = contents(&chain);
    assert_eq!(chain.kv(all("cp")), Err(Rejection::CostExceeded));
    assert_eq!(
        chain.kv(release(Some("cp"), 100)),
        Err(Rejection::CostExceeded)
    );
    assert_eq!(contents(&chain), before);
    let result = chain.kv(between("cp", b"", None, 1));
    assert!(
        matches!(result, Ok(KvResult::Reverted { next: Some(_), .. })),
        "{result:?}"
    );
    assert_eq!(contents(&chain).len(), 1);
    chain.kv(release(Some("cp"), 2)).unwrap();
}

#[test]
fn a_revert_whose_result_is_too_large_is_refused_and_goes_in_steps() {
    let mut chain = Chain::with(|p| p.max_result_bytes = 300);
    chain.kv(checkpoint("cp")).unwrap();
    for n in 0..20 {
        chain.kv(put(format!("key-{n:02}"), "x")).unwrap();
    }
    assert_eq!(chain.kv(all("cp")), Err(Rejection::ResultTooLarge));
    let result = chain.kv(between("cp", b"", None, 10));
    let Ok(KvResult::Reverted {
        changes,
        next: Some(_),
    }) = result
    else {
        panic!("{result:?}")
    };
    assert_eq!(changes.len(), 10);
}

/// What a replica knows that got its state from a peer, and nothing of the past.
#[test]
fn a_replica_that_got_its_state_by_snapshot_reverts_alike() {
    let mut chain = Chain::new();
    for n in 0..50 {
        chain.kv(put(format!("k{n}"), "1")).unwrap();
    }
    chain.kv(checkpoint("cp")).unwrap();
    for n in 0..50 {
        chain.kv(put(format!("k{n}"), "2")).unwrap();
    }
    let mut memory = Memory::default();
    let mut installer = Installer::begin();
    let mut cutter = Cutter::open(&chain.memory).expect("whole");
    while let Some((start, chunk)) = cutter.cut().expect("whole") {
        let chunk = Chunk::decode(&chunk.encode()).expect("canonical");
        chunk
            .verify(&chain.executor.roots().state, &start, None)
            .expect("one chunk");
        memory.apply(&installer.add(&memory, chunk).expect("in order"));
    }
    let tip = chain
        .memory
        .get(Space::Meta, b"execution/tip")
        .unwrap()
        .unwrap();
    let tip: quorate_execution::persist::Tip =
        quorate_types::codec::decode(&tip, usize::MAX).unwrap();
    let roots = chain.executor.roots();
    let end = installer
        .finish::<()>(tip.height, &roots, &tip.accumulator)
        .expect("whole");
    memory.apply(&end);
    let mut other = chain.restarted(memory, tip.height);
    other.time = chain.time;
    let transaction = chain.next(WRITER, &[all("cp")]);
    let (one, two) = (
        chain.batches(vec![vec![transaction.clone()]]),
        other.batches(vec![vec![transaction]]),
    );
    assert!(executed(&one.receipts[0].outcome));
    assert_eq!((one.roots, one.receipts), (two.roots, two.receipts));
}

/// Keys with their values and leases.
type Contents = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// What a checkpoint means: copies of everything.
#[derive(Clone, Default)]
struct Model {
    keys: Contents,
    open: BTreeMap<Vec<u8>, Contents>,
}

impl Model {
    fn run(&mut self, command: &Command) -> Result<(), ()> {
        match command {
            Command::Put { key, value, lease } => {
                self.keys.insert(key.0.clone(), (value.0.clone(), *lease));
            }
            Command::Delete { key } => {
                self.keys.remove(&key.0);
            }
            Command::Checkpoint { name } => {
                if self.open.contains_key(&name.0) {
                    return Err(());
                }
                self.open.insert(name.0.clone(), self.keys.clone());
            }
            Command::Revert { checkpoint, keys } => {
                let then = self.open.get(&checkpoint.0).ok_or(())?;
                let concerned = |key: &Vec<u8>| match keys {
                    Keys::Named(named) => named.iter().any(|name| name.0 == *key),
                    Keys::Range { start, end, .. } => {
                        *key >= start.0 && end.as_ref().is_none_or(|end| *key < end.0)
                    }
                };
                self.keys.retain(|key, _| !concerned(key));
                let back = then.iter().filter(|(key, _)| concerned(key));
                self.keys.extend(back.map(|(k, v)| (k.clone(), v.clone())));
            }
            Command::Release { checkpoint, .. } => {
                if let Some(name) = checkpoint {
                    self.open.remove(&name.0).ok_or(())?;
                }
            }
            _ => unreachable!("not rolled"),
        }
        Ok(())
    }
}

fn contents(chain: &Chain) -> Contents {
    let stored = chain
        .memory
        .scan(Space::State, b"kv/", Some(b"kv0"), usize::MAX)
        .unwrap();
    let open = |(key, record): (Vec<u8>, Vec<u8>)| {
        let record = LeafRecord::decode(&record).unwrap();
        (key[3..].to_vec(), (record.value.0, record.lease))
    };
    stored.into_iter().map(open).collect()
}

/// Takes everything back in steps, on a copy of the chain, and holds it against the model's copy.
fn steps_lead_there(chain: &Chain, model: &Model, dice: &mut Dice) {
    for (name, then) in &model.open {
        let mut copy = chain.restarted(chain.memory.clone(), chain.executor.height());
        let name = std::str::from_utf8(name).unwrap();
        let (limit, mut from) = (1 + u32::try_from(dice.roll(5)).unwrap(), Vec::new());
        loop {
            match copy.kv(between(name, &from, None, limit)) {
                Ok(KvResult::Reverted {
                    next: Some(next), ..
                }) => from = next.0,
                Ok(KvResult::Reverted { next: None, .. }) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(contents(&copy), *then);
    }
}

#[test]
fn checkpoints_do_what_copies_of_everything_would() {
    let (mut refused, mut full) = (0, 0);
    for seed in 0..12 {
        let mut dice = Dice(77 + seed);
        let (mut chain, mut model) = (Chain::new(), Model::default());
        for step in 0..150 {
            let commands: Vec<_> = (0..1 + dice.roll(4))
                .map(|_| write_or_checkpoint(&mut dice))
                .collect();
            let transaction = chain.next(WRITER, &commands);
            let mut after = model.clone();
            let expected = commands.iter().try_for_each(|command| after.run(command));
            match (chain.one(transaction), expected) {
                (Outcome::Executed { .. }, Ok(())) => model = after,
                (Outcome::Rejected(Rejection::TooManyCheckpoints(_)), _) => full += 1,
                (Outcome::Rejected(_), Err(())) => refused += 1,
                other => panic!("seed {seed} step {step}: {other:?} {commands:?}"),
            }
            assert_eq!(
                contents(&chain),
                model.keys,
                "seed {seed} step {step}: {commands:?}"
            );
            if dice.roll(16) == 0 {
                chain.reopen();
                steps_lead_there(&chain, &model, &mut dice);
            }
        }
        for name in model.open.keys() {
            chain
                .kv(release(Some(std::str::from_utf8(name).unwrap()), 0))
                .unwrap();
        }
        while chain.kv(release(None, 7)).unwrap()
            != (KvResult::Released {
                dropped: 0,
                more: false,
            })
        {}
        assert_eq!(
            chain.memory.count(Space::State, b"past/"),
            0,
            "nothing is left behind"
        );
    }
    assert!(refused > 20, "refusals were met: {refused}");
    assert!(full < 400, "{full}");
}
