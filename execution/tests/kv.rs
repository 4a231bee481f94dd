//! The key-value machine: each command, its bounds, and a model of all of it.

mod common;

use std::collections::BTreeMap;

use common::*;
use quorate_execution::kv::{Check, Command, Compare, KvResult, LeafRecord, MAX_KEY_BYTES};
use quorate_execution::kv::{MAX_TXN_OPS, MAX_VALUE_BYTES, Op, OpResult, Relation, state_key};
use quorate_execution::{Reader, Space};
use quorate_types::{Blob, Outcome, Rejection};

const BAD: Result<KvResult, Rejection> = Err(Rejection::BadCommand(0));

fn range(start: &str, end: Option<&str>, limit: u32) -> Command {
    Command::Range {
        start: blob(start),
        end: end.map(blob),
        limit,
        keys_only: false,
    }
}

fn keys(result: Result<KvResult, Rejection>) -> (Vec<String>, bool) {
    let Ok(KvResult::Range { entries, more }) = result else {
        panic!("{result:?}")
    };
    let name = |key: Blob| String::from_utf8(key.0).unwrap();
    (entries.into_iter().map(|e| name(e.key)).collect(), more)
}

fn record(result: Result<KvResult, Rejection>) -> Option<LeafRecord> {
    match result {
        Ok(KvResult::Get(record)) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_encoding_of_a_command_is_the_documented_one() {
    let bytes: String = put("k", "v")
        .encode()
        .0
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let documented = "00000000 0100000000000000 6b 0100000000000000 76 00".replace(' ', "");
    assert_eq!(bytes, documented);
    assert_eq!(
        Command::decode(&put("k", "v").encode().0),
        Ok(put("k", "v"))
    );
}

#[test]
fn a_key_lives_through_its_revisions() {
    let mut chain = Chain::new();
    assert_eq!(record(chain.kv(get("a"))), None);
    assert_eq!(chain.kv(put("a", "1")), Ok(KvResult::Put { version: 1 }));
    chain.kv(put("b", "x")).unwrap();
    let lease = Some(9);
    let (key, value) = (blob("a"), blob("2"));
    let again = chain.kv(Command::Put { key, value, lease });
    assert_eq!(again, Ok(KvResult::Put { version: 2 }));
    let expected = LeafRecord {
        value: blob("2"),
        create_revision: 1,
        modify_revision: 3,
        version: 2,
        lease,
    };
    assert_eq!(record(chain.kv(get("a"))), Some(expected.clone()));
    let stored = chain
        .memory
        .get(Space::State, &state_key(b"a"))
        .unwrap()
        .unwrap();
    assert_eq!(LeafRecord::decode(&stored), Ok(expected));
    assert_eq!(
        chain.kv(delete("a")),
        Ok(KvResult::Delete { existed: true })
    );
    assert_eq!(
        chain.kv(delete("a")),
        Ok(KvResult::Delete { existed: false })
    );
    assert_eq!(
        chain.executor.revision(),
        4,
        "what changes nothing has no revision"
    );
    chain.kv(put("a", "3")).unwrap();
    let reborn = record(chain.kv(get("a"))).unwrap();
    assert_eq!((reborn.create_revision, reborn.version), (5, 1));
}

#[test]
fn a_record_of_another_version_does_not_decode() {
    let mut bytes = LeafRecord {
        value: blob("v"),
        create_revision: 1,
        modify_revision: 1,
        version: 1,
        lease: None,
    }
    .encode();
    bytes[0] += 1;
    assert!(LeafRecord::decode(&bytes).is_err());
    assert!(LeafRecord::decode(&[]).is_err());
}

#[test]
fn bounds_of_keys_and_values_are_exact() {
    let mut chain = Chain::new();
    let (longest, value) = (vec![b'k'; MAX_KEY_BYTES], vec![b'v'; MAX_VALUE_BYTES]);
    assert!(chain.kv(put(&longest, &value)).is_ok());
    assert!(
        record(chain.kv(get(&longest))).is_some(),
        "what fits can be read"
    );
    assert_eq!(keys(chain.kv(range("", None, 1))).0.len(), 1);
    let too_long = vec![b'k'; MAX_KEY_BYTES + 1];
    assert_eq!(chain.kv(put(&too_long, "")), BAD);
    assert_eq!(chain.kv(put("", "v")), BAD);
    assert_eq!(chain.kv(put("k", vec![0; MAX_VALUE_BYTES + 1])), BAD);
    assert_eq!(chain.kv(get("")), BAD);
    assert_eq!(chain.kv(delete(&too_long)), BAD);
    let cas = |key: &[u8], expect: usize, value: usize| Command::CompareAndSet {
        key: blob(key),
        expect: Some(blob(vec![0; expect])),
        value: Some(blob(vec![0; value])),
    };
    assert_eq!(chain.kv(cas(b"", 0, 0)), BAD);
    assert_eq!(chain.kv(cas(b"k", MAX_VALUE_BYTES + 1, 0)), BAD);
    assert_eq!(chain.kv(cas(b"k", 0, MAX_VALUE_BYTES + 1)), BAD);
    assert_eq!(chain.kv(range("b", Some("a"), 0)), BAD);
    assert_eq!(chain.kv(range("b", Some("b"), 0)), BAD);
    let txn = |compare: usize, then: usize, otherwise: usize| {
        let op = Op::Get { key: blob("k") };
        let compare_one = Compare {
            key: blob("k"),
            check: Check::Exists(true),
        };
        Command::Txn {
            compare: vec![compare_one; compare],
            then: vec![op.clone(); then],
            otherwise: vec![op; otherwise],
        }
    };
    let most = MAX_TXN_OPS;
    assert!(chain.kv(txn(most, most, most)).is_ok());
    assert_eq!(chain.kv(txn(most + 1, 0, 0)), BAD);
    assert_eq!(chain.kv(txn(0, most + 1, 0)), BAD);
    assert_eq!(chain.kv(txn(0, 0, most + 1)), BAD);
    let bad_op = Op::Get { key: blob("") };
    let bad = Command::Txn {
        compare: Vec::new(),
        then: Vec::new(),
        otherwise: vec![bad_op],
    };
    assert_eq!(chain.kv(bad), BAD, "also in the branch not taken");
}

#[test]
fn compare_and_set_swaps_only_what_was_expected() {
    let mut chain = Chain::new();
    let mut cas = |expect: Option<&str>, value: Option<&str>| {
        let (expect, value) = (expect.map(blob), value.map(blob));
        let key = blob("k");
        match chain.kv(Command::CompareAndSet { key, expect, value }) {
            Ok(KvResult::CompareAndSet { swapped, version }) => (swapped, version),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cas(Some("1"), Some("2")), (false, 0));
    assert_eq!(cas(None, None), (true, 0));
    assert_eq!(cas(None, Some("1")), (true, 1));
    assert_eq!(cas(None, Some("2")), (false, 1));
    assert_eq!(cas(Some("x"), Some("2")), (false, 1));
    assert_eq!(cas(Some("1"), Some("2")), (true, 2));
    assert_eq!(cas(Some("1"), None), (false, 2));
    assert_eq!(cas(Some("2"), None), (true, 0));
    assert_eq!(cas(None, Some("")), (true, 1));
    assert_eq!(cas(Some(""), None), (true, 0), "empty is a value");
}

#[test]
fn ranges_stop_at_their_ends_limits_and_namespace() {
    let mut chain = Chain::new();
    let names: Vec<String> = (0..100).map(|i| format!("k{i:02}")).collect();
    for some in names.chunks(7) {
        let commands: Vec<Command> = some.iter().map(|name| put(name, "v")).collect();
        let transaction = chain.next(WRITER, &commands);
        chain.one(transaction);
    }
    assert_eq!(keys(chain.kv(range("", None, 0))), (names.clone(), false));
    assert_eq!(
        keys(chain.kv(range("k10", Some("k13"), 0))).0,
        names[10..13]
    );
    for limit in [1, 31, 32, 33, 63, 64, 99] {
        let found = keys(chain.kv(range("", None, limit)));
        assert_eq!(found, (names[..limit as usize].to_vec(), true), "{limit}");
    }
    for limit in [100, 101, u32::MAX] {
        assert_eq!(
            keys(chain.kv(range("", None, limit))),
            (names.clone(), false)
        );
    }
    assert_eq!(keys(chain.kv(range("x", None, 5))), (Vec::new(), false));
    // Within one transaction, a range sees what the commands before it did.
    let commands = [
        delete("k01"),
        put("k005", "v"),
        range("k00", Some("k03"), 0),
    ];
    let transaction = chain.next(WRITER, &commands);
    let Outcome::Executed { results, .. } = chain.one(transaction) else {
        panic!("executed")
    };
    let seen = keys(Ok(KvResult::decode(&results[2].0).unwrap()));
    assert_eq!(seen.0, ["k00", "k005", "k02"]);
}

#[test]
fn a_range_is_cut_where_its_result_is_full() {
    let mut chain = Chain::with(|parameters| parameters.max_result_bytes = 1_024);
    for i in 0..20 {
        chain.kv(put(format!("k{i:02}"), [0; 200])).unwrap();
    }
    let mut all = Vec::new();
    let mut start = String::new();
    loop {
        let (some, more) = keys(chain.kv(range(&start, None, 0)));
        assert!((1..=4).contains(&some.len()));
        start = format!("{}\0", some.last().unwrap());
        all.extend(some);
        if !more {
            break;
        }
    }
    assert_eq!(all.len(), 20);
    let only = Command::Range {
        start: blob(""),
        end: None,
        limit: 0,
        keys_only: true,
    };
    let Ok(KvResult::Range { entries, more }) = chain.kv(only) else {
        panic!("a range")
    };
    assert!(entries.len() > 10 && more);
    assert!(entries.iter().all(|entry| entry.record.value.0.is_empty()));
    // An entry that does not fit at all is no `more`, which would never end.
    chain.kv(put("a", [0; 1_000])).unwrap();
    assert_eq!(chain.kv(range("", None, 0)), Err(Rejection::ResultTooLarge));
    assert_eq!(chain.kv(get("a")), Err(Rejection::ResultTooLarge));
}

type MakeCheck = fn(Relation, u64) -> Check;

#[test]
fn every_compare_holds_exactly_when_it_should() {
    use Relation::{Equal, Greater, Less, NotEqual};
    let mut chain = Chain::new();
    chain.kv(put("other", "x")).unwrap();
    chain.kv(put("k", "b")).unwrap();
    chain.kv(put("k", "m")).unwrap();
    // k: value m, version 2, created by revision 2, modified by 3.
    let mut holds = |key: &str, check: Check| {
        let key = blob(key);
        let command = Command::Txn {
            compare: vec![Compare { key, check }],
            then: Vec::new(),
            otherwise: Vec::new(),
        };
        match chain.kv(command) {
            Ok(KvResult::Txn { succeeded, .. }) => succeeded,
            other => panic!("{other:?}"),
        }
    };
    let relates = |relation, order: std::cmp::Ordering| match relation {
        Equal => order.is_eq(),
        NotEqual => order.is_ne(),
        Less => order.is_lt(),
        Greater => order.is_gt(),
    };
    for relation in [Equal, NotEqual, Less, Greater] {
        for right in 0..5u64 {
            let cases: [(MakeCheck, u64); 3] = [
                (Check::Version, 2),
                (Check::CreateRevision, 2),
                (Check::ModifyRevision, 3),
            ];
            for (check, left) in cases {
                let expected = relates(relation, left.cmp(&right));
                assert_eq!(holds("k", check(relation, right)), expected);
                let expected = relates(relation, 0.cmp(&right));
                assert_eq!(holds("absent", check(relation, right)), expected);
            }
        }
        for right in ["a", "m", "ma", "z"] {
            let expected = relates(relation, "m".cmp(right));
            assert_eq!(holds("k", Check::Value(relation, blob(right))), expected);
            assert!(!holds("absent", Check::Value(relation, blob(right))));
        }
    }
    assert!(holds("k", Check::Exists(true)) && !holds("k", Check::Exists(false)));
    assert!(holds("absent", Check::Exists(false)) && !holds("absent", Check::Exists(true)));
}

#[test]
fn a_txn_takes_one_branch_under_one_revision() {
    let mut chain = Chain::new();
    let put = |key: &str| Op::Put {
        key: blob(key),
        value: blob("v"),
        lease: None,
    };
    let exists = |key: &str| Compare {
        key: blob(key),
        check: Check::Exists(true),
    };
    let command = Command::Txn {
        compare: vec![exists("a")],
        then: vec![Op::Delete { key: blob("a") }],
        otherwise: vec![put("a"), put("b"), put("a"), Op::Get { key: blob("a") }],
    };
    let Ok(KvResult::Txn { succeeded, results }) = chain.kv(command.clone()) else {
        panic!("a txn")
    };
    assert!(!succeeded);
    let OpResult::Get(Some(a)) = &results[3] else {
        panic!("{results:?}")
    };
    assert_eq!((a.create_revision, a.modify_revision, a.version), (1, 1, 2));
    let results = vec![OpResult::Delete { existed: true }];
    let succeeded = true;
    assert_eq!(chain.kv(command), Ok(KvResult::Txn { succeeded, results }));
    assert_eq!(chain.executor.revision(), 2);
    // The results of all operations share the room of one.
    let mut chain = Chain::with(|parameters| parameters.max_result_bytes = 64);
    let command = |count: usize| Command::Txn {
        compare: Vec::new(),
        then: vec![Op::Delete { key: blob("k") }; count],
        otherwise: Vec::new(),
    };
    let most = (64 - 13) / 5;
    assert!(chain.kv(command(most)).is_ok());
    assert_eq!(chain.kv(command(most + 1)), Err(Rejection::ResultTooLarge));
}

#[test]
fn readers_read_and_do_nothing_else() {
    let mut chain = Chain::new();
    let read = Op::Get { key: blob("k") };
    let write = Op::Delete { key: blob("k") };
    let txn = |then: &Op, otherwise: &Op| Command::Txn {
        compare: Vec::new(),
        then: vec![then.clone()],
        otherwise: vec![otherwise.clone()],
    };
    let allowed = [get("k"), range("", None, 1), txn(&read, &read)];
    let (key, expect, value) = (blob("k"), None, None);
    let refused = [
        put("k", "v"),
        delete("k"),
        Command::CompareAndSet { key, expect, value },
        txn(&write, &read),
        txn(&read, &write),
        Command::Opaque(blob("x")),
    ];
    for command in allowed {
        let transaction = chain.next(READER, &[command]);
        assert!(executed(&chain.one(transaction)));
    }
    for command in refused {
        let transaction = chain.next(READER, &[command]);
        assert_eq!(
            chain.one(transaction),
            Outcome::Rejected(Rejection::Forbidden)
        );
    }
}

#[test]
fn opaque_bytes_leave_no_trace_in_the_state_but_a_session() {
    let mut chain = Chain::new();
    assert_eq!(chain.kv(Command::Opaque(blob("x"))), Ok(KvResult::Opaque));
    assert_eq!(chain.executor.revision(), 0);
    assert_eq!(chain.memory.count(Space::State, b"kv/"), 0);
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, LeafRecord>,
    revision: u64,
}

impl Model {
    fn put(&mut self, key: &Blob, value: &Blob, lease: Option<u64>) -> u64 {
        let before = self.keys.get(&key.0);
        let record = LeafRecord {
            value: value.clone(),
            create_revision: before.map_or(self.revision + 1, |r| r.create_revision),
            modify_revision: self.revision + 1,
            version: before.map_or(1, |r| r.version + 1),
            lease,
        };
        let version = record.version;
        self.keys.insert(key.0.clone(), record);
        version
    }

    /// The result, and whether something changed.
    fn run(&mut self, command: &Command) -> (KvResult, bool) {
        match command {
            Command::Put { key, value, lease } => {
                let version = self.put(key, value, *lease);
                (KvResult::Put { version }, true)
            }
            Command::Get { key } => (KvResult::Get(self.keys.get(&key.0).cloned()), false),
            Command::Delete { key } => {
                let existed = self.keys.remove(&key.0).is_some();
                (KvResult::Delete { existed }, existed)
            }
            Command::CompareAndSet { key, expect, value } => {
                let before = self.keys.get(&key.0).cloned();
                let swapped = before.as_ref().map(|r| &r.value) == expect.as_ref();
                let (version, changed) = match (swapped, value) {
                    (false, _) => (before.map_or(0, |r| r.version), false),
                    (true, Some(value)) => {
                        (self.put(key, value, before.and_then(|r| r.lease)), true)
                    }
                    (true, None) => (0, self.keys.remove(&key.0).is_some()),
                };
                (KvResult::CompareAndSet { swapped, version }, changed)
            }
            Command::Range {
                start, end, limit, ..
            } => {
                let found: Vec<_> = self
                    .keys
                    .iter()
                    .filter(|(key, _)| **key >= start.0)
                    .filter(|(key, _)| end.as_ref().is_none_or(|end| **key < end.0))
                    .collect();
                let take = if *limit == 0 {
                    found.len()
                } else {
                    *limit as usize
                };
                let more = found.len() > take;
                let entries = found.into_iter().take(take).map(|(key, record)| {
                    let (key, record) = (Blob(key.clone()), record.clone());
                    quorate_execution::kv::RangeEntry { key, record }
                });
                let entries = entries.collect();
                (KvResult::Range { entries, more }, false)
            }
            _ => unreachable!("not rolled"),
        }
    }
}

fn random_command(dice: &mut Dice) -> Command {
    let mut key = || {
        let length = 1 + dice.roll(3);
        Blob(
            (0..length)
                .map(|_| b"ab\xff"[dice.roll(3) as usize])
                .collect(),
        )
    };
    let (a, b) = (key(), key());
    let value = blob([u8::try_from(dice.roll(3)).unwrap()]);
    let other = blob([u8::try_from(dice.roll(3)).unwrap()]);
    match dice.roll(6) {
        0 | 1 => Command::Put {
            key: a,
            value,
            lease: (dice.roll(3) == 0).then_some(5),
        },
        2 => Command::Get { key: a },
        3 => Command::Delete { key: a },
        4 => Command::CompareAndSet {
            key: a,
            expect: (dice.roll(3) > 0).then_some(value),
            value: (dice.roll(3) > 0).then_some(other),
        },
        _ => Command::Range {
            end: (a < b).then_some(b),
            start: a,
            limit: u32::try_from(dice.roll(8)).unwrap(),
            keys_only: false,
        },
    }
}

#[test]
fn the_machine_does_what_a_sorted_map_would() {
    for seed in 0..8 {
        let mut dice = Dice(1_000 + seed);
        let (mut chain, mut model) = (Chain::new(), Model::default());
        for _ in 0..60 {
            let count = 1 + dice.roll(5);
            let transactions: Vec<_> = (0..count)
                .map(|_| {
                    let count = 1 + dice.roll(4);
                    let commands: Vec<_> = (0..count).map(|_| random_command(&mut dice)).collect();
                    (chain.next(WRITER, &commands), commands)
                })
                .collect();
            let receipts = chain.block(transactions.iter().map(|t| t.0.clone()).collect());
            for ((_, commands), receipt) in transactions.iter().zip(receipts) {
                let Outcome::Executed { revision, results } = receipt.outcome else {
                    panic!("executed")
                };
                let mut changed = false;
                for (command, result) in commands.iter().zip(results) {
                    let (expected, change) = model.run(command);
                    assert_eq!(KvResult::decode(&result.0), Ok(expected), "{command:?}");
                    changed |= change;
                }
                model.revision += u64::from(changed);
                assert_eq!(revision, model.revision);
            }
            if dice.roll(8) == 0 {
                chain.reopen();
            }
        }
        let stored = chain
            .memory
            .scan(Space::State, b"kv/", Some(b"kv0"), usize::MAX)
            .unwrap();
        let model: Vec<_> = model
            .keys
            .iter()
            .map(|(key, record)| (state_key(key), record.encode()))
            .collect();
        assert_eq!(stored, model);
    }
}
